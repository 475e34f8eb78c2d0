// Small blobs, which are stored only once they are whole.

import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { DiskStore } from '../../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../../src/store/layout.ts'
import { DiskPartial } from '../../../src/store/partials/partial.ts'
import { partialName } from '../../../src/store/partials/partial-name.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from './scratch.ts'

const LARGEST = patternBytes(64 * 1024)
const KEY = sha256Key(LARGEST)

async function setUp(root?: string): Promise<{ readonly store: DiskStore; readonly layout: Layout }> {
  const directory = root ?? (await scratchDirectory())
  const store = await open(directory)
  onTestFinished(() => store.close())
  await store.scanned
  return { store, layout: createLayout(directory) }
}

const litterOf = async ({ partials, tmp }: Layout) => [...(await readdir(partials)), ...(await readdir(tmp))]

describe('a small blob', () => {
  it('is not on the disk while it is fetched, and then in the table', async () => {
    const { store, layout } = await setUp()
    const partial = await store.beginPartial(KEY, LARGEST.length)
    await partial.write(0, [LARGEST.subarray(0, 100), LARGEST.subarray(100, 40_000)])
    await partial.checkpoint()
    expect(partial.availableEnd(0)).toBe(40_000)
    await partial.write(40_000, [LARGEST.subarray(40_000)])
    await partial.checkpoint()
    expect(await litterOf(layout)).toEqual([])
    await partial.commit()
    const buffer = Buffer.alloc(LARGEST.length)
    expect(await partial.read(buffer, 0, buffer.length, 0), 'read on').toBe(buffer.length)
    expect(buffer.equals(LARGEST)).toBe(true)
    await partial.release()
    expect((await store.smallBlobs.read(KEY, LARGEST.length)).toString('hex')).toBe(LARGEST.toString('hex'))
    await expect(stat(layout.blob(KEY))).rejects.toThrow('ENOENT')
    expect(await litterOf(layout)).toEqual([])
    expect(store.ledger.storedBytes).toBe(LARGEST.length)
  })

  it('leaves nothing when it is released unfinished', async () => {
    const { store, layout } = await setUp()
    const partial = await store.beginPartial(KEY, LARGEST.length)
    await partial.write(0, [LARGEST])
    await partial.release()
    expect(await litterOf(layout)).toEqual([])
    const next = await store.beginPartial(KEY, LARGEST.length)
    expect(next.map.presentBytes).toBe(0)
    await next.release()
  })

  it('goes to quarantine when its digest is wrong, like any other', async () => {
    const { store, layout } = await setUp()
    const partial = await store.beginPartial(KEY, LARGEST.length)
    await partial.write(0, [LARGEST])
    await partial.discard(new Error('wrong'), { quarantine: true })
    await partial.release()
    const data = path.join(layout.quarantine, path.basename(layout.partial(KEY)), 'data')
    expect((await readFile(data)).equals(LARGEST)).toBe(true)
    expect(await litterOf(layout)).toEqual([])
  })

  it('begins anew where an earlier version has left a partial, which is removed', async () => {
    const root = await scratchDirectory()
    const first = await setUp(root)
    const left = await DiskPartial.open(first.layout, KEY, LARGEST.length)
    await left.write(0, [LARGEST])
    await left.release()
    await first.store.close()
    const { store, layout } = await setUp(root)
    expect(store.ledger.has(partialName(KEY))).toBe(true)
    const partial = await store.beginPartial(KEY, LARGEST.length)
    expect(partial.map.presentBytes).toBe(0)
    await partial.release()
    expect(await litterOf(layout)).toEqual([])
    expect(store.ledger.has(partialName(KEY))).toBe(false)
  })
})

it('a blob of one byte more is a file from the start', async () => {
  const { store, layout } = await setUp()
  const bytes = patternBytes(LARGEST.length + 1)
  const key = sha256Key(bytes)
  const partial = await store.beginPartial(key, bytes.length)
  expect(await readdir(layout.partials)).toEqual([path.basename(layout.partial(key))])
  await partial.release()
})
