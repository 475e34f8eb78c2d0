// Compares a cache directory byte by byte with the files that the simulator serves. Neither the mirror's words nor its
// digests are trusted. Starts and stops nothing.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { readBlockMap } from '../../src/store/partials/block-map.ts'
import { smallBlobsIn } from './stored-blobs.ts'

/** The right bytes, by the name that their blob may have: `sha256-<hex>` or `gitsha1-<hex>`. */
export type Model = ReadonlyMap<string, Buffer>

export interface StoreState {
  /** Names of the finished blobs. */
  readonly blobs: ReadonlySet<string>
  /** The recorded blocks of the unfinished blobs, and how many bytes they are. */
  readonly partials: ReadonlyMap<string, { readonly blocks: ReadonlySet<number>; readonly bytes: number }>
}

/** The name of a blob as an LFS file. */
export function lfsName(bytes: Buffer): string {
  return `sha256-${createHash('sha256').update(bytes).digest('hex')}`
}

/** The name of a blob as an ordinary file of Git. */
export function gitName(bytes: Buffer): string {
  return `gitsha1-${createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')}`
}

/** Makes the model of these files. */
export function modelOf(files: Iterable<Buffer>): Model {
  return new Map([...files].flatMap((bytes) => [[lfsName(bytes), bytes] as const, [gitName(bytes), bytes]]))
}

/**
 * Reads the whole store. Throws if a blob is not what its name says, if a map vouches for a wrong byte, if a map lies
 * without its data though there is no blob, and if anything was found damaged.
 */
export async function checkStore(cacheDir: string, model: Model): Promise<StoreState> {
  const blobs = new Set<string>()
  for (const [path, name] of await blobsBelow(join(cacheDir, 'blobs'))) {
    const right = model.get(name)
    const found = await readFile(path)
    expect(right?.equals(found), `${path} (${found.length} bytes) has the bytes of its name`).toBe(true)
    blobs.add(name)
  }
  for (const [name, bytes] of await smallBlobsIn(cacheDir)) {
    expect(model.get(name)?.equals(bytes), `${name} in the table has the bytes of its name`).toBe(true)
    blobs.add(name)
  }
  const partials = new Map<string, { blocks: Set<number>; bytes: number }>()
  for (const name of await namesIn(join(cacheDir, 'partial'))) {
    const right = model.get(name)
    if (right === undefined) throw new Error(`a partial of nothing that was asked for: ${name}`)
    const recorded = await recordedBlocks(join(cacheDir, 'partial', name), right, blobs.has(name))
    if (recorded !== undefined) partials.set(name, recorded)
  }
  expect(await namesIn(join(cacheDir, 'quarantine')), 'bytes that failed their digest').toEqual([])
  return { blobs, partials }
}

/** Throws if something that was finished or recorded in `before` is missing now. */
export function expectKept(before: StoreState, now: StoreState): void {
  for (const name of before.blobs) expect(now.blobs.has(name), `${name} is kept`).toBe(true)
  for (const [name, { blocks }] of before.partials) {
    if (now.blobs.has(name)) continue
    const left = now.partials.get(name)?.blocks
    const lost = [...blocks].filter((block) => left?.has(block) !== true)
    expect(lost, `blocks of ${name} that were recorded and are not there`).toEqual([])
  }
}

/** How many bytes of a file an origin still has to send. */
export function missingBytes(state: StoreState, name: string, sizeBytes: number): number {
  return state.blobs.has(name) ? 0 : sizeBytes - (state.partials.get(name)?.bytes ?? 0)
}

async function recordedBlocks(
  directory: string,
  right: Buffer,
  finished: boolean,
): Promise<{ blocks: Set<number>; bytes: number } | undefined> {
  const map = await readBlockMap(join(directory, 'blocks'), right.length)
  if (map === undefined) return undefined
  const data = await readFile(join(directory, 'data')).catch(() => undefined)
  if (data === undefined) {
    // A commit that was interrupted after the rename: the blob exists, and the rest here is litter.
    expect(finished, `${directory} has lost its data`).toBe(true)
    return undefined
  }
  expect(data.length).toBe(right.length)
  const blocks = new Set<number>()
  for (let block = 0; block < map.count; block += 1) {
    if (!map.has(block)) continue
    const { start, end } = map.rangeOf(block)
    const isRight = data.subarray(start, end).equals(right.subarray(start, end))
    expect(isRight, `block ${block} of ${directory} is what its map vouches for`).toBe(true)
    blocks.add(block)
  }
  return { blocks, bytes: map.presentBytes }
}

async function blobsBelow(directory: string): Promise<[path: string, name: string][]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => {
      const [algorithm = '', fan = ''] = entry.parentPath.slice(directory.length + 1).split('/')
      expect(entry.isFile(), `${entry.name} is a file`).toBe(true)
      expect(entry.name.startsWith(fan)).toBe(true)
      return [join(entry.parentPath, entry.name), `${algorithm}-${entry.name}`]
    })
}

const namesIn = (directory: string): Promise<string[]> => readdir(directory).catch(() => [])
