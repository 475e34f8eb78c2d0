// Where the bytes of an unfinished blob lie: in a sparse file beside the map of its blocks, or in memory where it is so
// small that nothing of it could be resumed. Knows no readers, and not which bytes are there.

import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { createIn, makeDirectory, renameInto, writeAll, writeAtomic } from '../atomic.ts'
import { moveToQuarantine } from '../blobs/quarantine.ts'
import type { BlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { writeBlockMap } from './block-map.ts'
import { BlockMap } from './blocks.ts'
import { resume } from './partial-files.ts'

const MAKE_DATA = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
/**
 * Larger files are not kept to be looked at when they fail their digest: nobody counts what lies there, and an origin that
 * brings wrong bytes must not push right ones off the disk.
 */
const QUARANTINE_MAX_BYTES = 256 * 1024 * 1024
const FINISHED_MODE = 0o400

export interface PartialBytes {
  /** Whether what was recorded is there for whoever opens the partial next. */
  readonly isResumable: boolean
  /** Writes all of `chunks`, `length` bytes together, or throws. */
  write(chunks: readonly Uint8Array[], position: number, length: number): Promise<void>
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number>
  /** Makes the bytes durable that `map` says are there: data first, then the map that vouches for them. */
  record(map: BlockMap): Promise<void>
  /** Makes them the finished blob. Those who read here read on. */
  finish(): Promise<void>
  remove(options: { readonly quarantine: boolean }): Promise<void>
  close(): Promise<void>
}

export class BytesOnDisk implements PartialBytes {
  readonly isResumable = true
  readonly #layout: Layout
  readonly #key: BlobKey
  readonly #sizeBytes: number
  readonly #directory: string
  readonly #handle: FileHandle
  // A sync that failed once may succeed the next time though the bytes are lost: nothing is vouched for after it.
  #syncFailure: { readonly error: unknown } | undefined

  private constructor(layout: Layout, key: BlobKey, sizeBytes: number, handle: FileHandle) {
    this.#layout = layout
    this.#key = key
    this.#sizeBytes = sizeBytes
    this.#directory = layout.partial(key)
    this.#handle = handle
  }

  /** What an earlier process left, with its map, or an empty file of this size. */
  static async open(
    layout: Layout,
    key: BlobKey,
    sizeBytes: number,
  ): Promise<{ readonly bytes: BytesOnDisk; readonly map: BlockMap }> {
    const directory = layout.partial(key)
    const resumed = await resume(directory, sizeBytes)
    if (resumed !== undefined)
      return { bytes: new BytesOnDisk(layout, key, sizeBytes, resumed.handle), map: resumed.map }
    // A map without its data is worse than litter: the holes of a new file would count as bytes.
    await rm(directory, { recursive: true, force: true })
    await makeDirectory(directory)
    const handle = await open(path.join(directory, 'data'), MAKE_DATA, 0o600)
    try {
      await handle.truncate(sizeBytes)
      return { bytes: new BytesOnDisk(layout, key, sizeBytes, handle), map: new BlockMap(sizeBytes) }
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  write(chunks: readonly Uint8Array[], position: number, length: number): Promise<void> {
    return writeAll(this.#handle, chunks, position, length)
  }

  async read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    return (await this.#handle.read(buffer, offset, length, position)).bytesRead
  }

  async record(map: BlockMap): Promise<void> {
    await this.#sync()
    await writeBlockMap(this.#layout.tmp, path.join(this.#directory, 'blocks'), map)
  }

  async finish(): Promise<void> {
    await this.#sync()
    await renameInto(path.join(this.#directory, 'data'), this.#layout.blob(this.#key), { durable: true })
    // After the name, not before: a partial that is found read-only at the next start could not be gone on with.
    // Neither this nor the sweeping undoes the blob: a map without data is litter, and readers open read-only.
    await this.#handle.chmod(FINISHED_MODE).catch(() => undefined)
    await rm(this.#directory, { recursive: true, force: true }).catch(() => undefined)
  }

  async remove({ quarantine }: { readonly quarantine: boolean }): Promise<void> {
    if (quarantine && this.#sizeBytes <= QUARANTINE_MAX_BYTES)
      await moveToQuarantine(this.#layout, this.#directory, path.basename(this.#directory))
    else await rm(this.#directory, { recursive: true, force: true })
  }

  close(): Promise<void> {
    return this.#handle.close()
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
}

/** Of a file of one block there is no half that a map could vouch for: it comes to the disk whole, in one piece. */
export class BytesInMemory implements PartialBytes {
  readonly isResumable = false
  readonly #layout: Layout
  readonly #key: BlobKey
  readonly #bytes: Buffer

  constructor(layout: Layout, key: BlobKey, sizeBytes: number) {
    this.#layout = layout
    this.#key = key
    this.#bytes = Buffer.alloc(sizeBytes)
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    let at = position
    for (const chunk of chunks) {
      this.#bytes.set(chunk, at)
      at += chunk.byteLength
    }
    return Promise.resolve()
  }

  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    return Promise.resolve(this.#bytes.copy(buffer, offset, position, position + length))
  }

  record(): Promise<void> {
    return Promise.resolve()
  }

  finish(): Promise<void> {
    const { tmp } = this.#layout
    return writeAtomic(tmp, this.#layout.blob(this.#key), this.#bytes, { durable: true, mode: FINISHED_MODE })
  }

  async remove({ quarantine }: { readonly quarantine: boolean }): Promise<void> {
    if (!quarantine) return
    // As it would lie there had it come from the disk.
    const directory = this.#layout.partial(this.#key)
    const handle = await createIn(directory, path.join(directory, 'data'))
    try {
      await handle.writeFile(this.#bytes)
    } finally {
      await handle.close()
    }
    await moveToQuarantine(this.#layout, directory, path.basename(directory))
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
