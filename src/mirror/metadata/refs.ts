// Which commit a branch or tag was last seen at, and whether that may be used without asking the Hub.

import { branchName, type CommitHash, isCommitHash, type Repo } from '../../hub/names.ts'
import { MemoryCache } from '../../memory.ts'
import { isRecord } from '../../records.ts'
import type { Invalidations } from '../invalidations.ts'
import type { FactStore } from './fact-store.ts'

/** Names of revisions that are kept of one repo. */
const MAX_NAMES = 256
const MEGABYTE = 1024 * 1024

interface SeenRef {
  readonly commit: CommitHash
  /** When the request to the Hub was sent. */
  readonly at: number
}

/** A ref that this process has asked for. */
interface RefInMemory {
  readonly commit: CommitHash
  readonly fresh: boolean
  readonly at: number
  /** The end of its freshness, unless a write through the mirror ends it earlier. */
  readonly until: number
}

export class RefMetadata {
  readonly #store: FactStore
  readonly #monotonic: () => number
  readonly #invalidations: Pick<Invalidations, 'invalidate'>
  readonly #refs = new MemoryCache<SeenRef>({ maxBytes: 16 * MEGABYTE })
  // When a write to a repo last went through the mirror.
  readonly #changes = new MemoryCache<number>({ maxBytes: 2 * MEGABYTE })
  // When a write last went through the mirror that may have been to any repo.
  #allChangedAt = Number.NEGATIVE_INFINITY
  #naming = Promise.resolve()

  constructor(
    store: FactStore,
    options: {
      readonly monotonic: () => number
      readonly invalidations: Pick<Invalidations, 'invalidate'>
    },
  ) {
    this.#store = store
    this.#monotonic = options.monotonic
    this.#invalidations = options.invalidations
  }

  /**
   * The commit that `revision` was last seen at. `fresh` says that it may be used without asking. `at` (when the Hub
   * was asked) and `until` are present when this process has asked.
   */
  async get(
    repo: Repo,
    revision: string,
    ttlMs: number,
  ): Promise<(Pick<RefInMemory, 'commit' | 'fresh'> & Partial<RefInMemory>) | undefined> {
    if (isCommitHash(revision)) return { commit: revision, fresh: true }
    const inMemory = this.inMemory(repo, revision, ttlMs)
    if (inMemory !== undefined) return inMemory
    const stored = await this.#store.read('refs', this.#store.refKey(repo, revision))
    if (!isRecord(stored) || typeof stored['commit'] !== 'string' || !isCommitHash(stored['commit']))
      return undefined
    return { commit: stored['commit'], fresh: false }
  }

  /** The same, when this process has asked the Hub. */
  inMemory(repo: Repo, revision: string, ttlMs: number): RefInMemory | undefined {
    const seen = this.#refs.get(this.#store.refKey(repo, revision))
    if (seen === undefined) return undefined
    const { commit, at } = seen
    const until = at + ttlMs
    return { commit, at, until, fresh: this.#monotonic() < until && !this.changedSince(repo, at) }
  }

  /**
   * The Hub named this commit in its answer to a request that was sent at `askedAt`: an answer is not younger than its request.
   * A moved branch invalidates what was answered of the repo. `store` is false while it is not known that the repo is public.
   */
  set(repo: Repo, revision: string, commit: CommitHash, options: { askedAt: number; store: boolean }): void {
    if (isCommitHash(revision)) return
    const key = this.#store.refKey(repo, revision)
    const before = this.#refs.get(key)
    if (before !== undefined && before.at > options.askedAt) return
    const hasMoved = before === undefined ? this.#refs.hasEvicted : before.commit !== commit
    this.#refs.set(key, { commit, at: options.askedAt })
    if (hasMoved) this.#invalidations.invalidate(repo)
    if (!options.store) return
    const stored = this.#store.peek('refs', key)
    if (isRecord(stored) && stored['commit'] === commit) return
    void this.#store.write('refs', key, { commit })
    // One after the other: each adds to what the one before has written.
    this.#naming = this.#naming.then(() => this.#addRevision(repo, branchName(revision)))
  }

  /** The names by which revisions of the repo were stored, the newest first. */
  async revisions(repo: Repo): Promise<readonly string[]> {
    const stored = await this.#store.read('refs', this.#store.namesKey(repo))
    const names = isRecord(stored) && Array.isArray(stored['names']) ? (stored['names'] as unknown[]) : []
    return names.filter((name) => typeof name === 'string')
  }

  async #addRevision(repo: Repo, revision: string): Promise<void> {
    const names = await this.revisions(repo)
    if (names.includes(revision)) return
    const kept = [revision, ...names].slice(0, MAX_NAMES)
    void this.#store.write('refs', this.#store.namesKey(repo), { names: kept })
  }

  /** What was stored may be gone: the disk counts until the Hub is asked. Writes stay known. */
  forget(): void {
    this.#refs.clear()
  }

  /** A write to the repo went through the mirror: no ref of it is fresh, so that the committer reads what it has written. */
  changed(repo: Repo): void {
    this.#changes.set(this.#store.repoKey(repo), this.#monotonic())
    this.#invalidations.invalidate(repo)
  }

  /** The same for a write that may have been to any repo. */
  allChanged(): void {
    this.#allChangedAt = this.#monotonic()
    this.#invalidations.invalidate('repos')
  }

  /** When a write to the repo last went through the mirror, as far as this is known. */
  changedAt(repo: Repo): number | undefined {
    const at = Math.max(
      this.#changes.get(this.#store.repoKey(repo)) ?? this.#allChangedAt,
      this.#allChangedAt,
    )
    return at === Number.NEGATIVE_INFINITY ? undefined : at
  }

  /** Whether a write to the repo went through the mirror at or after `at`. */
  changedSince(repo: Repo, at: number): boolean {
    const changedAt = this.changedAt(repo)
    return changedAt !== undefined && changedAt >= at
  }
}
