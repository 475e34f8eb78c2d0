// Where the bytes of a partial are: in a sparse file beside the map of its blocks, or in memory when the blob is so small
// that nothing of it could be resumed. The order in which things become durable is decided here: data, then the map or the
// name that vouches for it, then the directory. Readers, and which bytes have landed, are known in partial.ts.

import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { createIn, makeDirectory, renameInto, writeAll } from '../atomic.ts'
import { moveToQuarantine } from '../blobs/quarantine.ts'
import type { BlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { writeBlockMap } from './block-map.ts'
import { BlockMap } from './blocks.ts'
import { resume } from './partial-files.ts'

const MAKE_DATA = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
/**
 * The largest file that goes to quarantine when its digest is wrong. Quarantined files are not counted as space, and an
 * origin that sends wrong bytes must not displace right ones.
 */
const QUARANTINE_MAX_BYTES = 256 * 1024 * 1024
const FINISHED_MODE = 0o400

export interface PartialBytes {
  /** Whether the next opener of the partial finds what was recorded. */
  readonly isResumable: boolean
  /** The file of the bytes, open until `close`. Undefined if they are in none. */
  readonly descriptor: number | undefined
  /** Writes all of `chunks`, `length` bytes in total. Rejects with the error of the disk. */
  write(chunks: readonly Uint8Array[], position: number, length: number): Promise<void>
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number>
  /** Makes the bytes that are present in `map` durable: first the data, then the map that vouches for them. */
  record(map: BlockMap): Promise<void>
  /** Makes the bytes the finished blob, durably. They can still be read here. */
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
  // After a failed sync the next one may succeed although the bytes are lost. So nothing is vouched for after a failure.
  #syncFailure: { readonly error: unknown } | undefined

  private constructor(layout: Layout, key: BlobKey, sizeBytes: number, handle: FileHandle) {
    this.#layout = layout
    this.#key = key
    this.#sizeBytes = sizeBytes
    this.#directory = layout.partial(key)
    this.#handle = handle
  }

  /** Opens what an earlier process left, with its map, or makes an empty file of this size. The caller closes the bytes. */
  static async open(
    layout: Layout,
    key: BlobKey,
    sizeBytes: number,
  ): Promise<{ readonly bytes: BytesOnDisk; readonly map: BlockMap }> {
    const directory = layout.partial(key)
    const resumed = await resume(directory, sizeBytes)
    if (resumed !== undefined)
      return { bytes: new BytesOnDisk(layout, key, sizeBytes, resumed.handle), map: resumed.map }
    // An old map must go before a new file is made: it would present the holes of the new file as bytes.
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

  get descriptor(): number {
    return this.#handle.fd
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
    // After the rename, not before: a read-only partial could not be resumed after a crash. If this or the removal fails,
    // the blob is stored all the same: a map without data is litter, and readers open the file read-only.
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

/** Stores all bytes of a small blob, durably. Rejects with the error of the disk. */
export type StoreSmall = (key: BlobKey, bytes: Buffer) => Promise<void>

/** A small blob has no part that a map could vouch for: it is stored as a whole, when it is finished. */
export class BytesInMemory implements PartialBytes {
  readonly isResumable = false
  readonly descriptor = undefined
  readonly #layout: Layout
  readonly #key: BlobKey
  readonly #bytes: Buffer
  readonly #store: StoreSmall

  constructor(layout: Layout, key: BlobKey, sizeBytes: number, store: StoreSmall) {
    this.#layout = layout
    this.#key = key
    this.#store = store
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
    return this.#store(this.#key, this.#bytes)
  }

  async remove({ quarantine }: { readonly quarantine: boolean }): Promise<void> {
    if (!quarantine) return
    // In the form of a partial that was on the disk.
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
