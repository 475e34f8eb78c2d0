// One piece of work at a time per key: callers that ask for the same meanwhile share its result.

interface Running<T> {
  readonly answer: Promise<T>
  readonly kind: string
}

export class SingleFlight<T> {
  readonly #running = new Map<string, Running<T>>()
  readonly #isOfKind: (error: unknown) => boolean

  /**
   * `isOfKind` recognises failures that say nothing to callers of another kind. Those run the work again for themselves.
   */
  constructor(isOfKind: (error: unknown) => boolean = () => false) {
    this.#isOfKind = isOfKind
  }

  /**
   * Runs `work` unless it already runs under `key`. `work` must not depend on any one client's signal. What it depends on
   * beside the key is the `kind` of the caller.
   */
  run(key: string, work: () => Promise<T>, kind = ''): Promise<T> {
    const running = this.#running.get(key)
    if (running !== undefined) {
      if (running.kind === kind) return running.answer
      return running.answer.catch((error: unknown) => {
        if (!this.#isOfKind(error)) throw error
        return this.run(key, work, kind)
      })
    }
    const answer = work().finally(() => this.#running.delete(key))
    this.#running.set(key, { answer, kind })
    return answer
  }

  /** The work that runs under `key` now. */
  running(key: string): Promise<T> | undefined {
    return this.#running.get(key)?.answer
  }
}
