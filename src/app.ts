// The composition root: builds all deps, connects them, and returns what the process needs. server/build-server.ts
// lists what a request passes through.

import { randomBytes } from 'node:crypto'
import type { RequestListener } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { DestinationStream, Logger } from 'pino'
import type { Dispatcher } from 'undici'
import type { Config } from './config/keys.ts'
import { type Changes, Live, type LiveSettings } from './config/live.ts'
import { createFastPath } from './fast-path/fast-path.ts' // fast path
import { createHealth, type Health } from './health.ts'
import { joinCallers } from './join-callers.ts'
import { DOCUMENTS_SHARE, joinMirror } from './join-mirror.ts'
import type { Intake } from './mirror/intake.ts'
import { Invalidations } from './mirror/invalidations.ts'
import { originClientsOf } from './origin-clients.ts'
import { Pins } from './pins/pins.ts'
import { accelRedirect } from './server/body/accel-redirect.ts'
import { buildServer } from './server/build-server.ts'
import type { ClientLists } from './server/clients.ts'
import { createControlServer, type Removed } from './server/control.ts'
import { Shutdown } from './server/shutdown.ts'
import { TransferLinks } from './server/transfers/transfer-links.ts'
import { lockControlSocket, prepareControlSocket } from './store/control-socket.ts'
import { isBlobKey } from './store/digest.ts'
import { type DiskStore, openStore } from './store/disk-store.ts'
import type { Store, StoreStatus } from './store/store.ts'
import { createTransferKey } from './store/transfer-key.ts'
import { reportDamage, startScrubber } from './store/upkeep/scrubber.ts'
import { VOLUME_LIMITS } from './store/volume-limits.ts'
import { type Auditor, openAuditLog } from './telemetry/audit.ts'
import { auditListener } from './telemetry/audit-listener.ts'
import { createMetrics, type Metrics } from './telemetry/metrics.ts'
import type { Observer } from './telemetry/observer.ts'
import { type OwnTls, openTls } from './tls.ts'
import type { UnnamedRepos } from './unnamed-repos.ts'
import type { ForWorkers } from './workers/main/entrance.ts' // workers
import { linkWorkers } from './workers/main/worker-link.ts' // workers

export interface App {
  readonly server: FastifyInstance
  /** Set when workers accept the connections of clients. Then only they may connect to the server. */
  readonly forWorkers: ForWorkers | undefined // workers
  /**
   * Makes /readyz fail, so that load balancers choose another instance. Requests are still served, and end their
   * connections.
   */
  drain(): void
  /** The mirror's own TLS, if it speaks it. */
  readonly tls: OwnTls | undefined
  /** What is kept ready, if the settings name a file of pins. */
  readonly pins: Pins | undefined
  readonly auditor: Auditor
  /** Opens the audit log again under its name, after it was moved away. */
  reopenAuditLog(): void
  /**
   * Listens for commands on the control socket of the store, or at another path that only this user can reach. Resolves
   * with the path. The app closes it. Rejects with UnusableControlSocket, or with the error of the system.
   */
  openControl(place?: string): Promise<string>
  /**
   * Applies the settings that may change at run time, at once. Resolves when the list of mirror tokens has been read as
   * well. The caller must notify the workers after that; they use the old settings until then.
   */
  change(next: Config): Promise<Changes>
  /** The settings as they are now. */
  readonly settings: LiveSettings
  /** The accounts of the store as they are now. */
  storeStatus(): StoreStatus
  /** Ends what runs without waiting for clients, records what has arrived, and releases the store. */
  close(): Promise<void>
}

export interface AppDependencies {
  readonly version: string
  readonly logger: Logger
  /** The destination of the logger if that is stdout. An audit log on stdout is written there as well. */
  readonly stdout?: DestinationStream
  /** Wall clock in epoch ms, for stored timestamps only. */
  readonly now?: () => number
  /** Milliseconds that never step back. Freshness is measured on this clock. */
  readonly monotonic?: () => number
  readonly dispatcher?: Dispatcher
  /** Wraps the observer, for a caller that wants to see the events themselves and not their counts. */
  readonly observe?: (observer: Observer) => Observer
  /**
   * For a command. It may run with other rules than the mirror, so it removes nothing that the mirror's rules may name. It reports itself
   * what could not be stored, so the log does not.
   */
  readonly isCommand?: boolean
}

/**
 * Opens the store and builds the server. The caller must listen and close. Throws what `openStore` throws, and an error if
 * the files of TLS cannot be used.
 */
export async function createApp(config: Config, dependencies: AppDependencies): Promise<App> {
  const { version, logger, dispatcher, isCommand = false } = dependencies
  const now = dependencies.now ?? Date.now
  const monotonic = dependencies.monotonic ?? (() => performance.now())
  const live = new Live(config)
  const { settings } = live
  const metrics = metricsOf(config, version)

  const reporters = { observer: metrics.observer, logger, now, monotonic }
  const tls = openTls(config, reporters)
  const pins = await Pins.of(config, { settings, ...reporters })
  const health = createHealth({
    ...reporters,
    probe: () => store.probe(),
    originTrouble: () => clients.client.unreachableReason(),
    offline: config.offline,
    isCommand,
    certificate: tls && (() => tls.validity()),
    pins: pins && (() => pins.readiness()),
  })
  const observer = (dependencies.observe ?? unchanged)(health.observe(metrics.observer))
  const listener = auditListener(observer, logger)
  const auditLog = await openAuditLog(config.auditLog, { now, stdout: dependencies.stdout, listener })

  const reporting = { observer, logger, auditor: auditLog, onTrouble: health.onStorageFailed }
  const store = await openStoreOf(config, { now, monotonic, settings, pins, ...reporting })
  const stopScrubber = scrubberOf(config, { store, observer, logger, auditor: auditLog, now })

  const via = `1.1 hubmirror-${randomBytes(6).toString('hex')}`
  const { clients, closeClients } = originClientsOf(config, { via, observer, logger, monotonic, dispatcher })
  const invalidations = new Invalidations()
  const workers = linkWorkers(config, { settings, monotonic, invalidations }) // workers
  const parts = { settings, observer, now, monotonic, logger, store, ...clients, via, health, invalidations }
  const { mirror, downloads, git, unnamed, intake } = joinMirror(config, { ...parts, isCommand })
  const { callers, ages, readTokens } = joinCallers(config, parts)

  const shutdown = new Shutdown()
  const facing = {
    ...(workers && { intermediary: workers, handoff: workers.handoff }), // workers
    ...(config.sendfile === 'off' ? {} : { handoff: accelRedirect(config) }),
    shutdown,
    mirror,
    callers,
    trustProxy: config.trustProxy,
    clients: clientsOf(settings),
    via,
    logger,
    observer,
    auditor: auditLog,
  }
  const server = await buildServer({
    ...facing,
    earlyAnswers: createFastPath({ ...facing, invalidations, monotonic }), // fast path
    client: clients.client,
    ...placeOf(config, { now, tls, pins, intake, store, invalidations }),
    settings,
    readiness: health.readiness,
    // Where no probe requests /readyz, the scrape notices that a failed store works again.
    metrics: scraped(metrics, () => (health.recheck(), ages.check(), tls?.check(), pins?.count())),
  })
  server.addHook('onClose', async () => {
    ages.stop()
    tls?.stop()
    await Promise.all([git.close(), downloads.close(), unnamed.stop(), pins?.close()])
    await closeClients()
    await stopScrubber()
    await store.close()
    await auditLog.close()
  })

  return {
    server,
    forWorkers: workers && { link: workers, via, observer, auditor: auditLog, mirror, tls }, // workers
    tls,
    pins,
    drain: () => (health.drain(), shutdown.begin()),
    auditor: auditLog,
    reopenAuditLog: () => auditLog.reopen(),
    settings,
    storeStatus: () => store.status(),
    openControl: controlOf(config, server, facing),
    change: changeBy({ live, metrics, invalidations, store, unnamed, readTokens, ages, tls, pins }),
    close: closeOf(server, health),
  }
}

/** `App.close`. */
function closeOf(server: FastifyInstance, health: Health): App['close'] {
  return async () => {
    health.drain()
    server.server.closeAllConnections()
    await server.close()
  }
}

function unchanged(observer: Observer): Observer {
  return observer
}

/** `App.openControl`. */
function controlOf(
  { cacheDir, basePath }: Config,
  server: FastifyInstance,
  facing: { readonly shutdown: Shutdown; readonly logger: Logger },
): App['openControl'] {
  const serve: RequestListener = (request, response) => server.routing(request, response)
  const control = createControlServer(serve, { basePath, ...facing })
  server.addHook('preClose', () => control.close())
  return async (place) => {
    const path = place ?? (await prepareControlSocket(cacheDir))
    await server.ready()
    await control.listen(path)
    await lockControlSocket(path)
    return path
  }
}

/** Where and how the mirror is reached, what it reaches, and what it answers commands. These settings do not change at run time. */
function placeOf(
  { basePath, publicUrl, offline, cacheDir }: Config,
  deps: {
    readonly now: () => number
    readonly tls: OwnTls | undefined
    readonly pins: Pins | undefined
    readonly intake: Intake
    readonly store: DiskStore
    readonly invalidations: Invalidations
  },
) {
  const { tls, pins, intake, store, invalidations } = deps
  const transferLinks = createTransferLinks(cacheDir, deps.now)
  const removed = async ({ blobs, gits }: Removed): Promise<void> => {
    await store.removedBeside({
      blobs: blobs.flatMap(({ key, sizeBytes }) => (isBlobKey(key) ? [{ key, sizeBytes }] : [])),
      gits,
    })
    invalidations.invalidate('removed')
  }
  const answers = { pins: pins && (() => pins.report()), removed, intake }
  return { basePath, publicUrl, offline, transferLinks, tls: tls && (() => tls.current()), ...answers }
}

/** The key is read or created when the first link is sealed or opened. Most mirrors never need it. */
function createTransferLinks(cacheDir: string, now: () => number): () => Promise<TransferLinks> {
  const key = createTransferKey(cacheDir)
  return async () => new TransferLinks(await key(), now)
}

/** The metrics as they are scraped: after `check`, which reports what nothing else has noticed. */
function scraped(metrics: Metrics, check: () => void) {
  return { contentType: metrics.contentType, text: () => (check(), metrics.text()) }
}

/** Applies new settings, and drops what was derived from the old ones. */
function changeBy(deps: {
  readonly live: Live
  readonly metrics: Metrics
  readonly invalidations: Invalidations
  readonly store: Store
  readonly unnamed: UnnamedRepos
  readonly readTokens: () => Promise<void>
  readonly ages: { check(): void }
  readonly tls: { check(): void } | undefined
  readonly pins: { check(): void } | undefined
}): App['change'] {
  const { live, metrics, invalidations, store, unnamed, readTokens, ages, tls, pins } = deps
  return async (next) => {
    const changes = live.change(next)
    metrics.expectRules(live.settings.policies)
    invalidations.invalidate('all')
    // What is not pinned any more may go, and the limits may be lower now.
    pins?.check()
    void store.fit()
    unnamed.check()
    ages.check()
    tls?.check()
    await readTokens()
    return changes
  }
}

/** Starts the search for damaged files, if the settings ask for it. */
function scrubberOf(
  config: Config,
  deps: {
    readonly store: DiskStore
    readonly observer: Observer
    readonly logger: Logger
    readonly auditor: Auditor
    readonly now: () => number
  },
): () => Promise<void> {
  const { logger: log, ...rest } = deps
  return startScrubber({
    root: config.cacheDir,
    // A damaged file could not be moved away.
    rateBytesPerSecond: deps.store.readOnly ? undefined : config.scrubRateBytesPerSecond,
    keepsSums: config.checkReadsMs !== undefined,
    log,
    ...rest,
  })
}

/** The lists of networks, read from the current settings at each use. */
function clientsOf(settings: LiveSettings): ClientLists {
  return {
    get allow() {
      return settings.clientsAllow
    },
    get deny() {
      return settings.clientsDeny
    },
  }
}

async function openStoreOf(
  config: Config,
  deps: {
    readonly settings: LiveSettings
    readonly now: () => number
    readonly monotonic: () => number
    readonly observer: Observer
    readonly logger: Logger
    readonly onTrouble: (error: unknown) => void
    readonly auditor: Auditor
    readonly pins: Pins | undefined
  },
): Promise<DiskStore> {
  const { settings, logger, auditor, pins, ...rest } = deps
  const store = await openStore({
    root: config.cacheDir,
    get maxBytes() {
      return settings.cacheMaxSizeBytes
    },
    get minFreeBytes() {
      return settings.cacheMinFreeBytes
    },
    memoryBytes: config.memoryCacheBytes * (1 - DOCUMENTS_SHARE),
    checkReadsMs: config.checkReadsMs,
    makesLinks: config.sendfile !== 'off',
    mayBeReadOnly: config.offline,
    onLimit: (limit, error) => logger.warn({ limit, err: error }, VOLUME_LIMITS[limit]),
    onTableSetAside: () =>
      logger.error(
        'the database of the store was damaged and is in quarantine now; facts and small files that could not be read are ' +
          'fetched again from the Hub, and no file of more than 64 KiB is',
      ),
    onTableDamage: () => logger.error('the database of the store is damaged; the next start repairs it'),
    onDamaged: (damage) => reportDamage({ observer: deps.observer, auditor, log: logger }, damage),
    ...rest,
    ...(pins && { kept: pins.keys }),
  })
  pins?.attach(store)
  store.scanned.catch((error: unknown) =>
    logger.error({ err: error }, 'the startup scan of the store failed'),
  )
  return store
}

function metricsOf(config: Config, version: string): ReturnType<typeof createMetrics> {
  return createMetrics({ version, storeLimitBytes: config.cacheMaxSizeBytes, rules: config.policies })
}
