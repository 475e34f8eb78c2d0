// Checksums of the blocks of a finished blob, and the file that stores them. They are taken from bytes whose digest was
// right, so a block that no longer has its checksum has been changed since. A table that is missing, torn or of another
// file means that nothing can be checked; it never means that the blob is damaged.

import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { writeAtomic } from '../atomic.ts'
import type { BlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { BLOCK_BYTES } from '../partials/blocks.ts'

// 'HMBS' | version u32 | size u64 | block bytes u32 | number of sums u32 | sums u32 … | crc32, u32. Big-endian. The last
// checksum covers the text of the key and all bytes before it, so that the table of another blob is not accepted.
const MAGIC = 0x484d4253
const VERSION = 1
const HEAD_BYTES = 24

/** The CRC-32 of each block of one file: computed from its bytes in order, or read from disk. */
export class BlockSums {
  readonly sizeBytes: number
  readonly #sums: Uint32Array
  #position = 0

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes
    this.#sums = new Uint32Array(Math.ceil(sizeBytes / BLOCK_BYTES))
  }

  /** Adds bytes that follow those of the calls before. */
  update(bytes: Uint8Array): void {
    let from = 0
    while (from < bytes.length) {
      const block = Math.floor(this.#position / BLOCK_BYTES)
      const end = Math.min(bytes.length, from + (block + 1) * BLOCK_BYTES - this.#position)
      this.#sums[block] = crc32(bytes.subarray(from, end), this.#sums[block])
      this.#position += end - from
      from = end
    }
  }

  /** Whether exactly the bytes of the file were added. */
  get isWhole(): boolean {
    return this.#position === this.sizeBytes
  }

  /** The sums, one for each block. The caller must not write to them. */
  get values(): Uint32Array {
    return this.#sums
  }

  /** Takes over the sums of the whole file, computed by another thread or read from disk. */
  adopt(values: Uint32Array): void {
    this.#sums.set(values)
    this.#position = this.sizeBytes
  }

  has(block: number, sum: number): boolean {
    return this.#sums[block] === sum
  }

  equals(other: BlockSums): boolean {
    return this.#sums.length === other.#sums.length && this.#sums.every((sum, block) => other.has(block, sum))
  }
}

/**
 * Stores the sums of a whole file. It is not synced: if a power cut tears it, there is no table. Rejects with the error of
 * the disk; the blob can be stored without sums.
 */
export async function writeBlockSums(layout: Layout, key: BlobKey, sums: BlockSums): Promise<void> {
  const { values } = sums
  const buffer = Buffer.alloc(HEAD_BYTES + values.length * 4 + 4)
  buffer.writeUInt32BE(MAGIC, 0)
  buffer.writeUInt32BE(VERSION, 4)
  buffer.writeBigUInt64BE(BigInt(sums.sizeBytes), 8)
  buffer.writeUInt32BE(BLOCK_BYTES, 16)
  buffer.writeUInt32BE(values.length, 20)
  for (const [block, sum] of values.entries()) buffer.writeUInt32BE(sum, HEAD_BYTES + block * 4)
  buffer.writeUInt32BE(ownSum(key, buffer), buffer.length - 4)
  await writeAtomic(layout.tmp, layout.sums(key), buffer, { durable: false })
}

/** The stored sums, or undefined when there is no valid table for a blob of this key and size. Never rejects. */
export async function readBlockSums(
  layout: Layout,
  key: BlobKey,
  sizeBytes: number,
): Promise<BlockSums | undefined> {
  const sums = new BlockSums(sizeBytes)
  const { length } = sums.values
  const buffer = await readExactly(layout.sums(key), HEAD_BYTES + length * 4 + 4)
  if (buffer === undefined) return undefined
  if (buffer.readUInt32BE(0) !== MAGIC || buffer.readUInt32BE(4) !== VERSION) return undefined
  if (buffer.readUInt32BE(buffer.length - 4) !== ownSum(key, buffer)) return undefined
  if (buffer.readBigUInt64BE(8) !== BigInt(sizeBytes) || buffer.readUInt32BE(16) !== BLOCK_BYTES)
    return undefined
  if (buffer.readUInt32BE(20) !== length) return undefined
  sums.adopt(Uint32Array.from({ length }, (_, block) => buffer.readUInt32BE(HEAD_BYTES + block * 4)))
  return sums
}

function ownSum(key: BlobKey, table: Buffer): number {
  return crc32(table.subarray(0, -4), crc32(key))
}

/** The bytes of a regular file of exactly `length` bytes; undefined for anything else, and for any error of the disk. */
async function readExactly(file: string, length: number): Promise<Buffer | undefined> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stats = await handle.stat()
      if (!stats.isFile() || stats.size !== length) return undefined
      const buffer = Buffer.allocUnsafe(length)
      const { bytesRead } = await handle.read(buffer, 0, length, 0)
      return bytesRead === length ? buffer : undefined
    } finally {
      await handle.close()
    }
  } catch {
    return undefined
  }
}
