// Finds the size of an object that is named by its digest alone. The Hub has no header field for that.

import { headerValue } from '../../http/headers.ts'
import { parseContentRange } from '../../http/range.ts'
import type { OriginClient, Requester } from '../client.ts'
import { discard } from '../read-body.ts'
import { MAX_HOPS, mayCarryCredential, redirectTarget } from '../redirect.ts'

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
  let url = from
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const isOwn = mayCarryCredential(client.policy, url)
    const kind = isOwn ? 'body' : 'cdn'
    const headers = { range: 'bytes=0-0' }
    const answer = await client.send({
      kind,
      method: 'GET',
      url,
      requester,
      headers,
      signal,
      lane: 'question',
    })
    discard(answer)
    const location = headerValue(answer.headers, 'location')
    if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
      url = redirectTarget(client.policy, url, location)
      if (mayCarryCredential(client.policy, url)) requester.onRedirect?.(url)
      continue
    }
    if (answer.status === 206) {
      const sizeBytes = parseContentRange(headerValue(answer.headers, 'content-range'))?.sizeBytes
      return sizeBytes === undefined ? undefined : { sizeBytes, isExact: true }
    }
    const length = headerValue(answer.headers, 'content-length')
    const isLength = answer.status === 200 && length !== undefined && /^\d{1,15}$/.test(length)
    return isLength ? { sizeBytes: Number(length), isExact: false } : undefined
  }
  return undefined
}
