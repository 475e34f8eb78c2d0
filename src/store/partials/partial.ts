// One unfinished blob: its bytes, the map of its blocks, and whoever waits for bytes. Does not know where the bytes
// come from, nor who may read them.

import path from 'node:path'
import type { ByteRange } from '../../http/range.ts'
import { type BlockSums, writeBlockSums } from '../blobs/block-sums.ts'
import type { BlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { BlockMap } from './blocks.ts'
import { BytesInMemory, BytesOnDisk, type PartialBytes } from './partial-bytes.ts'

interface Waiter {
  readonly position: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * Bytes land by `write`, in any order of blocks but from the start of a block onwards inside it; readers see them
 * as soon as the write has returned. Every opener calls `release` once; the last one closes the file.
 */
export class Partial {
  readonly key: BlobKey
  readonly sizeBytes: number
  readonly map: BlockMap
  /** Where they are to be kept with the blob: whoever hashes all of it has them taken of the same bytes. */
  sums: BlockSums | undefined
  readonly #layout: Layout
  readonly #bytes: PartialBytes
  // How far the writing of a block that is not complete has come.
  readonly #frontiers = new Map<number, number>()
  readonly #waiters = new Set<Waiter>()
  #references = 1
  #failure: { readonly error: unknown } | undefined
  #checkpointing: Promise<void> = Promise.resolve()
  // Blocks have landed that the map on the disk does not know.
  #unrecorded = false
  // The files of the partial are no longer ours: finished, removed, or given up.
  #ended = false

  private constructor(layout: Layout, key: BlobKey, bytes: PartialBytes, map: BlockMap) {
    this.#layout = layout
    this.key = key
    this.sizeBytes = map.sizeBytes
    this.map = map
    this.#bytes = bytes
  }

  /** Opens the partial of `key`, resuming what an earlier process left, or makes an empty one. */
  static async open(layout: Layout, key: BlobKey, sizeBytes: number): Promise<Partial> {
    const { bytes, map } = await BytesOnDisk.open(layout, key, sizeBytes)
    return new Partial(layout, key, bytes, map)
  }

  /** An empty one that leaves nothing on the disk before the commit. */
  static inMemory(layout: Layout, key: BlobKey, sizeBytes: number): Partial {
    return new Partial(layout, key, new BytesInMemory(layout, key, sizeBytes), new BlockMap(sizeBytes))
  }

  /** Whether what has landed is there for the next opener. */
  get isResumable(): boolean {
    return this.#bytes.isResumable
  }

  /** Where the bytes lie until the commit, unless in memory. */
  get dataFile(): string {
    return path.join(this.#layout.partial(this.key), 'data')
  }

  /** Counts one more user of the file. */
  retain(): this {
    this.#references += 1
    return this
  }

  /** Ends one use; the last one closes the file, and records the map when the blob is not finished. */
  async release(): Promise<void> {
    this.#references -= 1
    if (this.#references > 0) return
    try {
      await this.detach()
    } finally {
      await this.#bytes.close()
    }
  }

  /** Records what is there and gives the files up to whoever opens them next; those who read here read on. */
  async detach(): Promise<void> {
    if (this.#ended) return
    try {
      if (this.#unrecorded) await this.checkpoint()
    } finally {
      this.#ended = true
    }
  }

  /** End of the readable bytes that follow `position` without a hole. */
  availableEnd(position: number): number {
    let end = position
    for (;;) {
      end = this.map.presentEnd(end)
      const block = this.map.blockAt(end)
      const written = this.#frontiers.get(block)
      if (written === undefined || this.map.has(block)) return end
      const frontier = this.map.rangeOf(block).start + written
      if (frontier <= end) return end
      return frontier
    }
  }

  /** Resolves once the byte at `position` can be read; rejects when it never will, or when `signal` aborts. */
  async whenAvailable(position: number, signal: AbortSignal): Promise<void> {
    if (this.availableEnd(position) > position) return
    if (this.#failure !== undefined) throw this.#failure.error
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiters.delete(waiter)
        reject(signal.reason as Error)
      }
      const settle = (then: () => void): void => {
        this.#waiters.delete(waiter)
        signal.removeEventListener('abort', abort)
        then()
      }
      const waiter: Waiter = {
        position,
        resolve: () => settle(resolve),
        reject: (error) => settle(() => reject(error as Error)),
      }
      this.#waiters.add(waiter)
      signal.addEventListener('abort', abort, { once: true })
    })
  }

  /** Writes bytes that begin at a block, or where the last write inside the block ended. */
  async write(position: number, chunks: readonly Uint8Array[]): Promise<void> {
    let length = 0
    for (const chunk of chunks) length += chunk.byteLength
    await this.#bytes.write(chunks, position, length)
    // Present only after the write has returned: a reader that sees the mark must find the bytes.
    this.#landed({ start: position, end: position + length })
  }

  #landed(range: ByteRange): void {
    const { first, end } = this.map.blocksOf(range)
    for (let block = first; block < end; block += 1) {
      if (this.map.has(block)) continue
      const bounds = this.map.rangeOf(block)
      const from = bounds.start + (this.#frontiers.get(block) ?? 0)
      // A hole inside a block would make the frontier a lie; such bytes are on the disk but not counted.
      if (range.start > from) continue
      const reached = Math.min(range.end, bounds.end)
      if (reached === bounds.end) {
        this.map.add(block)
        this.#unrecorded = true
        this.#frontiers.delete(block)
      } else if (reached > from) {
        this.#frontiers.set(block, reached - bounds.start)
      }
    }
    for (const waiter of this.#waiters) {
      if (this.availableEnd(waiter.position) > waiter.position) waiter.resolve()
    }
  }

  /** Where writing of a missing block may go on: its start, or the end of what an earlier attempt left. */
  resumeAt(block: number): number {
    return this.map.rangeOf(block).start + (this.#frontiers.get(block) ?? 0)
  }

  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    return this.#bytes.read(buffer, offset, length, position)
  }

  /** Rejects everybody who waits, now and later. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    for (const waiter of this.#waiters) waiter.reject(error)
  }

  /** Makes the present blocks durable: data first, then the map that vouches for them. */
  async checkpoint(): Promise<void> {
    const turn = this.#checkpointing.then(async () => {
      if (this.#ended) return
      const copy = new BlockMap(this.map.sizeBytes, this.map.blockBytes, this.map.bits())
      this.#unrecorded = false
      try {
        await this.#bytes.record(copy)
      } catch (error) {
        this.#unrecorded = true
        throw error
      }
    })
    this.#checkpointing = turn.catch(() => undefined)
    await turn
  }

  /** Makes the bytes the finished blob of its key. The caller has checked the digest. Readers are not disturbed. */
  async commit(): Promise<void> {
    await this.#checkpointing
    // Before the blob has its name: whoever opens it at once is to find them. It is stored without where they fail.
    if (this.sums?.isWhole === true)
      await writeBlockSums(this.#layout, this.key, this.sums).catch(() => undefined)
    await this.#bytes.finish()
    this.#ended = true
  }

  /** Removes the bytes. Those who wait are rejected with `error`. */
  async discard(error: unknown, options: { readonly quarantine: boolean }): Promise<void> {
    this.fail(error)
    this.#ended = true
    await this.#checkpointing
    await this.#bytes.remove(options)
  }
}
