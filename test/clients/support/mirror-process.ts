// The mirror as users run it: `node dist/cli.js serve` in a process of its own, set up by environment alone.
// Its URL says `localhost`, or `[::1]` where it listens there, while everything else has an address of IPv4: clients may connect
// to these two only (see run.ts), so one that is led past the mirror fails. Knows nothing of the origin behind it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startFront } from '../../deploy/fronts.ts'
import { ask } from '../../support/ask.ts'
import { freePort } from '../../support/free-port.ts'
import type { FrontProcess } from '../../support/front-process.ts'
import { WITH_PARENT } from '../../support/with-parent.ts'
import { PLACE } from './place.ts'

const CLI = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))
const READY_WITHIN_MS = 120_000
const POLL_MS = 20

/** A mirror that runs. The code that started it must stop it. It ends with that process in any case. */
export interface MirrorProcess {
  /** Where clients find it: at the place of this run (place.ts). */
  readonly url: string
  readonly pid: number
  /** Everything it has printed so far. */
  log(): string
  /** SIGTERM, waits for the exit, and removes the cache directory made here. Returns the exit code. */
  stop(): Promise<number | null>
  /** SIGTERM, and waits for the exit. The cache directory stays for a successor. */
  end(): Promise<void>
  /** SIGKILL, and waits for the exit. The cache directory stays for a successor. */
  kill(): Promise<void>
  readonly port: number
  readonly cacheDir: string
  /** The proxy before it, if its place has one. It stays for a successor. */
  readonly front?: FrontProcess | undefined
}

/**
 * Starts a mirror and waits until /readyz says 200. `env` holds HUBMIRROR_* settings, of which HUBMIRROR_ORIGIN must
 * be one. It gets a free port and a cache directory of its own, unless it takes over those of a `predecessor`. What `env` does
 * not set follows from the place of this run.
 *
 * @throws Error with the mirror's own words when it ends, or is not ready in time.
 */
export async function startMirrorProcess(
  env: Readonly<Record<string, string>>,
  predecessor?: Pick<MirrorProcess, 'port' | 'cacheDir' | 'front'>,
): Promise<MirrorProcess> {
  const cacheDir = predecessor?.cacheDir ?? (await mkdtemp(join(tmpdir(), 'hubmirror-cache-')))
  const port = predecessor?.port ?? (await freePort())
  const settings: Readonly<Record<string, string>> = { ...PLACE.settings, ...env }
  const scheme = settings['HUBMIRROR_TLS_CERT'] === undefined ? 'http' : 'https'
  const address = `${scheme}://${settings['HUBMIRROR_HOST'] === '::1' ? '[::1]' : 'localhost'}:${port}`
  const command = [...WITH_PARENT, process.execPath, '--enable-source-maps', CLI, 'serve']
  const child = spawn(command[0] ?? '', command.slice(1), {
    env: {
      PATH: process.env['PATH'],
      HOME: cacheDir,
      UV_THREADPOOL_SIZE: '16',
      HUBMIRROR_PORT: String(port),
      HUBMIRROR_CACHE_DIR: join(cacheDir, 'store'),
      HUBMIRROR_DRAIN_DELAY: '0s',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
  }
  const exited = once(child, 'exit')
  const end = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await exited
  }
  let front = predecessor?.front
  const stop = async () => {
    await end()
    await front?.stop()
    await rm(cacheDir, { recursive: true, force: true })
    return child.exitCode
  }
  const deadlineAt = Date.now() + READY_WITHIN_MS
  while (!(await isReady(address))) {
    if (child.exitCode !== null || Date.now() > deadlineAt) {
      await stop()
      throw new Error(`the mirror did not become ready:\n${printed}`)
    }
    await delay(POLL_MS)
  }
  if (PLACE.front !== undefined) front ??= await startFront(PLACE.front, address, { tls: true })
  const url = (front?.url ?? address) + PLACE.path
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  return { url, port, cacheDir, front, pid: child.pid ?? 0, log: () => printed, stop, end, kill }
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await ask(url, '/readyz')).status === 200
  } catch {
    return false
  }
}
