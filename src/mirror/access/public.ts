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
 * share. False when the Hub refuses, is away, or has no such info. Never rejects.
 */
export function provePublic(ctx: Ctx, repo: Repo, options: PublicOptions): Promise<boolean> {
  const verdict = options.access.verdict(repo)
  return verdict === undefined ? askPublic(ctx, repo, options) : Promise.resolve(verdict === 'public')
}

/**
 * Resolves to whether what a caller gets of a commit may be stored and shared, if the repo counts as public: without a credential
 * always, and with one if the proof is not older than the first sight of the commit. Asks for a newer proof if need be.
 * `askedAt` is when the request was sent whose answer named the commit, or when the proof was asked for along with it. Never rejects.
 */
export async function proveCommit(
  ctx: Ctx,
  { repo, commit, askedAt }: { readonly repo: Repo; readonly commit: CommitHash; readonly askedAt: number },
  options: PublicOptions,
): Promise<boolean> {
  const { access } = options
  if (ctx.authorization === undefined) return true
  access.saw(repo, commit, askedAt)
  return proveUntil(ctx, repo, () => access.coversSeen(repo, commit), options)
}

/** The same for an answer that names no commit, such as one about a branch. `askedAt` is when its request was sent. */
export async function proveAnswer(
  ctx: Ctx,
  { repo, askedAt }: { readonly repo: Repo; readonly askedAt: number },
  options: PublicOptions,
): Promise<boolean> {
  return (
    ctx.authorization === undefined ||
    proveUntil(ctx, repo, () => options.access.covers(repo, askedAt), options)
  )
}

/**
 * The same for an object whose address the Hub has given out: `Access.saw` has noted when, or it counts as seen now. The credential
 * of that request is not known any more.
 */
export async function proveObject(
  ctx: Ctx,
  { repo, sha256 }: { readonly repo: Repo; readonly sha256: string },
  options: PublicOptions,
): Promise<boolean> {
  const { access, monotonic } = options
  access.saw(repo, sha256, monotonic())
  return proveUntil(ctx, repo, () => access.coversSeen(repo, sha256), options)
}

/** Questions until the answer is not older than what it must cover, and no write has put it in doubt. */
const MOST_QUESTIONS = 3

/**
 * Resolves to whether the repo is public, by a proof that was asked for at `since` or after. A write that passes meanwhile puts an
 * answer in doubt; then it is asked again. Never rejects.
 */
export async function proveSince(
  ctx: Ctx,
  repo: Repo,
  since: number,
  options: PublicOptions,
): Promise<boolean> {
  const { access, client } = options
  for (let asked = 0; asked < MOST_QUESTIONS; asked += 1) {
    if (access.covers(repo, since)) return true
    await askPublic(ctx, repo, options)
    if (access.verdict(repo) === 'restricted' || client.isRecentlyUnreachable()) return false
  }
  return access.covers(repo, since)
}

async function proveUntil(
  ctx: Ctx,
  repo: Repo,
  isCovered: () => boolean,
  options: PublicOptions,
): Promise<boolean> {
  if (isCovered()) return true
  const isPublic = await askPublic(ctx, repo, options)
  // It may have joined a question that was sent before.
  return isCovered() || (isPublic && askPublic(ctx, repo, options))
}

function askPublic(ctx: Ctx, repo: Repo, options: PublicOptions): Promise<boolean> {
  const { client, access, metadata, monotonic } = options
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
