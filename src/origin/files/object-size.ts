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
 * signs URLs for one method. Undefined where there is no such object or no size is given. Throws as `send` does.
 */
export async function askSize(
  client: OriginClient,
  from: URL,
  requester: Requester,
  signal: AbortSignal,
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
  if (answer.status === 206) {
    const sizeBytes = parseContentRange(headerValue(answer.headers, 'content-range'))?.sizeBytes
    return sizeBytes === undefined ? undefined : { sizeBytes, isExact: true }
  }
  const length = headerValue(answer.headers, 'content-length')
  const isLength = answer.status === 200 && length !== undefined && /^\d{1,15}$/.test(length)
  return isLength ? { sizeBytes: Number(length), isExact: false } : undefined
}
