// Finds the size of an object that is named by its digest alone. The Hub has no header field for that.

import { headerValue } from '../../http/headers.ts'
import { parseContentRange } from '../../http/range.ts'
import type { OriginClient, Requester } from '../client.ts'
import { anywhere, followRedirects } from '../follow.ts'
import { discard } from '../read-body.ts'

export interface ObjectSize {
  readonly sizeBytes: number
  /** False for the length of a whole answer (200), which may be a page of a filter or a proxy. */
  readonly isExact: boolean
}

/**
 * Asks for the first byte and reads the size from Content-Range. Follows redirects by the policy. Sends GET, because storage
 * signs URLs for one method. Undefined where there is no such object, or its size is not given (a gateway encodes the answer) and
 * none is `assumed`. Throws as `send` does.
 */
export async function askSize(
  client: OriginClient,
  from: URL,
  requester: Requester,
  signal: AbortSignal,
  assumed?: number,
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
  const { answer } = followed
  discard(answer)
  if (answer.status !== 200 && answer.status !== 206) return undefined
  const range = parseContentRange(headerValue(answer.headers, 'content-range'))
  if (answer.status === 206 && range?.sizeBytes !== undefined)
    return { sizeBytes: range.sizeBytes, isExact: true }
  const length = answer.status === 200 ? headerValue(answer.headers, 'content-length') : undefined
  if (length !== undefined && /^\d{1,15}$/.test(length)) return { sizeBytes: Number(length), isExact: false }
  return assumed === undefined ? undefined : { sizeBytes: assumed, isExact: false }
}
