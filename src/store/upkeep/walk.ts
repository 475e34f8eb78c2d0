// Lists what a store holds, in a stable order and without the lock, so that it works beside a running mirror: what is
// removed meanwhile is skipped. Names that are not ours are ignored. What a fact means is not known here.

import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { isRecord } from '../../records.ts'
import { ifThere } from '../atomic.ts'
import type { SmallBlobs } from '../blobs/blob-table.ts'
import { type BlobKey, isBlobKey, KEY_ALGORITHMS } from '../digest.ts'
import { decodeFact, factId, type ReadFact, withoutBody } from '../facts/fact-bytes.ts'
import { readOlderFiles, walkOlderFiles } from '../facts/older-facts.ts'
import { keyFileName, type Layout } from '../layout.ts'
import type { FactKind } from '../store.ts'
import { type BlobRow, decodePage, pageByPage } from '../table/blob-rows.ts'
import { openTable, type Table, withTable } from '../table/table.ts'

/** How many files are examined concurrently: enough to hide the latency of the disk, few enough for its other users. */
const CONCURRENT_STATS = 32
/** Small blobs that are read from the table at once. */
const BYTES_AT_ONCE = 64
/** Facts or blobs that are listed before other work of the process gets its turn. */
const YIELD_EVERY = 1000

/** What stat(2) says about a file. */
export interface FileStats {
  readonly sizeBytes: number
  /** The space that it takes; less than its size when it is sparse. */
  readonly occupiedBytes: number
  readonly modifiedAt: number
}

/** The keys of all blobs that are files, ordered by algorithm and then by digest. With `after`, only those that follow it. */
export function walkBlobs(layout: Layout, after?: BlobKey): AsyncGenerator<BlobKey> {
  return walkKeys(layout.blobs, after)
}

/** The rows of the blobs whose bytes are in the table, in the same order. Nothing may open the table meanwhile. */
export async function* walkSmallBlobs(layout: Layout, after?: BlobKey): AsyncGenerator<BlobRow> {
  const table = await openTable(layout.facts, { readOnly: true })
  try {
    let count = 0
    for (const row of table?.walkBlobs(after) ?? []) {
      if (row.isInTable) yield row
      count += 1
      if (count % YIELD_EVERY === 0) await yieldToEventLoop()
    }
  } finally {
    await table?.close()
  }
}

/** Small blobs as a command finds them, beside a running mirror. The table is open only while a method is at work. */
export function smallBlobsOf(layout: Layout): SmallBlobs {
  return {
    async *after(key) {
      const rows = pageByPage(key, BYTES_AT_ONCE, (last) =>
        withTable(layout.facts, { readOnly: true }, (table) => readPage(table, last)),
      )
      for await (const { bytes, ...row } of rows) if (bytes !== undefined) yield { ...row, bytes }
    },
    discard: (key) =>
      withTable(layout.facts, { readOnly: false }, (table) =>
        table?.change([{ act: 'doubt-rows' }, { act: 'remove-blob', key }], Number.POSITIVE_INFINITY),
      ),
  }
}

function readPage(
  table: Table | undefined,
  after: BlobKey | undefined,
): (BlobRow & { readonly bytes: Buffer | undefined })[] {
  if (table === undefined) return []
  const rows = decodePage(table.pageOfBlobs(after, BYTES_AT_ONCE))
  return rows.map((row) => ({ ...row, bytes: row.isInTable ? table.blobBytes(row.key) : undefined }))
}

/** The keys of all stored block sums, in the same order. */
export function walkSums(layout: Layout): AsyncGenerator<BlobKey> {
  return walkKeys(layout.allSums)
}

async function* walkKeys(root: string, after?: BlobKey): AsyncGenerator<BlobKey> {
  const passed = after === undefined ? -1 : KEY_ALGORITHMS.findIndex((name) => after.startsWith(`${name}:`))
  const digest = after?.slice(after.indexOf(':') + 1) ?? ''
  for (const [index, algorithm] of KEY_ALGORITHMS.entries()) {
    if (index < passed) continue
    const from = index === passed ? digest : ''
    for (const fan of await fanOutNames(path.join(root, algorithm))) {
      if (fan < from.slice(0, 2)) continue
      for (const hex of await sortedNames(path.join(root, algorithm, fan))) {
        const key = `${algorithm}:${hex}`
        // A file in the wrong fan-out directory would never be found by its key.
        if (hex > from && hex.startsWith(fan) && isBlobKey(key)) yield key
      }
    }
  }
}

/** The keys of all unfinished blobs. */
export async function* walkPartials(layout: Layout): AsyncGenerator<BlobKey> {
  for (const name of await sortedNames(layout.partials)) {
    const key = name.replace('-', ':')
    if (isBlobKey(key) && keyFileName(key) === name) yield key
  }
}

/** A fact on the disk. `damaged` when its bytes are those of no fact, or of another one. */
export type StoredFact =
  | {
      readonly kind: 'fact'
      /** Its name in the table, or the file of an earlier version. */
      readonly place: { readonly id: Buffer } | { readonly file: string }
      readonly key: string
      readonly value: unknown
    }
  | { readonly kind: 'damaged' }

/** All facts of one kind, without their bodies. It holds a few in memory at a time. Throws DamagedTable. */
export async function* walkFacts(layout: Layout, kind: FactKind): AsyncGenerator<StoredFact> {
  const table = await openTable(layout.facts, { readOnly: true })
  try {
    let count = 0
    for (const { id, bytes } of table?.walkFacts(kind) ?? []) {
      const fact = decodeFact(bytes)
      yield fact !== undefined && factId(fact.key).equals(id) ? storedFact({ id }, fact) : { kind: 'damaged' }
      count += 1
      if (count % YIELD_EVERY === 0) await yieldToEventLoop()
    }
    for await (const files of walkOlderFiles(layout, kind)) {
      for (const { file, fact } of await readOlderFiles(layout, kind, files)) {
        if (fact === 'damaged') yield { kind: 'damaged' }
        // One that has just been moved was listed already.
        else if (table?.fact({ kind, id: factId(fact.key) }) === undefined) yield storedFact({ file }, fact)
      }
    }
  } finally {
    await table?.close()
  }
}

function storedFact(
  place: Extract<StoredFact, { kind: 'fact' }>['place'],
  { key, value }: ReadFact,
): StoredFact {
  return { kind: 'fact', place, key, value: isRecord(value) ? withoutBody(value) : value }
}

/** The stats of the files of `keys`, in order; undefined for a file that is gone. */
export async function* statAll<K>(
  keys: AsyncIterable<K>,
  fileOf: (key: K) => string,
): AsyncGenerator<readonly [K, FileStats | undefined]> {
  let batch: K[] = []
  const flush = async (): Promise<(readonly [K, FileStats | undefined])[]> => {
    const keysNow = batch
    batch = []
    return Promise.all(keysNow.map(async (key) => [key, await statFile(fileOf(key))] as const))
  }
  for await (const key of keys) {
    if (batch.push(key) >= CONCURRENT_STATS) yield* await flush()
  }
  yield* await flush()
}

/** The stats of a file; undefined when it is gone. */
export async function statFile(file: string): Promise<FileStats | undefined> {
  const stats = await ifThere(stat(file))
  return (
    stats && {
      sizeBytes: stats.size,
      occupiedBytes: Math.min(stats.blocks * 512, stats.size),
      modifiedAt: stats.mtimeMs,
    }
  )
}

async function fanOutNames(directory: string): Promise<string[]> {
  return (await sortedNames(directory)).filter((name) => /^[0-9a-f]{2}$/.test(name))
}

async function sortedNames(directory: string): Promise<string[]> {
  return ((await ifThere(readdir(directory))) ?? []).sort()
}
