// hubmirror serve: listen, answer signals, drain, close. Knows nothing of what is served.

import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { DestinationStream, Logger } from 'pino'
import { type App, createApp, type ForWorkers } from '../app.ts'
import type { Config } from '../config/keys.ts'
import type { LiveSettings } from '../config/live.ts'
import { surviveAcceptErrors } from '../server/accept-errors.ts'
import { arrivalsRead } from '../server/leaving.ts'
import { listenAlso, otherAddresses } from '../server/localhost.ts'
import { DirectoryInUse } from '../store/lock.ts'
import { LocksUnsupported, UnusableDirectory } from '../store/store.ts'
import { UnusableAuditLog } from '../telemetry/audit.ts'
import { createLogDestination, createLogger, flushRequests } from '../telemetry/log.ts'
import { prettyDestination } from '../telemetry/pretty.ts'
import { runKey } from '../telemetry/run-key.ts'
import { startPool } from '../workers/main/pool.ts'
import { makePrivateSocket } from '../workers/main/private-socket.ts'
import { createReload, readRegularFile } from './reload.ts'
import { dieOfHangUp, listenToSignals } from './signals.ts'
import { terminalDestination, welcomeText } from './terminal.ts'

/** How long the line of a request may wait for others to leave with it: a write costs more than a line. */
const GATHER_MS = 10
/** How often connections whose last answer has ended are looked for while the process drains. */
const SWEEP_MS = 250
/** Connections of workers that wait to be taken: as many as the system lets. */
const BACKLOG = 4096

/**
 * Serves until SIGTERM or SIGINT. Then /readyz says no, and every answer ends its connection; after SIGTERM requests are
 * served on for the drain delay, so that load balancers see it. Then no connection is taken any more, running answers
 * get the drain time, and the process ends with 0. A second signal ends it at once, with 1. SIGHUP reads the settings
 * again. Resolves with the exit status.
 */
export async function runServe(
  config: Config,
  options: {
    readonly version: string
    readonly notices: readonly string[]
    /** Reads all settings anew, by `readFile`. Throws ConfigFaults. */
    readonly load: (readFile: (path: string) => string) => { config: Config; notices: readonly string[] }
  },
): Promise<number> {
  const isRead = process.stdout.isTTY
  const piped = isRead ? undefined : createLogDestination()
  const stdout = piped ?? terminalDestination()
  const destination = isRead ? prettyDestination(stdout, process.stdout.hasColors()) : stdout
  const logger = createLogger({ level: config.logLevel, destination, gatherMs: GATHER_MS })
  // Before the destination writes its own last words, however the process ends.
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
  // Also without an audit log: the signal would end the process.
  process.on('SIGUSR2', () => app.reopenAuditLog())
  process.on('unhandledRejection', (error) => {
    // One request must not end all others; a bug all the same.
    logger.error({ err: error }, 'unhandled rejection')
  })
  // Before anybody can know that it serves: a signal without a listener ends the process at once.
  let hangUp = (): void => undefined
  const { stopped } = listenToSignals(() => hangUp())
  let entrance: Entrance
  try {
    const { forWorkers } = app
    entrance =
      forWorkers === undefined
        ? await listen(app, config, logger)
        : await listenByWorkers(app, config, { ...forWorkers, logger, destination })
  } catch (error) {
    await app.close()
    const reason = error instanceof Error ? error.message : String(error)
    process.stderr.write(`hubmirror: cannot listen on ${config.host}:${config.port}: ${reason}\n`)
    return 1
  }
  hangUp = createReload({
    load: () => options.load(readRegularFile),
    app,
    tellOthers: entrance.change,
    logger,
    auditor: app.auditor,
  })
  const { port } = entrance
  const { host, origin, cacheDir } = config
  const welcome = welcomeText(config, { version: options.version, port })
  if (!isRead) logger.info({ host, port, origin: origin.origin, cacheDir }, 'listening')
  // Whoever asked for less than that has asked for silence here.
  else if (logger.isLevelEnabled('info')) stdout.write(welcome)
  if (!isRead && process.stderr.isTTY) process.stderr.write(welcome)

  const signal = await stopped
  // Nobody who presses Ctrl-C has a load balancer that must be told first.
  const delayMs = signal === 'SIGTERM' ? app.settings.drainDelayMs : 0
  logger.info({ signal, delayMs }, 'draining')
  app.drain()
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

/** Where clients come in. */
interface Entrance {
  readonly port: number
  /** Resolves when the other processes go by these settings. */
  readonly change: (settings: LiveSettings) => Promise<void>
  /** Takes connections as before, and lets every answer end its own. */
  readonly leave: () => void
  /** Takes no new connections; resolves when the last answer has ended and the app is closed. */
  readonly close: () => Promise<void>
  /** Ends what is still under way. */
  readonly cut: () => void
}

/** This process takes the connections itself. */
async function listen(app: App, config: Config, logger: Logger): Promise<Entrance> {
  await app.server.listen({ host: config.host, port: config.port })
  const { server } = app.server
  surviveAcceptErrors(server, logger)
  const { address, port } = server.address() as AddressInfo
  await listenAlso(server, await otherAddresses(config.host, address), port)
  return {
    port,
    // What `App.change` and `App.drain` do is all.
    change: () => Promise.resolve(),
    leave() {},
    async close() {
      await arrivalsRead()
      // At once: the framework has steps of its own before it closes the port.
      server.close()
      // Closing ends what is idle now; clients keep the connections of downloads that end later, and would be waited for.
      const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
      await app.server.close()
      clearInterval(sweep)
    },
    cut: () => server.closeAllConnections(),
  }
}

/** Workers take the connections, and come to this process by a socket of their own. */
async function listenByWorkers(
  app: App,
  config: Config,
  rooms: ForWorkers & { readonly logger: Logger; readonly destination: DestinationStream },
): Promise<Entrance> {
  const socket = await makePrivateSocket()
  try {
    await app.server.listen({ path: socket.path, backlog: BACKLOG })
    surviveAcceptErrors(app.server.server, rooms.logger)
    await socket.lock()
    const { basePath, trustProxy, cacheDir, logLevel } = config
    const settings = {
      basePath,
      trustProxy,
      cacheDir,
      logLevel,
      clients: clientsOf(config),
      memoryBytes: config.memoryCacheBytes / 4,
      isAudited: config.auditLog !== undefined,
      socketPath: socket.path,
      via: rooms.via,
      runKey: runKey(),
    }
    const pool = await startPool(config, { count: config.workers, settings, ...rooms })
    return {
      port: pool.port,
      change: (next) => pool.change({ clients: clientsOf(next), logLevel: next.logLevel }),
      leave: () => pool.leave(),
      async close() {
        await pool.drain()
        await app.close()
        await socket.remove()
      },
      cut: () => pool.cut(),
    }
  } catch (error) {
    await socket.remove()
    throw error
  }
}

/** Plain: it goes to other processes. */
function clientsOf(settings: Pick<Config, 'clientsAllow' | 'clientsDeny'>) {
  return { allow: settings.clientsAllow, deny: settings.clientsDeny }
}

function isUnusable(error: unknown): error is Error {
  return (
    error instanceof DirectoryInUse ||
    error instanceof LocksUnsupported ||
    error instanceof UnusableDirectory ||
    error instanceof UnusableAuditLog
  )
}
