// Reads of finished blobs that are held against the sums of their blocks: what the disk has changed is an error, not
// bytes. A block that was right is believed for a while, so that a file that is read often costs no more than before.
// It does not know what becomes of a blob that is damaged.

import { crc32 } from 'node:zlib'
import type { ByteRange } from '../../http/range.ts'
import { MemoryCache } from '../../memory.ts'
import type { BlobKey, ReadAt } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { BLOCK_BYTES, BlockMap } from '../partials/blocks.ts'
import { type BlockSums, readBlockSums } from './block-sums.ts'

/** Sums and marks of blobs of a terabyte together; of the others they are read again when they are opened. */
const MEMORY_BYTES = 17 * 1024 * 1024
/** Blocks are read beside each other by so many without a new buffer for each. */
const SCRATCH_KEPT = 4

/** A block has not the bytes that were stored. To whoever reads it is as if the disk had said so itself. */
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

/** Which file it is, and when it was last written to or renamed. */
export interface FileIdentity {
  readonly inode: number
  readonly changedAt: number
}

export interface CheckedReadsOptions {
  readonly layout: Layout
  /** How long a block that was right is believed; 0 checks it whenever it is read. */
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
   * By what the file of `key` is read, which has just been opened; undefined where no sums of it are kept. Of a file that
   * is another one, or was written to since, nothing is believed. So it is after our own `utimes`, too: that comes after
   * an hour without use.
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

/** What is known of the blocks of one file. */
export class FileChecks {
  readonly #sums: BlockSums
  readonly #identity: FileIdentity
  readonly #options: FileChecksOptions
  #verified: BlockMap
  // No block is marked that was checked before.
  #since: number

  constructor(sums: BlockSums, identity: FileIdentity, options: FileChecksOptions) {
    this.#sums = sums
    this.#identity = identity
    this.#options = options
    this.#verified = new BlockMap(sums.sizeBytes)
    this.#since = options.monotonic()
  }

  /** Roughly: the sums, and a bit for each of them. */
  get memoryBytes(): number {
    return 256 + this.#sums.values.length * 4 + Math.ceil(this.#sums.values.length / 8)
  }

  belongsTo(sizeBytes: number, { inode, changedAt }: FileIdentity): boolean {
    const own = this.#identity
    return this.#sums.sizeBytes === sizeBytes && own.inode === inode && own.changedAt === changedAt
  }

  /**
   * The same as `readAt`, but for bytes that are not what was stored: rejects with DamagedBlock then, and what is in the
   * buffer is for nobody. What was held against the sums is what is given out: it is not read again.
   */
  read(readAt: ReadAt, to: ReadRequest): Promise<number> {
    const { buffer, offset, length, position } = to
    const right = this.#trusted()
    const range = { start: position, end: Math.min(position + length, right.sizeBytes) }
    // Read often, and then for no more than it costs unchecked.
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
      // It was as long as it should be when it was opened.
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

  /** Whether nothing of these bytes would have to be checked now. */
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

  /** The sum of a block of which `middle` has been read; undefined where the rest is not there. */
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
      // One after the other: where the first fails, nothing may be read into the buffer any more.
      const head = before === 0 ? 0 : await readAt(rest, 0, before, at.start)
      const tail = after === 0 ? 0 : await readAt(rest, before, after, at.until)
      if (head + tail < before + after) return undefined
      return crc32(rest.subarray(before, before + after), crc32(middle, crc32(rest.subarray(0, before))))
    } finally {
      scratch.release(rest)
    }
  }
}

/** Buffers of a block. */
class Scratch {
  readonly #free: Buffer[] = []

  acquire(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
  }

  release(buffer: Buffer): void {
    if (this.#free.length < SCRATCH_KEPT) this.#free.push(buffer)
  }
}
