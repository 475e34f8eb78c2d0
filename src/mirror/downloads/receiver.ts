// Stores the bytes of an upload while they pass on their way to the origin. Nothing waits for it: a disk that is slow, full
// or broken ends the storing, and the upload goes on. The bytes become a blob when all of them have come, their digest is
// right on the disk, and `mayKeep` says that every caller may have them. In every other case they are removed: unlike those
// of a download they come from a client, which may send anything.

import type { GrowingDigest, PartialBlob } from '../../store/store.ts'

/** The memory for bytes of all uploads that wait for the disk. */
export class PendingBytes {
  readonly #maxBytes: number
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#maxBytes) return false
    this.#bytes += bytes
    return true
  }

  give(bytes: number): void {
    this.#bytes -= bytes
  }
}

/**
 * Space is reserved this far ahead of what has come. The size is only what a client has announced, so a large one must not
 * evict anything by itself.
 */
const RESERVE_BYTES = 16 * 1024 * 1024

export interface ReceiverOptions {
  /** Empty. It is ended and released here. */
  readonly partial: PartialBlob
  readonly pending: PendingBytes
  /** Asked when all bytes have come and the origin has accepted them. Must not reject. */
  readonly mayKeep: () => Promise<boolean>
  readonly onStorageFailed: (error: unknown) => void
  /** Called when the store has no space for the bytes. */
  readonly onNoSpace: () => void
  /** Called once, when the partial is a blob or gone. */
  readonly onEnded: () => void
}

export class Receiver {
  readonly #options: ReceiverOptions
  readonly #digest: GrowingDigest
  #queue: Buffer[] = []
  #position = 0
  #reservedEnd = 0
  #writing: Promise<void> | undefined
  #ending: Promise<void> | undefined
  #isFinishing = false
  #isCommitting = false

  constructor(options: ReceiverOptions) {
    this.#options = options
    this.#digest = options.partial.digest()
  }

  /** Whether all bytes have come, and only the question whether they may be kept is open. */
  get isFinishing(): boolean {
    return this.#isFinishing
  }

  /** The next bytes, which must not be changed afterwards. Returns at once. */
  write(bytes: Buffer): void {
    if (this.#ending !== undefined || this.#isFinishing) return
    if (!this.#options.pending.take(bytes.length)) {
      this.stop()
      return
    }
    this.#queue.push(bytes)
    this.#writing ??= this.#write()
  }

  /** All bytes were given. They become a blob if they are complete and right, and may be kept. */
  finish(): void {
    if (this.#ending !== undefined || this.#isFinishing) return
    this.#isFinishing = true
    void this.#finish()
  }

  /** Gives the bytes up, unless they are just becoming a blob. */
  stop(): void {
    if (!this.#isCommitting) this.#end(() => this.#discard())
  }

  async #write(): Promise<void> {
    const { partial, pending, onStorageFailed } = this.#options
    try {
      while (this.#queue.length > 0) {
        const chunks = this.#queue
        this.#queue = []
        const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
        try {
          if (await this.#hasSpace(this.#position + length)) await partial.write(this.#position, chunks)
        } finally {
          pending.give(length)
        }
        this.#position += length
        if (this.#ending === undefined) this.#digest.advance(this.#position)
      }
    } catch (error) {
      onStorageFailed(error)
      this.stop()
    } finally {
      for (const { length } of this.#queue.splice(0)) pending.give(length)
      this.#writing = undefined
    }
  }

  /** Reserves space up to there. False if there is none, or nothing is to be written any more. */
  async #hasSpace(end: number): Promise<boolean> {
    const { partial, onNoSpace } = this.#options
    if (this.#ending !== undefined) return false
    if (end <= this.#reservedEnd) return true
    const range = { start: this.#reservedEnd, end: Math.min(partial.sizeBytes, end + RESERVE_BYTES) }
    this.#reservedEnd = range.end
    if (!(await partial.reserve(range))) {
      onNoSpace()
      this.stop()
    }
    return this.#ending === undefined
  }

  async #finish(): Promise<void> {
    const { partial, mayKeep, onStorageFailed } = this.#options
    await this.#writing
    const isRight = async (): Promise<boolean> => {
      if (this.#ending !== undefined || this.#position !== partial.sizeBytes) return false
      return this.#digest.matches
    }
    try {
      if (!(await isRight()) || !(await mayKeep())) {
        this.stop()
        return
      }
    } catch (error) {
      // What was written cannot be read.
      if (this.#ending === undefined) onStorageFailed(error)
      this.stop()
      return
    }
    if (this.#ending !== undefined) return
    this.#isCommitting = true
    this.#end(async () => {
      try {
        await partial.commit()
      } catch (error) {
        onStorageFailed(error)
        await this.#discard()
      }
    })
  }

  #end(how: () => Promise<void>): void {
    this.#ending ??= this.#close(how)
  }

  async #close(how: () => Promise<void>): Promise<void> {
    const { partial, onStorageFailed, onEnded } = this.#options
    try {
      // The file must not be closed under a write.
      await this.#writing
      this.#digest.close()
      await how()
    } catch (error) {
      onStorageFailed(error)
    } finally {
      await partial.release().catch(onStorageFailed)
      onEnded()
    }
  }

  #discard(): Promise<void> {
    return this.#options.partial.discard(new Error('the upload is not stored'), { quarantine: false })
  }
}
