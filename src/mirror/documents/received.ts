// What is kept of an answer of the Hub.

import { etagOf } from '../../http/conditional.ts'
import { type HeaderBag, headerValue, listValue } from '../../http/headers.ts'
import { passableHeaders } from '../../hub/response-headers.ts'
import type { DocumentFact } from '../metadata/documents.ts'
import type { HubAnswer } from './hub-documents.ts'

/** The answer as it is stored. */
export function receivedFact({ body, headers }: HubAnswer): DocumentFact {
  return {
    body,
    contentType: headerValue(headers, 'content-type') ?? 'application/json; charset=utf-8',
    link: listValue(headers, 'link'),
    headers: kept(headers),
    etag: etagOf(headers),
  }
}

/** What is stored, after the Hub has said that it is unchanged (304). Fields of that answer replace older ones (RFC 9111 §3.2). */
export function unchangedFact(stored: DocumentFact, { headers }: HubAnswer): DocumentFact {
  return {
    ...stored,
    link: listValue(headers, 'link') ?? stored.link,
    headers: { ...stored.headers, ...kept(headers) },
    etag: etagOf(headers) ?? stored.etag,
  }
}

/** Headers of the Hub that belong to the document itself, beside those set here. */
export function kept(headers: HeaderBag): Record<string, string> {
  const names = [
    'x-repo-commit',
    'x-total-count',
    'x-revision',
    'access-control-expose-headers',
    'retry-after',
  ]
  const passable = passableHeaders(headers)
  const result: Record<string, string> = {}
  for (const name of names) {
    const value = passable[name]
    if (typeof value === 'string') result[name] = value
  }
  return result
}
