// The proxies of docs/deploy.md as processes on loopback, with the very configuration that stands there: only addresses
// are filled in. They are brought by test/deploy/setup.sh.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { commandOf } from '../clients/support/tools.ts'
import { ask } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'

const DOCS = fileURLToPath(new URL('../../docs/deploy.md', import.meta.url))

export const FRONTS = ['nginx', 'HAProxy', 'Caddy', 'Envoy'] as const
export type FrontName = (typeof FRONTS)[number]

/** The program of a front: a command, or a path. */
export const PROGRAMS: Readonly<Record<FrontName, string>> = {
  nginx: 'nginx',
  HAProxy: 'haproxy',
  Caddy: 'caddy',
  Envoy: commandOf('envoy', 'envoy'),
}

/** The block of configuration that the documentation shows for a front. Throws where there is none. */
export function documented(name: string): string {
  const text = readFileSync(DOCS, 'utf8')
  const block = new RegExp(`^For ${name}\\b[^\\n]*:\\n\\n\`\`\`\\n([\\s\\S]*?)\`\`\``, 'm').exec(text)?.[1]
  if (block === undefined) throw new Error(`docs/deploy.md shows no configuration for ${name}`)
  return block
}

/** A front that runs. The code that started it must stop it. */
export interface Front {
  readonly url: string
  stop(): Promise<void>
}

/**
 * Starts a front before the mirror at `mirrorUrl` and waits until it passes /healthz on. Rejects with what it said when
 * it ends, or does not answer in time.
 */
export async function startFront(
  name: FrontName,
  mirrorUrl: string,
  options: { readonly config?: string } = {},
): Promise<Front> {
  const directory = mkdtempSync(join(tmpdir(), 'hubmirror-front-'))
  const port = await freePort()
  const file = join(directory, name === 'Envoy' ? 'envoy.yaml' : 'config')
  const { port: mirrorPort } = new URL(mirrorUrl)
  const config = options.config ?? documented(name)
  writeFileSync(file, filledIn(name, config, { port, mirrorPort, directory }))
  const child = spawn(PROGRAMS[name], argumentsFor(name, file, directory), {
    env: { PATH: process.env['PATH'], HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-20_000)
    })
  const ended = once(child, 'close')
  const stop = async (): Promise<void> => {
    if (!hasEnded(child)) child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), 5_000)
    await ended
    clearTimeout(late)
    rmSync(directory, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${port}`
  try {
    await eventually(
      async () => (hasEnded(child) ? 'ended' : await statusOf(url)),
      (status) => status === 200 || status === 'ended',
    )
    if (hasEnded(child)) throw new Error('it ended')
  } catch (error) {
    await stop()
    throw new Error(`${name} did not start: ${String(error)}\n${said}`, { cause: error })
  }
  return { url, stop }
}

async function statusOf(url: string): Promise<number> {
  return ask(url, '/healthz').then(
    ({ status }) => status,
    () => 0,
  )
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

function filledIn(
  name: FrontName,
  text: string,
  where: { readonly port: number; readonly mirrorPort: string; readonly directory: string },
): string {
  const { port, mirrorPort, directory } = where
  switch (name) {
    case 'nginx': {
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      return [
        `daemon off; pid ${directory}/pid; error_log stderr; events {}`,
        `http { access_log off;`,
        ...temporary.map((kind) => `${kind}_temp_path ${directory}/${kind};`),
        `server { listen 127.0.0.1:${port};`,
        replaced(text, '127.0.0.1:8080', `127.0.0.1:${mirrorPort}`),
        '} }',
      ].join('\n')
    }
    case 'HAProxy':
      return replaced(
        replaced(text, 'bind :80', `bind 127.0.0.1:${port}`),
        '127.0.0.1:8080',
        `127.0.0.1:${mirrorPort}`,
      )
    case 'Caddy': {
      const site = replaced(text, ':80 {', `http://127.0.0.1:${port} {`)
      return `{\n  admin off\n}\n${replaced(site, '127.0.0.1:8080', `127.0.0.1:${mirrorPort}`)}`
    }
    case 'Envoy': {
      const listening = replaced(
        text,
        'address: 0.0.0.0, port_value: 80 ',
        `address: 127.0.0.1, port_value: ${port} `,
      )
      return replaced(listening, 'port_value: 8080', `port_value: ${mirrorPort}`)
    }
    default:
      return name satisfies never
  }
}

function replaced(text: string, what: string, by: string): string {
  if (!text.includes(what)) throw new Error(`docs/deploy.md: expected ${what}`)
  return text.replace(what, by)
}

function argumentsFor(name: FrontName, file: string, directory: string): readonly string[] {
  switch (name) {
    case 'nginx':
      return ['-p', directory, '-e', 'stderr', '-c', file]
    case 'HAProxy':
      return ['-db', '-f', file]
    case 'Caddy':
      return ['run', '--adapter', 'caddyfile', '--config', file]
    case 'Envoy':
      return ['--config-path', file, '--log-level', 'warning', '--concurrency', '1', '--disable-hot-restart']
    default:
      return name satisfies never
  }
}
