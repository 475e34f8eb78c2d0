// A refusal of the Hub as an answer.

import { type HintContext, withHint } from '../../hub/hints.ts'
import type { Repo } from '../../hub/names.ts'
import { type Refusal, refusalHeaders } from '../../hub/refusal.ts'
import type { Outcome } from '../../telemetry/observer.ts'
import type { Answer } from '../answer.ts'
import type { Ctx } from '../context.ts'

/** What the hint may depend on. */
export function hintContext(ctx: Ctx, repo: Repo | undefined): HintContext {
  const withoutLoan = ctx.caller.kind === 'mirror-token' ? 'not-lent' : 'own'
  return {
    authorization: ctx.authorization,
    credential: ctx.lent === undefined ? withoutLoan : 'lent',
    repo,
  }
}

/**
 * Passes the refusal on with its codes and a hint on what to do. When the Hub sent no body (as to HEAD), its message
 * becomes the body.
 */
export function refusalAnswer(
  received: Refusal,
  context: {
    readonly anonymous: boolean
    readonly aboutRepo: boolean
    readonly extra?: Readonly<Record<string, string>>
    readonly outcome?: Outcome
    /** Absent when the Hub was asked for several callers at once. */
    readonly asked?: HintContext
  },
): Answer {
  const refusal = withHint(received, context.asked)
  const bytes = refusal.body.length > 0 ? refusal.body : Buffer.from(refusal.message ?? '')
  const headers: Record<string, string> = {
    'content-type': 'text/plain; charset=utf-8',
    ...context.extra,
    ...refusalHeaders(refusal, context),
  }
  headers['content-length'] = String(bytes.length)
  return {
    status: refusal.status,
    headers,
    outcome: context.outcome ?? 'refused',
    originStatus: refusal.status,
    body: { kind: 'bytes', bytes },
  }
}
