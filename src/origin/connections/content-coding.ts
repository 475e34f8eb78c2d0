// Decodes bodies that arrive encoded although identity was asked for, from a gateway that compresses everything or from
// another mirror. Digests and JSON belong to the decoded bytes.

import { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { MirrorError } from '../../errors.ts'
import { headerValue } from '../../http/headers.ts'
import type { OriginAnswer } from '../origin-answer.ts'

const DECODERS: ReadonlyMap<string, () => Readable & NodeJS.WritableStream> = new Map([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
])

/**
 * Returns the answer without its content coding (RFC 9110, section 8.4) and without Content-Length, which was that of the
 * encoded body; the reader must bound the body. An answer with another coding or with several stays unchanged. So does a
 * part (206), which is a part of the encoded bytes. A body that cannot be decoded fails with MirrorError (origin_bad_answer).
 */
export function decodeBody(answer: OriginAnswer, method: string): OriginAnswer {
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
  // Without a listener, an error of an unread body would end the process.
  decoded.on('error', () => undefined)
  // The generator does not run before the body is read, so it cannot see an early close.
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
      detail: { reason: 'the body does not have the encoding it declares' },
    })
  } finally {
    body.destroy()
  }
}

function isCodingError(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  // The codes of Brotli begin with ERR_, as those of Node do.
  return /^(?:Z_|ERR_(?!STREAM_))/.test(String(error.code))
}
