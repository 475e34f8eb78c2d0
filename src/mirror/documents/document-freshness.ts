// How long a stored document may be given without asking the Hub: as long as the mirror trusts what it knows of a branch. It
// ends earlier when a branch of the repo is known to have moved, after a write to it, and when it is no longer public.

import { freshness } from '../../http/freshness.ts'
import { isCommitHash, type Repo, repoKey } from '../../hub/names.ts'
import { MemoryCache } from '../../memory.ts'
import type { Invalidations } from '../invalidations.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { readPathsQuestion } from './compose.ts'
import type { DocumentRequest, DocumentRoute } from './hub-documents.ts'

export class DocumentFreshness {
  readonly #metadata: Pick<Metadata, 'documents'>
  readonly #settings: { readonly refTtlMs: number }
  readonly #monotonic: () => number
  // When the last invalidation was that concerned a repo. One that is evicted counts for all repos.
  readonly #endedAt = new MemoryCache<number>({
    maxBytes: 2 * 1024 * 1024,
    onRemove: (at) => this.#endAll(at),
  })
  #allEndedAt = Number.NEGATIVE_INFINITY
  #listsEndedAt = Number.NEGATIVE_INFINITY

  constructor(options: {
    readonly metadata: Pick<Metadata, 'documents'>
    readonly invalidations: Pick<Invalidations, 'onInvalidate'>
    /** Read at each use. */
    readonly settings: { readonly refTtlMs: number }
    readonly monotonic: () => number
  }) {
    this.#metadata = options.metadata
    this.#settings = options.settings
    this.#monotonic = options.monotonic
    options.invalidations.onInvalidate((what) => {
      if (typeof what === 'string') this.#endAll(this.#monotonic())
      else this.#endedAt.set(repoKey(what), this.#monotonic())
    })
  }

  /** Whether what is stored under `name` may be given without asking. `repo` is undefined for a document about none. */
  isFresh(repo: Repo | undefined, name: string): boolean {
    const askedAt = this.#metadata.documents.askedAt(name)
    if (askedAt === undefined) return false
    const endedAt =
      repo === undefined ? this.#listsEndedAt : (this.#endedAt.get(repoKey(repo)) ?? Number.NEGATIVE_INFINITY)
    // An answer to a request that was sent at the same time may be the older one.
    if (askedAt <= Math.max(endedAt, this.#allEndedAt)) return false
    return freshness(askedAt, this.#monotonic(), this.#settings.refTtlMs) === 'fresh'
  }

  /** No document about no repo is fresh from now on, until the Hub is asked for it again. */
  endLists(): void {
    this.#listsEndedAt = this.#monotonic()
  }

  #endAll(at: number): void {
    this.#allEndedAt = Math.max(this.#allEndedAt, at)
  }
}

/** Whether the document can never change: a listing of a commit, without the fields that do. */
export function isImmutable(route: DocumentRoute, { body, contentType }: DocumentRequest): boolean {
  const { document, revision, immutable } = route
  if (document !== 'paths-info' || body === undefined) return immutable
  return (
    revision !== undefined && isCommitHash(revision) && readPathsQuestion(contentType, body)?.expand === false
  )
}
