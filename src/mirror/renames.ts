// A repo may turn out to have another name while a request for it runs: in a redirect, or in an answer of the Hub to any request.
// Policies and token scopes apply to every name, so the request then begins again, with a decision about the new one.
//
// Three places look for such a name, so that a new kind of route gets all of them without a line of its own: the Requester at each
// redirect, `Contents.open` before bytes are opened, and `restartOnRename` before an answer is handed out.

import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import type { Repo } from '../hub/names.ts'
import { type HubRoute, parseHubUrl } from '../hub/route.ts'
import type { Requester } from '../origin/client.ts'
import { isRepoMoved } from '../origin/repo-moved.ts'
import { type Answer, closeBody } from './answer.ts'
import { type Ctx, requesterOf } from './context.ts'
import type { Metadata } from './metadata/metadata.ts'

/** How often a repo may turn out to have another name within one request. */
const MAX_MOVES = 3
const OTHER_NAME = 'This repo has a new name, for which the rules of this mirror lend no token.'

/** Answers one kind of route. Undefined leaves the request to the pass-through. */
type Answering = (ctx: Ctx, route: never, ...request: never[]) => Promise<Answer | undefined>

/**
 * The same functions, each of which begins again with a new admission when the repo turns out to have a name that was not
 * decided about. An answer made under an undecided name is closed and never returned. `admit` throws policy_denied or
 * mirror_token_scope when the new name is refused.
 */
export function restartOnRename<Kinds extends Readonly<Record<string, Answering>>>(
  kinds: Kinds,
  admit: (ctx: Ctx, route: HubRoute) => Promise<Ctx>,
): Kinds {
  const restarting = Object.entries(kinds).map(([kind, answer]) => {
    const answering = answer as (ctx: Ctx, ...request: unknown[]) => Promise<Answer | undefined>
    const run = async (ctx: Ctx, route: HubRoute, ...request: unknown[]): Promise<Answer | undefined> => {
      let admitted = ctx
      for (let moves = 0; ; moves += 1) {
        try {
          return await checked(admitted, await answering(admitted, route, ...request))
        } catch (error) {
          if (!isRepoMoved(error) || moves === MAX_MOVES) throw error
          admitted = await admit(ctx, route)
          // A token that was lent for the old name is not lent for the new one.
          if (admitted.admission?.useToken !== ctx.admission?.useToken)
            throw new MirrorError('policy_denied', { message: OTHER_NAME })
        }
      }
    }
    return [kind, run]
  })
  return Object.fromEntries(restarting) as Kinds
}

/**
 * The requester that carries the caller's own credential. Where no rule decides about names, a redirect to another name of the
 * repo is recorded: a write by that name then ends what is believed of the repo by this one. The Hub says so to a caller with a
 * right to a private repo alone.
 */
export function namingRequester(
  ctx: Ctx,
  repo: Repo,
  { base, metadata, askedAt }: { readonly base: URL; readonly metadata: Metadata; readonly askedAt: number },
): Requester {
  const requester = requesterOf(ctx)
  const note = (url: URL): void => {
    const found = repoAt(url, base)
    if (found?.type === repo.type && found.id !== repo.id)
      metadata.repos.setTraits(repo, { name: found.id }, askedAt)
  }
  return { ...requester, onRedirect: requester.onRedirect ?? note }
}

function repoAt({ pathname, search }: URL, base: URL): Repo | undefined {
  try {
    return parseHubUrl(pathname + search, withoutTrailingSlash(base.pathname) || '/').repo
  } catch {
    // It leads to no URL of a Hub. The answer there says what is wrong.
    return undefined
  }
}

/** The answer, unless the Hub has reported another name meanwhile. Throws RepoMoved then. */
async function checked(ctx: Ctx, answer: Answer | undefined): Promise<Answer | undefined> {
  if (answer === undefined) return undefined
  try {
    ctx.admission?.checkName()
    return answer
  } catch (error) {
    await closeBody(answer.body)
    throw error
  }
}
