// Answers that are in memory, or but for the bytes of a file that is open, and the same for every caller: files of open
// repos, and that they lack one, for as long as all they rest on may be believed without asking. It decides nothing:
// whoever learns that a repo is not what it was says so here, and its answers are forgotten before anything else is told.

import { type Repo, repoKey } from '../hub/names.ts'
import type { FileRoute } from '../hub/route.ts'
import { MAX_KEY_CHARS, MemoryCache, textBytes } from '../memory.ts'
import type { Reusable } from '../mirror/answer.ts'
import type { Invalidations } from '../mirror/invalidations.ts'

/** A hit, to a request for the whole, without conditions: a file, or that there is none. */
export interface CachedResponse extends Reusable {
  readonly route: FileRoute
  readonly status: number
  /** Names and values in turn, without the fields that differ from request to request: `variesByResponse`. */
  readonly headers: readonly string[]
}

/** Whether a field (lower case) is of one answer only; how much of a file there is, is said of a GET each time. */
export function variesByResponse(method: Method, name: string): boolean {
  if (name === 'x-request-id' || name === 'age') return true
  return method === 'GET' && (name === 'content-length' || name === 'content-range')
}

export type Method = 'GET' | 'HEAD'

/** What an operator prunes beside the running mirror, and how recently a file was used, is seen this often. */
const LIFE_MS = 60_000
/** Of answers to GET, and of those to HEAD; bodies lie elsewhere. */
const ANSWERS_BYTES = 16 * 1024 * 1024

export class ResponseCache {
  readonly #monotonic: () => number
  readonly #answers: Readonly<Record<Method, MemoryCache<CachedResponse>>>
  readonly #targets = new Map<string, Set<string>>()
  readonly #invalidations: Pick<Invalidations, 'generation' | 'onInvalidate'>

  constructor(options: {
    readonly monotonic: () => number
    /** Says what must not be repeated any more, and whether that has been said since an answer was begun. */
    readonly invalidations: Pick<Invalidations, 'generation' | 'onInvalidate'>
  }) {
    this.#monotonic = options.monotonic
    this.#invalidations = options.invalidations
    const answers = () =>
      new MemoryCache<CachedResponse>({
        maxBytes: ANSWERS_BYTES,
        // The route holds parts of the target, and the target is named by repo as well.
        sizeOf: ({ headers }) => 500 + textBytes(...headers),
        onRemove: ({ route }, target) => this.#left(target, repoKey(route.repo)),
      })
    this.#answers = { GET: answers(), HEAD: answers() }
    options.invalidations.onInvalidate((what) => {
      if (what === 'all') this.#forgetAll()
      else this.#forget(what)
    })
  }

  /** The answer to `target` (raw, as it came), if it may be given now. */
  get(method: Method, target: string): CachedResponse | undefined {
    const answer = this.#answers[method].get(target)
    return answer === undefined || this.#monotonic() >= answer.until ? undefined : answer
  }

  /** How long ago the Hub was asked for it; undefined where it need not be. */
  ageOf({ askedAt }: CachedResponse): number | undefined {
    return askedAt === undefined ? undefined : this.#monotonic() - askedAt
  }

  /** Keeps an answer to `target`, unless something was invalidated since it was begun. Returns what is kept. */
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

  /** The repo is not what it was, or a branch of it is not where it was: no answer about it is ready any more. */
  #forget(repo: Repo): void {
    for (const target of this.#targets.get(repoKey(repo)) ?? []) {
      this.#answers.GET.delete(target)
      this.#answers.HEAD.delete(target)
    }
  }

  /** What is believed, and for how long, may be another from now on: no answer is ready any more. */
  #forgetAll(): void {
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
