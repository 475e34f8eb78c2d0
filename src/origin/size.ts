// How large something is that is named by its digest alone: the Hub says it in no header of its own.

import { headerValue } from '../http/headers.ts'
import { parseContentRange } from '../http/range.ts'
import type { Asker, OriginClient } from './client.ts'
import { followRedirect, MAX_HOPS, mayCarryCredential } from './redirect.ts'

export interface FoundSize {
  readonly sizeBytes: number
  /** False of the length of a whole answer, which may be a page of something in between. */
  readonly isSure: boolean
}

/**
 * Asks for the first byte, and follows redirects by the policy. A GET, since storage signs addresses for a method; the size of
 * the whole stands beside a part. Undefined where there is nothing, or nobody says how large it is. Throws as `send` does.
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
    answer.body.on('error', () => undefined).destroy()
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
