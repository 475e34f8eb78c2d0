// What the table holds of blobs: a row for each, and the bytes of small ones. A running mirror uses it on the thread of the table.
// Small blobs of earlier versions are files; they are read there until they have been moved.

import { unlinkIfThere } from '../atomic.ts'
import { type BlobKey, hasDigest } from '../digest.ts'
import type { Layout } from '../layout.ts'
import type { Ledger } from '../ledger.ts'
import { type BlobChange, type BlobRow, pageByPage, type RowChange } from '../table/blob-rows.ts'
import type { TableThread } from '../table/table-thread.ts'
import { readBlobFile } from './blob-file.ts'

/** How many rows one request to the thread lists. */
const PAGE_ROWS = 4096
/** How many small files are moved at once. Few, because readers of blobs use the same thread pool. */
const MOVE_AT_ONCE = 32

export interface BlobTableOptions {
  readonly layout: Layout
  readonly table: TableThread
  /** Epoch milliseconds, for stamps that are stored. */
  readonly now: () => number
  /** Nothing is changed. */
  readonly readOnly: boolean
  /** Called with errors of the disk for which no request waits. */
  readonly onTrouble?: ((error: unknown) => void) | undefined
}

/** A blob whose bytes are in a file. */
export interface BlobFile {
  readonly key: BlobKey
  readonly sizeBytes: number
  /** Epoch milliseconds. */
  readonly usedAt: number
}

/** A small blob with its bytes, which are not verified yet. */
export interface SmallBlob extends BlobRow {
  readonly bytes: Buffer
}

/** The small blobs in the table, for a pass over all blobs. */
export interface SmallBlobs {
  /** Those that follow `key`, ordered by algorithm and then by digest. */
  after(key: BlobKey | undefined): AsyncGenerator<SmallBlob>
  /**
   * Removes the row of a damaged blob, and its bytes if they are in the table. A mirror may have stored it again: the next start
   * looks for blobs. Rejects with the error of the disk.
   */
  discard(key: BlobKey): Promise<void>
}

export class BlobTable implements SmallBlobs {
  readonly #layout: Layout
  readonly #table: TableThread
  readonly #options: BlobTableOptions
  /** Whether small blobs of earlier versions may lie in files. */
  #mayHaveSmallFiles = true
  /** Whether each blob of the store has a row, so that the next start need not look for them. */
  #isComplete = false
  /** Whether a row may be missing, or be there without its blob. */
  #isDoubtful = false
  #closed = false

  constructor(options: BlobTableOptions) {
    this.#layout = options.layout
    this.#table = options.table
    this.#options = options
  }

  /** The bytes of a small blob, which are not verified yet. `damaged`: there are bytes, but not as many as there should be. */
  async read(key: BlobKey, sizeBytes: number): Promise<Buffer | 'missing' | 'damaged'> {
    const stored = await this.#readRow(key, sizeBytes)
    if (stored !== 'missing' || !this.#mayHaveSmallFiles) return stored
    const inFile = await readBlobFile(this.#layout.blob(key), sizeBytes)
    // It may have been moved to the table in between.
    return inFile === 'missing' ? this.#readRow(key, sizeBytes) : inFile
  }

  async #readRow(key: BlobKey, sizeBytes: number): Promise<Buffer | 'missing' | 'damaged'> {
    const bytes = await this.#table.readBlob(key)
    if (bytes === undefined) return 'missing'
    return bytes.length === sizeBytes ? bytes : 'damaged'
  }

  /** Stores a small blob. It is durable when this resolves. Rejects with the error of the disk. */
  async store(key: BlobKey, bytes: Buffer): Promise<void> {
    await this.#table.change({
      act: 'add-blob',
      key,
      sizeBytes: bytes.length,
      usedAt: this.#options.now(),
      bytes,
    })
  }

  /** Records that the blob is in a file now. */
  noteFile(key: BlobKey, sizeBytes: number): void {
    this.#note({ act: 'add-blob', key, sizeBytes, usedAt: this.#options.now() })
  }

  /** Records a use. If this fails, the blob only looks older than it is. */
  noteUse(key: BlobKey): void {
    if (!this.#options.readOnly && !this.#closed)
      this.#table.change({ act: 'use-blob', key, usedAt: this.#options.now() }).catch(() => undefined)
  }

  /** Removes the row of a blob, and the bytes that are in the table. It does not wait for the disk. */
  drop(key: BlobKey): void {
    this.#note({ act: 'remove-blob', key })
  }

  async remove(key: BlobKey): Promise<void> {
    if (this.#options.readOnly) return
    await this.#table.change({ act: 'remove-blob', key }).catch((error: unknown) => {
      this.doubt()
      throw error
    })
  }

  async discard(key: BlobKey): Promise<void> {
    this.doubt()
    await this.remove(key)
  }

  /** Says that a row may not be what the folders hold. The next start looks for blobs there. */
  doubt(): void {
    this.#isDoubtful = true
  }

  #note(change: BlobChange): void {
    if (this.#options.readOnly || this.#closed) return
    this.#table.change(change).catch((error: unknown) => {
      this.doubt()
      this.#options.onTrouble?.(error)
    })
  }

  /** What the table knows of the blobs that follow `after`, ordered by algorithm and then by digest. */
  rows(after?: BlobKey): AsyncGenerator<BlobRow> {
    return pageByPage(after, PAGE_ROWS, (last) => this.#table.listBlobs(last, PAGE_ROWS))
  }

  async *after(key: BlobKey | undefined): AsyncGenerator<SmallBlob> {
    for await (const row of this.rows(key)) {
      const bytes = row.isInTable ? await this.#table.readBlob(row.key) : undefined
      // Without bytes it was removed since the row was read.
      if (bytes !== undefined) yield { ...row, bytes }
    }
  }

  /**
   * Whether each blob of the store has a row. It holds if the last mirror has closed the store, and could record all its blobs. The
   * answer is valid once: from now on the next start would have to look for blobs again, until `close`.
   */
  async takeComplete(): Promise<boolean> {
    const isComplete = await this.#table.isComplete()
    if (!this.#options.readOnly) await this.#table.change({ act: 'open-rows' })
    return isComplete
  }

  /**
   * Makes the rows complete: `changes` are those that were missing or too many when the scan had looked. What was stored or removed
   * since then has changed its row itself. Rejects with the error of the disk.
   */
  async complete(changes: readonly RowChange[], ledger: Ledger, signal: AbortSignal): Promise<void> {
    if (this.#options.readOnly) return
    const isStill = ({ act, key }: RowChange): boolean => ledger.has(key) === (act === 'add-blob')
    for (let start = 0; start < changes.length && !signal.aborted; start += PAGE_ROWS) {
      const group = changes.slice(start, start + PAGE_ROWS).filter(isStill)
      await Promise.all(group.map((change) => this.#table.change(change)))
    }
    this.#isComplete = !signal.aborted
  }

  /**
   * Moves small blobs of earlier versions into the table. They can be read all the time. A file is removed only after its bytes
   * are durable in the table, so that a crash costs nothing. Those that are damaged or cannot be read stay where they are. Ends
   * early when `signal` aborts, and goes on at the next start. Never rejects.
   */
  async adopt(files: readonly BlobFile[], ledger: Ledger, signal: AbortSignal): Promise<void> {
    if (this.#options.readOnly) return
    let areAllMoved = true
    for (let start = 0; start < files.length; start += MOVE_AT_ONCE) {
      if (signal.aborted) return
      const group = files.slice(start, start + MOVE_AT_ONCE)
      const moved = await Promise.allSettled(group.map((file) => this.#move(file, ledger)))
      for (const one of moved) {
        if (one.status === 'rejected') this.#options.onTrouble?.(one.reason)
        areAllMoved &&= one.status === 'fulfilled' && one.value
      }
    }
    this.#mayHaveSmallFiles = !areAllMoved
  }

  async #move({ key, sizeBytes, usedAt }: BlobFile, ledger: Ledger): Promise<boolean> {
    // It is not evicted meanwhile.
    const unpin = ledger.pin(key)
    try {
      const bytes = await readBlobFile(this.#layout.blob(key), sizeBytes)
      if (bytes === 'missing') return true
      if (bytes === 'damaged' || !hasDigest(key, bytes)) return false
      await this.#table.change({ act: 'add-blob', key, sizeBytes, usedAt, bytes })
      await unlinkIfThere(this.#layout.blob(key))
      // It was removed meanwhile.
      if (!ledger.has(key)) this.drop(key)
      return true
    } finally {
      unpin()
    }
  }

  /** Records that all blobs have rows, if they have. The caller closes the table afterwards. */
  async close(): Promise<void> {
    this.#closed = true
    // A change under way may fail.
    await this.#table.settled()
    if (!this.#isComplete || this.#isDoubtful || this.#mayHaveSmallFiles || this.#options.readOnly) return
    // If this fails, the next start looks for blobs again.
    await this.#table.change({ act: 'complete-rows' }).catch(() => undefined)
  }
}
