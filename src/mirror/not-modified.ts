// Conditional requests for answers that are made as a whole: documents and manifests (RFC 9110 §13.1.2).

import { isNotModified } from '../http/conditional.ts'
import { type Answer, closeBody } from './answer.ts'

/**
 * The answer to a GET or HEAD with this If-None-Match: 304 in place of a 200 whose ETag it names; the given body is closed
 * then. A 304 has the fields of the 200 but those that describe the body (§15.4.5). Any other answer is returned as it is.
 */
export async function unlessKnown(answer: Answer, ifNoneMatch: string | undefined): Promise<Answer> {
  const { 'content-type': _type, 'content-length': _length, ...headers } = answer.headers
  const { etag } = headers
  if (answer.status !== 200 || etag === undefined || !isNotModified({ ifNoneMatch, etag })) return answer
  await closeBody(answer.body)
  return { ...answer, status: 304, headers, body: { kind: 'none' } }
}
