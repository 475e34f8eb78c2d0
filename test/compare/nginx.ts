// A real nginx in front of the simulator, from one of the templates in nginx-compare/. It runs on a loopback port, in
// a directory of its own, as a child of this process. Knows nothing of what is asked of it.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../support/free-port.ts'

/** What can be filled in: a file of nginx-compare/, without its ending. */
export type NginxConfig =
  | 'pass-through'
  | 'naive-cache'
  | 'careful'
  | 'http-cache'
  | 'plain-files'
  | 'tls-cdn'
  | 'tls-cache'

/** What stands behind it. */
export interface Behind {
  readonly url: string
  readonly cdnUrl: string
  /** How many processes answer, if the file leaves it open. Default: one. */
  readonly workers?: number
  /** A folder with certificates and keys, for files that speak TLS. */
  readonly tls?: string
}

/** An nginx that runs. The caller must stop it. */
export interface Nginx {
  readonly url: string
  readonly pid: number
  readonly port: number
  /** Its own; gone when it is stopped. */
  readonly directory: string
  /** What it wrote to its error log so far. */
  log(): string
  stop(): Promise<void>
}

const STARTS_WITHIN_MS = 10_000
const POLL_MS = 20

/**
 * Starts nginx and waits until it answers. The URL says `localhost`, as the mirror's does for clients that may reach
 * that name only.
 *
 * @throws Error with nginx's own words when it does not start.
 */
export async function startNginx(name: NginxConfig, behind: Behind): Promise<Nginx> {
  const directory = mkdtempSync(path.join(tmpdir(), 'hubmirror-nginx-'))
  for (const folder of ['static', 'cache', 'temp']) mkdirSync(path.join(directory, folder), { mode: 0o777 })
  const port = await freePort()
  const config = path.join(directory, 'nginx.conf')
  writeFileSync(config, filledIn(name, { directory, port, ...behind }))
  const errorLog = path.join(directory, 'error.log')
  const child = spawn('nginx', ['-c', config, '-p', directory, '-e', errorLog], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = once(child, 'close')
  const url = `http://localhost:${port}`
  const log = () => said + readFileSync(errorLog, { encoding: 'utf8', flag: 'a+' })
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await ended
    rmSync(directory, { recursive: true, force: true })
  }
  const deadlineAt = Date.now() + STARTS_WITHIN_MS
  while (!(await isUp(url, child))) {
    if (hasEnded(child) || Date.now() > deadlineAt) {
      const words = log()
      await stop()
      throw new Error(`nginx (${name}) did not start:\n${words}`)
    }
    await delay(POLL_MS)
  }
  return { url, port, pid: child.pid ?? 0, directory, log, stop }
}

function filledIn(
  name: NginxConfig,
  values: Behind & { readonly directory: string; readonly port: number },
): string {
  const template = readFileSync(new URL(`../../nginx-compare/${name}.conf`, import.meta.url), 'utf8')
  const facts: Readonly<Record<string, string>> = {
    DIRECTORY: values.directory,
    PORT: String(values.port),
    ORIGIN: values.url,
    ORIGIN_ADDRESS: new URL(values.url).host,
    CDN: values.cdnUrl,
    WORKERS: String(values.workers ?? 1),
    TLS: values.tls ?? '',
  }
  // Comments speak of the marks; only what nginx reads is filled in.
  return template
    .split('\n')
    .map((line) =>
      line.startsWith('#') ? line : line.replace(/@([A-Z_]+)@/g, (mark, key) => facts[key] ?? mark),
    )
    .join('\n')
}

// Anything that answers is up. A HEAD of the root goes through to the origin, which counts it.
async function isUp(url: string, child: ChildProcess): Promise<boolean> {
  if (hasEnded(child)) return false
  return fetch(url, { method: 'HEAD', redirect: 'manual' }).then(
    () => true,
    () => false,
  )
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}
