// The blobs in the table. The database `blobs` has a row for each blob of the store: its size, its last use, and where its bytes
// are. The bytes of a small blob are in the database `contents`. Other blobs are files. Rows lie in the order of algorithm and
// digest, which is the order in which blobs are walked.

import type { RootDatabase } from 'lmdb'
import { type BlobKey, KEY_ALGORITHMS } from '../digest.ts'
import { asBuffer, countOf, openRows, pageBytes, type Rows } from './rows.ts'

/** What the table knows of a blob. */
export interface BlobRow {
  readonly key: BlobKey
  readonly sizeBytes: number
  /** Epoch milliseconds. */
  readonly usedAt: number
  /** Whether its bytes are in the table. Otherwise they are in a file. */
  readonly isInTable: boolean
}

/** A change of one blob. */
export type BlobChange =
  | {
      readonly act: 'add-blob'
      readonly key: BlobKey
      readonly sizeBytes: number
      /** Epoch milliseconds. */
      readonly usedAt: number
      /** All bytes of a small blob. Without them, the blob is a file. */
      readonly bytes?: Uint8Array
    }
  | { readonly act: 'remove-blob'; readonly key: BlobKey }
  /** Records a use, if the blob is there. */
  | { readonly act: 'use-blob'; readonly key: BlobKey; readonly usedAt: number }
  /** Records that a mirror has opened the store: from now on rows may be missing. */
  | { readonly act: 'open-rows' }
  /** Records that a command changes blobs, and may be interrupted: `complete-rows` has no effect until the next `open-rows`. */
  | { readonly act: 'doubt-rows' }
  /** Records that each blob of the store has a row. */
  | { readonly act: 'complete-rows' }

/** What a scan finds to be changed: a row that is missing, or one too many. */
export type RowChange = Extract<BlobChange, { act: 'add-blob' | 'remove-blob' }>

/** How many databases blobs take. */
export const BLOB_DATABASES = 2

const SIZE_BYTES = 6
const TIME_BYTES = 6
const VALUE_BYTES = SIZE_BYTES + TIME_BYTES + 1
/** A byte for the algorithm, and the longest digest. */
const KEY_BYTES = 1 + 32
const ROW_BYTES = KEY_BYTES + VALUE_BYTES
const IN_TABLE = 1
/** The key of the row that is there when all blobs have rows. No algorithm has this number. */
const COMPLETE_KEY = Buffer.of(0xff)
const DOUBT_KEY = Buffer.of(0xfe)

/** Reads and changes blobs within the transaction under way, if there is one. Throws as LMDB does. */
export class BlobRows {
  readonly #rows: Rows
  readonly #contents: Rows

  constructor(root: RootDatabase<Buffer, Buffer>) {
    this.#rows = openRows(root, 'blobs')
    this.#contents = openRows(root, 'contents')
  }

  /** The bytes of a small blob, which are not verified yet. Undefined when they are not in the table. */
  bytes(key: BlobKey): Buffer | undefined {
    return this.#contents.get(encodeKey(key))
  }

  /** Whether the bytes of a small blob are in the table. Does not read them. */
  has(key: BlobKey): boolean {
    return this.#contents.doesExist(encodeKey(key))
  }

  /** Undefined when the table does not know the blob. */
  row(key: BlobKey): BlobRow | undefined {
    const value = this.#rows.get(encodeKey(key))
    return value && decodeRow(encodeKey(key), value)
  }

  /** Whether each blob of the store has a row. */
  get isComplete(): boolean {
    return this.#rows.get(COMPLETE_KEY) !== undefined
  }

  /** How many rows, and how many small blobs, the databases have counted. */
  get count(): { readonly rows: number; readonly contents: number } {
    const marks = [COMPLETE_KEY, DOUBT_KEY].filter((key) => this.#rows.doesExist(key)).length
    return { rows: countOf(this.#rows) - marks, contents: countOf(this.#contents) }
  }

  /** The pages that rows and contents take. */
  get sizeBytes(): number {
    return pageBytes(this.#rows) + pageBytes(this.#contents)
  }

  /** The rows that follow `after`, in order. */
  *walk(after?: BlobKey): Generator<BlobRow> {
    for (const { key, value } of this.#rows.getRange(from(after))) {
      const row = decodeRow(key, value)
      if (row !== undefined) yield row
    }
  }

  /** Up to `limit` rows that follow `after`, for `decodePage`. Empty when none follow. */
  page(after: BlobKey | undefined, limit: number): Buffer {
    const rows: { readonly key: Buffer; readonly value: Buffer }[] = []
    for (const row of this.#rows.getRange(from(after))) {
      if (rows.length === limit) break
      if (decodeRow(row.key, row.value) !== undefined) rows.push(row)
    }
    const page = Buffer.alloc(rows.length * ROW_BYTES)
    rows.forEach(({ key, value }, number) => {
      page.set(key.subarray(0, KEY_BYTES), number * ROW_BYTES)
      page.set(value.subarray(0, VALUE_BYTES), number * ROW_BYTES + KEY_BYTES)
    })
    return page
  }

  change(change: BlobChange): void {
    if (!('key' in change)) {
      this.#mark(change.act)
      return
    }
    const key = encodeKey(change.key)
    const before = this.#rows.get(key)
    if (change.act === 'remove-blob') {
      if (before === undefined) return
      this.#rows.removeSync(key)
      if (before[VALUE_BYTES - 1] === IN_TABLE) this.#contents.removeSync(key)
    } else if (change.act === 'use-blob') {
      if (before === undefined) return
      writeTime(before, change.usedAt)
      this.#rows.putSync(key, before)
    } else {
      this.#rows.putSync(key, encodeValue(change))
      if (change.bytes !== undefined) this.#contents.putSync(key, asBuffer(change.bytes))
    }
  }

  #mark(act: 'open-rows' | 'doubt-rows' | 'complete-rows'): void {
    if (act === 'complete-rows') {
      if (!this.#rows.doesExist(DOUBT_KEY)) this.#rows.putSync(COMPLETE_KEY, Buffer.alloc(0))
      return
    }
    this.#rows.removeSync(COMPLETE_KEY)
    if (act === 'open-rows') this.#rows.removeSync(DOUBT_KEY)
    else this.#rows.putSync(DOUBT_KEY, Buffer.alloc(0))
  }
}

/** The rows of a page, in order. */
export function decodePage(page: Buffer): BlobRow[] {
  const rows: BlobRow[] = []
  for (let start = 0; start < page.length; start += ROW_BYTES) {
    const row = decodeRow(
      page.subarray(start, start + KEY_BYTES),
      page.subarray(start + KEY_BYTES, start + ROW_BYTES),
    )
    if (row !== undefined) rows.push(row)
  }
  return rows
}

/** What follows `after`, as `read` returns it: page by page, up to `limit` at once. A shorter page is the last. */
export async function* pageByPage<T extends Pick<BlobRow, 'key'>>(
  after: BlobKey | undefined,
  limit: number,
  read: (after: BlobKey | undefined) => Promise<readonly T[]>,
): AsyncGenerator<T> {
  let last = after
  for (;;) {
    const page = await read(last)
    yield* page
    if (page.length < limit) return
    last = page.at(-1)?.key
  }
}

function encodeKey(key: BlobKey): Buffer {
  const [algorithm = '', hex = ''] = key.split(':')
  return Buffer.concat([Buffer.of(algorithms.indexOf(algorithm)), Buffer.from(hex, 'hex')])
}

const algorithms: readonly string[] = KEY_ALGORITHMS

function encodeValue(change: Extract<BlobChange, { act: 'add-blob' }>): Buffer {
  const value = Buffer.alloc(VALUE_BYTES)
  value.writeUIntBE(change.sizeBytes, 0, SIZE_BYTES)
  writeTime(value, change.usedAt)
  value[VALUE_BYTES - 1] = change.bytes === undefined ? 0 : IN_TABLE
  return value
}

function writeTime(value: Buffer, usedAt: number): void {
  value.writeUIntBE(Math.max(0, Math.floor(usedAt)), SIZE_BYTES, TIME_BYTES)
}

/** Undefined when it is no row that this version writes. */
function decodeRow(key: Buffer, value: Buffer): BlobRow | undefined {
  const algorithm = KEY_ALGORITHMS[key[0] ?? -1]
  if (algorithm === undefined || value.length !== VALUE_BYTES) return undefined
  const digest = key.subarray(1, algorithm === 'gitsha1' ? 1 + 20 : KEY_BYTES)
  return {
    key: `${algorithm}:${digest.toString('hex')}`,
    sizeBytes: value.readUIntBE(0, SIZE_BYTES),
    usedAt: value.readUIntBE(SIZE_BYTES, TIME_BYTES),
    isInTable: value[VALUE_BYTES - 1] === IN_TABLE,
  }
}

/** Where the rows after a key begin. */
function from(after: BlobKey | undefined): { readonly start?: Buffer } {
  // The least key that follows it.
  return after === undefined ? {} : { start: Buffer.concat([encodeKey(after), Buffer.of(0)]) }
}
