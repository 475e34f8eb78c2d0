// The arithmetic of blocks, and the bitmap of those that have landed. Pure: no disk, no clock.

import type { ByteRange } from '../../http/range.ts'

/**
 * The unit in which a partial records what has landed. Small, because a request for 8 bytes of a file that is not stored
 * costs one block from the origin. Not smaller, because the map of a 500 GB file already takes 250 KB, and is rewritten at
 * each checkpoint.
 */
export const BLOCK_BYTES = 256 * 1024

/** Which blocks of a file of `sizeBytes` are present. The last block may be short. */
export class BlockMap {
  readonly sizeBytes: number
  readonly blockBytes: number
  readonly count: number
  readonly #bits: Uint8Array
  #present = 0
  // The run of present blocks that was measured last. Readers ask for its end again and again, from a later position each
  // time; counting a large file block by block would block the event loop.
  #run = { first: 0, end: 0 }

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

  /** Total length of the blocks that are present. */
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
    this.#run = { first: 0, end: 0 }
  }

  blockAt(position: number): number {
    return Math.floor(position / this.blockBytes)
  }

  /** The bytes of one block. */
  rangeOf(block: number): ByteRange {
    const start = block * this.blockBytes
    return { start, end: Math.min(start + this.blockBytes, this.sizeBytes) }
  }

  /** The blocks that `range` touches, as a half-open interval. */
  blocksOf(range: ByteRange): { readonly first: number; readonly end: number } {
    if (range.end <= range.start) return { first: 0, end: 0 }
    return { first: this.blockAt(range.start), end: this.blockAt(range.end - 1) + 1 }
  }

  /** End of the present bytes that follow `position` without a gap; `position` itself when there are none. */
  presentEnd(position: number): number {
    const block = this.blockAt(position)
    const end = this.#runEnd(block)
    return end === block ? position : Math.max(position, Math.min(end * this.blockBytes, this.sizeBytes))
  }

  /** The first missing block at or after `from` and before `end`; undefined when all are present. */
  firstMissing(from: number, end: number): number | undefined {
    const missing = this.#runEnd(from)
    return missing < end ? missing : undefined
  }

  /** The first missing block at or after `block`; at most `count`, unless `block` is beyond it. */
  #runEnd(block: number): number {
    if (block >= this.count || !this.has(block)) return block
    const known = this.#run.first <= block && block < this.#run.end
    const first = known ? this.#run.first : block
    let end = known ? this.#run.end : block
    while (end < this.count && this.has(end)) {
      // Eight at a time: the map of a large file has millions of bits.
      end += (end & 7) === 0 && this.#bits[end >> 3] === 0xff ? 8 : 1
    }
    end = Math.min(end, this.count)
    this.#run = { first, end }
    return end
  }

  /** Total length of the missing blocks that `range` touches. */
  missingBytes(range: ByteRange): number {
    if (range.start <= 0 && range.end >= this.sizeBytes) return this.sizeBytes - this.presentBytes
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
