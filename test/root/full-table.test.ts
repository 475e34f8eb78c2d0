// Facts and small blobs on a disk that fills up: no commit is half done, what was stored stays, and they are stored again once
// there is room.

import { mkdir, readdir, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DiskStore } from '../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../src/store/layout.ts'
import { openMirrorTable } from '../../src/store/table/table-damage.ts'
import { type OpenFacts, openFacts } from '../support/open-facts.ts'
import { mountDisk, type SmallDisk, whyNoDisk } from '../support/tmpfs.ts'
import { open, sha256Key } from '../unit/store/scratch.ts'

const noDisk = await whyNoDisk()
const valueOf = (number: number) => ({ number, text: 'x'.repeat(200) })

let disk: SmallDisk
let layout: Layout
let facts: OpenFacts

/** Resolves with the code of the error, or `stored`. */
const outcomeOf = (number: number): Promise<string> =>
  facts.write('files', `fact ${number}`, valueOf(number)).then(
    () => 'stored',
    (error: Error & { code?: string }) => String(error.code),
  )

describe.skipIf(noDisk !== undefined)('facts on a disk that is full', () => {
  beforeEach(async () => {
    disk = await mountDisk(3)
    layout = createLayout(disk.directory)
    await mkdir(layout.facts)
    facts = await openFacts(layout, { memoryBytes: 0 })
  })

  afterEach(async () => {
    await facts.close()
    await disk.unmount()
  })

  it('are stored whole or not at all, and again once there is room', async () => {
    await writeFile(join(disk.directory, 'ballast'), Buffer.alloc(1_000_000))
    const stored: number[] = []
    const refusals = new Set<string>()
    for (let number = 0; number < 20_000; number += 100) {
      const numbers = Array.from({ length: 100 }, (_, index) => number + index)
      for (const [index, outcome] of (await Promise.all(numbers.map(outcomeOf))).entries()) {
        if (outcome === 'stored') stored.push(number + index)
        else refusals.add(outcome)
      }
    }
    expect(stored.length).toBeGreaterThan(1000)
    expect(refusals.size).toBeGreaterThan(0)
    // A write that the disk cuts short is EIO to LMDB.
    for (const code of refusals) expect(['EIO', 'ENOSPC']).toContain(code)

    await unlink(join(disk.directory, 'ballast'))
    expect(await outcomeOf(30_000)).toBe('stored')
    await facts.close()
    facts = await openFacts(layout, {
      memoryBytes: 0,
      onSetAside() {
        throw new Error('the facts are damaged')
      },
    })
    for (const number of [...stored, 30_000])
      expect(await facts.read('files', `fact ${number}`)).toEqual(valueOf(number))
  })
})

describe.skipIf(noDisk !== undefined)('small blobs on a disk that is full', () => {
  it('are stored whole or not at all, facts beside them too, and again once there is room', async () => {
    const small = await mountDisk(4)
    let store: DiskStore | undefined
    try {
      await writeFile(join(small.directory, 'ballast'), Buffer.alloc(1_500_000))
      const root = join(small.directory, 'cache')
      const bytesOf = (number: number) => Buffer.alloc(1 + ((number * 7919) % 65_536), `blob ${number} `)
      const keyOf = (number: number) => sha256Key(bytesOf(number))
      const openIt = () =>
        open(root, {
          memoryBytes: 0,
          onTableSetAside() {
            throw new Error('the table is damaged')
          },
        })
      store = await openIt()
      const put = async (into: DiskStore, number: number): Promise<string> => {
        const partial = await into.beginPartial(keyOf(number), bytesOf(number).length)
        try {
          await partial.write(0, [bytesOf(number)])
          await partial.commit()
          await into.facts.write('files', `fact ${number}`, valueOf(number))
          return 'stored'
        } catch (error) {
          await partial.discard(error, { quarantine: false })
          return String((error as { code?: string }).code)
        } finally {
          await partial.release()
        }
      }
      const stored: number[] = []
      const refusals = new Set<string>()
      for (let number = 0; number < 320; number += 16) {
        const current = store
        const numbers = Array.from({ length: 16 }, (_, index) => number + index)
        const outcomes = await Promise.all(numbers.map((each) => put(current, each)))
        for (const [index, outcome] of outcomes.entries()) {
          if (outcome === 'stored') stored.push(number + index)
          else refusals.add(outcome)
        }
      }
      expect(stored.length).toBeGreaterThan(10)
      expect(refusals.size).toBeGreaterThan(0)
      for (const code of refusals) expect(['EIO', 'ENOSPC']).toContain(code)
      await unlink(join(small.directory, 'ballast'))
      expect(await put(store, 1000)).toBe('stored')
      await store.close()
      store = await openIt()
      await store.scanned
      for (const number of [...stored, 1000]) {
        expect(await store.smallBlobs.read(keyOf(number), bytesOf(number).length)).toEqual(bytesOf(number))
        expect(await store.facts.read('files', `fact ${number}`)).toEqual(valueOf(number))
      }
    } finally {
      await store?.close()
      await small.unmount()
    }
  })
})

describe.skipIf(noDisk !== undefined)('a sound table on a disk without room for a copy', () => {
  it.each(['again', undefined])('stays as it is (in-use: %s)', async (mark) => {
    const small = await mountDisk(4)
    try {
      const here = createLayout(small.directory)
      for (const folder of [here.facts, here.tmp]) await mkdir(folder)
      const fill = await openFacts(here, { memoryBytes: 0 })
      for (let number = 0; number < 3000; number += 1)
        void fill.write('files', `fact ${number}`, valueOf(number))
      await fill.close()
      await writeFile(join(small.directory, 'ballast'), Buffer.alloc(2_000_000))
      if (mark !== undefined) await writeFile(here.factsInUse, mark)
      const table = await openMirrorTable(here, {
        readOnly: false,
        compactFromBytes: 1,
        onSetAside() {
          throw new Error('the table is sound')
        },
      })
      await table.close()
      const facts = await openFacts(here, { memoryBytes: 0 })
      for (let number = 0; number < 3000; number += 100)
        expect(await facts.read('files', `fact ${number}`)).toEqual(valueOf(number))
      await facts.close()
      expect(await readdir(here.tmp)).toEqual([])
      expect(await readdir(small.directory)).not.toContain('quarantine')
    } finally {
      await small.unmount()
    }
  })
})
