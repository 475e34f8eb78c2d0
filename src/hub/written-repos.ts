// Which repos a write changes. Most targets name the one repo that they are about. Those that manage repos name them in
// their body, and a copy names its new repo there.

import { parseRecord } from '../records.ts'
import { parseRepoId, REPO_TYPES, type Repo, type RepoType } from './names.ts'
import type { HubRoute } from './route.ts'
import { splitTarget } from './url-text.ts'

/** The repos that a write changes; `all` when it may be any, and `new` when it makes one whose name only the Hub knows. */
export type WrittenRepos = readonly Repo[] | 'all' | 'new'

/** Whether the body of this request names repos that it changes. */
export function namesReposInBody(route: HubRoute, method: string): boolean {
  return (method === 'POST' || method === 'DELETE') && managementOf(route) !== undefined
}

/**
 * The repos that the request changes, if it is a write that the Hub accepts. `body` is its whole body if
 * `namesReposInBody` says that it matters; undefined when it could not be read.
 */
export function writtenRepos(route: HubRoute, method: string, body: Buffer | undefined): WrittenRepos {
  const own = route.repo === undefined ? [] : [route.repo]
  if (!namesReposInBody(route, method)) return own
  const management = managementOf(route)
  const named = body === undefined ? undefined : reposIn(body, management, route.repo?.type)
  if (named !== undefined) return [...own, ...named]
  return management === 'create' || management === 'duplicate' ? 'new' : 'all'
}

type Management = 'create' | 'delete' | 'move' | 'duplicate'

function managementOf(route: HubRoute): Management | undefined {
  if (route.kind !== 'other') return undefined
  const { path } = splitTarget(route.target)
  const [, managed] = /^\/api\/repos\/(create|delete|move)\/?$/.exec(path) ?? []
  if (managed !== undefined) return managed as Management
  return route.repo !== undefined && /^\/api\/[^/]+\/(?:[^/]+\/){1,2}duplicate\/?$/.test(path)
    ? 'duplicate'
    : undefined
}

function reposIn(
  body: Buffer,
  management: Management | undefined,
  type: RepoType | undefined,
): readonly Repo[] | undefined {
  const fields = parseRecord(body.toString('utf8'))
  if (fields === undefined) return undefined
  const named = type ?? REPO_TYPES.find((known) => known === (fields['type'] ?? 'model'))
  const ids = idsIn(fields, management).map((id) => (typeof id === 'string' ? parseRepoId(id) : undefined))
  if (named === undefined) return undefined
  const repos = ids.flatMap((id) => (id === undefined ? [] : [{ type: named, id }]))
  return repos.length === ids.length ? repos : undefined
}

function idsIn(fields: Record<string, unknown>, management: Management | undefined): readonly unknown[] {
  switch (management) {
    case 'move':
      return [fields['fromRepo'], fields['toRepo']]
    case 'duplicate':
      return [withNamespace(fields['repository'])]
    case 'create':
    case 'delete': {
      const { name, organization } = fields
      const isSplit = typeof name === 'string' && typeof organization === 'string'
      return [isSplit ? `${organization}/${name}` : withNamespace(name)]
    }
    default:
      return []
  }
}

/** Without a namespace the Hub means that of the caller, which only the Hub knows. */
function withNamespace(id: unknown): unknown {
  return typeof id === 'string' && id.includes('/') ? id : undefined
}
