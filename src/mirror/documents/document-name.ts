// The names under which documents are stored.

import { createHash } from 'node:crypto'
import { splitTarget } from '../../hub/url-text.ts'
import type { DocumentRequest, DocumentRoute } from './hub-documents.ts'

/** Queries of clients for lists, searches, collections and papers. */
const LIST_QUERY_NAMES: ReadonlySet<string> = new Set(
  [
    'search author filter sort direction limit full cardData config fetch_config gated expand expand[] cursor p',
    'pipeline_tag inference inference_provider num_parameters apps datasets models linked benchmark',
    'q owner item type date week month submitter',
  ].flatMap((line) => line.split(' ')),
)

/**
 * The name under which a document is stored: its target, and for a request with a body the digest of that. Undefined when
 * it must not be stored: a query that no client of the Hub sends may hold a token, and there is no limit to their number.
 */
export function documentName(route: DocumentRoute, request: DocumentRequest): string | undefined {
  if (route.document === 'whoami') return undefined
  if (!hasKnownQuery(route.target, queryNamesOf(route))) return undefined
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

/** The queries for the datasets-server, which the route has read. */
const DATASETS_SERVER_NAMES: ReadonlySet<string> = new Set(['dataset', 'config', 'split'])

function queryNamesOf({ repo, document }: DocumentRoute): ReadonlySet<string> {
  if (document === 'datasets-server') return DATASETS_SERVER_NAMES
  return repo === undefined ? LIST_QUERY_NAMES : QUERY_NAMES
}

function hasKnownQuery(target: string, names: ReadonlySet<string>): boolean {
  for (const [name, value] of new URLSearchParams(splitTarget(target).query)) {
    if (!names.has(name) || /hf_[A-Za-z0-9]{16}/.test(value)) return false
  }
  return true
}
