// Lists what a store holds, in a stable order and without the lock, so that it works beside a running mirror: what is
// removed meanwhile is skipped. Names that are not ours are ignored. What a fact means is not known here.

import { constants } from 'node:fs'
import { type FileHandle, open, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { errorCode, ifThere, isMissing } from '../atomic.ts'
import { type BlobKey, isBlobKey, KEY_ALGORITHMS } from '../digest.ts'
import { decodeHead } from '../facts/fact-file.ts'
import { keyFileName, type Layout } from '../layout.ts'
import type { FactKind } from '../store.ts'

/** How many files are examined concurrently: enough to hide the latency of the disk, few enough for its other users. */
const CONCURRENT_STATS = 32

/** What stat(2) says about a file. */
export interface FileStats {
  readonly sizeBytes: number
  /** The space that it takes; less than its size when it is sparse. */
  readonly occupiedBytes: number
  readonly modifiedAt: number
}

/** The keys of all blobs, ordered by algorithm and then by digest. With `after`, only those that follow it. */
export function walkBlobs(layout: Layout, after?: BlobKey): AsyncGenerator<BlobKey> {
  return walkKeys(layout.blobs, after)
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

/** A fact on the disk. `damaged` when the file is no fact, or not the one that its name says. */
export type StoredFact =
  | { readonly kind: 'fact'; readonly file: string; readonly key: string; readonly value: unknown }
  | { readonly kind: 'damaged'; readonly file: string }

/** All facts of one kind, without their bodies. It reads a few files ahead, and holds no more than these in memory. */
export async function* walkFacts(layout: Layout, kind: FactKind): AsyncGenerator<StoredFact> {
  const root = path.join(layout.facts, kind)
  for (const fan of await fanOutNames(root)) {
    const names = await sortedNames(path.join(root, fan))
    for (let start = 0; start < names.length; start += CONCURRENT_STATS) {
      const batch = names
        .slice(start, start + CONCURRENT_STATS)
        .filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
      const facts = await Promise.all(batch.map((name) => readFact(layout, kind, path.join(root, fan, name))))
      for (const fact of facts) if (fact !== undefined) yield fact
    }
  }
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

/** The JSON before a body is rarely longer than this. */
const HEAD_BYTES = 16 * 1024

async function readFact(layout: Layout, kind: FactKind, file: string): Promise<StoredFact | undefined> {
  let beginning: Buffer
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      beginning = await readHead(handle)
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (isMissing(error)) return undefined
    // A link or a directory under the name of a fact, or a sector that cannot be read.
    if (['ELOOP', 'EISDIR', 'EIO'].includes(errorCode(error) ?? '')) return { kind: 'damaged', file }
    throw error
  }
  const fact = decodeHead(beginning)
  // In the wrong place for its key it is no fact: the mirror would not find it there.
  if (fact === undefined || layout.fact(kind, fact.key) !== file) return { kind: 'damaged', file }
  return { kind: 'fact', file, ...fact }
}

/** The beginning of the file, at least up to the end of the JSON. */
async function readHead(handle: FileHandle): Promise<Buffer> {
  const head = Buffer.allocUnsafeSlow(HEAD_BYTES)
  const { bytesRead } = await handle.read(head, 0, HEAD_BYTES, 0)
  const beginning = head.subarray(0, bytesRead)
  if (bytesRead < HEAD_BYTES || beginning.includes('\n')) return beginning
  return handle.readFile()
}

async function fanOutNames(directory: string): Promise<string[]> {
  return (await sortedNames(directory)).filter((name) => /^[0-9a-f]{2}$/.test(name))
}

async function sortedNames(directory: string): Promise<string[]> {
  return ((await ifThere(readdir(directory))) ?? []).sort()
}
