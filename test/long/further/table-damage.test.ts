// Damage of a large table, and of one that was cut by a crash. Other damage is in test/unit/store/table-damage.test.ts.

import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { withTable } from '../../../src/store/table/table.ts'
import { eventually } from '../../support/eventually.ts'
import { BLOBS, COUNT, filled, rightBlobs, rightFacts } from '../../support/filled-store.ts'
import { open, sha256Key } from '../../unit/store/scratch.ts'

describe('a table', () => {
  it('whose last pages were free, and were cut off by a crash, keeps all its rows', async () => {
    const { root, layout, file } = await filled()
    const { size } = await stat(file)
    await withTable(layout.facts, { readOnly: false }, (table) => {
      const bytes = Buffer.alloc(60_000, 1)
      const key = sha256Key(bytes)
      table?.change(
        [
          { act: 'add-blob', key, sizeBytes: bytes.length, usedAt: 1, bytes },
          { act: 'remove-blob', key },
        ],
        Number.POSITIVE_INFINITY,
      )
    })
    expect((await stat(file)).size).toBeGreaterThan(size)
    await truncate(file, (await stat(file)).size - 4096)
    await writeFile(layout.factsInUse, '0')
    for (const largeTableBytes of [1_000_000_000, 1]) {
      const store = await open(root, { largeTableBytes, onTableSetAside: () => expect.unreachable() })
      expect([await rightFacts(store), await rightBlobs(store)]).toEqual([COUNT, BLOBS])
      await store.close()
      await truncate(file, (await stat(file)).size - 4096)
      await writeFile(layout.factsInUse, '0')
    }
  })

  describe('that is large, and was not closed,', () => {
    const mark = (layout: { readonly factsInUse: string }) => readFile(layout.factsInUse, 'utf8')

    it('is read through while the mirror serves, and is repaired by the next start if damage was found', async () => {
      const { root, layout, file } = await filled()
      const bytes = await readFile(file)
      const page = Math.floor(bytes.indexOf('value 200 ') / 4096) * 4096
      await writeFile(file, bytes.fill(0xff, page, page + 4096))
      await writeFile(layout.factsInUse, '0')
      const events: string[] = []
      const options = {
        largeTableBytes: 1,
        onTableDamage: () => events.push('found'),
        onTableSetAside: () => events.push('set aside'),
      }
      const store = await open(root, options)
      expect(events, 'the start does not wait').toEqual([])
      await eventually(
        () => events.length,
        (count) => count > 0,
      )
      await store.close()
      expect([events, await mark(layout)]).toEqual([['found'], 'damaged'])
      const again = await open(root, options)
      onTestFinished(() => again.close())
      expect([events, await mark(layout)]).toEqual([['found', 'set aside'], '0'])
      expect(await rightFacts(again)).toBeGreaterThan(COUNT / 4)
    })

    it('is closed like any other when nothing was found, or when it was not read to its end', async () => {
      const { root, layout } = await filled()
      await writeFile(layout.factsInUse, '0')
      const store = await open(root, { largeTableBytes: 1, onTableDamage: () => expect.unreachable() })
      expect([await mark(layout), await rightFacts(store)]).toEqual(['1', COUNT])
      await store.close()
      expect(await readdir(layout.facts)).not.toContain('in-use')
    })

    it('is copied before the mirror serves after the third such end in a row', async () => {
      const { root, layout, file } = await filled()
      const { ino } = await stat(file)
      await writeFile(layout.factsInUse, '1')
      await open(root, { largeTableBytes: 1 }).then((store) => store.close())
      expect((await stat(file)).ino).toBe(ino)
      await writeFile(layout.factsInUse, '2')
      const store = await open(root, { largeTableBytes: 1, onTableSetAside: () => expect.unreachable() })
      onTestFinished(() => store.close())
      expect((await stat(file)).ino).not.toBe(ino)
      expect([await rightFacts(store), await rightBlobs(store), await mark(layout)]).toEqual([
        COUNT,
        BLOBS,
        '0',
      ])
    })
  })
})
