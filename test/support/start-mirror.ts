// A mirror in this process, before a simulated Hub, on a directory of its own. Closing it also proves that it left
// nothing behind: no download, no reserved space, no temporary file, and no credential in log, metrics or store.

import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type App, createApp } from '../../src/app.ts'
import { containsMirrorToken } from '../../src/callers/mirror-token.ts'
import type { Config } from '../../src/config/keys.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createLogger } from '../../src/telemetry/log.ts'
import { Listener } from '../../src/workers/main/listener.ts'
import { makePrivateSocket, removePrivateSocket } from '../../src/workers/private-socket.ts'
import { createWorkerApp } from '../../src/workers/worker/app.ts'
import { createWorkerServer } from '../../src/workers/worker/server.ts'
import type { Hub } from '../hub-simulator/server.ts'
import { ask } from './ask.ts'
import { eventually } from './eventually.ts'
import { Pulls } from './pulls.ts'

export interface MirrorOptions {
  readonly hub: Hub
  readonly config?: Partial<Config>
  readonly monotonic?: () => number
  readonly now?: () => number
  /** Gets every line of the log as it is written. */
  readonly logLines?: string[]
  /** The directory of a mirror that was closed with `keepDir`; removed at the end like one made here. */
  readonly cacheDir?: string
}

/** A mirror that runs. The code that started it must close it. */
export interface RunningMirror {
  /** Without a slash at the end and without the base path. */
  readonly url: string
  readonly app: App
  readonly config: Config
  readonly cacheDir: string
  logText(): string
  /** The lines of the log so far that hold a text. */
  logLines(part: string): string[]
  /** The text of the audit log; resolves when it is there. */
  auditText(): Promise<string>
  metrics(): Promise<string>
  /** The downloads that run in it. */
  readonly pulls: Pick<Pulls, 'joined' | 'ended'>
  /**
   * Closes once, however often it is called. Throws when something was left behind. `keepDir` leaves the store to a
   * successor; `busy` says that pulls may still run, and are to be cut.
   */
  close(options?: { readonly keepDir?: boolean; readonly busy?: boolean }): Promise<void>
}

/** A pull without readers ends soon, or fetches the rest of a small file. */
const IDLE_WITHIN_MS = 120_000
const POLL_MS = 10
/** Larger files are generated noise: reading them again would prove nothing and take long. */
const SEARCHED_MAX_BYTES = 8_000_000

/** Starts a mirror of `hub` on a free port, all settings at their defaults but those that keep it on loopback. */
export async function startMirror(options: MirrorOptions): Promise<RunningMirror> {
  const { hub } = options
  const cacheDir = options.cacheDir ?? (await mkdtemp(join(tmpdir(), 'hubmirror-test-')))
  const { config: defaults } = loadConfig({ flags: {}, env: {} })
  const config: Config = {
    ...defaults,
    port: 0,
    // Tests of what a mirror does hold whether or not workers stand before it.
    workers: Number(process.env['TEST_WORKERS'] ?? 1),
    cacheDir,
    origin: new URL(hub.url),
    redirectHosts: ['127.0.0.2'],
    auditLog: { kind: 'file', path: `${cacheDir}.audit` },
    ...options.config,
  }
  const lines = options.logLines ?? []
  const pulls = new Pulls()
  const logger = createLogger({ level: 'debug', destination: { write: (line) => void lines.push(line) } })
  const app = await createApp(config, {
    version: '0.0.0-test',
    logger,
    ...(options.now === undefined ? {} : { now: options.now }),
    ...(options.monotonic === undefined ? {} : { monotonic: options.monotonic }),
    observe: pulls.observe,
  }).catch(async (error: unknown) => {
    // A mirror that does not start has no caller that could close it.
    if (options.cacheDir === undefined) await removeStore(cacheDir)
    throw error
  })
  const front =
    config.workers > 1
      ? await startFront(app, config, { logger, monotonic: options.monotonic ?? (() => performance.now()) })
      : undefined
  const reached = front?.url ?? (await app.server.listen({ host: '127.0.0.1', port: 0 }))
  const url = app.tls === undefined ? reached : reached.replace('http:', 'https:')
  const metrics = async () =>
    (await ask(url, '/metrics', { headers: { connection: 'close' } })).body.toString()
  const logText = () => lines.join('')
  const logLines = (part: string) =>
    logText()
      .split('\n')
      .filter((line) => line.includes(part))
  const auditText = async () => {
    const { auditLog } = config
    return auditLog?.kind === 'file' && auditLog.path !== '/dev/full'
      ? await readFile(auditLog.path, 'utf8')
      : ''
  }

  const shut = async (how: { readonly keepDir?: boolean; readonly busy?: boolean }) => {
    const left: string[] = []
    let counted = ''
    try {
      if (how.busy !== true) await pulls.ended()
      counted = await metrics()
    } catch (error) {
      left.push(String(error))
    }
    await front?.close()
    await app.close()
    const { reservedBytes } = app.storeStatus()
    if (reservedBytes !== 0) left.push(`${reservedBytes} bytes stay promised`)
    for (const name of await readdir(join(cacheDir, 'tmp')).catch(() => [])) {
      const text = await readFile(join(cacheDir, 'tmp', name), 'latin1').catch(String)
      left.push(`tmp/ holds ${name}, which begins with ${JSON.stringify(text.slice(0, 120))}`)
    }
    left.push(
      ...(await leaks(hub, { config, cacheDir, log: logText(), audit: await auditText(), metrics: counted })),
    )
    if (how.keepDir !== true) await removeStore(cacheDir)
    if (left.length > 0) throw new Error(`the mirror left behind: ${left.join('; ')}\n${logText()}`)
  }
  let closing: Promise<void> | undefined
  return {
    url,
    app,
    config,
    cacheDir,
    logText,
    logLines,
    auditText,
    metrics,
    pulls,
    close: (how = {}) => (closing ??= shut(how)),
  }
}

/** Removes the store of a closed mirror and the audit log beside it. */
export async function removeStore(cacheDir: string): Promise<void> {
  await rm(cacheDir, { recursive: true, force: true })
  await rm(`${cacheDir}.audit`, { force: true })
}

/** A worker in this process: what clients send comes to the app by the way that it takes through a worker's. */
async function startFront(
  app: App,
  config: Config,
  rooms: Pick<Parameters<typeof createWorkerApp>[1], 'logger' | 'monotonic'>,
) {
  const { forWorkers } = app
  if (forWorkers === undefined) throw new Error('an app without workers')
  const { link, via, observer, auditor, mirror, tls } = forWorkers
  const socket = await makePrivateSocket()
  await app.server.listen({ path: socket.path })
  const { basePath, trustProxy, cacheDir } = config
  const workerApp = createWorkerApp(
    {
      basePath,
      trustProxy,
      cacheDir,
      via,
      clients: {
        allow: config.clientsAllow,
        deny: config.clientsDeny,
      },
      memoryBytes: config.memoryCacheBytes / 4,
      socketPath: socket.path,
    },
    {
      ...rooms,
      reporters: { observer, auditor, flush() {} },
      reportHandoff: (id, result) => link.handoff.settle(id, result),
      reportPromises: (promises) => {
        for (const { client, answer } of promises) mirror.recordHeadCommit(client, answer)
      },
    },
  )
  link.onInvalidate((repo) => Promise.resolve(workerApp.invalidate(repo)))
  const front = createWorkerServer({
    ...workerApp,
    tls: tls && { keys: () => tls.current(), reporters: { observer, logger: rooms.logger } },
  })
  const listener = new Listener((connection) => {
    front.take(connection)
    // TLS reads it by itself.
    if (tls === undefined) connection.resume()
  }, rooms.logger)
  const port = await listener.listen('127.0.0.1', 0)
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      listener.close()
      const closed = front.close()
      front.cut()
      await closed
      removePrivateSocket(socket.path)
    },
  }
}

/** The value of a series as it stands in the exposition (`name` or `name{label="x"}`); undefined when absent. */
export function metricValue(metrics: string, series: string): number | undefined {
  const line = metrics.split('\n').find((candidate) => candidate.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

/** Every file below a directory with its bytes, by its path from there; of a moment in which none was moved. */
export async function filesBelow(directory: string): Promise<ReadonlyMap<string, Buffer>> {
  const deadlineAt = performance.now() + IDLE_WITHIN_MS
  for (;;) {
    try {
      return await readBelow(directory)
    } catch (error) {
      // What is known is written behind the answers, beside its place first: one file after the other, for a while.
      const wasMoved = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (!wasMoved || performance.now() > deadlineAt) throw error
    }
    await delay(POLL_MS)
  }
}

async function readBelow(directory: string): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile()) files.set(path.slice(directory.length + 1), await readFile(path))
  }
  return files
}

/** Resolves with the exposition once no pull runs any more. */
export function whenIdle(metrics: () => Promise<string>): Promise<string> {
  return eventually(
    metrics,
    (text) => metricValue(text, 'hubmirror_flights_in_progress') === 0,
    IDLE_WITHIN_MS,
  )
}

/** Whether a text holds what has the form of a mirror token or of a signed query. */
function hasSecretForm(text: string): boolean {
  return containsMirrorToken(text) || /(Signature|Policy)=(?!\[redacted)/.test(text)
}

/** Digests of bytes that were searched. Most stores of a process hold the same few large files. */
const searched = new Map<string, boolean>()

/** The same for the bytes of a file; searches equal bytes once. */
function hasSecretFormOnce(bytes: Buffer): boolean {
  const digest = createHash('sha256').update(bytes).digest('hex')
  let has = searched.get(digest)
  if (has === undefined) searched.set(digest, (has = hasSecretForm(bytes.toString('latin1'))))
  return has
}

/** Where a credential or a signed query was found, in words; never the credential itself. */
async function leaks(
  hub: Hub,
  places: {
    readonly config: Config
    readonly cacheDir: string
    readonly log: string
    readonly audit: string
    readonly metrics: string
  },
): Promise<string[]> {
  const seen = hub.ledger.requests().flatMap((entry) => hub.ledger.credential(entry) ?? [])
  const own = [...places.config.hubTokens.values()].map((token) => token.reveal())
  const secrets = new Set([...hub.world.tokens.keys(), ...seen, ...own].filter((secret) => secret.length > 8))
  const isKnown = (text: string): boolean => [...secrets].some((secret) => text.includes(secret))
  const isOpen = (text: string): boolean => isKnown(text) || hasSecretForm(text)
  const found: string[] = []
  for (const line of places.log.split('\n')) if (isOpen(line)) found.push('a credential in the log')
  for (const line of places.audit.split('\n')) if (isOpen(line)) found.push('a credential in the audit log')
  if (isOpen(places.metrics)) found.push('a credential in the metrics')
  for (const entry of await readdir(places.cacheDir, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || (await stat(path)).size > SEARCHED_MAX_BYTES) continue
    const bytes = await readFile(path)
    if (isKnown(bytes.toString('latin1')) || hasSecretFormOnce(bytes)) found.push(`a credential in ${path}`)
  }
  for (const { url, headers } of hub.ledger.requests()) {
    const basic = Buffer.from(headers.authorization ?? '', 'base64').toString('latin1')
    if (containsMirrorToken([url, JSON.stringify(headers), basic].join(' ')))
      found.push('a mirror token at the Hub')
  }
  for (const entry of hub.ledger.requests({ server: 'cdn' })) {
    if (entry.headers.authorization !== undefined || entry.headers.cookie !== undefined)
      found.push('a credential at the CDN')
    const text = JSON.stringify([entry.url, entry.headers])
    if ([...secrets].some((secret) => text.includes(secret))) found.push('a token at the CDN')
  }
  return found
}
