// Verifies reads of finished blobs against the checksums of their blocks: a block that the disk has changed becomes an
// error, and its bytes are not passed on. A block that was right is trusted for a while, so that a file that is read
// often costs no more than without checks. What happens to a damaged blob is decided in blobs.ts.

import { crc32 } from 'node:zlib'
import type { ByteRange } from '../../http/range.ts'
import { MemoryCache } from '../../memory.ts'
import type { BlobKey, ReadAt } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { BLOCK_BYTES, BlockMap } from '../partials/blocks.ts'
import { type BlockSums, readBlockSums } from './block-sums.ts'

/** Enough for the sums and marks of a terabyte of blobs. Beyond it, sums are read again when a blob is opened. */
const MEMORY_BYTES = 17 * 1024 * 1024
/** Buffers that are kept for reuse: so many checks can run at the same time without allocating one. */
const SCRATCH_KEPT = 4

/** A block does not have the bytes that were stored. Its code is EIO: readers treat it like an error of the disk. */
export class DamagedBlock extends Error {
  readonly code = 'EIO'
  readonly syscall = 'read'

  constructor(block: number) {
    super(`EIO: block ${block} differs from what was stored`)
    this.name = 'DamagedBlock'
  }
}

interface ReadRequest {
  readonly buffer: Buffer
  readonly offset: number
  readonly length: number
  readonly position: number
}

/** Identifies a file and its state: the inode, and when it was last written to or renamed (ctime, in ms). */
export interface FileIdentity {
  readonly inode: number
  readonly changedAt: number
}

export interface CheckedReadsOptions {
  readonly layout: Layout
  /** How long a block that was right is trusted; 0 checks it at every read. */
  readonly trustMs: number
  readonly monotonic: () => number
}

export class CheckedReads {
  readonly #options: CheckedReadsOptions
  readonly #scratch = new Scratch()
  readonly #cached = new MemoryCache<FileChecks>({
    maxBytes: MEMORY_BYTES,
    sizeOf: (checks) => checks.memoryBytes,
  })

  constructor(options: CheckedReadsOptions) {
    this.#options = options
  }

  /**
   * The checks for the file of `key`, which has just been opened; undefined when no sums of it are stored. When the file
   * is not the same as before, or was written to since, no block of it is trusted. Our own `utimes` has that effect, too;
   * it happens after an hour without use. Never rejects.
   */
  async checksOf(key: BlobKey, sizeBytes: number, identity: FileIdentity): Promise<FileChecks | undefined> {
    const known = this.#cached.get(key)
    if (known?.belongsTo(sizeBytes, identity) === true) return known
    const sums = await readBlockSums(this.#options.layout, key, sizeBytes)
    if (sums === undefined) return undefined
    const checks = new FileChecks(sums, identity, { ...this.#options, scratch: this.#scratch })
    this.#cached.set(key, checks)
    return checks
  }

  invalidate(key: BlobKey): void {
    this.#cached.delete(key)
  }
}

interface FileChecksOptions extends Pick<CheckedReadsOptions, 'trustMs' | 'monotonic'> {
  readonly scratch: Pick<Scratch, 'acquire' | 'release'>
}

/** The sums of one file, and which of its blocks are trusted now. */
export class FileChecks {
  readonly #sums: BlockSums
  readonly #identity: FileIdentity
  readonly #options: FileChecksOptions
  #verified: BlockMap
  // When `#verified` was begun: no block in it was checked earlier.
  #since: number

  constructor(sums: BlockSums, identity: FileIdentity, options: FileChecksOptions) {
    this.#sums = sums
    this.#identity = identity
    this.#options = options
    this.#verified = new BlockMap(sums.sizeBytes)
    this.#since = options.monotonic()
  }

  /** Approximate: the sums, and one bit for each. */
  get memoryBytes(): number {
    return 256 + this.#sums.values.length * 4 + Math.ceil(this.#sums.values.length / 8)
  }

  belongsTo(sizeBytes: number, { inode, changedAt }: FileIdentity): boolean {
    const own = this.#identity
    return this.#sums.sizeBytes === sizeBytes && own.inode === inode && own.changedAt === changedAt
  }

  /**
   * Reads as `readAt` does, and verifies the blocks that are not trusted. Rejects with DamagedBlock when one of them is not
   * what was stored; the bytes in the buffer must not be used then. The verified bytes are the returned ones: they are not
   * read a second time.
   */
  read(readAt: ReadAt, to: ReadRequest): Promise<number> {
    const { buffer, offset, length, position } = to
    const right = this.#trusted()
    const range = { start: position, end: Math.min(position + length, right.sizeBytes) }
    // The common case: all blocks are trusted, and the read costs no more than an unchecked one.
    if (right.missingBytes(range) === 0) return readAt(buffer, offset, length, position)
    return this.#check(readAt, to, { right, range })
  }

  async #check(
    readAt: ReadAt,
    { buffer, offset, length, position }: ReadRequest,
    { right, range }: { readonly right: BlockMap; readonly range: ByteRange },
  ): Promise<number> {
    const read = await readAt(buffer, offset, length, position)
    const { first, end } = right.blocksOf(range)
    for (let block = first; block < end; block += 1) {
      if (right.has(block)) continue
      // The file had its full length when it was opened, so it has been cut since.
      if (read < range.end - position) throw new DamagedBlock(block)
      const { start, end: stop } = right.rangeOf(block)
      const [from, until] = [Math.max(start, position), Math.min(stop, range.end)]
      const middle = buffer.subarray(offset + from - position, offset + until - position)
      const sum = await this.#sumAround(readAt, middle, { start, from, until, stop })
      if (sum === undefined || !this.#sums.has(block, sum)) throw new DamagedBlock(block)
      right.add(block)
    }
    return read
  }

  /** Whether all blocks of `range` are trusted now. */
  isTrusted(range: ByteRange): boolean {
    return this.#trusted().missingBytes(range) === 0
  }

  #trusted(): BlockMap {
    const now = this.#options.monotonic()
    if (now - this.#since >= this.#options.trustMs) {
      this.#verified = new BlockMap(this.#sums.sizeBytes)
      this.#since = now
    }
    return this.#verified
  }

  /** The sum of a block of which `middle` has been read. Reads the rest of it; undefined when the file is too short. */
  async #sumAround(
    readAt: ReadAt,
    middle: Buffer,
    at: { readonly start: number; readonly from: number; readonly until: number; readonly stop: number },
  ): Promise<number | undefined> {
    const before = at.from - at.start
    const after = at.stop - at.until
    if (before + after === 0) return crc32(middle)
    const { scratch } = this.#options
    const rest = scratch.acquire()
    try {
      // One after the other: if the first fails, no read into the buffer may be under way when it is released.
      const head = before === 0 ? 0 : await readAt(rest, 0, before, at.start)
      const tail = after === 0 ? 0 : await readAt(rest, before, after, at.until)
      if (head + tail < before + after) return undefined
      return crc32(rest.subarray(before, before + after), crc32(middle, crc32(rest.subarray(0, before))))
    } finally {
      scratch.release(rest)
    }
  }
}

/** Buffers of the size of a block, for reuse. */
class Scratch {
  readonly #free: Buffer[] = []

  acquire(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
  }

  release(buffer: Buffer): void {
    if (this.#free.length < SCRATCH_KEPT) this.#free.push(buffer)
  }
}
