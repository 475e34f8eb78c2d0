// Whether the Hub shows a repo to everybody, asked as a stranger. By the repo's own info: a file that a stranger may
// have proves nothing, since of a gated repo everybody may read the README. It does not remember the answer.

import type { Repo } from '../../hub/names.ts'
import type { OriginClient, Requester } from '../client.ts'
import { askRepoInfo, type RepoTraits, traitsOf } from './repo-info.ts'

/**
 * What an origin says of a repo. `unsaid`: it has no such info, as other kinds of mirror; undefined: it did not answer
 * the question this time, so that nothing follows from it.
 */
export type PublicAccess = boolean | 'unsaid' | undefined

/**
 * True when the Hub calls the repo neither private nor gated nor disabled, false when it calls it one of these or
 * refuses a stranger. Throws MirrorError when the origin is away. `onTraits` hears what else the info tells.
 */
export async function askPublicAccess(
  client: OriginClient,
  repo: Repo,
  stranger: Requester & { readonly authorization: undefined },
  options: {
    readonly licence?: boolean
    readonly timeoutMs?: number
    readonly onTraits?: (traits: RepoTraits) => void
  } = {},
): Promise<PublicAccess> {
  const answer = await askRepoInfo(client, repo, stranger, options)
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

/** Who may read a repo by its info; undefined when that does not say. What is disabled nobody may. */
export function accessOf(
  info: Readonly<Record<string, unknown>>,
): 'public' | 'gated' | 'private' | undefined {
  const { private: closed, gated, disabled } = info
  if (closed === true || disabled === true) return 'private'
  if (gated !== undefined && gated !== false) return 'gated'
  // Spaces have no gate, and say nothing of one.
  return closed === false ? 'public' : undefined
}
