// The scan at start: finds the blobs and partials that are stored, for the ledger, while requests are served already. Names
// that are not ours (lost+found, .DS_Store) are ignored.

import type { Stats } from 'node:fs'
import { lstat, opendir } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { ifThere, isMissing } from '../atomic.ts'
import { SMALL_BYTES } from '../blobs/blob-file.ts'
import type { BlobFile } from '../blobs/blob-table.ts'
import { type BlobKey, isBlobKey, KEY_ALGORITHMS } from '../digest.ts'
import { keyFileName, type Layout } from '../layout.ts'
import { partialName } from '../partials/partial-name.ts'
import type { BlobRow, RowChange } from '../table/blob-rows.ts'

const STATS_AT_ONCE = 64
/** How many entries are sorted at once. More would block the event loop. */
const RUN = 4096

export interface FoundEntry {
  readonly name: string
  readonly sizeBytes: number
  readonly usedAt: number
}

/** What a store holds at its start. */
export interface Scan {
  /** All blobs, partials and others, least recently used first. */
  readonly entries: readonly FoundEntry[]
  /** Small blobs that earlier versions stored as files. */
  readonly smallFiles: BlobFile[]
  /** What makes the rows of blobs complete. */
  readonly changes: readonly RowChange[]
}

/**
 * Finds all blobs and partials. If the rows of the table are complete, they say which blobs there are. Otherwise the folders of
 * blobs are walked. Finds nothing when `signal` aborts. Rejects with the error of the disk.
 */
export async function scanStore(
  layout: Layout,
  rows: AsyncIterable<BlobRow>,
  {
    isComplete,
    signal,
    others = [],
  }: {
    readonly isComplete: boolean
    readonly signal: AbortSignal
    /** What else takes space in the store. */
    readonly others?: AsyncIterable<FoundEntry> | readonly FoundEntry[]
  },
): Promise<Scan> {
  const nothing: Scan = { entries: [], smallFiles: [], changes: [] }
  const runs: FoundEntry[][] = []
  const files = new Map<BlobKey, BlobFile>()
  const smallFiles: BlobFile[] = []
  if (!isComplete) {
    for await (const file of walkFiles(layout)) {
      if (signal.aborted) return nothing
      files.set(file.key, file)
      if (file.sizeBytes <= SMALL_BYTES) smallFiles.push(file)
    }
  }
  const changes: RowChange[] = []
  let run: FoundEntry[] = []
  let count = 0
  const enter = (name: string, { sizeBytes, usedAt }: Pick<BlobFile, 'sizeBytes' | 'usedAt'>): void => {
    if (run.length >= RUN) runs.push(run.splice(0).sort(byUse))
    run.push({ name, sizeBytes, usedAt })
  }
  for await (const row of rows) {
    if (signal.aborted) return nothing
    if (++count % RUN === 0) await yieldToEventLoop()
    const file = files.get(row.key)
    if (isComplete || row.isInTable || file?.sizeBytes === row.sizeBytes) {
      enter(row.key, row)
      files.delete(row.key)
    } else if (file === undefined) {
      changes.push({ act: 'remove-blob', key: row.key })
    }
  }
  for (const file of files.values()) {
    if (++count % RUN === 0) await yieldToEventLoop()
    enter(file.key, file)
    if (file.sizeBytes > SMALL_BYTES) changes.push({ act: 'add-blob', ...file })
  }
  for await (const name of namesIn(layout.partials)) {
    if (signal.aborted) return nothing
    const key = name.replace('-', ':')
    if (!isBlobKey(key) || keyFileName(key) !== name) continue
    const found = await sizeOfPartial(path.join(layout.partials, name))
    if (found !== undefined) enter(partialName(key), found)
  }
  for await (const { name, ...found } of others) {
    if (signal.aborted) return nothing
    enter(name, found)
  }
  runs.push(run.sort(byUse))
  return { entries: await merge(runs), smallFiles, changes }
}

/** The blobs that are in files. */
async function* walkFiles(layout: Layout): AsyncGenerator<BlobFile> {
  const statBatch = async (batch: readonly BlobKey[]): Promise<BlobFile[]> => {
    const stats = await Promise.all(batch.map((key) => statRegular(layout.blob(key))))
    return batch.flatMap((key, index) => {
      const found = stats[index]
      return found === undefined ? [] : [{ key, sizeBytes: found.size, usedAt: found.mtimeMs }]
    })
  }
  for (const algorithm of KEY_ALGORITHMS) {
    for await (const fan of namesIn(path.join(layout.blobs, algorithm))) {
      if (!/^[0-9a-f]{2}$/.test(fan)) continue
      let batch: BlobKey[] = []
      for await (const hex of namesIn(path.join(layout.blobs, algorithm, fan))) {
        const key = `${algorithm}:${hex}`
        if (isBlobKey(key) && hex.startsWith(fan)) batch.push(key)
        if (batch.length < STATS_AT_ONCE) continue
        yield* await statBatch(batch)
        batch = []
      }
      yield* await statBatch(batch)
    }
  }
}

const byUse = (a: FoundEntry, b: FoundEntry): number => a.usedAt - b.usedAt

/** Merges sorted lists in steps: sorting a million entries at once would block the event loop. */
async function merge(runs: FoundEntry[][]): Promise<FoundEntry[]> {
  let lists = runs
  while (lists.length > 1) {
    const merged: FoundEntry[][] = []
    for (let index = 0; index < lists.length; index += 2) {
      merged.push(mergeTwo(lists[index] ?? [], lists[index + 1] ?? []))
      await yieldToEventLoop()
    }
    lists = merged
  }
  return lists[0] ?? []
}

function mergeTwo(one: readonly FoundEntry[], other: readonly FoundEntry[]): FoundEntry[] {
  const merged: FoundEntry[] = []
  let next = 0
  for (const found of one) {
    for (let before = other[next]; before !== undefined && before.usedAt < found.usedAt; ) {
      merged.push(before)
      next += 1
      before = other[next]
    }
    merged.push(found)
  }
  for (; next < other.length; next += 1) merged.push(other[next] as FoundEntry)
  return merged
}

/** What a partial takes, and when it last grew, by its folder. Undefined if there is none. */
export async function sizeOfPartial(
  folder: string,
): Promise<Pick<BlobFile, 'sizeBytes' | 'usedAt'> | undefined> {
  const stats = await statRegular(path.join(folder, 'data'))
  // It is sparse: the space that it takes counts, not its length.
  return stats && { sizeBytes: Math.min(stats.blocks * 512, stats.size), usedAt: stats.mtimeMs }
}

/** The stats of a file; undefined when there is none, or something else has its name. */
async function statRegular(file: string): Promise<Stats | undefined> {
  const stats = await ifThere(lstat(file))
  return stats?.isFile() === true ? stats : undefined
}

async function* namesIn(directory: string): AsyncGenerator<string> {
  try {
    for await (const entry of await opendir(directory, { bufferSize: 1024 })) yield entry.name
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}
