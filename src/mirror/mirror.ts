// The façade: one method per kind of route. The only room that sees store and origin together; what it returns
// knows no framework.

import { MirrorError } from '../errors.ts'
import type { Repo } from '../hub/names.ts'
import type { FileRoute, HubRoute } from '../hub/route.ts'

export { RefusedByHub } from '../origin/file.ts'

import type { Access } from './access.ts'
import { type Answer, ageHeader } from './answer.ts'
import type { Ctx } from './context.ts'
import type { DocumentRequest, Documents } from './documents.ts'
import type { Known } from './known.ts'
import type { Conditions, Puller } from './pull.ts'
import { refusalAnswer } from './refused.ts'
import type { Resolved, Resolver } from './resolve.ts'

export interface Mirror {
  head(ctx: Ctx, route: FileRoute, conditions: Conditions): Promise<Answer>
  /** The body of the answer is opened, not started; whoever sends it closes it, also when nothing was sent. */
  get(ctx: Ctx, route: FileRoute, conditions: Conditions): Promise<Answer>
  document(
    ctx: Ctx,
    route: Extract<HubRoute, { kind: 'document' }>,
    request: DocumentRequest,
  ): Promise<Answer>
  /** A write to the repo has been passed on and accepted: what is believed of its branches, and of who may read it, ends here. */
  changed(repo: Repo): Promise<void>
  /** Always throws: a client that asks has learnt a Xet hash elsewhere and must be told the way back. */
  xetToken(): never
}

export function createMirror(parts: {
  readonly known: Known
  readonly access: Access
  /** Milliseconds that never step back. */
  readonly now: () => number
  readonly resolver: Resolver
  readonly puller: Puller
  readonly documents: Documents
}): Mirror {
  const { known, access, now, resolver, puller, documents } = parts
  const refused = (ctx: Ctx, { refusal, outcome, ageMs }: Extract<Resolved, { kind: 'refusal' }>): Answer =>
    refusalAnswer(refusal, {
      anonymous: ctx.authorization === undefined,
      aboutRepo: true,
      extra: ageHeader(ageMs),
      outcome,
    })

  return {
    async head(ctx, route, conditions) {
      const resolved = await resolver.resolve(ctx, route, 'HEAD')
      if (resolved.kind === 'file') return puller.head(route, resolved, conditions)
      return refused(ctx, resolved)
    },

    async get(ctx, route, conditions) {
      const resolved = await resolver.resolve(ctx, route, 'GET')
      if (resolved.kind === 'refusal') return refused(ctx, resolved)
      return puller.get(ctx, route, resolved, conditions)
    },

    document: (ctx, route, request) => documents.get(ctx, route, request),

    async changed(repo) {
      known.changed(repo)
      // It may have been made private, or deleted: the next visit asks for a stranger again.
      await access.withdrawn(repo, now(), 'token')
    },

    xetToken() {
      throw new MirrorError('xet_disabled')
    },
  }
}
