// Starts a real process that serves on loopback, and waits until it does.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Hub } from '../hub-simulator/server.ts'
import { freePort } from '../support/free-port.ts'

const STARTS_WITHIN_MS = 15_000
const POLL_MS = 5
const LAUNCH = fileURLToPath(new URL('../../dist/launch.cjs', import.meta.url))

/** A process that was started. It may not answer at this point. The caller must stop it. */
export interface Spawned {
  readonly pid: number
  readonly url: string
  /** A directory of its own, removed when the process is stopped. */
  readonly directory: string
  hasEnded(): boolean
  /** The last line on its stderr. */
  lastWords(): string
  stop(): Promise<void>
}

interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** The built mirror as users start it, in front of the simulator. Its store is empty unless a setting names another. */
export function spawnMirror(
  hub: Hub,
  settings: Readonly<Record<string, string>> = {},
  node: string = process.execPath,
): Promise<Spawned> {
  return spawnServer((port, directory) => ({
    command: node,
    args: [LAUNCH, 'serve'],
    env: {
      HUBMIRROR_PORT: String(port),
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
      HUBMIRROR_CACHE_DIR: path.join(directory, 'cache'),
      HUBMIRROR_DRAIN_DELAY: '0s',
      // Stored files stay warm, as they do in nginx and olah.
      HUBMIRROR_ACCESS_TTL: '1h',
      HUBMIRROR_REF_TTL: '1h',
      ...settings,
    },
  }))
}

/**
 * Starts the command that `make` returns for a free port and a directory. Its output is discarded. Rejects when there is no
 * such command.
 */
export async function spawnServer(make: (port: number, directory: string) => Command): Promise<Spawned> {
  const directory = mkdtempSync(path.join(tmpdir(), 'hubmirror-bench-'))
  const port = await freePort()
  const { command, args, env } = make(port, directory)
  const complaints = path.join(directory, 'stderr')
  const descriptor = openSync(complaints, 'w')
  const child = spawn(command, args, {
    cwd: directory,
    stdio: ['ignore', 'ignore', descriptor],
    env: { PATH: process.env['PATH'], HOME: directory, ...env },
  })
  closeSync(descriptor)
  await once(child, 'spawn')
  const ended = once(child, 'exit')
  const stop = async () => {
    if (!hasEnded(child)) child.kill('SIGTERM')
    await ended
    rmSync(directory, { recursive: true, force: true })
  }
  return {
    pid: child.pid ?? 0,
    url: `http://127.0.0.1:${port}`,
    directory,
    hasEnded: () => hasEnded(child),
    lastWords: () => readFileSync(complaints, 'utf8').trimEnd().split('\n').at(-1) ?? '',
    stop,
  }
}

/** Resolves when it answers at all, as `probe` finds out. If it does not in time, stops it and rejects. */
export async function untilUp(
  server: Spawned,
  probe: (url: string) => Promise<boolean> = isUp,
): Promise<void> {
  const deadlineAt = Date.now() + STARTS_WITHIN_MS
  while (!(await probe(server.url))) {
    if (server.hasEnded() || Date.now() > deadlineAt) {
      const words = server.lastWords()
      await server.stop()
      throw new Error(`does not start: ${words}`)
    }
    await sleep(POLL_MS)
  }
}

/** The version that a command prints. Rejects when there is no such command. */
export async function versionOf(command: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(command, args)
  return /\d+(\.\d+)+/.exec(`${stdout}${stderr}`)?.[0] ?? ''
}

function isUp(url: string): Promise<boolean> {
  return fetch(`${url}/healthz`, { method: 'HEAD', redirect: 'manual' }).then(
    () => true,
    () => false,
  )
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}
