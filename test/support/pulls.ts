// The downloads of a mirror in this process, counted by its own events. A test that waits for the last one asks no
// /metrics, which costs more than most requests of a test.

import { setTimeout as delay } from 'node:timers/promises'
import type { Observer } from '../../src/telemetry/observer.ts'

/** A download without readers ends soon, or fetches the rest of a small file. */
const ENDED_WITHIN_MS = 120_000

export class Pulls {
  #running = 0
  #joined = 0
  #waiters: (() => void)[] = []

  /** How many requests have joined a download that was under way. */
  get joined(): number {
    return this.#joined
  }

  /** Wraps the observer of the mirror. */
  readonly observe = (inner: Observer): Observer => ({
    ...inner,
    flightStarted: () => {
      this.#running += 1
      inner.flightStarted()
    },
    flightEnded: () => {
      inner.flightEnded()
      this.#running -= 1
      if (this.#running > 0) return
      for (const wake of this.#waiters.splice(0)) wake()
    },
    flightJoined: () => {
      this.#joined += 1
      inner.flightJoined()
    },
  })

  /** Resolves once no download is under way. Rejects if that takes too long. */
  async ended(): Promise<void> {
    if (this.#running === 0) return
    const stop = new AbortController()
    const late = delay(ENDED_WITHIN_MS, undefined, { signal: stop.signal }).then(() => {
      throw new Error(`${this.#running} downloads are still under way`)
    })
    try {
      await Promise.race([late, new Promise<void>((resolve) => this.#waiters.push(resolve))])
    } finally {
      stop.abort()
      late.catch(() => undefined)
    }
  }
}
