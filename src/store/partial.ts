// One unfinished blob: a sparse file, the map of its blocks, and whoever waits for bytes. Does not know where the
// bytes come from, nor who may read them.

import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import type { ByteRange } from '../http/range.ts'
import { makeDirectory, renameInto } from './atomic.ts'
import { writeBlockMap } from './block-map.ts'
import { BlockMap } from './blocks.ts'
import type { BlobKey } from './digest.ts'
import type { Layout } from './layout.ts'
import { resume, writeAll } from './partial-files.ts'
import { moveToQuarantine } from './quarantine.ts'

const MAKE_DATA = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
/**
 * Larger files are not kept to be looked at when they fail their digest: nobody counts what lies there, and an origin that
 * brings wrong bytes must not push right ones off the disk.
 */
const QUARANTINE_MAX_BYTES = 256 * 1024 * 1024

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
  readonly #layout: Layout
  readonly #handle: FileHandle
  // How far the writing of a block that is not complete has come.
  readonly #frontiers = new Map<number, number>()
  readonly #waiters = new Set<Waiter>()
  #references = 1
  #failure: { readonly error: unknown } | undefined
  #checkpointing: Promise<void> = Promise.resolve()
  // Blocks have landed that the map on the disk does not know.
  #unrecorded = false
  // A sync that failed once may succeed the next time though the bytes are lost: nothing is vouched for after it.
  #syncFailure: { readonly error: unknown } | undefined
  // The files of the partial are no longer ours: finished, removed, or given up.
  #ended = false

  private constructor(layout: Layout, key: BlobKey, handle: FileHandle, map: BlockMap) {
    this.#layout = layout
    this.key = key
    this.sizeBytes = map.sizeBytes
    this.map = map
    this.#handle = handle
  }

  /** Opens the partial of `key`, resuming what an earlier process left, or makes an empty one. */
  static async open(layout: Layout, key: BlobKey, sizeBytes: number): Promise<Partial> {
    const directory = layout.partial(key)
    const resumed = await resume(directory, sizeBytes)
    if (resumed !== undefined) return new Partial(layout, key, resumed.handle, resumed.map)
    // A map without its data is worse than litter: the holes of a new file would count as bytes.
    await rm(directory, { recursive: true, force: true })
    await makeDirectory(directory)
    const handle = await open(path.join(directory, 'data'), MAKE_DATA, 0o600)
    try {
      await handle.truncate(sizeBytes)
      return new Partial(layout, key, handle, new BlockMap(sizeBytes))
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** Where the bytes lie until the commit. */
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
      await this.#handle.close()
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
    await writeAll(this.#handle, chunks, position, length)
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

  async read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(buffer, offset, length, position)
    return bytesRead
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
        await this.#sync()
        await writeBlockMap(this.#layout.tmp, path.join(this.#layout.partial(this.key), 'blocks'), copy)
      } catch (error) {
        this.#unrecorded = true
        throw error
      }
    })
    this.#checkpointing = turn.catch(() => undefined)
    await turn
  }

  async #sync(): Promise<void> {
    if (this.#syncFailure !== undefined) throw this.#syncFailure.error
    try {
      await this.#handle.datasync()
    } catch (error) {
      this.#syncFailure = { error }
      throw error
    }
  }

  /** Makes the file the finished blob of its key. The caller has checked the digest. Readers are not disturbed. */
  async commit(): Promise<void> {
    await this.#checkpointing
    const directory = this.#layout.partial(this.key)
    await this.#sync()
    await renameInto(path.join(directory, 'data'), this.#layout.blob(this.key), { durable: true })
    this.#ended = true
    // After the name, not before: a partial that is found read-only at the next start could not be gone on with.
    // Neither this nor the sweeping undoes the blob: a map without data is litter, and readers open read-only.
    await this.#handle.chmod(0o400).catch(() => undefined)
    await rm(directory, { recursive: true, force: true }).catch(() => undefined)
  }

  /** Removes the file. Those who wait are rejected with `error`. */
  async discard(error: unknown, options: { readonly quarantine: boolean }): Promise<void> {
    this.fail(error)
    this.#ended = true
    await this.#checkpointing
    const directory = this.#layout.partial(this.key)
    if (!options.quarantine || this.sizeBytes > QUARANTINE_MAX_BYTES) {
      await rm(directory, { recursive: true, force: true })
      return
    }
    await moveToQuarantine(this.#layout, directory, path.basename(directory))
  }
}
