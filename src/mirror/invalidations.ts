// The one place where the mirror says that what it has answered may be wrong from now on. Response caches listen: the one
// of this process, those of workers, and whatever else may repeat an answer without asking the mirror.
//
// Rules for callers of `invalidate` (docs/decisions/0010-cached-responses.md):
//
// 1. Call it in the same turn of the event loop in which the change becomes known, and before any response that reveals the
//    change is sent. The fast path decides nothing, so a forgotten call means a stale response.
// 2. It is synchronous: when it returns, this process repeats nothing of the repo. A listener with something slower to do
//    (workers) must itself hold back responses until that is done.
// 3. An answer that was begun before a call must not be kept after it. `generation` is how a cache finds out.

import type { Repo } from '../hub/names.ts'

/**
 * A repo that is not public any more, was written to, or has a moved branch; `repos` when that may be any of them, and
 * `all` when settings have changed. `removed` when another process has removed what was stored, of whichever repo.
 */
export type Invalidated = Repo | 'repos' | 'all' | 'removed'

export class Invalidations {
  readonly #listeners: ((what: Invalidated) => void)[] = []
  #generation = 0

  /**
   * Grows with each call of `invalidate`. Read it before anything that an answer depends on is read, and keep the
   * answer only if it is still the same.
   */
  get generation(): number {
    return this.#generation
  }

  /** No response about the repo (or about any) may be repeated from now on. Returns when all listeners have returned. */
  invalidate(what: Invalidated): void {
    this.#generation += 1
    for (const listener of this.#listeners) listener(what)
  }

  /** `listener` runs inside each later call of `invalidate`, in the order of registration, and must not throw. */
  onInvalidate(listener: (what: Invalidated) => void): void {
    this.#listeners.push(listener)
  }

  /** `forget` runs inside `invalidate('removed')`: what is in memory of what was stored must not be used any more. */
  onRemoved(forget: () => void): void {
    this.onInvalidate((what) => {
      if (what === 'removed') forget()
    })
  }
}
