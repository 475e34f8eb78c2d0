// How streams read the files that they send: together where several take the same one, else each into a buffer of its own.

import { type ByteSource, StorageFailed } from '../../mirror/answer.ts'
import { ReadBuffers } from './read-buffers.ts'
import { type BufferLease, SharedReads, type Span } from './shared-reads.ts'

/** One stream that sends a file. Whoever has entered it leaves it once. */
export interface FileReader {
  /** Waits for the byte at `position`; lends it, and what follows. Rejects as the source does. */
  read(position: number): Promise<BufferLease>
  /** Whether a stream that has come to `position` may read on while the bytes before are being sent. */
  readsAhead(position: number): boolean
  leave(): void
}

export class FileReads {
  readonly #buffers = new ReadBuffers()
  readonly #shared = new SharedReads(this.#buffers)

  /** Counts a stream in that sends what is left of `source` from `start` on. */
  enter(source: ByteSource, start: number): FileReader {
    const place = { position: start, end: source.range.end }
    const leave = this.#buffers.enter()
    const leaveFile = this.#shared.enter(source, place)
    return {
      read: async (position) => {
        const end = await source.ready(position)
        const range = { position, end }
        const lent =
          (await this.#shared.read(source, range)) ?? (await this.#alone(source, range, position - start))
        place.position = position + lent.bytes.length
        return lent
      },
      readsAhead: (position) => this.#buffers.readsAhead(position - start),
      leave: () => {
        leave()
        leaveFile()
      },
    }
  }

  async #alone(source: ByteSource, { position, end }: Span, sentBytes: number): Promise<BufferLease> {
    const buffer = this.#buffers.acquire(this.#buffers.sizeFor(sentBytes))
    try {
      const length = await source.read(buffer, 0, Math.min(buffer.length, end - position), position)
      if (length === 0) throw new StorageFailed(new Error('the file is shorter than recorded'))
      return {
        bytes: buffer.subarray(0, length),
        release: ({ sent }) => {
          // Else the kernel may still hold it.
          if (sent) this.#buffers.release(buffer)
        },
      }
    } catch (error) {
      this.#buffers.release(buffer)
      throw error
    }
  }
}
