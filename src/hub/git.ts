// Git's smart HTTP at the Hub, for reading: info/refs?service=git-upload-pack and git-upload-pack. Reads targets and answers, and does
// no I/O.

import { type Repo, webPrefix } from './names.ts'
import type { HubRoute } from './route.ts'
import { splitTarget } from './url-text.ts'

/** What a client of git asks. `refs` begins each clone and fetch, and `pack` is the rest of it. */
export interface GitRequest {
  readonly kind: 'refs' | 'pack'
  readonly repo: Repo
}

/** Undefined for every other route, and for git's older protocol over plain files. */
export function gitRequest(route: HubRoute, method: string | undefined): GitRequest | undefined {
  if (route.kind !== 'other' || route.purpose !== 'git-read' || route.repo === undefined) return undefined
  const { path, query } = splitTarget(route.target)
  const { repo } = route
  if (method === 'POST' && path.endsWith('/git-upload-pack')) return { kind: 'pack', repo }
  const isRefs = path.endsWith('/info/refs') && query === 'service=git-upload-pack'
  return method === 'GET' && isRefs ? { kind: 'refs', repo } : undefined
}

/** The target of a repo for a client of git. */
export function gitTarget(repo: Repo): string {
  return `/${webPrefix(repo.type)}${repo.id}`
}

export const GIT_TYPES = {
  refs: 'application/x-git-upload-pack-advertisement',
  pack: 'application/x-git-upload-pack-result',
} as const

/**
 * Whether the beginning of an answer to `git-upload-pack` is that of an answer with objects (gitprotocol-v2, gitprotocol-pack), and
 * not a list of branches and tags or an error.
 */
export function bringsObjects(start: Buffer): boolean {
  return /^[0-9a-f]{4}(?:packfile\n|acknowledgments\n|shallow-info\n|NAK\n|ACK |shallow |unshallow )/.test(
    start.subarray(0, 32).toString('latin1'),
  )
}
