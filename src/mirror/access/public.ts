// Finds out whether a repo is public when no file of it was requested.

import type { Repo } from '../../hub/names.ts'
import type { OriginClient } from '../../origin/client.ts'
import { askPublicAccess } from '../../origin/repos/repo-access.ts'
import { anonymousRequester, type Ctx } from '../context.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { Access } from './access.ts'

export interface PublicOptions {
  readonly client: OriginClient
  readonly access: Access
  readonly metadata: Metadata
  readonly monotonic: () => number
  /** Whether a rule depends on licences; the request to the Hub then includes them. */
  readonly asksLicence?: () => boolean
}

/**
 * Resolves to whether the repo is public, by the verdict or by one request without a credential, which concurrent callers
 * share. False when the Hub refuses, is away, or has no such info. With `since`, a proof counts only if it was asked for after
 * that. Never rejects.
 */
export function provePublic(ctx: Ctx, repo: Repo, options: PublicOptions, since?: number): Promise<boolean> {
  const { client, access, metadata, monotonic } = options
  const verdict = access.verdict(repo)
  if (verdict === 'restricted') return Promise.resolve(false)
  const isProved = since === undefined ? verdict === 'public' : access.isPublicSince(repo, since)
  if (isProved) return Promise.resolve(true)
  const ask = async (): Promise<boolean | undefined> => {
    const askedAt = monotonic()
    const open = await askPublicAccess(client, repo, anonymousRequester(ctx), {
      licence: options.asksLicence?.() === true,
      onTraits: (traits) => metadata.repos.setTraits(repo, traits, askedAt),
    })
    return open === 'unsaid' ? undefined : open
  }
  return access.prove(repo, ask, ctx.admission?.names)
}
