// hubmirror serve: listen, answer signals, drain, close. Knows nothing of what is served.

import { createApp } from '../app.ts'
import type { Config } from '../config/keys.ts'
import { DirectoryInUse } from '../store/lock.ts'
import { UnusableDirectory } from '../store/store.ts'
import { UnusableAuditLog } from '../telemetry/audit.ts'
import { createLogDestination, createLogger } from '../telemetry/log.ts'

/** Time for load balancers to see that /readyz says no, before connections are refused. */
const NOTICE_MS = 500
/** How often connections whose last answer has ended are looked for while the process drains. */
const SWEEP_MS = 250

/**
 * Serves until SIGTERM or SIGINT: then /readyz says no, running answers get the drain time, and the process ends
 * with 0; a second signal ends it at once. Resolves with the exit status.
 */
export async function runServe(
  config: Config,
  options: { readonly version: string; readonly notices: readonly string[] },
): Promise<number> {
  const destination = createLogDestination()
  const logger = createLogger({ level: config.logLevel, destination })
  for (const notice of options.notices) logger.warn(notice)
  let app: Awaited<ReturnType<typeof createApp>>
  try {
    app = await createApp(config, { version: options.version, logger, stdout: destination })
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
  try {
    await app.server.listen({ host: config.host, port: config.port })
  } catch (error) {
    await app.close()
    const reason = error instanceof Error ? error.message : String(error)
    process.stderr.write(`hubmirror: cannot listen on ${config.host}:${config.port}: ${reason}\n`)
    return 1
  }
  const address = app.server.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : config.port
  logger.info(
    { host: config.host, port, origin: config.origin.origin, cacheDir: config.cacheDir },
    'listening',
  )
  if (process.stderr.isTTY) {
    const host = config.host.includes(':') ? `[${config.host}]` : config.host
    process.stderr.write(`hubmirror serves http://${host}:${port} in front of ${config.origin.origin}\n`)
  }

  await nextSignal()
  logger.info('draining')
  app.drain()
  // The second signal ends the process with the drain undone: the store needs no repair for that.
  void nextSignal().then(() => process.exit(1))
  await new Promise((resolve) => setTimeout(resolve, NOTICE_MS))
  const closed = app.server.close()
  // Closing ends what is idle now; clients keep the connections of downloads that end later, and would be waited for.
  const sweep = setInterval(() => app.server.server.closeIdleConnections(), SWEEP_MS)
  const deadline = setTimeout(() => app.server.server.closeAllConnections(), config.drainTimeoutMs)
  await closed
  clearInterval(sweep)
  clearTimeout(deadline)
  logger.info('closed')
  destination.flushSync()
  return 0
}

function isUnusable(error: unknown): error is Error {
  return (
    error instanceof DirectoryInUse || error instanceof UnusableDirectory || error instanceof UnusableAuditLog
  )
}

function nextSignal(): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      process.off('SIGTERM', done)
      process.off('SIGINT', done)
      resolve()
    }
    process.on('SIGTERM', done)
    process.on('SIGINT', done)
  })
}
