// `hubmirror serve`: starts the app, listens, handles signals, drains and closes. It does not know how requests are served.

import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type App, createApp } from '../app.ts'
import { readRegularFile } from '../config/files.ts'
import type { Config } from '../config/keys.ts'
import type { LiveSettings } from '../config/live.ts'
import { surviveAcceptErrors } from '../server/accept-errors.ts'
import { listenAlso, otherAddresses } from '../server/localhost.ts'
import { arrivalsRead } from '../server/shutdown.ts'
import { errorCode } from '../store/atomic.ts'
import { DirectoryInUse, LocksUnsupported } from '../store/lock.ts'
import { UnusableDirectory } from '../store/prepare.ts'
import { UnusableAuditLog } from '../telemetry/audit.ts'
import { createLogDestination, createLogger, flushRequests } from '../telemetry/log.ts'
import { prettyDestination } from '../telemetry/pretty.ts'
import { listenByWorkers } from '../workers/main/entrance.ts' // workers
import { openControlElsewhere } from './prefetch/reach.ts'
import { createReload } from './reload.ts'
import { dieOfHangUp, listenToSignals } from './signals.ts'
import { terminalDestination, welcomeText } from './terminal.ts'

/** How long the log line of a request may wait, so that several lines share a write: a write costs more than a line. */
const GATHER_MS = 10
/** How often idle connections are closed while the process drains. */
const SWEEP_MS = 250

/**
 * Serves until SIGTERM or SIGINT. Then /readyz answers 503, and every response closes its connection. After SIGTERM, the
 * mirror still serves requests for the drain delay, so that load balancers notice. After that it accepts no connections,
 * running responses get the drain timeout, and the process ends with 0. A second signal ends it at once with 1. SIGHUP
 * reloads the settings. Resolves with the exit status.
 */
export async function runServe(
  config: Config,
  options: {
    readonly version: string
    readonly notices: readonly string[]
    /** Reads all settings again, with `readFile`. Throws ConfigFaults. */
    readonly load: (readFile: (path: string) => string) => { config: Config; notices: readonly string[] }
  },
): Promise<number> {
  const isTerminal = process.stdout.isTTY
  const piped = isTerminal ? undefined : createLogDestination()
  const stdout = piped ?? terminalDestination()
  const destination = isTerminal ? prettyDestination(stdout, process.stdout.hasColors()) : stdout
  const logger = createLogger({ level: config.logLevel, destination, gatherMs: GATHER_MS })
  // This listener must run before that of the destination, which writes its last lines, however the process ends.
  process.prependListener('exit', () => flushRequests(logger))
  for (const notice of options.notices) logger.warn(notice)
  let app: App
  try {
    app = await createApp(config, { version: options.version, logger, stdout })
  } catch (error) {
    if (isUnusable(error)) {
      process.stderr.write(`hubmirror: ${error.message}\n`)
      return 1
    }
    throw error
  }
  // Needed without an audit log, too: an unhandled SIGUSR2 would end the process.
  process.on('SIGUSR2', () => app.reopenAuditLog())
  process.on('unhandledRejection', (error) => {
    // This is a bug, but the failure of one request must not end all others.
    logger.error({ err: error }, 'unhandled rejection')
  })
  // Set before the process listens: a signal without a handler would end it at once.
  let hangUp = (): void => undefined
  const { stopped } = listenToSignals(() => hangUp())
  let entrance: Entrance
  try {
    entrance =
      (await listenByWorkers(app, config, { logger, destination })) ?? // workers
      (await listen(app, config, logger))
  } catch (error) {
    await app.close()
    const reason = error instanceof Error ? error.message : String(error)
    process.stderr.write(`hubmirror: cannot listen on ${config.host}:${config.port}: ${reason}\n`)
    return 1
  }
  const socketPath = await openControl(app, config, logger)
  const stopPins = await keepPins(app, config, { version: options.version, socketPath, logger })
  hangUp = createReload({
    load: () => options.load(readRegularFile),
    app,
    changeOthers: entrance.change,
    logger,
    auditor: app.auditor,
  })
  const { port } = entrance
  const { host, origin, cacheDir } = config
  const tls = app.tls?.current()
  const welcome = welcomeText(config, { version: options.version, port, certificate: tls?.cert })
  const place = { host, port, ...(tls && { tls: true }), origin: origin.origin, cacheDir }
  if (!isTerminal) logger.info(place, 'listening')
  // With a log level above `info`, the operator has asked for silence.
  else if (logger.isLevelEnabled('info')) stdout.write(welcome)
  if (!isTerminal && process.stderr.isTTY) process.stderr.write(welcome)

  const signal = await stopped
  // The delay is for load balancers, and a mirror that is stopped with Ctrl-C has none.
  const delayMs = signal === 'SIGTERM' ? app.settings.drainDelayMs : 0
  logger.info({ signal, delayMs }, 'draining')
  app.drain()
  await stopPins()
  entrance.leave()
  await delay(delayMs)
  const deadline = setTimeout(entrance.cut, app.settings.drainTimeoutMs)
  await entrance.close()
  clearTimeout(deadline)
  flushRequests(logger)
  logger.info('closed')
  piped?.flushSync()
  if (signal === 'SIGHUP') await dieOfHangUp()
  return 0
}

/** Lets commands reach the mirror. Without that it serves all the same. Resolves with the socket. */
async function openControl(app: App, { cacheDir }: Config, logger: Logger): Promise<string | undefined> {
  try {
    return await app.openControl()
  } catch (error) {
    const text = 'commands cannot reach this mirror: there is no control socket in the store'
    // A volume that is mounted read-only is meant to be.
    if (errorCode(error) === 'EROFS') logger.info({ cacheDir }, text)
    else logger.warn({ cacheDir, err: error }, text)
    return undefined
  }
}

/** Begins to fetch what pins want, if there are any. Returns a function that ends it. */
async function keepPins(
  app: App,
  { offline, cacheDir }: Config,
  deps: { readonly version: string; readonly socketPath: string | undefined; readonly logger: Logger },
): Promise<() => Promise<void>> {
  const { pins } = app
  if (pins === undefined) return () => Promise.resolve()
  const { startReconciler } = await import('./pins/reconciler.ts')
  try {
    const place = deps.socketPath === undefined ? await openControlElsewhere(app, cacheDir) : undefined
    const socketPath = deps.socketPath ?? place?.socketPath ?? ''
    const stop = startReconciler({ ...deps, pins, socketPath, offline })
    return async () => {
      await stop()
      await place?.remove()
    }
  } catch (error) {
    deps.logger.error({ err: error }, 'pins are not fetched: there is no place for a control socket')
    return () => Promise.resolve()
  }
}

/** Where client connections arrive: in this process, or in workers. */
interface Entrance {
  readonly port: number
  /** Sends settings to the other processes. Resolves when they use them. */
  readonly change: (settings: LiveSettings) => Promise<void>
  /** Accepts connections as before, but every response closes its connection. */
  readonly leave: () => void
  /** Accepts no more connections. Resolves when the last response has ended and the app is closed. */
  readonly close: () => Promise<void>
  /** Closes all remaining connections. */
  readonly cut: () => void
}

/** Accepts connections in this process. */
async function listen(app: App, config: Config, logger: Logger): Promise<Entrance> {
  await app.server.listen({ host: config.host, port: config.port })
  const { server } = app.server
  surviveAcceptErrors(server, logger)
  const { address, port } = server.address() as AddressInfo
  await listenAlso(server, await otherAddresses(config.host, address), port)
  return {
    port,
    // `App.change` and `App.drain` have already done everything.
    change: () => Promise.resolve(),
    leave() {},
    async close() {
      await arrivalsRead()
      // Close the port at once: the framework runs other steps before it closes the port.
      server.close()
      // `close` ends only connections that are idle now. Clients keep those of downloads that end later, and `close` waits.
      const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
      await app.server.close()
      clearInterval(sweep)
    },
    cut: () => server.closeAllConnections(),
  }
}

function isUnusable(error: unknown): error is Error {
  return (
    error instanceof DirectoryInUse ||
    error instanceof LocksUnsupported ||
    error instanceof UnusableDirectory ||
    error instanceof UnusableAuditLog
  )
}
