// Open files of finished blobs. Readers of the same blob share one descriptor, by reference count. It stays open for a
// moment after the last of them, because a client that reads ranges asks for the next one soon. Which blobs exist is not
// known here.

import { read } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import type { ByteRange } from '../../http/range.ts'
import type { BlobKey, ReadAt } from '../digest.ts'
import { openBlobFile } from './blob-file.ts'
import type { FileChecks, FileIdentity } from './checked-reads.ts'

/** Few enough that the process does not run short of descriptors. */
const MAX_CACHED = 64
/**
 * How long a file is cached, counted from its opening, however often it is read. After this time the mirror notices that
 * another process has removed or replaced the file, and the disk gets its room back.
 */
const CACHED_MS = 1_000

/** An open file with a reference count. Each user calls `release` once; the last release closes it. */
export class OpenFile {
  readonly sizeBytes: number
  readonly inode: number
  /** Names the file and its state: a file that was replaced or written to since has another name. */
  readonly identity: string
  readonly #handle: FileHandle
  readonly #checks: FileChecks | undefined
  #references = 1

  constructor(
    handle: FileHandle,
    file: FileIdentity & {
      readonly key: BlobKey
      readonly sizeBytes: number
      readonly checks: FileChecks | undefined
    },
  ) {
    this.#handle = handle
    this.sizeBytes = file.sizeBytes
    this.inode = file.inode
    this.identity = `${file.key} ${file.inode} ${file.changedAt}`
    this.#checks = file.checks
  }

  /** Whether reads are verified against stored checksums. */
  get isChecked(): boolean {
    return this.#checks !== undefined
  }

  /** Whether a read of `range` would not verify anything now. */
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

  /** Reads as `ReadAt` says. Rejects with DamagedBlock when a check fails. */
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    if (this.#checks === undefined) return this.#readAt(buffer, offset, length, position)
    return this.#checks.read(this.#readAt, { buffer, offset, length, position })
  }

  readonly #readAt: ReadAt = (buffer, offset, length, position) =>
    // FileHandle.read would double the cost of the call.
    new Promise((resolve, reject) => {
      read(this.#handle.fd, buffer, offset, length, position, (error, bytesRead) => {
        if (error === null) resolve(bytesRead)
        else reject(error)
      })
    })
}

interface OpenOptions {
  readonly file: string
  /** Never rejects. */
  readonly checksOf?: ((identity: FileIdentity) => Promise<FileChecks | undefined>) | undefined
}

export class OpenFiles {
  readonly #cached = new LRUCache<BlobKey, OpenFile>({
    max: MAX_CACHED,
    ttl: CACHED_MS,
    ttlAutopurge: true,
    // No caller waits for this close, and none could handle its error.
    dispose: (file) => void file.release().catch(() => undefined),
  })
  #generation = 0

  /** The file of `key`, if it is cached and has that size. The caller releases it. */
  get(key: BlobKey, sizeBytes: number): OpenFile | undefined {
    const file = this.#cached.get(key)
    return file?.sizeBytes === sizeBytes ? file.retain() : undefined
  }

  /** The same for a look at what the file is. It may be closed at the next turn. */
  peek(key: BlobKey, sizeBytes: number): OpenFile | undefined {
    const file = this.#cached.get(key)
    return file?.sizeBytes === sizeBytes ? file : undefined
  }

  /**
   * Opens the file of `key` as `openBlobFile` does, and caches it. The caller releases it. `checksOf` returns the checks for
   * its reads.
   */
  async open(
    key: BlobKey,
    sizeBytes: number,
    { file, checksOf }: OpenOptions,
  ): Promise<OpenFile | 'missing' | 'damaged'> {
    const generation = this.#generation
    const found = await openBlobFile(file, sizeBytes)
    if (typeof found === 'string') return found
    const { handle, stats } = found
    const { ino: inode, ctimeMs: changedAt } = stats
    const checks = await checksOf?.({ inode, changedAt })
    const opened = new OpenFile(handle, { key, sizeBytes, inode, changedAt, checks })
    // The file that was invalidated meanwhile may be this one.
    if (generation === this.#generation) this.#cached.set(key, opened.retain())
    return opened
  }

  /** The file of `key` is gone or damaged: the next reader opens whatever is there then. */
  invalidate(key: BlobKey): void {
    this.#generation += 1
    this.#cached.delete(key)
  }

  /** Closes the cached files that have no reader. */
  async close(): Promise<void> {
    this.#generation += 1
    const files = [...this.#cached.values()].map((file) => file.retain())
    this.#cached.clear()
    await Promise.all(files.map((file) => file.release()))
  }
}
