// The body of a request that is passed on while it arrives.

import type { IncomingMessage } from 'node:http'
import { PassThrough, Readable } from 'node:stream'

/**
 * The bytes of a body that is passed on, as `pass` lets them through. The stream may be destroyed without harm to `request`: a server
 * that answers before it has read everything must not break the connection of the client, which has to read that answer (see
 * `discardUpload`). A client that leaves ends the stream with an error. `request` must have no other reader.
 */
export function uploadBody(
  request: IncomingMessage,
  pass: (bytes: AsyncIterable<Buffer>) => AsyncIterable<Buffer> = (bytes) => bytes,
): Readable {
  // The end may come before anything reads: an error without a listener would end the process.
  const arriving = request.pipe(new PassThrough()).on('error', () => undefined)
  const close = (): void => {
    if (!request.readableEnded) arriving.destroy(new Error('the client has left its upload'))
  }
  if (request.destroyed) close()
  else request.once('close', close)
  const body = Readable.from(pass(arriving), { objectMode: false })
  return body.on('error', () => undefined).once('close', () => arriving.destroy())
}
