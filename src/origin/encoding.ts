// Bodies that come encoded though identity was asked for: a gateway that compresses whatever passes, or a mirror behind
// us. Every client decodes them, and so do we, for digests and JSON are of what was encoded.

import { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { MirrorError } from '../errors.ts'
import { headerValue } from '../http/headers.ts'
import type { OriginAnswer } from './client.ts'

const DECODERS: ReadonlyMap<string, () => Readable & NodeJS.WritableStream> = new Map([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
])

/**
 * The answer without its content coding (RFC 9110, section 8.4), and without the length, which was that of the encoded
 * body: whoever reads it bounds it. What is coded otherwise, or twice, stays as it came, and so does a part (206): it is
 * a part of the encoded bytes. A body that cannot be decoded fails with MirrorError (origin_bad_answer).
 */
export function withoutCoding(answer: OriginAnswer, method: string): OriginAnswer {
  const coding = headerValue(answer.headers, 'content-encoding')?.trim().toLowerCase()
  const decoder = coding === undefined ? undefined : DECODERS.get(coding)
  if (decoder === undefined || answer.status === 206) return answer
  const { 'content-encoding': _coding, 'content-length': _length, ...headers } = answer.headers
  if (method === 'HEAD' || answer.status === 204 || answer.status === 304) return { ...answer, headers }
  return { ...answer, headers, body: decodedBody(answer.body, decoder()) }
}

function decodedBody(
  body: OriginAnswer['body'],
  decoder: Readable & NodeJS.WritableStream,
): OriginAnswer['body'] {
  const decoded = Readable.from(chunksOf(body, decoder), { objectMode: false })
  // One that nobody reads must not end the process.
  decoded.on('error', () => undefined)
  // Nothing runs before it is read, so that its end would not be heard.
  decoded.once('close', () => body.destroy())
  return Object.assign(decoded, {
    dump: () => {
      decoded.destroy()
      return body.dump()
    },
  })
}

async function* chunksOf(
  body: Readable,
  decoder: Readable & NodeJS.WritableStream,
): AsyncGenerator<Buffer, void, undefined> {
  body.once('error', (error) => decoder.destroy(error))
  body.pipe(decoder)
  try {
    for await (const chunk of decoder) yield chunk as Buffer
  } catch (cause) {
    if (!isCodingError(cause)) throw cause
    throw new MirrorError('origin_bad_answer', {
      cause,
      detail: { reason: 'the body is not encoded as it says' },
    })
  } finally {
    body.destroy()
  }
}

function isCodingError(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  // Those of Brotli begin as Node's own do.
  return /^(?:Z_|ERR_(?!STREAM_))/.test(String(error.code))
}
