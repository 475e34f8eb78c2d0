// How streams read the files that they send: from shared buffers if several read the same file, otherwise each with a
// buffer of its own.

import { type ByteSource, StorageFailed } from '../../mirror/answer.ts'
import { ReadBuffers } from './read-buffers.ts'
import { type BufferLease, SharedReads, type Span } from './shared-reads.ts'

/** One stream that sends a file. The caller of `register` must call `leave` once. */
export interface FileReader {
  /** Waits for the byte at `position`, and leases it with what follows. Rejects as the source does. */
  read(position: number): Promise<BufferLease>
  /** Whether a stream that has reached `position` may read on while the bytes before it are being sent. */
  readsAhead(position: number): boolean
  leave(): void
}

export class FileReads {
  readonly #buffers = new ReadBuffers()
  readonly #shared = new SharedReads(this.#buffers)

  /** Registers a stream that sends `source` from `start` to its end. */
  register(source: ByteSource, start: number): FileReader {
    const place = { position: start, end: source.range.end }
    const leave = this.#buffers.register()
    const leaveFile = this.#shared.register(source, place)
    return {
      read: async (position) => {
        const end = await source.waitFor(position)
        const range = { position, end }
        const lease =
          (await this.#shared.read(source, range)) ?? (await this.#alone(source, range, position - start))
        place.position = position + lease.bytes.length
        return lease
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
          // After a failed write the kernel may still refer to the buffer.
          if (sent) this.#buffers.release(buffer)
        },
      }
    } catch (error) {
      this.#buffers.release(buffer)
      throw error
    }
  }
}
