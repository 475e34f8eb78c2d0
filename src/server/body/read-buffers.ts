// Buffers for reading files, lent to streams and taken back. Their size follows what a stream has proved: memory
// stays flat however many clients stall, and few fast ones get few large reads.

/**
 * What all streams that have proved nothing may hold, roughly: each has one buffer. It keeps the size of the moment it
 * was taken in, so that those who came first and then stalled hold more than their share.
 */
const YOUNG_BUDGET_BYTES = 8 * 1024 * 1024
/** What the others may hold, in one buffer that is being sent; as much again is in one that is being read. */
const PROVEN_BUDGET_BYTES = 48 * 1024 * 1024
const SMALLEST_BYTES = 8 * 1024
const YOUNG_LARGEST_BYTES = 128 * 1024
const LARGEST_BYTES = 1024 * 1024
/**
 * More than the kernel takes for a client that reads nothing (send and receive buffers on both sides): who has
 * passed it is reading, and gets large buffers.
 */
const PROVEN_AFTER_BYTES = 16 * 1024 * 1024
/** So few need no proof: whatever they hold is little. */
const FEW_STREAMS = 4
/** Buffers kept for the next stream, per size. */
const KEPT_PER_SIZE = 8

export class ReadBuffers {
  readonly #free = new Map<number, Buffer[]>()
  #streams = 0

  /** Counts a stream in; the returned function counts it out again. */
  enter(): () => void {
    this.#streams += 1
    return () => {
      this.#streams -= 1
    }
  }

  /** How much a stream that has sent `sentBytes` may read at once: a power of two. */
  sizeFor(sentBytes: number): number {
    const proven = this.#isProven(sentBytes)
    const share = (proven ? PROVEN_BUDGET_BYTES : YOUNG_BUDGET_BYTES) / Math.max(1, this.#streams)
    const largest = proven ? LARGEST_BYTES : YOUNG_LARGEST_BYTES
    const bounded = Math.max(SMALLEST_BYTES, Math.min(largest, share))
    return 2 ** Math.floor(Math.log2(bounded))
  }

  /** Whether a stream that has sent `sentBytes` may have a second buffer, to read into while the first is sent. */
  readsAhead(sentBytes: number): boolean {
    return this.#isProven(sentBytes)
  }

  acquire(sizeBytes: number): Buffer {
    return this.#free.get(sizeBytes)?.pop() ?? Buffer.allocUnsafeSlow(sizeBytes)
  }

  /** Only buffers that nobody reads from or writes to any more. */
  release(buffer: Buffer): void {
    const free = this.#free.get(buffer.length) ?? []
    this.#free.set(buffer.length, free)
    if (free.length < KEPT_PER_SIZE) free.push(buffer)
  }

  /** Whether there are so few streams that none has to prove anything. */
  get areFew(): boolean {
    return this.#streams <= FEW_STREAMS
  }

  #isProven(sentBytes: number): boolean {
    return sentBytes >= PROVEN_AFTER_BYTES || this.areFew
  }
}
