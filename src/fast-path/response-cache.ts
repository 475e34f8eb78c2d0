// Caches responses that are the same for every caller: files of public repos, and that such a repo lacks a file. The
// body is in memory, or in a stored file that is open. A response is kept for as long as everything it depends on is
// fresh. The cache decides nothing: mirror/invalidations.ts says which responses must not be sent any more.

import { type Repo, repoKey } from '../hub/names.ts'
import type { FileRoute } from '../hub/route.ts'
import { MAX_KEY_CHARS, MemoryCache, textBytes } from '../memory.ts'
import type { Reusable } from '../mirror/answer.ts'
import type { Invalidations } from '../mirror/invalidations.ts'

/** The response to a request for the whole, without conditions: a file, or that the file is absent. */
export interface CachedResponse extends Reusable {
  readonly route: FileRoute
  readonly status: number
  /** Alternating names and values, without the fields that differ from response to response: `variesByResponse`. */
  readonly headers: readonly string[]
}

/** Whether a field (lower case) differs from response to response. For GET this includes the size of the body. */
export function variesByResponse(method: Method, name: string): boolean {
  if (name === 'x-request-id' || name === 'age') return true
  return method === 'GET' && (name === 'content-length' || name === 'content-range')
}

export type Method = 'GET' | 'HEAD'

/**
 * How long a response may go without the full path, which notices what `hubmirror prune` removed and notes the last
 * use.
 */
const LIFE_MS = 60_000
/** For the responses to GET, and again for those to HEAD. Bodies are kept elsewhere. */
const ANSWERS_BYTES = 16 * 1024 * 1024

export class ResponseCache {
  readonly #monotonic: () => number
  readonly #answers: Readonly<Record<Method, MemoryCache<CachedResponse>>>
  readonly #targets = new Map<string, Set<string>>()
  readonly #invalidations: Pick<Invalidations, 'generation' | 'onInvalidate'>

  constructor(options: {
    readonly monotonic: () => number
    /** Reports which responses must not be given any more, and whether that happened since an answer was begun. */
    readonly invalidations: Pick<Invalidations, 'generation' | 'onInvalidate'>
  }) {
    this.#monotonic = options.monotonic
    this.#invalidations = options.invalidations
    const answers = () =>
      new MemoryCache<CachedResponse>({
        maxBytes: ANSWERS_BYTES,
        // The route holds parts of the target, and `#targets` holds the target as well.
        sizeOf: ({ headers }) => 500 + textBytes(...headers),
        onRemove: ({ route }, target) => this.#left(target, repoKey(route.repo)),
      })
    this.#answers = { GET: answers(), HEAD: answers() }
    options.invalidations.onInvalidate((what) => {
      if (typeof what === 'string') this.#invalidateAll()
      else this.#invalidate(what)
    })
  }

  /** The response to `target` (raw, as received), if it may be given now. */
  get(method: Method, target: string): CachedResponse | undefined {
    const answer = this.#answers[method].get(target)
    return answer === undefined || this.#monotonic() >= answer.until ? undefined : answer
  }

  /** How long ago the Hub was asked, in milliseconds; undefined if the response does not depend on a branch. */
  ageOf({ askedAt }: CachedResponse): number | undefined {
    return askedAt === undefined ? undefined : this.#monotonic() - askedAt
  }

  /** Caches the response to `target`, unless something was invalidated since it was begun. Returns what was cached. */
  set(method: Method, target: string, answer: CachedResponse): CachedResponse | undefined {
    if (answer.generation !== this.#invalidations.generation || target.length > MAX_KEY_CHARS)
      return undefined
    const kept = { ...answer, until: Math.min(answer.until, this.#monotonic() + LIFE_MS) }
    const key = repoKey(answer.route.repo)
    const targets = this.#targets.get(key) ?? new Set()
    this.#targets.set(key, targets.add(target))
    this.#answers[method].set(target, kept)
    return kept
  }

  /** The repo or one of its branches has changed: drops all responses about it. */
  #invalidate(repo: Repo): void {
    for (const target of this.#targets.get(repoKey(repo)) ?? []) {
      this.#answers.GET.delete(target)
      this.#answers.HEAD.delete(target)
    }
  }

  /** The settings, or any of the repos, have changed, or what was stored is gone: drops all responses. */
  #invalidateAll(): void {
    this.#answers.GET.clear()
    this.#answers.HEAD.clear()
    this.#targets.clear()
  }

  #left(target: string, key: string): void {
    if (this.#answers.GET.has(target) || this.#answers.HEAD.has(target)) return
    const targets = this.#targets.get(key)
    targets?.delete(target)
    if (targets?.size === 0) this.#targets.delete(key)
  }
}
