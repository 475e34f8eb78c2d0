// A store with some hundreds of facts and small blobs, for tests that damage their table.

import path from 'node:path'
import { expect } from 'vitest'
import type { DiskStore } from '../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../src/store/layout.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from '../unit/store/scratch.ts'

/** How many facts `filled` stores. */
export const COUNT = 400
/** The value of a fact. */
export const valueOf = (index: number) => ({ index, text: `value ${index} `.repeat(20) })

/** How many small blobs `filled` stores. */
export const BLOBS = 60
/** The bytes of a small blob. Most take pages of their own. */
export const blobOf = (index: number): Buffer => patternBytes(500 + 997 * index, 700 + index)

/** Stores a small blob as a download does. */
export async function putBlob(store: DiskStore, index: number): Promise<void> {
  const bytes = blobOf(index)
  const partial = await store.beginPartial(sha256Key(bytes), bytes.length)
  await partial.write(0, [bytes])
  await partial.commit()
  await partial.release()
}

/** Makes a store with `COUNT` facts and `BLOBS` small blobs, and closes it. */
export async function filled(): Promise<{ root: string; layout: Layout; file: string }> {
  const root = await scratchDirectory()
  const store = await open(root)
  await Promise.all(
    Array.from({ length: COUNT }, (_, index) => store.facts.write('files', `f${index}`, valueOf(index))),
  )
  await Promise.all(Array.from({ length: BLOBS }, (_, index) => putBlob(store, index)))
  await store.scanned
  await store.close()
  const layout = createLayout(root)
  return { root, layout, file: path.join(layout.facts, 'data.mdb') }
}

/** Opens the store, and tells how many facts it has. All of them are right. */
export async function rightFacts(store: DiskStore): Promise<number> {
  let count = 0
  for (let index = 0; index < COUNT; index += 1) {
    const value = await store.facts.read('files', `f${index}`).catch(() => undefined)
    if (value === undefined) continue
    expect(value).toEqual(valueOf(index))
    count += 1
  }
  return count
}

/** Tells how many small blobs the store has. No wrong byte comes from it. */
export async function rightBlobs(store: DiskStore): Promise<number> {
  let count = 0
  for (let index = 0; index < BLOBS; index += 1) {
    const right = blobOf(index)
    const blob = await store.blobs.open(sha256Key(right), right.length).catch(() => undefined)
    if (blob === undefined) continue
    const read = Buffer.alloc(right.length)
    await blob.read(read, 0, read.length, 0)
    await blob.close()
    expect(read.equals(right)).toBe(true)
    count += 1
  }
  return count
}
