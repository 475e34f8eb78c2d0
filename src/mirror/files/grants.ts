// What the Hub has answered to one credential about a file. It saves the question for the request that follows, and within the
// grace it answers while the Hub cannot be asked. In memory only: the disk never names what a restricted repo holds. Each
// grant is for one credential and one file, as the Hub described it. It opens nothing else of the repo. For a moment it also
// lets the mirror repeat to that credential what the Hub has sent it in a listing of the same commit.

import { mayBeOutsideGate } from '../../hub/gate.ts'
import { type CommitHash, isCommitHash, type Repo, repoKey } from '../../hub/names.ts'
import type { FileRoute } from '../../hub/route.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import type { Access } from '../access/access.ts'
import type { Contents } from '../content.ts'
import type { Ctx } from '../context.ts'
import type { Invalidations } from '../invalidations.ts'
import type { FileFact } from '../metadata/files.ts'
import type { Metadata } from '../metadata/metadata.ts'

interface Grant {
  readonly fact: FileFact
  /** When the request to the Hub was sent. */
  readonly at: number
  /** Whether the repo is known not to have been public then. Nothing else proves a right to a restricted repo. */
  isRestricted: boolean
}

export interface GrantsOptions {
  readonly access: Access
  readonly metadata: Metadata
  readonly contents: Pick<Contents, 'isStored'>
  /** Whether bytes that are not public may be stored. */
  readonly cachePrivate: boolean
  /** Read at each use: they may change. */
  readonly settings: { readonly refTtlMs: number; readonly accessTtlMs: number }
  readonly invalidations: Pick<Invalidations, 'onRemoved'>
  readonly monotonic: () => number
}

/** What the Hub answered to a caller's own request about a file. */
export interface AnsweredFile {
  readonly fact: FileFact
  /** When the request was sent. */
  readonly askedAt: number
  /** Whether the repo is public, when that is known. Must not reject. */
  readonly isPublic: Promise<boolean>
}

export class Grants {
  readonly #options: GrantsOptions
  readonly #grants = new MemoryCache<Grant>({ maxBytes: 12 * 1024 * 1024, sizeOf })
  // When the request was sent in answer to which the Hub showed a credential a file of a commit of a restricted repo.
  readonly #commits = new MemoryCache<number>({ maxBytes: 2 * 1024 * 1024 })

  constructor(options: GrantsOptions) {
    this.#options = options
    options.invalidations.onRemoved(() => {
      this.#grants.clear()
      this.#commits.clear()
    })
  }

  /** Grants this caller what the Hub answered to its own request, while that counts. */
  add(ctx: Ctx, route: FileRoute, { fact, askedAt, isPublic }: AnsweredFile): void {
    // What a commit does not have is asked again, unless the Hub is away.
    if (fact.kind === 'absent' && !this.#mayHaveGrace(ctx)) return
    const grant: Grant = { fact, at: askedAt, isRestricted: false }
    // By the commit as well: the GET that follows a HEAD asks for the commit.
    for (const name of [route.revision, commitOf(fact)]) this.#grants.set(keyOf(ctx, route, name), grant)
    void isPublic.then((open) => {
      grant.isRestricted = !open && this.#options.access.isRestricted(route.repo)
      // All may read the card of a gated repo, and a commit of a repo that is public.
      if (!grant.isRestricted || fact.kind === 'absent' || mayBeOutsideGate(route.path)) return
      const key = commitKey(ctx, route.repo, fact.meta.commit)
      this.#commits.set(key, Math.max(askedAt, this.#commits.get(key) ?? askedAt))
    })
  }

  /**
   * Whether the Hub has shown this very caller a file of the commit a moment ago, while the repo was known not to be public. It
   * opens no bytes: what it allows is to say of the other files what the Hub has sent to this credential in a listing.
   */
  coversCommit(ctx: Ctx, repo: Repo, commit: CommitHash): boolean {
    const { access, metadata, settings, monotonic } = this.#options
    const at = this.#commits.get(commitKey(ctx, repo, commit))
    if (at === undefined || ctx.authorization === undefined) return false
    if (monotonic() - at >= settings.accessTtlMs || metadata.refs.changedSince(repo, at)) return false
    return !access.deniedSince(ctx.fingerprint, repo, at)
  }

  /** What the Hub answered this very caller a moment ago, about a repo that is not public. */
  fresh(ctx: Ctx, route: FileRoute): Extract<FileFact, { kind: 'present' }> | undefined {
    const { access, metadata, settings, monotonic } = this.#options
    const { refTtlMs, accessTtlMs } = settings
    const { repo, revision } = route
    const grant = this.#grants.get(keyOf(ctx, route, revision))
    const lifeMs = isCommitHash(revision) ? accessTtlMs : Math.min(refTtlMs, accessTtlMs)
    if (grant?.fact.kind !== 'present' || monotonic() - grant.at >= lifeMs) return undefined
    if (metadata.refs.changedSince(repo, grant.at)) return undefined
    if (access.deniedSince(ctx.fingerprint, repo, grant.at)) return undefined
    // What one anonymous request learns of the repo holds for all of them.
    if (ctx.authorization === undefined && access.verdict(repo) === 'restricted') return undefined
    return grant.fact
  }

  /** Whether this very caller was answered about a restricted repo within the grace, so that `withoutHub` may find it. */
  hasGrace(ctx: Ctx, route: FileRoute): boolean {
    return this.#inGrace(ctx, route) !== undefined
  }

  /**
   * What the Hub answered this very caller within the grace, about a restricted repo, if the bytes are stored. Only for a time
   * when the Hub cannot be asked.
   */
  async withoutHub(
    ctx: Ctx,
    route: FileRoute,
  ): Promise<{ readonly fact: FileFact; readonly askedAt: number } | undefined> {
    const { contents } = this.#options
    const grant = this.#inGrace(ctx, route)
    if (grant === undefined) return undefined
    const { fact, at: askedAt } = grant
    // A client that was promised bytes which are not here would not use its own copy.
    const isMissing =
      fact.kind === 'present' &&
      fact.meta.sizeBytes > 0 &&
      !(await contents.isStored(fact.key, fact.meta.sizeBytes))
    if (isMissing) return undefined
    // Another request may have been refused meanwhile.
    return this.#inGrace(ctx, route) === grant ? { fact, askedAt } : undefined
  }

  #inGrace(ctx: Ctx, route: FileRoute): Grant | undefined {
    if (!this.#mayHaveGrace(ctx)) return undefined
    const grant = this.#grants.get(keyOf(ctx, route, route.revision))
    if (grant?.isRestricted !== true) return undefined
    return this.#options.access.hasGrace(ctx.fingerprint, route.repo, grant.at) ? grant : undefined
  }

  /** Nothing else is stored of restricted repos, and a caller without a credential has no right that could be proved. */
  #mayHaveGrace(ctx: Ctx): boolean {
    return this.#options.cachePrivate && ctx.authorization !== undefined
  }
}

function sizeOf({ fact }: Grant): number {
  if (fact.kind === 'absent') return textBytes(fact.commit)
  return textBytes(fact.meta.commit, fact.meta.etag, fact.meta.contentType, fact.key)
}

function commitOf(fact: FileFact): CommitHash {
  return fact.kind === 'absent' ? fact.commit : fact.meta.commit
}

function keyOf(
  { fingerprint }: Pick<Ctx, 'fingerprint'>,
  { repo, path }: { readonly repo: Repo; readonly path: string },
  revision: string,
): string {
  return `${fingerprint} ${repoKey(repo)} ${revision} ${path}`
}

function commitKey({ fingerprint }: Pick<Ctx, 'fingerprint'>, repo: Repo, commit: CommitHash): string {
  return `${fingerprint} ${repoKey(repo)} ${commit}`
}
