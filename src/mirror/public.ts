// Whether everybody may read a repo, where no file of it has been asked for by name.

import type { Repo } from '../hub/names.ts'
import type { OriginClient } from '../origin/client.ts'
import { isOpenToAll } from '../origin/openness.ts'
import type { Access } from './access.ts'
import { anonymousAsker, type Ctx } from './context.ts'
import type { Known } from './known.ts'

export interface PublicOptions {
  readonly client: OriginClient
  readonly access: Access
  readonly known: Known
  readonly monotonic: () => number
  /** Whether a rule asks for licences: then the Hub is asked for them with the rest. */
  readonly asksLicence?: () => boolean
}

/**
 * What is believed of the repo, or what the Hub tells a stranger now: one question for all who want to know. False where
 * the Hub says no, is away, or has no such info. Never rejects.
 */
export function provePublic(ctx: Ctx, repo: Repo, options: PublicOptions): Promise<boolean> {
  const { client, access, known, monotonic } = options
  const verdict = access.verdict(repo)
  if (verdict !== undefined) return Promise.resolve(verdict === 'public')
  const ask = async (): Promise<boolean | undefined> => {
    const askedAt = monotonic()
    const open = await isOpenToAll(client, repo, anonymousAsker(ctx), {
      licence: options.asksLicence?.() === true,
      onTraits: (traits) => known.tell(repo, traits, askedAt),
    })
    return open === 'unsaid' ? undefined : open
  }
  return access.prove(repo, ask, ctx.admission?.names)
}
