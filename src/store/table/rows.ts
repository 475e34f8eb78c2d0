// What the rows of the table share: how their databases are opened, and what LMDB counts of a database.

import type { Database, RootDatabase } from 'lmdb'

/** A database of the table. Keys and values are bytes. */
export type Rows = Database<Buffer, Buffer>

/** What `getStats` of a database returns. */
export interface Stats {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
  readonly entryCount: number
  /** Of the whole file. */
  readonly lastPageNumber: number
}

/** Of the file of a table. */
export interface TableUsage {
  /** The pages that are in use. The rest is free for later rows. */
  readonly usedBytes: number
  readonly fileBytes: number
}

/** Opens a database of the table, and makes it where it is missing. */
export function openRows(root: RootDatabase<Buffer, Buffer>, name: string): Rows {
  return root.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary' })
}

/** How many rows the database has counted. */
export function countOf(rows: Rows): number {
  return (rows.getStats() as Stats).entryCount
}

/** What the pages of the database take. */
export function pageBytes(rows: Rows): number {
  const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = rows.getStats() as Stats
  return (treeBranchPageCount + treeLeafPageCount + overflowPages) * pageSize
}

/** The same memory as a Buffer: a message of another thread brings plain arrays. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
