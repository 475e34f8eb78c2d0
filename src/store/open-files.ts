// The files of finished blobs that are open: shared by all who read the same one at a time, and kept for a moment after
// that, since who reads ranges asks for the next one soon. It does not know which blobs there are.

import { read } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import { openBlobFile } from './blob-file.ts'
import type { BlobKey } from './digest.ts'

/** So few that they are never missed elsewhere. */
const MAX_KEPT = 64
/**
 * Counted from the opening, however often it is read: what another process removes or replaces is seen, and its room
 * is given back, this soon.
 */
const KEPT_MS = 1_000

/** An open file. Whoever holds it lets it go once; the last one closes it. */
export class OpenFile {
  readonly sizeBytes: number
  readonly #handle: FileHandle
  #holders = 1

  constructor(handle: FileHandle, sizeBytes: number) {
    this.#handle = handle
    this.sizeBytes = sizeBytes
  }

  hold(): this {
    this.#holders += 1
    return this
  }

  async letGo(): Promise<void> {
    this.#holders -= 1
    if (this.#holders === 0) await this.#handle.close()
  }

  /** Fills `buffer` from `offset`; says how many bytes there were. */
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    // A handle's own read costs as much again as the call.
    return new Promise((resolve, reject) => {
      read(this.#handle.fd, buffer, offset, length, position, (error, bytesRead) => {
        if (error === null) resolve(bytesRead)
        else reject(error)
      })
    })
  }
}

export class OpenFiles {
  readonly #kept = new LRUCache<BlobKey, OpenFile>({
    max: MAX_KEPT,
    ttl: KEPT_MS,
    ttlAutopurge: true,
    // Nobody waits for it, and nobody can do anything about it.
    dispose: (file) => void file.letGo().catch(() => undefined),
  })
  #moment = 0

  /** The file of `key`, if it is kept and of that size; the caller lets it go. */
  recall(key: BlobKey, sizeBytes: number): OpenFile | undefined {
    const file = this.#kept.get(key)
    return file?.sizeBytes === sizeBytes ? file.hold() : undefined
  }

  /** Opens the file of `key` as `openBlobFile` does, and keeps it where it shall; the caller lets it go. */
  async open(
    key: BlobKey,
    sizeBytes: number,
    { file, isKept }: { readonly file: string; readonly isKept: boolean },
  ): Promise<OpenFile | 'missing' | 'damaged'> {
    const moment = this.#moment
    const handle = await openBlobFile(file, sizeBytes)
    if (typeof handle === 'string') return handle
    const opened = new OpenFile(handle, sizeBytes)
    // What was forgotten meanwhile may be this very file.
    if (isKept && moment === this.#moment) this.#kept.set(key, opened.hold())
    return opened
  }

  /** The file of `key` has gone, or is not to be trusted: the next one who wants it opens what is there then. */
  forget(key: BlobKey): void {
    this.#moment += 1
    this.#kept.delete(key)
  }

  /** Closes what nobody reads. */
  async close(): Promise<void> {
    this.#moment += 1
    const files = [...this.#kept.values()].map((file) => file.hold())
    this.#kept.clear()
    await Promise.all(files.map((file) => file.letGo()))
  }
}
