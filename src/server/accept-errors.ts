// Handles connections that the system cannot hand over because file descriptors have run out. Knows nothing of requests.

import type { Server } from 'node:net'
import type { Logger } from 'pino'

/** The system may report the same error in every iteration of the event loop. */
const QUIET_MS = 10_000

/**
 * Keeps a server that listens alive when a connection cannot be accepted, and says so in the log, once in ten seconds.
 * Without it Node ends the process. Clients wait in the system's queue until descriptors are free, or are turned away.
 */
export function surviveAcceptErrors(server: Server, logger: Logger): void {
  let quietUntil = 0
  server.on('error', (error: NodeJS.ErrnoException) => {
    const now = performance.now()
    if (!server.listening || now < quietUntil) return
    quietUntil = now + QUIET_MS
    logger.error(
      { code: error.code },
      'a connection cannot be accepted; if the code is EMFILE, raise the limit of open files (ulimit -n)',
    )
  })
}
