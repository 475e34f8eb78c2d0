// Finds the size of an object that is named by its digest alone. The Hub has no header field for that.

import { headerValue } from '../../http/headers.ts'
import { parseContentRange } from '../../http/range.ts'
import type { Asker, OriginClient } from '../client.ts'
import { discard } from '../read-body.ts'
import { followRedirect, MAX_HOPS, mayCarryCredential } from '../redirect.ts'

export interface FoundSize {
  readonly sizeBytes: number
  /** False for the length of a whole answer (200), which may be a page of a filter or a proxy. */
  readonly isSure: boolean
}

/**
 * Asks for the first byte and reads the size from Content-Range. Follows redirects by the policy. Sends GET, because storage
 * signs URLs for one method. Undefined where there is no such object or no size is given. Throws as `send` does.
 */
export async function askSize(
  client: OriginClient,
  from: URL,
  asker: Asker,
  signal: AbortSignal,
): Promise<FoundSize | undefined> {
  let url = from
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const isOwn = mayCarryCredential(client.policy, url)
    const kind = isOwn ? 'body' : 'cdn'
    const headers = { range: 'bytes=0-0' }
    const answer = await client.send({ kind, method: 'GET', url, asker, headers, signal, lane: 'question' })
    discard(answer)
    const location = headerValue(answer.headers, 'location')
    if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
      url = followRedirect(client.policy, url, location)
      if (mayCarryCredential(client.policy, url)) asker.onRedirect?.(url)
      continue
    }
    if (answer.status === 206) {
      const sizeBytes = parseContentRange(headerValue(answer.headers, 'content-range'))?.sizeBytes
      return sizeBytes === undefined ? undefined : { sizeBytes, isSure: true }
    }
    const length = headerValue(answer.headers, 'content-length')
    const isLength = answer.status === 200 && length !== undefined && /^\d{1,15}$/.test(length)
    return isLength ? { sizeBytes: Number(length), isSure: false } : undefined
  }
  return undefined
}
