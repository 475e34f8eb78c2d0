// The scan at start: finds the blobs and partials that are stored, for the ledger, while requests are served already. Names
// that are not ours (lost+found, .DS_Store) are ignored.

import { lstat, opendir } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { ifThere, isMissing } from '../atomic.ts'
import { type BlobKey, isBlobKey, KEY_ALGORITHMS } from '../digest.ts'
import { keyFileName, type Layout } from '../layout.ts'
import { partialName } from '../partials/partial-name.ts'

export interface FoundEntry {
  readonly name: string
  readonly sizeBytes: number
  readonly usedAt: number
}

/**
 * All blobs and partials, least recently used first. Resolves with none when `signal` aborts. Rejects with the error of the
 * disk.
 */
export async function scanStore(layout: Layout, signal: AbortSignal): Promise<FoundEntry[]> {
  const runs: FoundEntry[][] = []
  for (const algorithm of KEY_ALGORITHMS) {
    for await (const fan of namesIn(path.join(layout.blobs, algorithm))) {
      if (!/^[0-9a-f]{2}$/.test(fan)) continue
      const found: FoundEntry[] = []
      const batch: BlobKey[] = []
      const enterBatch = async (): Promise<void> => {
        await Promise.all(batch.splice(0).map((key) => enter(found, key, layout.blob(key))))
      }
      for await (const hex of namesIn(path.join(layout.blobs, algorithm, fan))) {
        if (signal.aborted) return []
        const key = `${algorithm}:${hex}`
        if (isBlobKey(key) && hex.startsWith(fan)) batch.push(key)
        if (batch.length >= 64) await enterBatch()
      }
      await enterBatch()
      runs.push(found.sort(byUse))
    }
  }
  const partials: FoundEntry[] = []
  for await (const name of namesIn(layout.partials)) {
    if (signal.aborted) return []
    const key = name.replace('-', ':')
    if (!isBlobKey(key) || keyFileName(key) !== name) continue
    await enter(partials, partialName(key), path.join(layout.partials, name, 'data'))
  }
  runs.push(partials.sort(byUse))
  return merge(runs)
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

async function enter(found: FoundEntry[], name: string, file: string): Promise<void> {
  const stats = await ifThere(lstat(file))
  if (stats?.isFile() !== true) return
  // A partial is sparse: the space that it takes counts, not its length.
  const sizeBytes = name.startsWith('partial:') ? Math.min(stats.blocks * 512, stats.size) : stats.size
  found.push({ name, sizeBytes, usedAt: stats.mtimeMs })
}

async function* namesIn(directory: string): AsyncGenerator<string> {
  try {
    for await (const entry of await opendir(directory, { bufferSize: 1024 })) yield entry.name
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}
