// Who may read a repo. Public is proved, never assumed: the Hub's own repo info says neither private nor gated nor
// disabled, and no request without a credential was refused. Knows no bytes.

import { type Repo, repoKey } from '../../hub/names.ts'
import { deniesRepo, isBadToken, type Refusal } from '../../hub/refusal.ts'
import { MemoryCache } from '../../memory.ts'
import { isRepoMoved } from '../../origin/repo-moved.ts'
import type { Ctx } from '../context.ts'
import type { Invalidations } from '../invalidations.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { RestrictedMetadata } from '../metadata/restricted.ts'
import { SingleFlight } from '../single-flight.ts'

interface Verdict {
  readonly public: boolean
  /** When the request to the Hub was sent. */
  readonly at: number
  /** Not public for now, but the Hub has not been asked without a credential since. */
  readonly isDoubtful: boolean
}

interface AccessSettings {
  readonly accessTtlMs: number
  readonly staleGraceMs: number
}

type Restricted = Pick<RestrictedMetadata, 'isNamed' | 'isShown' | 'show' | 'end' | 'endAll'>

export class Access {
  readonly #metadata: Metadata
  readonly #invalidations: Pick<Invalidations, 'invalidate'>
  readonly #settings: AccessSettings
  readonly #monotonic: () => number
  // The last verdict on each repo.
  readonly #verdicts = new MemoryCache<Verdict>({ maxBytes: 16 * 1024 * 1024 })
  readonly #probes = new SingleFlight<boolean>(isRepoMoved)
  // When the first request was sent whose answer named a commit or an object. An evicted one costs one question.
  readonly #firstSeen = new MemoryCache<number>({ maxBytes: 4 * 1024 * 1024 })
  // When a write was accepted that may have been to any repo: earlier verdicts are asked again.
  #allDoubtedAt = Number.NEGATIVE_INFINITY
  // When a request was sent that the Hub refused to a credential, by credential and repo, or by credential alone.
  readonly #denials = new MemoryCache<number>({
    maxBytes: 16 * 1024 * 1024,
    onRemove: (deniedAt) => (this.#forgottenDenialAt = Math.max(this.#forgottenDenialAt, deniedAt)),
  })
  // The last of those that were evicted: what was granted before it may have been refused.
  #forgottenDenialAt = Number.NEGATIVE_INFINITY
  readonly #restricted: Restricted
  // When a request was last sent by which the Hub has shown a credential what its restricted repo holds.
  readonly #shown = new MemoryCache<number>({ maxBytes: 4 * 1024 * 1024 })

  constructor(options: {
    readonly metadata: Metadata
    readonly invalidations: Pick<Invalidations, 'invalidate' | 'onRemoved'>
    /** What is kept of restricted repos that a rule names. */
    readonly restricted: Restricted
    /** Read at each use: they may change. */
    readonly settings: AccessSettings
    readonly monotonic: () => number
  }) {
    this.#metadata = options.metadata
    this.#invalidations = options.invalidations
    this.#restricted = options.restricted
    this.#settings = options.settings
    this.#monotonic = options.monotonic
    // A proof that is asked for again is stored again.
    options.invalidations.onRemoved(() => this.doubtAll())
  }

  /** Whether the repo is public, by a request that was sent after `at`. */
  isPublicSince(repo: Repo, at: number): boolean {
    const known = this.#verdicts.get(repoKey(repo))
    return known?.public === true && known.at > at
  }

  /** Whether the repo is public, by a request that was sent at `at` or after. */
  covers(repo: Repo, at: number): boolean {
    const known = this.#verdicts.get(repoKey(repo))
    return known?.public === true && known.at >= at
  }

  /** An answer of the Hub to a request that was sent at `askedAt` has named a commit of the repo, or an object by its sha256. */
  saw(repo: Repo, name: string, askedAt: number): void {
    const key = `${repoKey(repo)} ${name}`
    this.#firstSeen.set(key, Math.min(askedAt, this.#firstSeen.get(key) ?? askedAt))
  }

  /**
   * Whether the repo is public, by a proof that is not older than the first sight of the commit or object. One that came after the
   * proof may be the first of a repo that has turned private.
   */
  coversSeen(repo: Repo, name: string): boolean {
    const seenAt = this.#firstSeen.get(`${repoKey(repo)} ${name}`)
    return seenAt !== undefined && this.covers(repo, seenAt)
  }

  /** What is known without asking: public, not public, or nothing. */
  verdict(repo: Repo): 'public' | 'restricted' | undefined {
    const known = this.#fresh(repo)
    if (known === undefined || known.isDoubtful) return undefined
    return known.public ? 'public' : 'restricted'
  }

  /** Until when the repo counts as public without asking; undefined if it does not. */
  publicUntil(repo: Repo): number | undefined {
    const known = this.#fresh(repo)
    return known?.public === true ? known.at + this.#settings.accessTtlMs : undefined
  }

  #fresh(repo: Repo): Verdict | undefined {
    const known = this.#verdicts.get(repoKey(repo))
    return known !== undefined &&
      known.at > this.#allDoubtedAt &&
      this.#monotonic() - known.at < this.#settings.accessTtlMs
      ? known
      : undefined
  }

  /** A write was accepted that may have been to any repo: all are asked again before a verdict is used. */
  doubtAll(): void {
    this.#allDoubtedAt = this.#monotonic()
  }

  /** The same, and the write may have made an existing repo private, or deleted it: what is stored of none is served by a rule. */
  async writtenAnywhere(): Promise<void> {
    this.doubtAll()
    await this.#restricted.endAll(this.#monotonic())
  }

  /**
   * The Hub called the repo public, in answer to a request sent at `askedAt`. Resolves to whether that stands: a later
   * request may have been refused.
   */
  async proved(repo: Repo, askedAt: number): Promise<boolean> {
    await this.#decide(repo, true, askedAt)
    return this.#verdicts.get(repoKey(repo))?.public === true
  }

  /**
   * The Hub refused, so the verdict ends here. A refused request without a credential settles it. A refused token does not:
   * it may be a narrow one, so the next request asks the Hub without a credential again.
   */
  async withdrawn(repo: Repo, askedAt: number, refused: 'anonymous' | 'token' = 'anonymous'): Promise<void> {
    await this.#decide(repo, false, askedAt, refused === 'token')
  }

  /** A write to the repo went through the mirror. It may have made it private, or deleted it: the Hub is asked again. */
  async written(repo: Repo): Promise<void> {
    const at = this.#monotonic()
    await Promise.all([this.#restricted.end(repo, at), this.withdrawn(repo, at, 'token')])
  }

  /**
   * The Hub refused this credential what it asked of a repo (undefined: of none), on whatever path. All rights that the
   * refusal contradicts end at once.
   */
  async refused(
    requester: Pick<Ctx, 'fingerprint' | 'authorization'> & Partial<Pick<Ctx, 'lent'>>,
    repo: Repo | undefined,
    refusal: Refusal,
    askedAt: number,
  ): Promise<void> {
    // The refusal of a token that the Hub does not know says nothing about the repo, but ends every right of that
    // token.
    if (isBadToken(refusal)) this.denied(requester.fingerprint, undefined, askedAt)
    else if (repo !== undefined && deniesRepo(refusal)) {
      const { fingerprint, authorization, lent } = requester
      this.denied(fingerprint, repo, askedAt)
      const isTaken =
        lent !== undefined || this.#shown.has(denialKey(fingerprint, repo)) || this.#shown.hasEvicted
      // Callers who never had a right at the Hub take none from those whom a rule names.
      const ended = authorization !== undefined && isTaken ? this.#restricted.end(repo, askedAt) : undefined
      await this.withdrawn(repo, askedAt, authorization === undefined ? 'anonymous' : 'token')
      await ended
    }
  }

  /**
   * The Hub has shown this credential what a restricted repo holds, in answer to a request that was sent at `askedAt`: callers whom
   * a rule names may read from now on what is stored of it, while the Hub cannot be asked.
   */
  shown({ fingerprint }: Pick<Ctx, 'fingerprint'>, repo: Repo, askedAt: number): void {
    if (!this.#restricted.isNamed(repo) || this.deniedSince(fingerprint, repo, askedAt)) return
    if (this.#metadata.refs.changedSince(repo, askedAt)) return
    this.#shown.set(denialKey(fingerprint, repo), askedAt)
    this.#restricted.show(repo, askedAt)
  }

  /** The Hub uses another name for the repo now: rules about that one count, which would be unknown after a restart. */
  renamed(repo: Repo): Promise<void> {
    return this.#restricted.end(repo, this.#monotonic())
  }

  /**
   * Whether what the Hub has answered to this caller may be kept for callers whom a rule names: a credential was sent, the repo is
   * known not to be public, and has the name that the Hub uses. What an anonymous request gets proves nothing.
   */
  mayKeep({ authorization, admission }: Pick<Ctx, 'authorization' | 'admission'>, repo: Repo): boolean {
    if (authorization === undefined || admission?.mayStore(undefined) === false) return false
    const name = this.#metadata.repos.nameInMemory(repo) ?? repo.id
    return this.isRestricted(repo) && name.toLowerCase() === repo.id.toLowerCase()
  }

  /**
   * Whether a rule lets this caller read what is stored of a restricted repo, now that the Hub cannot be asked. The last word of
   * the Hub about the repo must be that it showed it to a credential with a right to it; and to the credential of this caller, if
   * it sent one, no refusal.
   */
  async mayServeStored(
    { admission, authorization, fingerprint }: Pick<Ctx, 'admission' | 'authorization' | 'fingerprint'>,
    repo: Repo,
  ): Promise<boolean> {
    if (admission?.servedBy === undefined || !admission.mayStore(undefined)) return false
    const shownAt = this.#shown.get(denialKey(fingerprint, repo)) ?? Number.MIN_SAFE_INTEGER
    if (authorization !== undefined && this.deniedSince(fingerprint, repo, shownAt)) return false
    return this.#restricted.isShown(repo)
  }

  /**
   * The Hub refused the repo to this credential, or no longer knows the credential (`repo` undefined). Earlier rights end
   * here.
   */
  denied(fingerprint: string, repo: Repo | undefined, askedAt: number): void {
    const key = denialKey(fingerprint, repo)
    this.#denials.set(key, Math.max(askedAt, this.#denials.get(key) ?? askedAt))
  }

  /** Whether a right that the Hub granted to this credential at `at` (to a repo, or to none) was refused since, or may have been. */
  deniedSince(fingerprint: string, repo: Repo | undefined, at: number): boolean {
    if (this.#forgottenDenialAt >= at) return true
    return [repo, undefined].some((scope) => {
      const deniedAt = this.#denials.get(denialKey(fingerprint, scope))
      return deniedAt !== undefined && deniedAt >= at
    })
  }

  /** Whether the last word of the Hub to an anonymous request, however old, was that the repo is not public. */
  isRestricted(repo: Repo): boolean {
    const known = this.#verdicts.get(repoKey(repo))
    return known?.public === false && !known.isDoubtful
  }

  /** Whether the last word of the Hub about the repo to this process, however old or doubtful, was a refusal. */
  wasRefused(repo: Repo): boolean {
    return this.#verdicts.get(repoKey(repo))?.public === false
  }

  /**
   * Whether a right to a restricted repo that the Hub granted to this credential at `at` still counts while the Hub cannot be
   * asked: within the grace, unless the Hub has refused something since, or a write to the repo went through the mirror. The
   * time is that of the monotonic clock, so that no step of the wall clock makes it longer.
   */
  hasGrace(fingerprint: string, repo: Repo, at: number): boolean {
    if (this.#monotonic() - at >= this.#settings.staleGraceMs) return false
    return !this.deniedSince(fingerprint, repo, at) && !this.#metadata.refs.changedSince(repo, at)
  }

  async #decide(repo: Repo, isPublic: boolean, askedAt: number, isDoubtful = false): Promise<void> {
    const key = repoKey(repo)
    const before = this.#verdicts.get(key)
    // A late answer to an early request must not undo a later one. In doubt, and at a tie, the repo is not public.
    if (before !== undefined && before.at > askedAt && (isPublic || !before.public)) return
    if (before?.at === askedAt && !before.public && !before.isDoubtful) return
    this.#verdicts.set(key, { public: isPublic, at: askedAt, isDoubtful })
    if (!isPublic) this.#invalidations.invalidate(repo)
    // If it turns restricted again, the Hub must show it again.
    const ended = isPublic ? this.#restricted.end(repo, askedAt) : undefined
    await this.#metadata.repos.setPublic(repo, isPublic)
    await ended
  }

  /**
   * Asks without a credential, once for all callers that need to know at this moment. `ask` resolves to whether the Hub
   * allowed it, or to undefined when the Hub did not say. An unreachable origin leaves the verdict unchanged. So does a
   * redirect to a renamed repo, except for callers whose policies were evaluated under other `names`: those run their own
   * probe.
   */
  async prove(repo: Repo, ask: () => Promise<boolean | undefined>, names = ''): Promise<boolean> {
    const settle = async (): Promise<boolean> => {
      const askedAt = this.#monotonic()
      const answer = await ask().catch((error: unknown) => {
        if (isRepoMoved(error)) throw error
      })
      if (answer === undefined) return false
      await this.#decide(repo, answer, askedAt)
      // Not `answer`: a later request may have been answered otherwise.
      return this.#verdicts.get(repoKey(repo))?.public === true
    }
    try {
      return await this.#probes.run(repoKey(repo), settle, names)
    } catch (error) {
      if (isRepoMoved(error)) return false
      throw error
    }
  }

  /** Resolves when the question whether the repo is public is answered, if it is being asked. Never rejects. */
  async proving(repo: Repo): Promise<void> {
    await this.#probes.running(repoKey(repo))?.catch(() => undefined)
  }

  /** Whether the last word of the Hub, however old, was "public". Decides only while the origin is away. */
  async lastKnownPublic(repo: Repo): Promise<boolean> {
    // The disk may not have followed a withdrawal yet, or the write may have failed.
    if (this.wasRefused(repo)) return false
    return this.#metadata.repos.wasPublic(repo)
  }
}

function denialKey(fingerprint: string, repo: Repo | undefined): string {
  // The Hub ignores case, so a refusal holds for all spellings of a name.
  return repo === undefined ? fingerprint : `${fingerprint} ${repoKey(repo).toLowerCase()}`
}
