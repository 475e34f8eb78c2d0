// Asks without a credential whether a repo is public, by the repo's own info. A file that is shown proves nothing,
// because the README of a gated repo is public. Answers are not cached here.

import type { Repo } from '../../hub/names.ts'
import type { OriginClient, Requester } from '../client.ts'
import { askRepoInfo, type RepoTraits, traitsOf } from './repo-info.ts'

/**
 * What an origin says about a repo. `unsaid`: it has no such info, like other kinds of mirror. Undefined: it did not answer
 * this time, and nothing follows from that.
 */
export type PublicAccess = boolean | 'unsaid' | undefined

/**
 * True when the Hub calls the repo neither private nor gated nor disabled, false when it calls it one of these or
 * refuses an anonymous request. Throws MirrorError when the origin is away. `onTraits` is called with what else the info says.
 */
export async function askPublicAccess(
  client: OriginClient,
  repo: Repo,
  anonymous: Requester & { readonly authorization: undefined },
  options: {
    readonly licence?: boolean
    readonly timeoutMs?: number
    readonly onTraits?: (traits: RepoTraits) => void
  } = {},
): Promise<PublicAccess> {
  const answer = await askRepoInfo(client, repo, anonymous, options)
  switch (answer?.kind) {
    case undefined:
      return undefined
    case 'refused':
      return false
    case 'unsaid':
      return 'unsaid'
    case 'info': {
      options.onTraits?.(traitsOf(answer.info))
      const kind = accessOf(answer.info)
      return kind === undefined ? 'unsaid' : kind === 'public'
    }
    default:
      return answer satisfies never
  }
}

/** Who may read a repo, by its info; undefined when that does not say. A disabled repo counts as private. */
export function accessOf(
  info: Readonly<Record<string, unknown>>,
): 'public' | 'gated' | 'private' | undefined {
  const { private: closed, gated, disabled } = info
  if (closed === true || disabled === true) return 'private'
  if (gated !== undefined && gated !== false) return 'gated'
  // Spaces have no gate, and their info does not mention one.
  return closed === false ? 'public' : undefined
}
