// A repo may turn out to have another name while a request for it runs: in a redirect, or in an answer of the Hub to any request.
// Policies and token scopes apply to every name, so the request then begins again, with a decision about the new one.
//
// Three places look for such a name, so that a new kind of route gets all of them without a line of its own: the Requester at each
// redirect, `Contents.open` before bytes are opened, and `restartOnRename` before an answer is handed out.

import { MirrorError } from '../errors.ts'
import type { HubRoute } from '../hub/route.ts'
import { isRepoMoved } from '../origin/repo-moved.ts'
import { type Answer, closeBody } from './answer.ts'
import type { Ctx } from './context.ts'

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
