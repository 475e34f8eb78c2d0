// Who may read a repo. Public is proved, never assumed: the Hub's own repo info says neither private nor gated nor
// disabled, and no stranger was refused. Knows no bytes.

import type { Repo } from '../../hub/names.ts'
import { repoKey } from '../../hub/names.ts'
import { deniesRepo, isBadToken, type Refusal } from '../../hub/refusal.ts'
import { MemoryCache } from '../../memory.ts'
import { isRepoMoved } from '../../origin/repo-moved.ts'
import type { Invalidations } from '../invalidations.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { SingleFlight } from '../single-flight.ts'

interface Verdict {
  readonly public: boolean
  /** When the question was asked. */
  readonly at: number
  /** Not public for now, but nobody has asked as a stranger. */
  readonly isDoubtful: boolean
}

export class Access {
  readonly #metadata: Metadata
  readonly #invalidations: Pick<Invalidations, 'invalidate'>
  readonly #settings: { readonly accessTtlMs: number }
  readonly #monotonic: () => number
  // When the question was asked whose answer was "everybody may" or "not everybody".
  readonly #verdicts = new MemoryCache<Verdict>({ maxBytes: 16 * 1024 * 1024 })
  readonly #probes = new SingleFlight<boolean>(isRepoMoved)
  // When the question was asked that the Hub refused a credential, by credential and repo or by credential alone.
  readonly #denials = new MemoryCache<number>({ maxBytes: 16 * 1024 * 1024 })

  constructor(options: {
    readonly metadata: Metadata
    readonly invalidations: Pick<Invalidations, 'invalidate'>
    readonly settings: { readonly accessTtlMs: number }
    readonly monotonic: () => number
  }) {
    this.#metadata = options.metadata
    this.#invalidations = options.invalidations
    this.#settings = options.settings
    this.#monotonic = options.monotonic
  }

  /** Whether everybody may, by a question that was asked after `at`. */
  isPublicSince(repo: Repo, at: number): boolean {
    const known = this.#verdicts.get(repoKey(repo))
    return known?.public === true && known.at > at
  }

  /** What may be believed of the repo without asking: public, not public, or nothing. */
  verdict(repo: Repo): 'public' | 'restricted' | undefined {
    const known = this.#fresh(repo)
    if (known === undefined || known.isDoubtful) return undefined
    return known.public ? 'public' : 'restricted'
  }

  /** Up to when the repo may be believed to be everybody's without asking; undefined when it may not. */
  publicUntil(repo: Repo): number | undefined {
    const known = this.#fresh(repo)
    return known?.public === true ? known.at + this.#settings.accessTtlMs : undefined
  }

  #fresh(repo: Repo): Verdict | undefined {
    const known = this.#verdicts.get(repoKey(repo))
    return known !== undefined && this.#monotonic() - known.at < this.#settings.accessTtlMs
      ? known
      : undefined
  }

  /**
   * The Hub called the repo open, `askedAt`. Resolves with whether that stands: a later question may have been refused.
   */
  async proved(repo: Repo, askedAt: number): Promise<boolean> {
    await this.#decide(repo, true, askedAt)
    return this.#verdicts.get(repoKey(repo))?.public === true
  }

  /**
   * The Hub refused; whatever was believed ends here. Refusing a stranger settles it. Refusing somebody's token
   * does not: that token may be a narrow one, so the next caller's visit asks for a stranger again.
   */
  async withdrawn(repo: Repo, askedAt: number, refused: 'stranger' | 'token' = 'stranger'): Promise<void> {
    await this.#decide(repo, false, askedAt, refused === 'token')
  }

  /**
   * The Hub refused this credential what it asked of a repo (undefined: of none), wherever: everything that the refusal
   * speaks against ends at once.
   */
  async refused(
    requester: { readonly fingerprint: string; readonly authorization: string | undefined },
    repo: Repo | undefined,
    refusal: Refusal,
    askedAt: number,
  ): Promise<void> {
    // A token that the Hub does not know says nothing about the repo, but opens none any more.
    if (isBadToken(refusal)) this.denied(requester.fingerprint, undefined, askedAt)
    else if (repo !== undefined && deniesRepo(refusal)) {
      this.denied(requester.fingerprint, repo, askedAt)
      await this.withdrawn(repo, askedAt, requester.authorization === undefined ? 'stranger' : 'token')
    }
  }

  /** The Hub refused this credential the repo, or knows it no more (`repo` undefined): earlier rights end here. */
  denied(fingerprint: string, repo: Repo | undefined, askedAt: number): void {
    const key = denialKey(fingerprint, repo)
    this.#denials.set(key, Math.max(askedAt, this.#denials.get(key) ?? askedAt))
  }

  /** Whether a right that the Hub granted to this credential `at` (of a repo, or of none) has been refused to it since. */
  deniedSince(fingerprint: string, repo: Repo | undefined, at: number): boolean {
    return [repo, undefined].some((scope) => {
      const deniedAt = this.#denials.get(denialKey(fingerprint, scope))
      return deniedAt !== undefined && deniedAt >= at
    })
  }

  async #decide(repo: Repo, isPublic: boolean, askedAt: number, isDoubtful = false): Promise<void> {
    const key = repoKey(repo)
    const before = this.#verdicts.get(key)
    // A late answer to an early question must not undo a later one; in doubt, and at a tie, the repo is not public.
    if (before !== undefined && before.at > askedAt && (isPublic || !before.public)) return
    if (before?.at === askedAt && !before.public && !before.isDoubtful) return
    this.#verdicts.set(key, { public: isPublic, at: askedAt, isDoubtful })
    if (!isPublic) this.#invalidations.invalidate(repo)
    await this.#metadata.repos.setPublic(repo, isPublic)
  }

  /**
   * Asks anonymously, once for all who want to know at this moment. `ask` says whether the Hub let a stranger in, or
   * undefined when it did not say. An origin that is away proves nothing; nor does one that leads to another name, but
   * to those who were decided about by other `names`, who ask for themselves.
   */
  async prove(repo: Repo, ask: () => Promise<boolean | undefined>, names = ''): Promise<boolean> {
    const settle = async (): Promise<boolean> => {
      const askedAt = this.#monotonic()
      const answer = await ask().catch((error: unknown) => {
        if (isRepoMoved(error)) throw error
      })
      if (answer === undefined) return false
      await this.#decide(repo, answer, askedAt)
      // Not the answer itself: the Hub may have said otherwise to a later question.
      return this.#verdicts.get(repoKey(repo))?.public === true
    }
    try {
      return await this.#probes.run(repoKey(repo), settle, names)
    } catch (error) {
      if (isRepoMoved(error)) return false
      throw error
    }
  }

  /** Whether the last word of the Hub, however old, was "public". Decides only while the origin is away. */
  async lastKnownPublic(repo: Repo): Promise<boolean> {
    // The disk may not have followed a withdrawal yet, or may have failed to.
    if (this.#verdicts.get(repoKey(repo))?.public === false) return false
    return this.#metadata.repos.wasPublic(repo)
  }
}

function denialKey(fingerprint: string, repo: Repo | undefined): string {
  return repo === undefined ? fingerprint : `${fingerprint} ${repoKey(repo)}`
}
