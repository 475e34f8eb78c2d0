// A real nginx or HAProxy before two mirrors, with the configuration that deploy/ has for it. It runs on a loopback port
// in a directory of its own. Knows nothing of what is asked of it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { isOpen } from './workers.ts'

export const BALANCERS = ['nginx', 'haproxy'] as const
export type Balancer = (typeof BALANCERS)[number]

const DEPLOY = new URL('../../deploy/', import.meta.url)

/** One that runs. The code that started it must stop it. */
export interface RunningBalancer {
  /** Without a slash at the end. */
  readonly url: string
  stop(): Promise<void>
}

/** Starts it before the mirrors with these URLs and waits until it takes connections. Rejects with what it says. */
export async function startBalancer(
  kind: Balancer,
  mirrors: readonly [string, string],
): Promise<RunningBalancer> {
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-balancer-'))
  const port = await freePort()
  const config = join(directory, 'config')
  const text = await readFile(
    new URL(`${kind}/hubmirror.${kind === 'nginx' ? 'conf' : 'cfg'}`, DEPLOY),
    'utf8',
  )
  await writeFile(
    config,
    kind === 'nginx' ? nginxConfig(text, port, mirrors, directory) : haproxyConfig(text, port, mirrors),
  )
  const args = kind === 'nginx' ? ['-c', config, '-p', directory, '-e', 'stderr'] : ['-db', '-f', config]
  const child = spawn(kind, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (words: string) => {
    said += words
  })
  const ended = once(child, 'close')
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await eventually(
      () => child.exitCode !== null || isOpen(port),
      (isThere) => isThere,
    )
    if (child.exitCode !== null) throw new Error(`${kind} ended with ${child.exitCode}: ${said}`)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${port}`, stop }
}

function nginxConfig(text: string, port: number, mirrors: readonly string[], directory: string): string {
  const http = placed(text, mirrors).replace('listen 80;', `listen 127.0.0.1:${port};`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${directory}/${name};`,
  )
  // One process: the one that is killed at the end.
  return `daemon off; master_process off; pid ${directory}/pid; events {}
http { access_log off; ${temporary.join(' ')}
${http} }`
}

function haproxyConfig(text: string, port: number, mirrors: readonly string[]): string {
  return placed(text, mirrors)
    .replace('bind :80', `bind 127.0.0.1:${port}`)
    .replace('inter 2s', 'inter 100ms')
}

/** The configuration with the mirrors' addresses in the place of the names in it. */
function placed(text: string, [a = '', b = '']: readonly string[]): string {
  const address = (url: string): string => url.replace('http://', '')
  return text.replace('mirror-a:8080', address(a)).replace('mirror-b:8080', address(b))
}
