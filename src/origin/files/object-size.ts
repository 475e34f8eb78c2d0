// Finds the size of an object that is named by its digest alone. The Hub has no header field for that.

import { headerValue } from '../../http/headers.ts'
import { parseContentRange } from '../../http/range.ts'
import type { OriginAnswer, OriginClient, Requester } from '../client.ts'
import { foreignHead, hubFailure, isFailure } from '../failures/bad-answer.ts'
import { readRefusedByHub } from '../failures/refused.ts'
import { anywhere, followRedirects } from '../follow.ts'
import { discard } from '../read-body.ts'
import { mayCarryCredential } from '../redirect.ts'

export interface ObjectSize {
  readonly sizeBytes: number
  /** False for the length of a whole answer (200), which may be a page of a filter or a proxy. */
  readonly isExact: boolean
}

/** A size that was stated elsewhere. */
interface StatedSize {
  readonly sizeBytes: number
  /** Whether it counts where the answer gives none. */
  readonly isBelieved: boolean
}

/**
 * Asks for the first byte and reads the size from Content-Range. Follows redirects by the policy. Sends GET, because storage
 * signs URLs for one method. Undefined where the Hub or its storage refuses, and where no size is given (a gateway encodes the answer)
 * and none is believed. Throws as `send` does, RefusedByHub for a 429, and MirrorError where a server has failed or something on the
 * way answers.
 */
export async function askSize(
  client: OriginClient,
  from: URL,
  requester: Requester,
  signal: AbortSignal,
  stated?: StatedSize,
): Promise<ObjectSize | undefined> {
  const followed = await followRedirects(
    client.policy,
    from,
    (url, isOwn) =>
      client.send({
        kind: isOwn ? 'body' : 'cdn',
        method: 'GET',
        url,
        requester,
        headers: { range: 'bytes=0-0' },
        signal,
        lane: 'question',
      }),
    anywhere(requester.onRedirect),
  )
  if (followed.kind !== 'answer') return undefined
  const { answer, url } = followed
  const { status } = answer
  if (status === 429) throw await readRefusedByHub(answer, url.host)
  discard(answer)
  const answered = { ...answer, host: url.host }
  if (isFailure(status)) throw hubFailure(answered)
  const given = sizeIn(answer)
  // Storage may call an object HTML. A page of something else has another size.
  if (given !== undefined && (given.isExact || given.sizeBytes === stated?.sizeBytes)) return given
  const foreign = foreignHead(answered, mayCarryCredential(client.policy, url))
  if (foreign !== undefined) throw foreign
  const isSilent = given === undefined && (status === 200 || status === 206)
  if (isSilent && stated?.isBelieved === true) return { sizeBytes: stated.sizeBytes, isExact: false }
  return given
}

function sizeIn({ status, headers }: OriginAnswer): ObjectSize | undefined {
  if (status === 206) {
    const part = parseContentRange(headerValue(headers, 'content-range'))
    return part?.sizeBytes === undefined ? undefined : { sizeBytes: part.sizeBytes, isExact: true }
  }
  const length = status === 200 ? headerValue(headers, 'content-length') : undefined
  if (length === undefined || !/^\d{1,15}$/.test(length)) return undefined
  return { sizeBytes: Number(length), isExact: false }
}
