// A partial on a local disk: its bytes, the map of its blocks, its account in the ledger, and the readers that wait for
// bytes. What it promises stands at `PartialBlob`. It does not know where the bytes come from, or who may read them.

import path from 'node:path'
import type { ByteRange } from '../../http/range.ts'
import { type BlockSums, writeBlockSums } from '../blobs/block-sums.ts'
import { type BlobKey, hashUpTo, Verifier } from '../digest.ts'
import type { Layout } from '../layout.ts'
import type { Ledger } from '../ledger.ts'
import type { GrowingDigest, PartialBlob, PartialWriter } from '../store.ts'
import { BlockMap } from './blocks.ts'
import { FileWriter } from './file-writer.ts'
import type { HashThread } from './hash-thread.ts'
import { BytesInMemory, BytesOnDisk, type PartialBytes, type StoreSmall } from './partial-bytes.ts'
import { PartialSpace } from './partial-space.ts'

interface Waiter {
  readonly position: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Up to this size a digest takes a millisecond or two: less than another thread costs. */
const HASH_HERE_BYTES = 2 * 1024 * 1024

/** What a partial needs beside its files. Without a ledger nothing is counted; without a thread it hashes by itself. */
interface PartialDependencies {
  readonly ledger?: Ledger
  readonly hashes?: HashThread
  /** Where the checksums of the blocks are kept with the blob: they are taken when all bytes are hashed. */
  readonly sums?: BlockSums | undefined
  /** Called when the blob is in its file, durably. */
  readonly onFile?: (key: BlobKey, sizeBytes: number) => void
}

export class DiskPartial implements PartialBlob {
  readonly key: BlobKey
  readonly sizeBytes: number
  readonly map: BlockMap
  readonly #layout: Layout
  readonly #bytes: PartialBytes
  readonly #space: PartialSpace | undefined
  readonly #hashes: HashThread | undefined
  readonly #sums: BlockSums | undefined
  readonly #onFile: PartialDependencies['onFile']
  // Bytes that have landed of a block that is not complete.
  readonly #frontiers = new Map<number, number>()
  readonly #waiters = new Set<Waiter>()
  #references = 1
  #failure: { readonly error: unknown } | undefined
  #checkpointing: Promise<void> = Promise.resolve()
  // Blocks have landed that the map on the disk does not have.
  #unrecorded = false
  // The files are no longer ours: they are the blob's, the next opener's, or gone.
  #ended = false

  private constructor(
    layout: Layout,
    key: BlobKey,
    stored: { readonly bytes: PartialBytes; readonly map: BlockMap },
    { ledger, hashes, sums, onFile }: PartialDependencies,
  ) {
    this.#layout = layout
    this.key = key
    this.sizeBytes = stored.map.sizeBytes
    this.map = stored.map
    this.#bytes = stored.bytes
    this.#hashes = hashes
    this.#sums = sums
    this.#onFile = onFile
    this.#space = ledger && new PartialSpace(ledger, key, stored.map.presentBytes, stored.bytes.isResumable)
  }

  /** Opens the partial of `key`, with what an earlier process left of it, or makes an empty one. */
  static async open(
    layout: Layout,
    key: BlobKey,
    sizeBytes: number,
    dependencies: PartialDependencies = {},
  ): Promise<DiskPartial> {
    return new DiskPartial(layout, key, await BytesOnDisk.open(layout, key, sizeBytes), dependencies)
  }

  /** Makes an empty one that leaves nothing on the disk before the commit. */
  static inMemory(
    layout: Layout,
    key: BlobKey,
    sizeBytes: number,
    dependencies: PartialDependencies & { readonly store: StoreSmall },
  ): DiskPartial {
    const bytes = new BytesInMemory(layout, key, sizeBytes, dependencies.store)
    return new DiskPartial(layout, key, { bytes, map: new BlockMap(sizeBytes) }, dependencies)
  }

  reserve(range: ByteRange): Promise<boolean> {
    const lackingBytes = (promisedBytes: number): number => {
      let landedBytes = this.map.presentBytes
      for (const bytes of this.#frontiers.values()) landedBytes += bytes
      const unpromised = Math.max(0, this.sizeBytes - landedBytes - promisedBytes)
      return Math.min(this.map.missingBytes(range), unpromised)
    }
    return this.#space?.reserve(lackingBytes) ?? Promise.resolve(true)
  }

  retain(): this {
    this.#references += 1
    return this
  }

  async release(): Promise<void> {
    this.#references -= 1
    if (this.#references > 0) return
    try {
      await this.keep()
    } finally {
      await this.#bytes.close()
    }
  }

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

  async write(position: number, chunks: readonly Uint8Array[]): Promise<void> {
    let length = 0
    for (const chunk of chunks) length += chunk.byteLength
    await this.#bytes.write(chunks, position, length)
    // Marked only after the write has returned: a reader that sees the mark must find the bytes.
    this.landed(position, length)
  }

  writer(range: ByteRange): PartialWriter | undefined {
    const { descriptor } = this.#bytes
    return descriptor === undefined ? undefined : new FileWriter(descriptor, range)
  }

  landed(position: number, length: number): void {
    this.#mark({ start: position, end: position + length })
    this.#space?.landed(length, this.map.presentBytes)
  }

  #mark(range: ByteRange): void {
    const { first, end } = this.map.blocksOf(range)
    for (let block = first; block < end; block += 1) {
      if (this.map.has(block)) continue
      const bounds = this.map.rangeOf(block)
      const from = bounds.start + (this.#frontiers.get(block) ?? 0)
      // With a gap before them, the bytes do not move the frontier: they are on the disk, but do not count as landed.
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

  resumeAt(block: number): number {
    return this.map.rangeOf(block).start + (this.#frontiers.get(block) ?? 0)
  }

  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    return this.#bytes.read(buffer, offset, length, position)
  }

  fail(error: unknown): void {
    this.#failure ??= { error }
    for (const waiter of this.#waiters) waiter.reject(error)
  }

  async checkpoint(): Promise<void> {
    const checkpoint = this.#checkpointing.then(async () => {
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
    this.#checkpointing = checkpoint.catch(() => undefined)
    await checkpoint
  }

  digest(): GrowingDigest {
    const isSmall = this.sizeBytes <= HASH_HERE_BYTES
    if (isSmall || this.#hashes === undefined) return this.#digestHere()
    const file = path.join(this.#layout.partial(this.key), 'data')
    return this.#hashes.open(file, this.key, this.sizeBytes, this.#sums)
  }

  /** Reads and hashes all bytes on this thread, once they are all there. */
  #digestHere(): GrowingDigest {
    let begin = (): void => {}
    const complete = new Promise<void>((resolve) => (begin = resolve))
    const matches = complete.then(async () => {
      const verifier = new Verifier(this.key, this.sizeBytes, { tee: this.#sums })
      await hashUpTo(verifier, (...to) => this.read(...to), this.sizeBytes)
      if (verifier.position < this.sizeBytes) throw new Error('the partial is shorter than its map says')
      return verifier.matches()
    })
    // The caller may give it up, and not wait for it.
    matches.catch(() => undefined)
    const advance = (end: number): void => {
      if (end >= this.sizeBytes) begin()
    }
    return { matches, advance, close() {} }
  }

  async commit(): Promise<void> {
    await this.#checkpointing
    // Before the blob has its name, so that its first reader finds them. If they cannot be written, the blob has none.
    if (this.#sums?.isWhole === true)
      await writeBlockSums(this.#layout, this.key, this.#sums).catch(() => undefined)
    await this.#bytes.finish()
    this.#ended = true
    this.#space?.settle('committed', this.sizeBytes)
    this.#onFile?.(this.key, this.sizeBytes)
  }

  async keep(): Promise<void> {
    if (this.#ended) return
    const { presentBytes } = this.map
    if (!this.#bytes.isResumable || presentBytes === 0) return this.#remove({ quarantine: false })
    // Without a map that vouches for it, what stays on the disk is litter that the next opener removes.
    let outcome: 'kept' | 'gone' = 'gone'
    try {
      if (this.#unrecorded) await this.checkpoint()
      outcome = 'kept'
    } finally {
      this.#ended = true
      this.#space?.settle(outcome, presentBytes)
    }
  }

  async discard(error: unknown, options: { readonly quarantine: boolean }): Promise<void> {
    this.fail(error)
    if (!this.#ended) await this.#remove(options)
  }

  async #remove(options: { readonly quarantine: boolean }): Promise<void> {
    this.#ended = true
    try {
      await this.#checkpointing
      await this.#bytes.remove(options)
    } finally {
      this.#space?.settle('gone', 0)
    }
  }
}
