// Removes the content coding of those responses that the mirror must read before it passes them on. All others are
// passed on as they came.

import { MirrorError } from '../../errors.ts'
import { listValue } from '../../http/headers.ts'
import { decodeBody } from '../../origin/connections/content-coding.ts'
import type { OriginResponse } from './connection.ts'

/**
 * The same response without its content coding, which a gateway may have added although identity was requested. It has
 * no Content-Length then. A response with a coding that the mirror cannot decode is returned unchanged. Throws
 * origin_bad_answer instead if `mustRead`.
 */
export function readableResponse(
  response: OriginResponse,
  { method, mustRead }: { readonly method: string; readonly mustRead: boolean },
): OriginResponse {
  const { statusCode: status, headers: given, stream } = response
  const body = Object.assign(stream, { dump: () => Promise.resolve(void stream.destroy()) })
  const { headers, body: decoded } = decodeBody({ status, headers: given, body }, method)
  const coding = listValue(headers, 'content-encoding')?.toLowerCase() ?? 'identity'
  if (mustRead && coding !== 'identity') {
    // An unread body would keep its connection. After a redirect it is not the body that the caller gives up.
    decoded.on('error', () => undefined).destroy()
    throw new MirrorError('origin_bad_answer', { detail: { reason: 'encoded though identity was asked' } })
  }
  return { ...response, headers, stream: decoded }
}
