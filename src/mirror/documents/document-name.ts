// The names under which documents are stored.

import { createHash } from 'node:crypto'
import { splitTarget } from '../../hub/url-text.ts'
import type { DocumentRequest, DocumentRoute } from './hub-documents.ts'

/**
 * The name under which a document is stored: its target, and for a request with a body the digest of that. Undefined when
 * it must not be stored: a query that no client of the Hub sends may hold a token, and there is no limit to their number.
 */
export function documentName(route: DocumentRoute, request: DocumentRequest): string | undefined {
  if (route.repo === undefined || !hasKnownQuery(route.target)) return undefined
  if (request.method !== 'POST') return `GET ${route.target}`
  const digest = createHash('sha256')
    .update(request.contentType ?? '')
    .update('\0')
    .update(request.body ?? '')
  return `POST ${route.target} ${digest.digest('hex')}`
}

/** The queries of clients for repo documents. */
const QUERY_NAMES: ReadonlySet<string> = new Set([
  'blobs',
  'cursor',
  'expand',
  'expand[]',
  'formatted',
  'include_prs',
  'limit',
  'p',
  'recursive',
  'securityStatus',
])

function hasKnownQuery(target: string): boolean {
  for (const [name, value] of new URLSearchParams(splitTarget(target).query)) {
    if (!QUERY_NAMES.has(name) || /hf_[A-Za-z0-9]{16}/.test(value)) return false
  }
  return true
}
