// Finds out whether a repo is public when no file of it was requested.

import type { CommitHash, Repo } from '../../hub/names.ts'
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

/**
 * Resolves to whether what a caller gets of a commit may be stored and shared, if the repo counts as public: without a credential
 * always, and with one if the proof is not older than the first sight of the commit. Asks for a newer proof if need be.
 * `askedAt` is when the request was sent whose answer named the commit. Never rejects.
 */
export function proveCommit(
  ctx: Ctx,
  { repo, commit, askedAt }: { readonly repo: Repo; readonly commit: CommitHash; readonly askedAt: number },
  options: PublicOptions,
): Promise<boolean> {
  if (ctx.authorization === undefined) return Promise.resolve(true)
  if (options.access.coversCommit(repo, commit, askedAt)) return Promise.resolve(true)
  return provePublic(ctx, repo, options, askedAt)
}
