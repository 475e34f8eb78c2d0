// Holds back what is fetched, so that its sum stays below a rate: one piece after the other begins, each when those before have
// had their time. A piece is fetched at full speed, so pieces are small. What of a piece was not transferred is given back.

import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds that never step back, and a way to wait. */
export interface PaceClock {
  now(): number
  /** Rejects with the reason of `signal`. */
  wait(ms: number, signal: AbortSignal): Promise<void>
}

export const SYSTEM_CLOCK: PaceClock = {
  now: () => performance.now(),
  wait: (ms, signal) => delay(ms, undefined, { signal }),
}

const MIB = 1024 * 1024
/** Pieces begin at blocks of 256 KiB: half a block would be fetched again. */
const SMALLEST_PIECE_BYTES = 256 * 1024
/** Larger ones save no time. */
const LARGEST_PIECE_BYTES = 64 * MIB
/** A piece takes about this long. */
const PIECE_SECONDS = 4

export class Pace {
  readonly #rateOf: () => number | undefined
  readonly #clock: PaceClock
  /** When the next piece may begin. */
  #freeAt = Number.NEGATIVE_INFINITY
  /** Settles when the last piece that was asked for has begun. */
  #last: Promise<void> = Promise.resolve()
  /** Ends the wait of the piece that is next, so that it looks again how long it must wait. */
  #lookAgain = (): void => undefined

  /** `rateOf` returns bytes per second, and undefined for no limit. It is asked at each use. */
  constructor(rateOf: () => number | undefined, clock: PaceClock) {
    this.#rateOf = rateOf
    this.#clock = clock
  }

  /** The most bytes that may be taken at once. Undefined without a limit. */
  get pieceBytes(): number | undefined {
    const rate = this.#rateOf()
    if (rate === undefined) return undefined
    const blocks = Math.floor((rate * PIECE_SECONDS) / SMALLEST_PIECE_BYTES)
    return Math.min(LARGEST_PIECE_BYTES, Math.max(1, blocks) * SMALLEST_PIECE_BYTES)
  }

  /**
   * Resolves when so many bytes may be fetched, after all that were asked for before. They are counted at once. Rejects with the
   * reason of `signal`.
   */
  take(bytes: number, signal: AbortSignal): Promise<void> {
    const taken = this.#last.then(() => this.#begin(bytes, signal))
    this.#last = taken.catch(() => undefined)
    return taken
  }

  /** Says that so many bytes of those that were taken have not been transferred. */
  giveBack(bytes: number): void {
    const rate = this.#rateOf()
    if (rate === undefined || !(bytes > 0)) return
    this.#freeAt -= (bytes / rate) * 1000
    this.#lookAgain()
  }

  async #begin(bytes: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      const rate = this.#rateOf()
      if (rate === undefined) return
      const now = this.#clock.now()
      if (now >= this.#freeAt) {
        this.#freeAt = now + (bytes / rate) * 1000
        return
      }
      await this.#wait(this.#freeAt - now, signal)
    }
  }

  /** Waits, or until bytes were given back. */
  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const sooner = new AbortController()
    this.#lookAgain = () => sooner.abort()
    try {
      await this.#clock.wait(ms, AbortSignal.any([signal, sooner.signal]))
    } catch (error) {
      if (signal.aborted || !sooner.signal.aborted) throw error
    }
  }
}
