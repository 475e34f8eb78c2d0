// One question at a time per key: whoever asks the same meanwhile gets the same answer.

export class SingleFlight<T> {
  readonly #running = new Map<string, Promise<T>>()

  /** Runs `work` unless it already runs under `key`. `work` must not depend on any one client's signal. */
  run(key: string, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key)
    if (running !== undefined) return running
    const started = work().finally(() => this.#running.delete(key))
    this.#running.set(key, started)
    return started
  }
}
