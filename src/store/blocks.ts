// Block arithmetic and the bitmap. Pure: no disk, no clock.

import type { ByteRange } from '../http/range.ts'

/**
 * The unit in which presence is recorded. Small, because an 8-byte question about a cold file costs one block of
 * the origin; not smaller, because the map of a 500 GB file is then 250 KB, rewritten at every checkpoint.
 */
export const BLOCK_BYTES = 256 * 1024

/** Which blocks of a file of `sizeBytes` are present. The last block may be short. */
export class BlockMap {
  readonly sizeBytes: number
  readonly blockBytes: number
  readonly count: number
  readonly #bits: Uint8Array
  #present = 0

  constructor(sizeBytes: number, blockBytes = BLOCK_BYTES, bits?: Uint8Array) {
    this.sizeBytes = sizeBytes
    this.blockBytes = blockBytes
    this.count = Math.ceil(sizeBytes / blockBytes)
    this.#bits = new Uint8Array(Math.ceil(this.count / 8))
    if (bits !== undefined) {
      this.#bits.set(bits.subarray(0, this.#bits.length))
      for (let block = 0; block < this.count; block += 1) if (this.has(block)) this.#present += 1
    }
  }

  get complete(): boolean {
    return this.#present === this.count
  }

  /** Bytes of the blocks that are present. */
  get presentBytes(): number {
    if (this.count === 0 || this.#present === 0) return 0
    const last = this.count - 1
    const short = this.blockBytes - (this.sizeBytes - last * this.blockBytes)
    return this.#present * this.blockBytes - (this.has(last) ? short : 0)
  }

  /** A copy of the bits, as the map file keeps them. */
  bits(): Uint8Array {
    return this.#bits.slice()
  }

  has(block: number): boolean {
    return ((this.#bits[block >> 3] ?? 0) & (1 << (block & 7))) !== 0
  }

  add(block: number): void {
    if (block < 0 || block >= this.count || this.has(block)) return
    this.#bits[block >> 3] = (this.#bits[block >> 3] ?? 0) | (1 << (block & 7))
    this.#present += 1
  }

  remove(block: number): void {
    if (block < 0 || block >= this.count || !this.has(block)) return
    this.#bits[block >> 3] = (this.#bits[block >> 3] ?? 0) & ~(1 << (block & 7))
    this.#present -= 1
  }

  blockAt(position: number): number {
    return Math.floor(position / this.blockBytes)
  }

  /** The bytes of one block. */
  rangeOf(block: number): ByteRange {
    const start = block * this.blockBytes
    return { start, end: Math.min(start + this.blockBytes, this.sizeBytes) }
  }

  /** The blocks that `range` touches, half-open. */
  blocksOf(range: ByteRange): { readonly first: number; readonly end: number } {
    if (range.end <= range.start) return { first: 0, end: 0 }
    return { first: this.blockAt(range.start), end: this.blockAt(range.end - 1) + 1 }
  }

  /** End of the present bytes that follow `position` without a hole; `position` itself when there are none. */
  presentEnd(position: number): number {
    let block = this.blockAt(position)
    if (position >= this.sizeBytes || !this.has(block)) return position
    while (block < this.count && this.has(block)) {
      // Eight at a time, as below: a reader at the start of a large file asks this for every piece it sends.
      block += (block & 7) === 0 && this.#bits[block >> 3] === 0xff ? 8 : 1
    }
    return Math.min(block * this.blockBytes, this.sizeBytes)
  }

  /** First missing block at or after `from`, before `end`; undefined when all are there. */
  firstMissing(from: number, end: number): number | undefined {
    for (let block = from; block < end; block += 1) {
      // Skip eight present blocks at a time: the map of a large file has millions of bits.
      if ((block & 7) === 0 && block + 8 <= end && this.#bits[block >> 3] === 0xff) {
        block += 7
        continue
      }
      if (!this.has(block)) return block
    }
    return undefined
  }

  /** Bytes of the missing blocks that `range` touches. */
  missingBytes(range: ByteRange): number {
    const { first, end } = this.blocksOf(range)
    let bytes = 0
    for (let block = first; block < end; block += 1) {
      if (!this.has(block)) {
        const { start, end: stop } = this.rangeOf(block)
        bytes += stop - start
      }
    }
    return bytes
  }
}
