// Finished blobs: open, read, remove. Whoever may read them is decided elsewhere.

import { constants } from 'node:fs'
import { type FileHandle, open, unlink, utimes } from 'node:fs/promises'
import { errorCode, isMissing } from './atomic.ts'
import type { BlobKey } from './digest.ts'
import type { Layout } from './layout.ts'
import type { Ledger } from './ledger.ts'

const OPEN_BLOB = constants.O_RDONLY | constants.O_NOFOLLOW
// Recency on the disk is coarse: it only has to survive a restart.
const RECORD_USE_EVERY_MS = 3_600_000

/** An open blob. The opener calls `close` once. */
export interface BlobHandle {
  readonly key: BlobKey
  readonly sizeBytes: number
  /** Fills `buffer` from `offset`; fewer bytes than asked mean the end of the file. */
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number>
  close(): Promise<void>
}

export class Blobs {
  readonly #layout: Layout
  readonly #ledger: Ledger
  readonly #now: () => number

  constructor(layout: Layout, ledger: Ledger, now: () => number) {
    this.#layout = layout
    this.#ledger = ledger
    this.#now = now
  }

  /**
   * Opens a blob of exactly `sizeBytes`, pinned against eviction until it is closed. Undefined when it is not
   * there. A file of another length was damaged after it was stored: it is removed and counts as absent.
   */
  async open(key: BlobKey, sizeBytes: number): Promise<BlobHandle | undefined> {
    let handle: FileHandle
    try {
      handle = await open(this.#layout.blob(key), OPEN_BLOB)
    } catch (error) {
      if (isMissing(error)) {
        this.#ledger.drop(key)
        return undefined
      }
      // A link is nothing that was ever stored here.
      if (errorCode(error) === 'ELOOP') {
        await this.remove(key)
        return undefined
      }
      throw error
    }
    try {
      const { size } = await handle.stat()
      if (size !== sizeBytes) {
        await handle.close()
        await this.remove(key)
        return undefined
      }
    } catch (error) {
      await handle.close()
      throw error
    }
    this.#used(key, sizeBytes)
    const unpin = this.#ledger.pin(key)
    let open_ = true
    return {
      key,
      sizeBytes,
      read: async (buffer, offset, length, position) =>
        (await handle.read(buffer, offset, length, position)).bytesRead,
      async close() {
        if (!open_) return
        open_ = false
        unpin()
        await handle.close()
      },
    }
  }

  #used(key: BlobKey, sizeBytes: number): void {
    const before = this.#ledger.touch(key)
    // The walk at start has not come here yet: enter it now, so that it can be pinned.
    if (before === undefined) this.#ledger.add(key, sizeBytes)
    const now = this.#now()
    if (before === undefined || now - before < RECORD_USE_EVERY_MS) return
    // A lost use only makes the blob look older than it is.
    utimes(this.#layout.blob(key), now / 1000, now / 1000).catch(() => undefined)
  }

  /** Removes the bytes; open handles read on. */
  async remove(key: BlobKey): Promise<void> {
    this.#ledger.drop(key)
    try {
      await unlink(this.#layout.blob(key))
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
}
