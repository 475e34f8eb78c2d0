// The built mirror as a process of its own, for tests that need a process: signals, limits, a second one. Needs `npm
// run build`. Knows nothing of what is served.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Hub } from '../hub-simulator/server.ts'
import { eventually } from './eventually.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ENTRY = join(ROOT, 'dist/launch.cjs')
const STARTS_WITHIN_MS = 120_000

export interface ChildOptions {
  readonly hub: Hub
  readonly cacheDir: string
  /** By variable, `HUBMIRROR_ORIGIN_TIMEOUT` and so on. */
  readonly env?: Readonly<Record<string, string>>
  /** Another build than that of this checkout. */
  readonly entry?: string
  /** A command and its options that start the mirror as their child, such as a tracer. `pid` is that of the command then. */
  readonly under?: readonly string[]
  /** All words of the command that starts the mirror, in place of this Node with `entry`. */
  readonly command?: readonly string[]
}

/** A process that serves, or has ended. The code that started it must stop it. */
export interface Child {
  readonly pid: number
  /** Without a slash at the end. */
  readonly url: string
  /** Everything it wrote, to both streams. */
  log(): string
  /** The entries of its log. */
  entries(): Record<string, unknown>[]
  kill(signal: NodeJS.Signals): void
  /** Resolves with the exit status, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
  /** Ends it at once if it still runs. */
  stop(): Promise<void>
}

/** Starts the mirror and waits until it listens. Rejects with its output when it ends before. */
export async function startChild(options: ChildOptions): Promise<Child> {
  const child = launch(options)
  await eventually(
    () => child.port() ?? child.status(),
    (value) => value !== undefined,
    STARTS_WITHIN_MS,
  ).catch(async (error: unknown) => {
    // No other code knows of it.
    await child.stop()
    throw error
  })
  const port = child.port()
  if (port === undefined) throw new Error(`the mirror ended with ${child.status()}: ${child.log()}`)
  const scheme = options.env?.['HUBMIRROR_TLS_CERT'] === undefined ? 'http' : 'https'
  return { ...child, url: `${scheme}://127.0.0.1:${port}` }
}

/** Starts it where it is expected not to serve; resolves with what it said and how it ended. */
export async function runChild(
  options: ChildOptions,
): Promise<{ status: number | NodeJS.Signals; log: string }> {
  const child = launch(options)
  try {
    return { status: await child.ended, log: child.log() }
  } finally {
    await child.stop()
  }
}

function launch({ hub, cacheDir, env, entry = ENTRY, under = [], command }: ChildOptions) {
  if (!existsSync(entry)) throw new Error('there is no build: npm run build')
  const [program = '', ...words] = command ?? [...under, process.execPath, entry, 'serve']
  const running: ChildProcess = spawn(program, words, {
    env: {
      PATH: process.env['PATH'],
      HUBMIRROR_PORT: '0',
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
      HUBMIRROR_CACHE_DIR: cacheDir,
      HUBMIRROR_CACHE_MIN_FREE: '0B',
      // There is no load balancer that must notice it first.
      HUBMIRROR_DRAIN_DELAY: '0s',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const parts: Buffer[] = []
  for (const stream of [running.stdout, running.stderr])
    stream?.on('data', (chunk: Buffer) => parts.push(chunk))
  let status: number | NodeJS.Signals | undefined
  const ended = once(running, 'close').then(([code, signal]: (number | NodeJS.Signals | null)[]) => {
    status = code ?? signal ?? 'SIGKILL'
    return status
  })
  const log = () => Buffer.concat(parts).toString()
  const entries = () => log().split('\n').flatMap(parseLine)
  return {
    pid: running.pid ?? 0,
    log,
    entries,
    status: () => status,
    port: (): number | undefined => {
      const port = entries().find((entry) => entry['msg'] === 'listening')?.['port']
      return typeof port === 'number' ? port : undefined
    },
    kill: (signal: NodeJS.Signals) => void running.kill(signal),
    ended,
    stop: async () => {
      if (status === undefined) running.kill('SIGKILL')
      await ended
    },
  }
}

function parseLine(line: string): Record<string, unknown>[] {
  try {
    return [JSON.parse(line) as Record<string, unknown>]
  } catch {
    return []
  }
}

/** What must not stand in the log of any process: unhandled rejections, warnings of Node, bugs. */
export function badLines(log: string): string[] {
  return log.split('\n').filter((line) => /unhandled|Warning:|uncaught|"level":"(error|fatal)"/i.test(line))
}

const run = promisify(execFile)

/** Changes the soft limit of open files of a process that runs. */
export async function limitFiles(pid: number, count: number): Promise<void> {
  await run('prlimit', ['--pid', String(pid), `--nofile=${count}:`])
}
