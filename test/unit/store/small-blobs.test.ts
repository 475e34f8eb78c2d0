// Small blobs, which lie in the table, and the rows that the table has of all blobs.

import { readdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { tableFile, withTable } from '../../../src/store/table/table.ts'
import { openMirrorTable } from '../../../src/store/table/table-damage.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { changeTable, forgetRows } from '../../support/stored-blobs.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from './scratch.ts'
import { bytesOf, DAY_MS, entriesOf, LARGE, opened, plant, put, SMALL } from './small-blobs.ts'

describe('a small blob', () => {
  it('is there after a restart, also one that was not closed, and takes no file', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const first = await open(root)
    await put(first, SMALL)
    expect((await bytesOf(first, SMALL))?.equals(SMALL)).toBe(true)
    await first.close()
    expect(await readdir(layout.blobs)).toEqual([])
    // What a mirror leaves that is killed.
    await writeFile(layout.factsInUse, '')
    await forgetRows(root)
    const store = await opened(root)
    await store.scanned
    expect((await bytesOf(store, SMALL))?.equals(SMALL)).toBe(true)
    expect(store.status()).toMatchObject({ sizeBytes: SMALL.length + store.status().factBytes, blobs: 1 })
  })

  it('of another length or with other bytes is removed, counted as damage, and can be stored again', async () => {
    const root = await scratchDirectory()
    await (await open(root)).close()
    const bad = Buffer.from(SMALL)
    bad[7] = (bad[7] ?? 0) ^ 1
    const cut = patternBytes(2000, 3)
    const at = { sizeBytes: 2000, usedAt: Date.now() }
    await changeTable(
      root,
      { act: 'add-blob', key: sha256Key(SMALL), sizeBytes: SMALL.length, usedAt: Date.now(), bytes: bad },
      { act: 'add-blob', key: sha256Key(cut), ...at, bytes: cut.subarray(1) },
    )
    const failures: string[] = []
    const observer = { ...silentObserver, integrityFailure: (kind: string) => failures.push(kind) }
    const store = await opened(root, { observer })
    await store.scanned
    expect(await bytesOf(store, SMALL)).toBeUndefined()
    expect(await bytesOf(store, cut)).toBeUndefined()
    expect(failures).toEqual(['disk'])
    expect(entriesOf(store)).toEqual([])
    expect(await store.smallBlobs.read(sha256Key(SMALL), SMALL.length)).toBe('missing')
    await put(store, SMALL)
    expect((await bytesOf(store, SMALL))?.equals(SMALL)).toBe(true)
  })

  it('that is evicted is gone after a restart, too', async () => {
    const root = await scratchDirectory()
    const first = await open(root, { maxBytes: 2_100_000 })
    await first.scanned
    for (let seed = 10; seed < 60; seed += 1) await put(first, patternBytes(60_000, seed))
    const left = entriesOf(first)
    expect(left.length).toBeLessThan(40)
    expect(await bytesOf(first, patternBytes(60_000, 10))).toBeUndefined()
    await first.close()
    const store = await opened(root)
    await store.scanned
    expect(entriesOf(store).sort()).toEqual(left.sort())
    for (const key of left) expect(await store.smallBlobs.read(key as BlobKey, 60_000)).toBeInstanceOf(Buffer)
    expect(await store.smallBlobs.read(sha256Key(patternBytes(60_000, 10)), 60_000)).toBe('missing')
  })

  it('can be stored again at once when it was evicted or removed', async () => {
    const store = await opened(await scratchDirectory())
    await store.scanned
    const key = await put(store, SMALL)
    for (const goes of [() => store.ledger.evict(key, 'prune'), () => store.blobs.remove(key)]) {
      const going = goes()
      await put(store, SMALL)
      await going
      await store.blobs.remove(sha256Key(LARGE))
      expect(await store.smallBlobs.read(key, SMALL.length)).toBeInstanceOf(Buffer)
    }
  })

  it('is found by no reader once it was removed from the table by another process', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const first = await open(root)
    await put(first, SMALL)
    await first.close()
    const store = await opened(root, { memoryBytes: 0 })
    await store.scanned
    expect(entriesOf(store)).toEqual([sha256Key(SMALL)])
    await store.smallBlobs.remove(sha256Key(SMALL))
    expect(await bytesOf(store, SMALL)).toBeUndefined()
    expect(entriesOf(store)).toEqual([])
    expect(await readdir(layout.blobs)).toEqual([])
  })
})

describe('a start', () => {
  it('does not look for blobs if the last mirror has closed the store', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const first = await open(root)
    // A store that is closed before has not recorded all blobs.
    await first.scanned
    await put(first, SMALL)
    await put(first, LARGE)
    await first.close()
    // It would be found by a look into the folders.
    await plant(layout, patternBytes(200_000, 9))
    const store = await open(root)
    await store.scanned
    expect(entriesOf(store).sort()).toEqual([sha256Key(SMALL), sha256Key(LARGE)].sort())
    await writeFile(path.join(root, 'copied'), '')
    await store.close()
    // Killed: what it has stored meanwhile may have no row.
    await forgetRows(root)
    const again = await opened(root)
    await again.scanned
    expect(entriesOf(again)).toHaveLength(3)
  })

  it('looks for blobs again, and each time until it has ended', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const first = await open(root)
    const isComplete = () => withTable(layout.facts, { readOnly: true }, (table) => table?.isComplete)
    await first.scanned
    await first.close()
    expect(await isComplete()).toBe(true)
    const second = await open(root)
    await second.scanned
    const known = await second.smallBlobs.takeComplete()
    expect(known, 'a mirror at work has not').toBe(false)
    await second.close()
    expect(await isComplete()).toBe(true)
  })

  it('keeps the rows of what was stored or removed while it looked', async () => {
    const root = await scratchDirectory()
    const store = await opened(root)
    await store.scanned
    const [stays, goes, comes] = [LARGE, patternBytes(70_000, 6), patternBytes(80_000, 7)]
    for (const bytes of [stays, goes]) await put(store, bytes)
    await store.blobs.remove(sha256Key(goes))
    // What a scan would say that had looked before all of this.
    const late = [
      { act: 'remove-blob', key: sha256Key(stays) },
      { act: 'add-blob', key: sha256Key(goes), sizeBytes: goes.length, usedAt: 1 },
    ] as const
    await store.smallBlobs.complete(late, store.ledger, new AbortController().signal)
    await put(store, comes)
    const rows: string[] = []
    for await (const { key } of store.smallBlobs.rows()) rows.push(key)
    expect(rows.sort()).toEqual([sha256Key(stays), sha256Key(comes)].sort())
  })

  it.each(['a row that could not be written', 'a command that removes blobs', 'a crash'])(
    'looks for blobs after %s',
    async (what) => {
      const root = await scratchDirectory()
      const layout = createLayout(root)
      const first = await open(root)
      await first.scanned
      await put(first, LARGE)
      if (what === 'a row that could not be written') first.smallBlobs.doubt()
      await first.close()
      if (what === 'a command that removes blobs') await changeTable(root, { act: 'doubt-rows' })
      if (what === 'a crash') await writeFile(layout.factsInUse, '')
      await plant(layout, patternBytes(200_000, 9))
      const store = await open(root)
      await store.scanned
      expect(store.ledger.count).toBe(2)
      await store.close()
      expect(await withTable(layout.facts, { readOnly: true }, (table) => table?.isComplete)).toBe(true)
    },
  )

  it('does not count on rows that a command has changed while the mirror ran', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const store = await open(root)
    await store.scanned
    await store.smallBlobs.discard(sha256Key(LARGE))
    await store.close()
    expect(await withTable(layout.facts, { readOnly: true }, (table) => table?.isComplete)).toBe(false)
  })

  it('has the order of use of all blobs, of files and of small ones', async () => {
    const root = await scratchDirectory()
    let now = Date.UTC(2030, 0)
    const first = await open(root, { now: () => now })
    await first.scanned
    const all = [SMALL, LARGE, patternBytes(10, 4), patternBytes(90_000, 5)]
    for (const bytes of all) {
      now += DAY_MS
      await put(first, bytes)
    }
    now += DAY_MS
    await bytesOf(first, LARGE)
    now += DAY_MS
    await bytesOf(first, SMALL)
    await first.close()
    const store = await opened(root, { now: () => now })
    await store.scanned
    expect(entriesOf(store)).toEqual(
      [all[2], all[3], LARGE, SMALL].map((bytes) => sha256Key(bytes as Buffer)),
    )
  })
})

describe('the file of the table', () => {
  it('shrinks at a start when more than half of it is free, and keeps all rows', async () => {
    const root = await scratchDirectory()
    const layout = createLayout(root)
    const first = await open(root)
    const blobs = Array.from({ length: 60 }, (_, seed) => patternBytes(50_000, 300 + seed))
    await Promise.all(blobs.map((bytes) => put(first, bytes)))
    await first.facts.write('refs', 'kept', { commit: 'c' })
    for (const bytes of blobs.slice(1)) await first.blobs.remove(sha256Key(bytes))
    await first.close()
    const fileBytes = async () => (await stat(tableFile(layout.facts))).size
    const before = await fileBytes()
    expect(before).toBeGreaterThan(3_000_000)
    await (await openMirrorTable(layout, { readOnly: false })).close()
    expect(await fileBytes(), 'not worth it').toBe(before)
    await (await openMirrorTable(layout, { readOnly: false, compactFromBytes: 1_000_000 })).close()
    expect(await fileBytes()).toBeLessThan(500_000)
    const store = await opened(root)
    await store.scanned
    expect(entriesOf(store)).toEqual([sha256Key(blobs[0] as Buffer)])
    expect((await bytesOf(store, blobs[0] as Buffer))?.equals(blobs[0] as Buffer)).toBe(true)
    expect(await store.facts.read('refs', 'kept')).toEqual({ commit: 'c' })
  })
})
