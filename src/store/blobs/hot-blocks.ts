// Blocks of large blobs in memory, so that short reads of a file that many clients read need no thread. A block belongs to
// one file as it was when it was opened: the caller keeps that file open while it takes blocks from here, and so notices
// when the blob was evicted, removed, replaced or found damaged. Which blocks may be used is decided in blobs.ts.

import type { ByteRange } from '../../http/range.ts'
import { MemoryCache } from '../../memory.ts'
import type { ReadAt } from '../digest.ts'

/** Small, since clients that read tensors or columns by name ask for places all over a file. */
export const HOT_BLOCK_BYTES = 16 * 1024

/** Of the names of blocks that were asked for once: some 2,500. */
const ASKED_BYTES = 1024 * 1024

/** The file that blocks belong to, and its state. One that may have other bytes has another identity. */
interface HotFile {
  readonly identity: string
  readonly sizeBytes: number
}

export class HotBlocks {
  readonly #blocks: MemoryCache<Buffer>

  // A client that reads all over a file once must not evict what others read again and again.
  readonly #asked = new MemoryCache<number>({ maxBytes: ASKED_BYTES })

  /** `memory` bounds the blocks. It may hold other things, under names without a space. */
  constructor(memory: MemoryCache<Buffer>) {
    this.#blocks = memory
  }

  /** The bytes of `range` if all of them are in memory. The caller must not write to them. */
  get(identity: string, { start, end }: ByteRange): Buffer | undefined {
    const first = Math.floor(start / HOT_BLOCK_BYTES)
    const last = Math.floor((end - 1) / HOT_BLOCK_BYTES)
    const from = start - first * HOT_BLOCK_BYTES
    if (first === last) return this.#blocks.get(nameOf(identity, first))?.subarray(from, from + end - start)
    const blocks: Buffer[] = []
    for (let block = first; block <= last; block += 1) {
      const bytes = this.#blocks.get(nameOf(identity, block))
      if (bytes === undefined) return undefined
      blocks.push(bytes)
    }
    return Buffer.concat(blocks).subarray(from, from + end - start)
  }

  /**
   * Reads `range` with one read. If all of its blocks were asked for before, it reads them whole and keeps them. Resolves with undefined
   * if the file is shorter than recorded. Rejects as the read does.
   */
  async read(file: HotFile, { start, end }: ByteRange, readAt: ReadAt): Promise<Buffer | undefined> {
    const first = Math.floor(start / HOT_BLOCK_BYTES)
    if (!this.#wasAskedFor(file.identity, first, Math.floor((end - 1) / HOT_BLOCK_BYTES))) {
      const bytes = Buffer.allocUnsafe(end - start)
      return (await readAt(bytes, 0, bytes.length, start)) < bytes.length ? undefined : bytes
    }
    const from = first * HOT_BLOCK_BYTES
    const until = Math.min(file.sizeBytes, Math.ceil(end / HOT_BLOCK_BYTES) * HOT_BLOCK_BYTES)
    // Outside of Node's pool of buffers: a block that is kept must not keep others alive.
    const bytes = Buffer.allocUnsafeSlow(until - from)
    const length = await readAt(bytes, 0, bytes.length, from)
    if (length < bytes.length) return undefined
    for (let at = 0; at < bytes.length; at += HOT_BLOCK_BYTES) {
      const block = bytes.subarray(at, at + HOT_BLOCK_BYTES)
      const kept = block.length === bytes.length ? bytes : copyOf(block)
      this.#blocks.set(nameOf(file.identity, first + at / HOT_BLOCK_BYTES), kept)
    }
    return bytes.subarray(start - from, end - from)
  }

  /** Whether all of these blocks were asked for before. From now on they were. */
  #wasAskedFor(identity: string, first: number, last: number): boolean {
    let wereAll = true
    for (let block = first; block <= last; block += 1) {
      const name = nameOf(identity, block)
      if (this.#asked.get(name) !== undefined) continue
      wereAll = false
      this.#asked.set(name, 1)
    }
    return wereAll
  }
}

function nameOf(identity: string, block: number): string {
  return `${identity} ${block}`
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
