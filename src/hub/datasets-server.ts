// Requests to the datasets-server, which describes datasets at a host of its own, and shows their rows. `datasets` puts
// `datasets-server.` before the host of HF_ENDPOINT, so a mirror is asked for it under another name.

import { parseRepoId, type Repo } from './names.ts'
import type { HubDocument, HubRoute } from './route.ts'
import { splitTarget } from './url-text.ts'

/** What clients put before the host of the Hub, or of the mirror. */
export const DATASETS_SERVER_PREFIX = 'datasets-server.'
/** Its base URL, as it writes it into its answers. */
export const DATASETS_SERVER_URL = 'https://datasets-server.huggingface.co'
/** Where it has the images and sounds of rows, for whose addresses rows are searched. */
export const ASSET_PATHS = ['/assets/', '/cached-assets/'] as const

/**
 * What an answer depends on, in the order of the canonical target. `dataset` comes before all of these. Answers about a dataset
 * are stored.
 */
const ABOUT: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    '/parquet': ['config', 'split'],
    '/info': ['config', 'split'],
    '/splits': ['config', 'split'],
    '/size': ['config', 'split'],
    '/is-valid': ['config', 'split'],
    '/statistics': ['config', 'split'],
    '/croissant': ['full'],
    '/croissant-crumbs': ['full'],
    '/compatible-libraries': [],
    '/opt-in-out-urls': ['config', 'split'],
    '/presidio-entities': [],
  }),
)
/** The same for answers with rows. They are not stored: they hold signed addresses that expire, and there is no limit to them. */
const ROWS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    '/first-rows': ['config', 'split'],
    '/rows': ['config', 'split', 'offset', 'length'],
    '/search': ['config', 'split', 'query', 'offset', 'length'],
    '/filter': ['config', 'split', 'where', 'orderby', 'offset', 'length'],
  }),
)

/** Whether a Host field names the datasets-server. */
export function namesDatasetsServer(host: string): boolean {
  return host.slice(0, DATASETS_SERVER_PREFIX.length).toLowerCase() === DATASETS_SERVER_PREFIX
}

/** The base URL of the datasets-server beside the Hub, or the mirror, with this one. */
export function datasetsServerBase(base: string): string {
  return base.replace('://', `://${DATASETS_SERVER_PREFIX}`)
}

/** Whether the datasets-server has the document, and not the Hub. */
export function isOfDatasetsServer(document: HubDocument): boolean {
  return document === 'datasets-server' || document === 'dataset-rows'
}

/**
 * The route at the datasets-server of a target that was parsed as one of the Hub. Undefined when it has no such route, the query
 * names no single dataset, or asks for anything that the mirror does not understand.
 */
export function datasetsServerRoute(route: HubRoute): HubRoute | undefined {
  if (route.kind !== 'other') return undefined
  const { path, query } = splitTarget(route.target)
  const isAsset = ASSET_PATHS.some((place) => path.startsWith(place))
  if (isAsset) return assetRoute(route.target, path)
  const choices = ABOUT.get(path) ?? ROWS.get(path)
  const given = new URLSearchParams(query)
  const id = parseRepoId(given.get('dataset') ?? '')
  const known = choices?.filter((name) => given.has(name))
  if (known === undefined || id === undefined || given.size !== 1 + known.length) return undefined
  const chosen = known.map((name) => `&${name}=${encodeURIComponent(given.get(name) ?? '')}`).join('')
  return {
    kind: 'document',
    document: ROWS.has(path) ? 'dataset-rows' : 'datasets-server',
    repo: { type: 'dataset', id },
    revision: undefined,
    target: `${path}?dataset=${encodeURIComponent(id)}${chosen}`,
    immutable: false,
  }
}

/** `/cached-assets/org/name/--/<commit>/--/default/train/0/image/image.jpg`, with a signature in its query. */
function assetRoute(target: string, path: string): HubRoute | undefined {
  const [, text = ''] = /^\/[a-z-]+\/([^/]+(?:\/[^/]+)?)\/--\/./.exec(path) ?? []
  const id = parseRepoId(text)
  if (id === undefined) return undefined
  const repo: Repo = { type: 'dataset', id }
  return { kind: 'other', repo, target, purpose: 'asset', scope: { ...repo, shows: 'everything' } }
}
