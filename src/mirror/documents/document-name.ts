// The names under which documents are stored.

import { createHash } from 'node:crypto'
import { hasListedQuery, siteDocumentOf } from '../../hub/document-query.ts'
import type { RefusalKey } from '../access/refusals.ts'
import type { DocumentRequest, DocumentRoute } from './hub-documents.ts'

/**
 * The name under which a document is stored: its target, and for a request with a body the digest of that. Undefined when
 * it must not be stored: a query that no client of the Hub sends may hold a token, and there is no limit to their number.
 */
export function documentName(route: DocumentRoute, request: DocumentRequest): string | undefined {
  if (!hasKnownQuery(route)) return undefined
  if (request.method !== 'POST') return `GET ${route.target}`
  const digest = createHash('sha256')
    .update(request.contentType ?? '')
    .update('\0')
    .update(request.body ?? '')
  return `POST ${route.target} ${digest.digest('hex')}`
}

function hasKnownQuery({ document, target }: DocumentRoute): boolean {
  // The route has read its query.
  if (document === 'datasets-server') return true
  if (document === 'whoami' || document === 'dataset-rows') return false
  const queried = document === 'site' ? siteDocumentOf(target) : document
  return queried !== undefined && hasListedQuery(queried, target)
}

/** The name under which a refusal of the document is remembered. Undefined for a document about no repo. */
export function refusalKey({ repo, target }: DocumentRoute): RefusalKey | undefined {
  return repo === undefined ? undefined : { kind: 'document', repo, target }
}
