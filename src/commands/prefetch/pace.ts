// Holds back what is fetched, so that its sum stays below a rate: each piece gets its place in a schedule, and is fetched when
// its time has come. A piece is fetched at full speed, so pieces are small.

/** Milliseconds that never step back, and a way to wait. */
export interface PaceClock {
  now(): number
  /** Rejects with the reason of `signal`. */
  wait(ms: number, signal: AbortSignal): Promise<void>
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

  /** Resolves when so many bytes may be fetched. They are counted at once. Rejects with the reason of `signal`. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const rate = this.#rateOf()
    if (rate === undefined) return
    const now = this.#clock.now()
    const at = Math.max(now, this.#freeAt)
    this.#freeAt = at + (bytes / rate) * 1000
    if (at > now) await this.#clock.wait(at - now, signal)
  }
}
