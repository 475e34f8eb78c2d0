// The datasets-server, a host of its own beside the Hub: what it says of a dataset, from the Parquet files of its branch
// `refs/convert/parquet`. Its refusals have codes of their own.

import { callerOf, judgeFiles } from './access.ts'
import type { Exchange } from './exchange.ts'
import { encodePath, type HubState, sendJson } from './hub.ts'
import type { Repo } from './repos.ts'

const BRANCH = 'refs/convert/parquet'
const STATE = { pending: [], failed: [], partial: false }

/** Answers one request to the datasets-server. */
export async function answerDatasetsServer(hub: HubState, exchange: Exchange): Promise<void> {
  const [word = ''] = exchange.segments ?? []
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
  const body = word === 'parquet' ? parquetFiles(hub, repo) : word === 'info' ? infos(repo) : undefined
  if (body === undefined) return fail(exchange, 404, 'ResponseNotFound', 'Not found.')
  await sendJson(exchange, { ...body, ...STATE }, { headers: { 'X-Revision': revision } })
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
  return { dataset_info: { default: { dataset_name: name, config_name: 'default', features: {} } } }
}
