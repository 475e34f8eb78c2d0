// The datasets-server, a host of its own beside the Hub: what it says of a dataset, from the Parquet files of its branch
// `refs/convert/parquet`, and rows with an image at a signed address. Its refusals have codes of their own.

import { createHmac } from 'node:crypto'
import { callerOf, judgeFiles } from './access.ts'
import type { Exchange } from './exchange.ts'
import { encodePath, type HubState, sendJson } from './hub.ts'
import type { Repo } from './repos.ts'

const BRANCH = 'refs/convert/parquet'
const STATE = { pending: [], failed: [], partial: false }

/** Answers one request to the datasets-server. */
export async function answerDatasetsServer(hub: HubState, exchange: Exchange): Promise<void> {
  const [word = ''] = exchange.segments ?? []
  if (word === 'cached-assets') return answerAsset(hub, exchange)
  const id = exchange.query.get('dataset')
  if (id === null)
    return fail(exchange, 422, 'MissingRequiredParameterError', "Parameter 'dataset' is required")
  const found = hub.world.find('datasets', id)
  const caller = callerOf(hub.world, exchange.request.headers)
  if (found === undefined || judgeFiles(hub.world, caller, found) !== undefined) {
    const isKnown = caller.kind === 'user'
    return isKnown
      ? fail(exchange, 404, 'ExternalAuthenticatedError', NOT_ACCESSIBLE)
      : fail(exchange, 401, 'ExternalUnauthenticatedError', NOT_ACCESSIBLE)
  }
  const { repo } = found
  const revision = repo.resolve('main')?.id ?? ''
  const body = bodyOf(word, hub, repo)
  if (body === undefined) return fail(exchange, 404, 'ResponseNotFound', 'Not found.')
  await sendJson(exchange, { ...body, ...STATE }, { headers: { 'X-Revision': revision } })
}

function bodyOf(word: string, hub: HubState, repo: Repo): object | undefined {
  switch (word) {
    case 'parquet':
      return parquetFiles(hub, repo)
    case 'info':
      return infos(repo)
    case 'splits':
      return { splits: [{ dataset: repo.id, config: 'default', split: 'train' }] }
    case 'size':
      return { size: { dataset: { dataset: repo.id, num_rows: 1 } } }
    case 'is-valid':
      return { preview: true, viewer: true, search: true, filter: true, statistics: true }
    case 'statistics':
      return { num_examples: 1, statistics: [{ column_name: 'text', column_type: 'string_text' }] }
    case 'croissant-crumbs':
      return { '@type': 'sc:Dataset', name: repo.id }
    case 'first-rows':
    case 'rows':
    case 'search':
    case 'filter':
      return rowsOf(hub, repo)
    default:
      return undefined
  }
}

/** What the asset of a row is. */
export const ASSET = Buffer.from('GIF89a, and the rest of the image')

/** The one row. Columns have names that mean something elsewhere, and one has URLs of the Hub as its data. */
function rowsOf(hub: HubState, repo: Repo): object {
  const revision = repo.resolve('main')?.id ?? ''
  const path = `/cached-assets/${repo.id}/--/${revision}/--/default/train/0/image/image.jpg`
  const src = `${hub.datasetsServerUrl}${path}?Expires=4102444800&Signature=${signatureOf(hub, path)}&Key-Pair-Id=K1`
  const row = {
    text: `${hub.url}/acme/open`,
    link: `${hub.datasetsServerUrl}/rows?dataset=acme/data`,
    xetHash: 'kept',
    image: { src, height: 1, width: 1 },
    title: { src, height: 1, width: 1 },
  }
  const rows = [{ row_idx: 0, row, truncated_cells: [] }]
  return { features: [], rows, num_rows_total: 1, num_rows_per_page: 100 }
}

function signatureOf(hub: HubState, path: string): string {
  return createHmac('sha256', hub.secret).update(path).digest('base64url')
}

/** An image of a row. The signature is the right to it. */
async function answerAsset(hub: HubState, exchange: Exchange): Promise<void> {
  if (exchange.query.get('Signature') !== signatureOf(hub, exchange.rawPath))
    return exchange.send({ status: 403, headers: { 'Content-Type': 'application/xml' }, body: '<Error/>' })
  const headers = { 'Content-Type': 'image/jpeg', 'Cache-Control': 'public, max-age=60', ETag: '"asset"' }
  await exchange.send({ status: 200, headers, body: ASSET })
}

const NOT_ACCESSIBLE = 'The dataset does not exist, or is not accessible (private or gated).'

async function fail(exchange: Exchange, status: number, code: string, error: string): Promise<void> {
  await sendJson(exchange, { error }, { status, headers: { 'X-Error-Code': code } })
}

function parquetFiles(hub: HubState, repo: Repo): object {
  const files = [...(repo.resolve(BRANCH)?.files ?? [])].filter(([path]) => path.endsWith('.parquet'))
  return {
    parquet_files: files.map(([path, file]) => {
      const [config, split, filename] = path.split('/')
      const url = `${hub.url}/datasets/${repo.id}/resolve/${encodeURIComponent(BRANCH)}/${encodePath(path)}`
      return { dataset: repo.id, config, split, url, filename, size: file.content.sizeBytes }
    }),
  }
}

function infos(repo: Repo): object {
  const [, name] = repo.id.split('/')
  const description = 'as the datasets-server says'
  return { dataset_info: { default: { dataset_name: name, config_name: 'default', description } } }
}
