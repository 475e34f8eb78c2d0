// A real nginx or HAProxy as one process on a loopback port, in a directory of its own. It knows neither what the
// configuration is for nor which requests come.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { isOpen } from './workers.ts'

/** A program that runs. The caller must stop it. */
export interface FrontProcess {
  /** Without a slash at the end. */
  readonly url: string
  readonly pid: number
  /** What it wrote to its error log so far. */
  log(): string
  stop(): Promise<void>
}

/** Where the configuration has to place the program. */
export interface FrontPlace {
  readonly port: number
  readonly directory: string
}

/** Starts the program with this configuration and waits until it takes connections. Rejects with what it says. */
export async function startFrontProcess(
  program: 'nginx' | 'haproxy',
  configOf: (place: FrontPlace) => string,
): Promise<FrontProcess> {
  const directory = await mkdtemp(join(tmpdir(), `hubmirror-${program}-`))
  const port = await freePort()
  const file = join(directory, 'config')
  await writeFile(file, configOf({ port, directory }))
  const args = program === 'nginx' ? ['-c', file, '-p', directory, '-e', 'stderr'] : ['-db', '-f', file]
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (words: string) => {
    said += words
  })
  const ended = once(child, 'close')
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await eventually(
      () => child.exitCode !== null || isOpen(port),
      (isThere) => isThere,
    )
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}: ${said}`)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${port}`, pid: child.pid ?? 0, log: () => said, stop }
}

/**
 * A whole configuration of nginx around what stands in its `http` block. nginx runs as one process: the one that is
 * killed at the end. Without a master process it keeps the user that started it.
 */
export function nginxConfig(http: string, directory: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${directory}/${name};`,
  )
  return `daemon off; master_process off; pid ${directory}/pid; events {}
http { access_log off; ${temporary.join(' ')}
${http} }`
}
