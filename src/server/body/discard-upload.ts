// What is left of an upload that is answered before it has come to its end.

import type { IncomingMessage } from 'node:http'

/** A client that reads answers only when it has sent everything has this long for the rest. */
const LINGER_MS = 30_000

/**
 * Reads the rest away, so that the client gets to the answer, and its leaving is seen; a client that goes on for too
 * long loses the connection.
 */
export function discardUpload(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return
  const late = setTimeout(() => request.socket.destroy(), LINGER_MS)
  const over = (): void => clearTimeout(late)
  request.once('end', over)
  request.once('close', over)
  request.unpipe()
  request.resume()
}
