// The finished blobs of a store on a disk: opening, reading and removing them. Small ones lie in the table, and are cached in
// memory. Larger ones are files, which stay open for a moment, and blocks of them are cached in memory. A blob that proves to be
// damaged is taken out of the store. Who may read a blob is decided elsewhere.

import { rm, utimes } from 'node:fs/promises'
import type { ByteRange } from '../../http/range.ts'
import { MemoryCache } from '../../memory.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { errorCode, unlinkIfThere } from '../atomic.ts'
import type { Damage } from '../damage.ts'
import { type BlobKey, hasDigest, type ReadAt } from '../digest.ts'
import type { Layout } from '../layout.ts'
import type { Ledger } from '../ledger.ts'
import type { BlobHandle, Blobs } from '../store.ts'
import { SMALL_BYTES } from './blob-file.ts'
import type { BlobTable } from './blob-table.ts'
import { type CheckedReads, DamagedBlock, type FileIdentity } from './checked-reads.ts'
import type { HandoffLinks } from './handoff-links.ts'
import { HotBlocks } from './hot-blocks.ts'
import { type OpenFile, OpenFiles } from './open-files.ts'
import { quarantineBlob } from './quarantine.ts'

/** How long a small blob stays in memory: `hubmirror prune` beside a running mirror takes effect after this time. */
const CACHED_MS = 60_000

export interface DiskBlobsOptions {
  readonly layout: Layout
  readonly ledger: Ledger
  readonly table: BlobTable
  /** Bound of the memory for small blobs and for blocks of large ones; below 64 KiB none is cached. */
  readonly memoryBytes: number
  readonly now: () => number
  readonly observer: Observer
  /** The volume is read-only: no file is removed. A damaged blob still counts as absent. */
  readonly readOnly?: boolean
  /** Checks the reads of blobs above 64 KiB; undefined to check none. */
  readonly checks?: CheckedReads | undefined
  /** Makes links to larger blobs, for another process that sends them. */
  readonly links?: HandoffLinks | undefined
  /** Called for each blob that a checked read found damaged, once it is out of the store. It counts the damage. */
  readonly onDamaged?: ((damage: Damage) => void) | undefined
}

export class DiskBlobs implements Blobs {
  readonly #layout: Layout
  readonly #ledger: Ledger
  readonly #table: BlobTable
  readonly #now: () => number
  readonly #observer: Observer
  readonly #small: MemoryCache<Buffer> | undefined
  readonly #blocks: HotBlocks | undefined
  readonly #checks: CheckedReads | undefined
  readonly #onDamaged: DiskBlobsOptions['onDamaged']
  readonly #readOnly: boolean
  readonly #links: HandoffLinks | undefined
  readonly #files = new OpenFiles()
  // Several readers may find the same damage: the blob is quarantined once.
  readonly #quarantining = new Map<BlobKey, Promise<void>>()

  constructor(options: DiskBlobsOptions) {
    this.#layout = options.layout
    this.#ledger = options.ledger
    this.#table = options.table
    this.#now = options.now
    this.#observer = options.observer
    this.#checks = options.checks
    this.#onDamaged = options.onDamaged
    this.#readOnly = options.readOnly === true
    this.#links = options.links
    if (options.memoryBytes >= SMALL_BYTES) {
      this.#small = new MemoryCache({
        maxBytes: options.memoryBytes,
        sizeOf: (bytes) => bytes.length,
        ttlMs: CACHED_MS,
      })
      this.#blocks = new HotBlocks(this.#small)
    }
  }

  cachedBytes(key: BlobKey, sizeBytes: number): Buffer | undefined {
    const known = this.#small?.get(key)
    if (known?.length !== sizeBytes) return undefined
    this.#recordUse(key, sizeBytes)
    return known
  }

  async open(key: BlobKey, sizeBytes: number): Promise<BlobHandle | undefined> {
    if (sizeBytes > SMALL_BYTES) return this.#openFile(key, sizeBytes)
    const known = this.cachedBytes(key, sizeBytes)
    if (known !== undefined) return memoryHandle(key, known)
    const bytes = await this.#readSmall(key, sizeBytes)
    if (bytes === undefined) return undefined
    this.#small?.set(key, bytes)
    return memoryHandle(key, bytes)
  }

  /** The verified bytes of a small blob. Undefined if it is not stored, or damaged and removed. */
  async #readSmall(key: BlobKey, sizeBytes: number): Promise<Buffer | undefined> {
    // Most files that are not stored are known not to be.
    if (this.#ledger.isLoaded && !this.#ledger.has(key)) return undefined
    // As in `#openFile`.
    const unpin = this.#ledger.pin(key)
    try {
      await this.#ledger.removed(key)
      const found = await this.#table.read(key, sizeBytes)
      if (found === 'missing') {
        this.invalidate(key)
        return undefined
      }
      if (found !== 'damaged') {
        this.#recordUse(key, sizeBytes)
        if (hasDigest(key, found)) return found
        this.#observer.integrityFailure('disk')
      }
      await this.remove(key)
      return undefined
    } catch (error) {
      if (errorCode(error) === 'EIO' && isReadError(error)) await this.#lost(key)
      throw error
    } finally {
      unpin()
    }
  }

  /**
   * Stores a small blob whose digest was right, durably. It is in memory for the next reader. Rejects with the error of the disk.
   */
  async store(key: BlobKey, bytes: Buffer): Promise<void> {
    await this.#table.store(key, bytes)
    this.#small?.set(key, bytes)
  }

  openCached(key: BlobKey, sizeBytes: number): BlobHandle | undefined {
    const file = this.#files.get(key, sizeBytes)
    return file && this.#handleOf(key, file)
  }

  cachedRange(key: BlobKey, sizeBytes: number, range: ByteRange): Buffer | undefined {
    // Only while the file is open: so a blob that was evicted, removed or replaced is noticed as soon as without memory.
    const file = this.#files.peek(key, sizeBytes)
    const bytes = file && this.#blocksOf(file, range)
    if (bytes !== undefined) this.#recordUse(key, sizeBytes)
    return bytes
  }

  /** The bytes of a range if they are in memory, and need not be compared with checksums now. */
  #blocksOf(file: OpenFile, range: ByteRange): Buffer | undefined {
    return file.isTrusted(range) ? this.#blocks?.get(file.identity, range) : undefined
  }

  async #openFile(key: BlobKey, sizeBytes: number): Promise<BlobHandle | undefined> {
    // Not evicted while it is being opened, and not opened while it is being evicted: the ledger would list a file that
    // is gone.
    const unpin = this.#ledger.pin(key)
    try {
      const file = this.#files.get(key, sizeBytes) ?? (await this.#openNew(key, sizeBytes))
      if (file === 'missing') {
        this.invalidate(key)
        return undefined
      }
      if (file === 'damaged') {
        await this.remove(key)
        return undefined
      }
      return this.#handleOf(key, file)
    } finally {
      unpin()
    }
  }

  async #openNew(key: BlobKey, sizeBytes: number): Promise<OpenFile | 'missing' | 'damaged'> {
    await this.#ledger.removed(key)
    const checks = sizeBytes > SMALL_BYTES ? this.#checks : undefined
    const checksOf = checks && ((identity: FileIdentity) => checks.checksOf(key, sizeBytes, identity))
    return this.#files.open(key, sizeBytes, { file: this.#layout.blob(key), checksOf })
  }

  #handleOf(key: BlobKey, file: OpenFile): BlobHandle {
    const { sizeBytes } = file
    this.#recordUse(key, sizeBytes)
    const unpin = this.#ledger.pin(key)
    let isOpen = true
    return {
      key,
      sizeBytes,
      file,
      isChecked: file.isChecked,
      isTrusted: (range) => file.isTrusted(range),
      link: async () => this.#links?.nameFor(key, file.inode),
      read: (buffer, offset, length, position) => this.#read(key, file, { buffer, offset, length, position }),
      readRange: (range) => this.#readRange(key, file, range),
      async close() {
        if (!isOpen) return
        isOpen = false
        unpin()
        await file.release()
      },
    }
  }

  /** Reads, and removes the blob if the disk has lost or changed its bytes, so that the next request fetches it again. */
  async #read(
    key: BlobKey,
    file: OpenFile,
    to: { buffer: Buffer; offset: number; length: number; position: number },
  ): Promise<number> {
    try {
      const length = await file.read(to.buffer, to.offset, to.length, to.position)
      // Shorter than when it was opened: the next reader must open it again, and will find it damaged.
      if (length < Math.min(to.length, file.sizeBytes - to.position)) this.#files.invalidate(key)
      return length
    } catch (error) {
      if (error instanceof DamagedBlock) {
        await this.#quarantineOnce(key, file)
      } else if (errorCode(error) === 'EIO') {
        await this.#lost(key)
      }
      throw error
    }
  }

  /** The disk has lost bytes of the blob. Never rejects. */
  async #lost(key: BlobKey): Promise<void> {
    this.#observer.integrityFailure('disk')
    await this.remove(key).catch(() => undefined)
  }

  async #readRange(key: BlobKey, file: OpenFile, range: ByteRange): Promise<Buffer | undefined> {
    const known = this.#blocksOf(file, range)
    if (known !== undefined) return known
    const read: ReadAt = (buffer, offset, length, position) =>
      this.#read(key, file, { buffer, offset, length, position })
    if (this.#blocks !== undefined) return this.#blocks.read(file, range, read)
    const bytes = Buffer.allocUnsafe(range.end - range.start)
    return (await read(bytes, 0, bytes.length, range.start)) < bytes.length ? undefined : bytes
  }

  /** Moves a damaged blob out of the way of readers, as `hubmirror verify` does. Never rejects. */
  #quarantineOnce(key: BlobKey, file: OpenFile): Promise<void> {
    const running = this.#quarantining.get(key)
    if (running !== undefined) return running
    const taking = this.#quarantine(key, file).finally(() => this.#quarantining.delete(key))
    this.#quarantining.set(key, taking)
    return taking
  }

  async #quarantine(key: BlobKey, { inode, sizeBytes }: OpenFile): Promise<void> {
    const place = await quarantineBlob(this.#layout, key, inode).catch(() => 'in-place' as const)
    if (place === 'replaced') {
      // Another process found the damage first, and the blob that is there now may be right.
      this.#files.invalidate(key)
      return
    }
    if (place === 'in-place') await this.remove(key).catch(() => undefined)
    else this.invalidate(key)
    this.#onDamaged?.({ key, sizeBytes, reason: 'block', place })
  }

  #recordUse(key: BlobKey, sizeBytes: number): void {
    const use = this.#ledger.touch(key)
    // The scan at start has not reached it yet: enter it now, so that it can be pinned.
    if (use === 'unknown') {
      this.#ledger.add(key, sizeBytes)
      // After the scan it can only be a file that was copied here by hand. A small blob has its row already.
      if (this.#ledger.isLoaded && sizeBytes > SMALL_BYTES) this.#table.noteFile(key, sizeBytes)
    }
    if (use !== 'due') return
    this.#table.noteUse(key)
    const now = this.#now()
    // For commands, and for a start that has to look for blobs. If this fails, the blob only looks older than it is.
    if (sizeBytes > SMALL_BYTES) utimes(this.#layout.blob(key), now / 1000, now / 1000).catch(() => undefined)
  }

  async remove(key: BlobKey): Promise<void> {
    this.#small?.delete(key)
    this.#forget(key)
    if (this.#readOnly) return
    // Both begin at once: what is stored under this key from now on comes after them.
    await Promise.all([this.#table.remove(key), this.#unlink(key)])
    await unlinkIfThere(this.#layout.sums(key)).catch(() => undefined)
  }

  /**
   * Drops what is in memory of a blob that another process may have removed, and looks whether it is stored, as the next
   * reader would: a blob that is gone leaves the ledger. Never rejects.
   */
  async lookAgain(key: BlobKey, sizeBytes: number): Promise<void> {
    this.#small?.delete(key)
    this.#files.invalidate(key)
    const blob = await this.open(key, sizeBytes).catch(() => undefined)
    await blob?.close()
  }

  /** Removes a blob that the ledger evicts, and has dropped. Rejects with the error of the disk. */
  async evict(key: BlobKey): Promise<void> {
    this.#small?.delete(key)
    this.#forget(key)
    // The next change of this row comes after it.
    this.#table.drop(key)
    await this.#unlink(key)
    await unlinkIfThere(this.#layout.sums(key)).catch(() => undefined)
  }

  /** Removes the file, also if something else has its name. */
  async #unlink(key: BlobKey): Promise<void> {
    await rm(this.#layout.blob(key), { recursive: true, force: true }).catch((error: unknown) => {
      // It is still there, and has no row any more.
      this.#table.doubt()
      throw error
    })
  }

  /** Drops a blob whose bytes are gone: no reader gets it from a cache, and it leaves the ledger and the table. */
  invalidate(key: BlobKey): void {
    if (this.#ledger.has(key)) this.#table.drop(key)
    this.#forget(key)
  }

  #forget(key: BlobKey): void {
    this.#files.invalidate(key)
    this.#checks?.invalidate(key)
    this.#ledger.drop(key)
  }

  /** Closes the cached files that have no reader, and removes the links. */
  async close(): Promise<void> {
    await this.#links?.close()
    await this.#files.close()
  }
}

/** A handle on bytes in memory; there is no file to close. */
function memoryHandle(key: BlobKey, bytes: Buffer): BlobHandle {
  return {
    key,
    sizeBytes: bytes.length,
    file: bytes,
    isChecked: false,
    isTrusted: () => true,
    link: () => Promise.resolve(undefined),
    read: (buffer, offset, length, position) =>
      Promise.resolve(bytes.copy(buffer, offset, position, position + length)),
    readRange: ({ start, end }) => Promise.resolve(bytes.subarray(start, end)),
    close: () => Promise.resolve(),
  }
}

/** Whether an error comes from reading a file, and not from opening it. */
function isReadError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'read'
}
