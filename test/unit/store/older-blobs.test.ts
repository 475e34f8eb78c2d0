// Small blobs that an earlier version has stored in files: they are there at once, and move to the table meanwhile.

import { stat, writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { createLayout, type Layout } from '../../../src/store/layout.ts'
import { withTable } from '../../../src/store/table/table.ts'
import { eventually } from '../../support/eventually.ts'
import { forgetRows } from '../../support/stored-blobs.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from './scratch.ts'
import { bytesOf, DAY_MS, entriesOf, isThere, LARGE, opened, plant, put, SMALL } from './small-blobs.ts'

describe('a small blob of an earlier version', () => {
  /** A store that has such blobs, and no table. */
  async function older(blobs: readonly Buffer[]): Promise<{ root: string; layout: Layout; files: string[] }> {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    await writeFile(layout.format, 'hubmirror 1\n')
    const files: string[] = []
    for (const bytes of blobs) files.push(await plant(layout, bytes, { ageMs: 3 * DAY_MS }))
    return { root, layout, files }
  }

  it('can be read at once, moves to the table, and stays there with the time of its last use', async () => {
    const blobs = Array.from({ length: 100 }, (_, seed) => patternBytes(500 + seed, 100 + seed))
    const { root, files } = await older([...blobs, LARGE])
    const first = await open(root)
    for (const bytes of blobs) expect((await bytesOf(first, bytes))?.equals(bytes)).toBe(true)
    await eventually(
      async () => (await Promise.all(files.map(isThere))).filter(Boolean).length,
      (left) => left === 1,
    )
    for (const bytes of blobs) expect((await bytesOf(first, bytes))?.equals(bytes)).toBe(true)
    await first.close()
    const store = await opened(root, { memoryBytes: 0 })
    await store.scanned
    expect(store.ledger.count).toBe(101)
    for (const bytes of [...blobs, LARGE]) expect((await bytesOf(store, bytes))?.equals(bytes)).toBe(true)
  })

  it('keeps its last use', async () => {
    const { root, files } = await older([SMALL])
    const store = await opened(root)
    await eventually(
      () => isThere(files[0] ?? ''),
      (is) => !is,
    )
    const rows = []
    for await (const row of store.smallBlobs.rows()) rows.push(row)
    expect(rows).toMatchObject([{ key: sha256Key(SMALL), sizeBytes: SMALL.length, isInTable: true }])
    expect(Math.abs(Date.now() - 3 * DAY_MS - (rows[0]?.usedAt ?? 0))).toBeLessThan(60_000)
  })

  it('that is damaged does not move, and is found by those who look for damage', async () => {
    const { root, layout } = await older([SMALL])
    const key = sha256Key(patternBytes(400, 7))
    const bad = await plant(layout, patternBytes(400, 8), { key })
    const first = await open(root)
    await first.scanned
    await eventually(
      () => isThere(layout.blob(sha256Key(SMALL))),
      (is) => !is,
    )
    await first.close()
    expect(await isThere(bad)).toBe(true)
    const store = await opened(root)
    await store.scanned
    expect(entriesOf(store).sort()).toEqual([key, sha256Key(SMALL)].sort())
    expect(await store.blobs.open(key, 400)).toBeUndefined()
    expect(await isThere(bad)).toBe(false)
    expect(entriesOf(store)).toEqual([sha256Key(SMALL)])
  })

  it('that is in the table, too, loses its file, and is counted once', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const first = await open(root)
    await put(first, SMALL)
    await first.close()
    // A crash between the commit and the removal of the file.
    const file = await plant(layout, SMALL)
    await forgetRows(root)
    const store = await opened(root)
    await store.scanned
    expect(store.ledger.storedBytes).toBe(SMALL.length)
    await eventually(
      () => isThere(file),
      (is) => !is,
    )
    expect((await bytesOf(store, SMALL))?.equals(SMALL)).toBe(true)
  })

  it('goes on moving at the next start when the store is closed meanwhile', async () => {
    const blobs = Array.from({ length: 300 }, (_, seed) => patternBytes(50 + seed, 500 + seed))
    const { root, files } = await older(blobs)
    for (let round = 0; round < 3; round += 1) {
      const store = await open(root)
      await store.close()
      for (const [index, bytes] of blobs.entries()) {
        const row = await withTable(createLayout(root).facts, { readOnly: true }, (table) =>
          table?.blobBytes(sha256Key(bytes)),
        )
        expect((await isThere(files[index] ?? '')) || row?.equals(bytes) === true).toBe(true)
      }
    }
    const store = await opened(root)
    await eventually(
      async () => (await Promise.all(files.map(isThere))).includes(true),
      (some) => !some,
    )
    for (const bytes of blobs) expect((await bytesOf(store, bytes))?.equals(bytes)).toBe(true)
    expect((await stat(createLayout(root).facts)).isDirectory()).toBe(true)
  })
})
