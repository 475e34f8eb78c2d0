// The files of finished blobs that are open: shared by all who read the same one at a time, and kept for a moment after
// that, since who reads ranges asks for the next one soon. It does not know which blobs there are.

import { read } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import type { ByteRange } from '../../http/range.ts'
import type { BlobKey, ReadAt } from '../digest.ts'
import { openBlobFile } from './blob-file.ts'
import type { FileChecks, FileIdentity } from './checked-reads.ts'

/** So few that they are never missed elsewhere. */
const MAX_CACHED = 64
/**
 * Counted from the opening, however often it is read: what another process removes or replaces is seen, and its room
 * is given back, this soon.
 */
const CACHED_MS = 1_000

/** An open file. Whoever holds it lets it go once; the last one closes it. */
export class OpenFile {
  readonly sizeBytes: number
  readonly inode: number
  readonly #handle: FileHandle
  readonly #checks: FileChecks | undefined
  #references = 1

  constructor(
    handle: FileHandle,
    file: { readonly sizeBytes: number; readonly inode: number; readonly checks: FileChecks | undefined },
  ) {
    this.#handle = handle
    this.sizeBytes = file.sizeBytes
    this.inode = file.inode
    this.#checks = file.checks
  }

  /** Whether what is read is held against what was stored. */
  get isChecked(): boolean {
    return this.#checks !== undefined
  }

  /** Whether these bytes are read as they lie there: nothing of them is to be checked now. */
  isTrusted(range: ByteRange): boolean {
    return this.#checks?.isTrusted(range) ?? true
  }

  retain(): this {
    this.#references += 1
    return this
  }

  async release(): Promise<void> {
    this.#references -= 1
    if (this.#references === 0) await this.#handle.close()
  }

  /** Fills `buffer` from `offset`; says how many bytes there were. Rejects with DamagedBlock where it is checked. */
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    if (this.#checks === undefined) return this.#readAt(buffer, offset, length, position)
    return this.#checks.read(this.#readAt, { buffer, offset, length, position })
  }

  readonly #readAt: ReadAt = (buffer, offset, length, position) =>
    // A handle's own read costs as much again as the call.
    new Promise((resolve, reject) => {
      read(this.#handle.fd, buffer, offset, length, position, (error, bytesRead) => {
        if (error === null) resolve(bytesRead)
        else reject(error)
      })
    })
}

interface OpenOptions {
  readonly file: string
  readonly isCached: boolean
  /** Never rejects. */
  readonly checksOf?: ((identity: FileIdentity) => Promise<FileChecks | undefined>) | undefined
}

export class OpenFiles {
  readonly #cached = new LRUCache<BlobKey, OpenFile>({
    max: MAX_CACHED,
    ttl: CACHED_MS,
    ttlAutopurge: true,
    // Nobody waits for it, and nobody can do anything about it.
    dispose: (file) => void file.release().catch(() => undefined),
  })
  #generation = 0

  /** The file of `key`, if it is kept and of that size; the caller lets it go. */
  get(key: BlobKey, sizeBytes: number): OpenFile | undefined {
    const file = this.#cached.get(key)
    return file?.sizeBytes === sizeBytes ? file.retain() : undefined
  }

  /**
   * Opens the file of `key` as `openBlobFile` does, and keeps it where it shall; the caller lets it go. `checksOf` says by
   * what it is checked when it is read.
   */
  async open(
    key: BlobKey,
    sizeBytes: number,
    { file, isCached, checksOf }: OpenOptions,
  ): Promise<OpenFile | 'missing' | 'damaged'> {
    const generation = this.#generation
    const found = await openBlobFile(file, sizeBytes)
    if (typeof found === 'string') return found
    const { handle, stats } = found
    const { ino: inode, ctimeMs: changedAt } = stats
    const checks = await checksOf?.({ inode, changedAt })
    const opened = new OpenFile(handle, { sizeBytes, inode, checks })
    // What was forgotten meanwhile may be this very file.
    if (isCached && generation === this.#generation) this.#cached.set(key, opened.retain())
    return opened
  }

  /** The file of `key` has gone, or is not to be trusted: the next one who wants it opens what is there then. */
  invalidate(key: BlobKey): void {
    this.#generation += 1
    this.#cached.delete(key)
  }

  /** Closes what nobody reads. */
  async close(): Promise<void> {
    this.#generation += 1
    const files = [...this.#cached.values()].map((file) => file.retain())
    this.#cached.clear()
    await Promise.all(files.map((file) => file.release()))
  }
}
