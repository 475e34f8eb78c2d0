// The rest of an upload that is answered before its end has arrived.

import type { IncomingMessage } from 'node:http'

/** How long a client that reads the response only after it has sent everything may take for the rest. */
const LINGER_MS = 30_000

/**
 * Reads and discards the rest of the body, so that the client gets to read the response and its disconnecting is noticed
 * (nginx calls this a lingering close). A client that takes too long loses its connection.
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
