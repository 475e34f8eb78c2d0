// The list of exported Parquet files of a data set: /api/datasets/{id}/parquet[/{config}[/{split}[/{n}.parquet]]]. Its URLs
// are absolute; the last form redirects to the file.

import type { Exchange } from './exchange.ts'
import { encodePath, type HubState, notFound, redirect, sendJson, webPath } from './hub.ts'
import type { Repo } from './repos.ts'

const BRANCH = 'refs/convert/parquet'

/** Answers the route; `rest` is what follows `parquet`. */
export async function answerParquet(
  hub: HubState,
  exchange: Exchange,
  repo: Repo,
  rest: readonly string[],
): Promise<void> {
  const [config, split, file] = rest
  const paths = [...(repo.resolve(BRANCH)?.files.keys() ?? [])].filter((path) => path.endsWith('.parquet'))
  const all: Record<string, Record<string, string[]>> = {}
  const places = new Map<string, string>()
  for (const path of paths) {
    const [inConfig = '', inSplit = ''] = path.split('/')
    const list = ((all[inConfig] ??= {})[inSplit] ??= [])
    const place = `${inConfig}/${inSplit}/${list.length}.parquet`
    places.set(place, path)
    list.push(`${hub.url}/api/datasets/${repo.id}/parquet/${place}`)
  }
  if (file !== undefined) {
    const path = places.get(rest.join('/'))
    if (path === undefined) return notFound(exchange)
    return redirect(
      exchange,
      302,
      `/${webPath(repo)}/resolve/${encodeURIComponent(BRANCH)}/${encodePath(path)}`,
    )
  }
  const part = config === undefined ? all : split === undefined ? all[config] : all[config]?.[split]
  return part === undefined ? notFound(exchange) : sendJson(exchange, part)
}
