// Requests to the datasets-server, which describes datasets at a host of its own. `datasets` puts `datasets-server.` before the
// host of HF_ENDPOINT, so a mirror is asked for it under another name.

import { parseRepoId } from './names.ts'
import type { HubRoute } from './route.ts'
import { splitTarget } from './url-text.ts'

/** What clients put before the host of the Hub, or of the mirror. */
export const DATASETS_SERVER_PREFIX = 'datasets-server.'

/** Answers that describe a dataset. Those with its rows are left out: they hold addresses that expire. */
const PATHS: ReadonlySet<string> = new Set(['/parquet', '/info', '/splits', '/size', '/is-valid'])
/** What an answer depends on beside the dataset, in the order of the canonical target. */
const CHOICES = ['config', 'split'] as const

/** Whether a Host field names the datasets-server. */
export function namesDatasetsServer(host: string): boolean {
  return host.slice(0, DATASETS_SERVER_PREFIX.length).toLowerCase() === DATASETS_SERVER_PREFIX
}

/**
 * The route at the datasets-server of a target that was parsed as one of the Hub. Undefined when it has no such route, the query
 * names no single dataset, or asks for anything that the mirror does not understand.
 */
export function datasetsServerRoute(route: HubRoute): HubRoute | undefined {
  if (route.kind !== 'other') return undefined
  const { path, query } = splitTarget(route.target)
  const given = new URLSearchParams(query)
  const id = parseRepoId(given.get('dataset') ?? '')
  const known = CHOICES.filter((name) => given.has(name))
  if (!PATHS.has(path) || id === undefined || given.size !== 1 + known.length) return undefined
  const chosen = known.map((name) => `&${name}=${encodeURIComponent(given.get(name) ?? '')}`).join('')
  const target = `${path}?dataset=${encodeURIComponent(id)}${chosen}`
  const repo = { type: 'dataset', id } as const
  return {
    kind: 'document',
    document: 'datasets-server',
    repo,
    revision: undefined,
    target,
    immutable: false,
  }
}
