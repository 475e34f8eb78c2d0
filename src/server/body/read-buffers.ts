// A pool of buffers for reading files. A stream gets larger buffers once its client has shown that it reads. So memory
// stays flat however many clients stall, and a few fast clients get large reads.

/**
 * Approximate memory budget for all unproven streams together. Each holds one buffer, sized when it is acquired, so
 * streams that start early and then stall can exceed their share.
 */
const UNPROVEN_BUDGET_BYTES = 8 * 1024 * 1024
/** Budget for the buffers that proven streams are sending. As much again is in the buffers that they are reading into. */
const PROVEN_BUDGET_BYTES = 48 * 1024 * 1024
const SMALLEST_BYTES = 8 * 1024
const UNPROVEN_LARGEST_BYTES = 128 * 1024
/** Each read is a turn of the thread pool, and each write may wake this process: both cost more than what lies in a cache. */
const LARGEST_BYTES = 2 * 1024 * 1024
/**
 * More than the kernel takes for a client that reads nothing (send and receive buffers on both sides). A stream that has
 * sent this much has a client that reads, and gets large buffers.
 */
const PROVEN_AFTER_BYTES = 16 * 1024 * 1024
/** So few streams need no proof: together they hold little. */
const FEW_STREAMS = 4
/** Free buffers kept per size. */
const KEPT_PER_SIZE = 8

export class ReadBuffers {
  readonly #free = new Map<number, Buffer[]>()
  #streams = 0

  /** Registers a stream. The returned function removes it again. */
  register(): () => void {
    this.#streams += 1
    return () => {
      this.#streams -= 1
    }
  }

  /** How many bytes a stream that has sent `sentBytes` may read at once: a power of two. */
  sizeFor(sentBytes: number): number {
    const proven = this.#isProven(sentBytes)
    const share = (proven ? PROVEN_BUDGET_BYTES : UNPROVEN_BUDGET_BYTES) / Math.max(1, this.#streams)
    const largest = proven ? LARGEST_BYTES : UNPROVEN_LARGEST_BYTES
    const bounded = Math.max(SMALLEST_BYTES, Math.min(largest, share))
    return 2 ** Math.floor(Math.log2(bounded))
  }

  /** Whether a stream that has sent `sentBytes` may read into a second buffer while the first is being sent. */
  readsAhead(sentBytes: number): boolean {
    return this.#isProven(sentBytes)
  }

  acquire(sizeBytes: number): Buffer {
    return this.#free.get(sizeBytes)?.pop() ?? Buffer.allocUnsafeSlow(sizeBytes)
  }

  /** Takes a buffer back. Nothing may read from it or write to it any more. */
  release(buffer: Buffer): void {
    const free = this.#free.get(buffer.length) ?? []
    this.#free.set(buffer.length, free)
    if (free.length < KEPT_PER_SIZE) free.push(buffer)
  }

  /** Whether there are so few streams that none needs proof. */
  get areFew(): boolean {
    return this.#streams <= FEW_STREAMS
  }

  #isProven(sentBytes: number): boolean {
    return sentBytes >= PROVEN_AFTER_BYTES || this.areFew
  }
}
