// Finds the mirror that has the store open. Where there is none, this process opens the store itself, and serves from it by
// the same control socket, so that a second command joins it.

import { createHash } from 'node:crypto'
import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type App, createApp } from '../../app.ts'
import type { Config } from '../../config/keys.ts'
import { ifThere } from '../../store/atomic.ts'
import { findControlSocket, UnusableControlSocket } from '../../store/control-socket.ts'
import { DirectoryInUse } from '../../store/lock.ts'
import { createLogger } from '../../telemetry/log.ts'
import { prettyDestination } from '../../telemetry/pretty.ts'
import { actAsMirrorUser } from '../act-as.ts'
import { MirrorSilent, MirrorWatch, probeMirror } from './silence.ts'

/** A mirror that has just taken the store listens on its socket soon. */
const STARTS_WITHIN_MS = 10_000
const POLL_MS = 500
/** More of the log than this says nothing to the user of a command. */
const LEVELS: readonly string[] = ['warn', 'error', 'fatal', 'silent']

export interface Reached {
  readonly socketPath: string
  /** Watches the process that has the store open. Undefined if this one has. */
  readonly watch: MirrorWatch | undefined
  /** Closes the store, if this process has opened it. */
  close(): Promise<void>
}

/**
 * Resolves with the control socket of the store. Rejects with MirrorSilent or UnusableControlSocket if another process has the
 * store and does not answer or cannot be reached, and as `createApp` does.
 */
export async function reachMirror(
  config: Config,
  options: {
    readonly version: string
    readonly say: (line: string) => void
    readonly signal: AbortSignal
    readonly startsWithinMs?: number
  },
): Promise<Reached> {
  const { cacheDir } = config
  const { signal, startsWithinMs = STARTS_WITHIN_MS } = options
  const beganAt = performance.now()
  for (;;) {
    const socketPath = await findControlSocket(cacheDir)
    const found = socketPath === undefined ? 'none' : await probeMirror(socketPath, signal)
    if (socketPath !== undefined && found === 'answers')
      return { socketPath, watch: new MirrorWatch(socketPath, cacheDir), close: () => Promise.resolve() }
    try {
      return await openStore(config, options)
    } catch (error) {
      if (!(error instanceof DirectoryInUse)) throw error
      const triedMs = performance.now() - beganAt
      if (triedMs > startsWithinMs)
        throw found === 'silent' ? await MirrorSilent.of(cacheDir, triedMs) : unreachable(error)
    }
    await delay(POLL_MS, undefined, { signal })
  }
}

/** The store has an owner that does not listen. */
function unreachable({ message }: DirectoryInUse): UnusableControlSocket {
  const who = message.replace(/ Stop it, or give .*$/s, '')
  return new UnusableControlSocket(
    `${who} It has no control socket that can be reached from here: it runs on another machine, it is a mirror of an ` +
      'earlier version, or its log says why. Fetch by a client instead, such as hf download, or stop it.',
  )
}

/** The mirror without its port. Settings that concern only clients are left out. */
async function openStore(
  config: Config,
  { version, say }: { readonly version: string; readonly say: (line: string) => void },
): Promise<Reached> {
  await actAsMirrorUser(config.cacheDir)
  const out = { write: (text: string) => say(text.trimEnd()) }
  const level = LEVELS.includes(config.logLevel) ? config.logLevel : 'warn'
  const logger = createLogger({ level, destination: prettyDestination(out, false) })
  const { tlsCert: _, tlsKey: __, tlsClientCa: ___, scrubRateBytesPerSecond: ____, ...rest } = config
  const own: Config = { ...rest, workers: 1, sendfile: 'off' }
  // stdout is for the result of the command.
  const app = await createApp(own, {
    version,
    logger,
    stdout: { write: (text) => process.stderr.write(text) },
    isCommand: true,
  })
  try {
    const socketPath = await app.openControl().catch(() => undefined)
    return socketPath === undefined
      ? await listenElsewhere(app, config.cacheDir)
      : { socketPath, watch: undefined, close: () => app.close() }
  } catch (error) {
    await app.close()
    throw error
  }
}

async function listenElsewhere(app: App, cacheDir: string): Promise<Reached> {
  const { socketPath, remove } = await openControlElsewhere(app, cacheDir)
  const close = async (): Promise<void> => {
    await app.close()
    await remove()
  }
  return { socketPath, watch: undefined, close }
}

/** Removes what killed processes have left. Mirrors that share a store which they only read may run beside this one. */
async function removeLeft(name: string): Promise<void> {
  const found = await readdir(tmpdir()).catch(() => [])
  for (const left of found.filter((entry) => entry.startsWith(name))) {
    const folder = path.join(tmpdir(), left)
    // Any user may have made a folder of that name there.
    const stats = await ifThere(lstat(folder))
    const isOwn = stats?.isDirectory() === true && stats.uid === process.geteuid?.()
    const { signal } = new AbortController()
    // A stopped process still owns its folder.
    if (isOwn && (await probeMirror(path.join(folder, 'socket'), signal)) === 'none')
      await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Opens the control socket in the temporary directory, because the volume of the store takes no sockets, or its path is too
 * long. Other commands cannot join then. The caller must call `remove` in the end.
 */
export async function openControlElsewhere(
  app: App,
  cacheDir: string,
): Promise<{ readonly socketPath: string; readonly remove: () => Promise<void> }> {
  const store = createHash('sha256').update(path.resolve(cacheDir)).digest('hex').slice(0, 16)
  const name = `hubmirror-control-${store}-`
  await removeLeft(name)
  const folder = await mkdtemp(path.join(tmpdir(), name))
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true })
  try {
    return { socketPath: await app.openControl(path.join(folder, 'socket')), remove }
  } catch (error) {
    await remove()
    throw error
  }
}
