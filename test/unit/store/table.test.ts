// The table of facts: changes in one transaction, and what is evicted.

import { stat } from 'node:fs/promises'
import { open as lmdb } from 'lmdb'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import { factId } from '../../../src/store/facts/fact-bytes.ts'
import type { FactKind } from '../../../src/store/store.ts'
import { type BlobChange, type BlobRow, decodePage } from '../../../src/store/table/blob-rows.ts'
import type { FactChange } from '../../../src/store/table/fact-rows.ts'
import { openTable, type Table } from '../../../src/store/table/table.ts'
import { scratchLayout } from './scratch.ts'

const PAGE = 4096

async function scene(): Promise<{ table: Table; directory: string }> {
  const { facts: directory } = await scratchLayout()
  const table = await openTable(directory, { readOnly: false })
  onTestFinished(() => table.close())
  return { table, directory }
}

function put(kind: FactKind, key: string, sizeBytes = 300): FactChange {
  return { act: 'put', kind, id: factId(key), bytes: Buffer.alloc(sizeBytes, key), usedAt: 1_000_000 }
}

const has = (table: Table, kind: FactKind, key: string): boolean =>
  table.fact({ kind, id: factId(key) }) !== undefined
const orderOf = (table: Table, kind: FactKind): string[] =>
  [...table.walkFacts(kind)].map(({ bytes }) => bytes.subarray(0, 1).toString())

describe('a table of facts', () => {
  it('has what was put last, and nothing that was removed', async () => {
    const { table } = await scene()
    table.change([put('files', 'a'), put('files', 'b'), put('refs', 'a')], 1e9)
    table.change([{ act: 'remove', kind: 'files', id: factId('a') }, put('refs', 'a', 7)], 1e9)
    expect([has(table, 'files', 'a'), has(table, 'files', 'b')]).toEqual([false, true])
    expect(table.fact({ kind: 'refs', id: factId('a') })).toEqual({
      bytes: Buffer.alloc(7, 'a'),
      usedAt: 1_000_000,
    })
    table.change([{ ...put('refs', 'a', 9), ifAbsent: true } as FactChange], 1e9)
    expect(table.fact({ kind: 'refs', id: factId('a') })?.bytes).toHaveLength(7)
  })

  it('lists facts from the least to the most recently used', async () => {
    const { table } = await scene()
    table.change(
      ['a', 'b', 'c'].map((key) => put('files', key)),
      1e9,
    )
    table.change([{ act: 'use', kind: 'files', id: factId('a'), usedAt: 9e6 }, put('files', 'b')], 1e9)
    table.change([{ act: 'use', kind: 'files', id: factId('none'), usedAt: 9e6 }], 1e9)
    expect(orderOf(table, 'files')).toEqual(['c', 'a', 'b'])
    expect(table.fact({ kind: 'files', id: factId('a') })?.usedAt).toBe(9e6)
  })

  it('takes no more than the limit, however many are put at once, and reuses the room', async () => {
    const { table, directory } = await scene()
    const limit = 50 * PAGE
    for (let round = 0; round < 40; round += 1) {
      table.change(
        Array.from({ length: 100 }, (_, index) => put('files', `${round} ${index}`)),
        limit,
      )
      expect(table.factBytes).toBeLessThanOrEqual(limit)
    }
    expect(has(table, 'files', '39 99')).toBe(true)
    expect(table.factBytes).toBeGreaterThan(limit - 4 * PAGE)
    // Pages that were freed by one transaction are free for the next but one.
    expect((await stat(`${directory}/data.mdb`)).size).toBeLessThan(4 * limit)
  })

  it('evicts the least recently used first', async () => {
    const { table } = await scene()
    const keys = Array.from({ length: 300 }, (_, index) => `f${index}`)
    table.change(
      keys.map((key) => put('files', key)),
      1e9,
    )
    table.change([{ act: 'use', kind: 'files', id: factId('f0'), usedAt: 9e6 }], 1e9)
    table.change([], 20 * PAGE)
    const left = keys.filter((key) => has(table, 'files', key))
    expect(left.length).toBeGreaterThan(100)
    expect(left).toEqual(['f0', ...keys.slice(301 - left.length)])
  })

  it('evicts of the kind that takes most, so that a flood of one kind displaces no other', async () => {
    const { table } = await scene()
    for (let index = 0; index < 10; index += 1)
      table.change([put('repos', `r${index}`), put('refs', `main${index}`)], 1e9)
    for (let index = 0; index < 40; index += 1)
      table.change([put('documents', `d${index}`, 3 * PAGE)], 60 * PAGE)
    for (let index = 0; index < 10; index += 1)
      expect([has(table, 'repos', `r${index}`), has(table, 'refs', `main${index}`)]).toEqual([true, true])
    expect(table.factBytes).toBeLessThanOrEqual(60 * PAGE)
  })

  it('keeps a hundred thousand facts in a file of less than 100 MiB', async () => {
    const { table, directory } = await scene()
    for (let round = 0; round < 20; round += 1)
      table.change(
        Array.from({ length: 5000 }, (_, index) => put('files', `${round} ${index}`)),
        1e9,
      )
    expect((await stat(`${directory}/data.mdb`)).size).toBeLessThan(100 * 1024 * 1024)
  })

  it('is none where there is no file, and none of it is made by a reader', async () => {
    const { facts: directory } = await scratchLayout()
    expect(await openTable(directory, { readOnly: true })).toBeUndefined()
  })
})

describe('rows of blobs', () => {
  const keyOf = (number: number): BlobKey => `sha256:${number.toString(16).padStart(64, '0')}`
  const add = (number: number): BlobChange => ({
    act: 'add-blob',
    key: keyOf(number),
    sizeBytes: number,
    usedAt: 1_900_000_000_123,
    ...(number % 2 === 0 ? {} : { bytes: Buffer.alloc(number, 'x') }),
  })

  it('are listed page by page, also behind a row that no version writes', async () => {
    const { facts: directory } = await scratchLayout()
    const made = await openTable(directory, { readOnly: false })
    made.change(
      Array.from({ length: 10 }, (_, number) => add(number + 1)),
      1e9,
    )
    made.change([{ act: 'complete-rows' }], 1e9)
    await made.close()
    const root = lmdb({ path: directory, noSubdir: false, maxDbs: 8 })
    const rows = root.openDB<Buffer, Buffer>({ name: 'blobs', encoding: 'binary', keyEncoding: 'binary' })
    const odd = Buffer.concat([Buffer.of(0), Buffer.from(keyOf(5).slice(7), 'hex'), Buffer.of(1)])
    await rows.put(odd, Buffer.from('torn'))
    await root.close()
    const table = await openTable(directory, { readOnly: false })
    onTestFinished(() => table.close())
    const seen: BlobRow[] = []
    for (;;) {
      const page = decodePage(table.pageOfBlobs(seen.at(-1)?.key, 3))
      seen.push(...page)
      if (page.length < 3) break
    }
    expect(seen).toEqual([...table.walkBlobs()])
    expect(seen.map(({ sizeBytes, isInTable }) => [sizeBytes, isInTable])).toEqual(
      Array.from({ length: 10 }, (_, number) => [number + 1, number % 2 === 0]),
    )
    expect(seen[0]).toEqual({ key: keyOf(1), sizeBytes: 1, usedAt: 1_900_000_000_123, isInTable: true })
  })

  it('lose their bytes with the row, and are complete only without a doubt', async () => {
    const { table } = await scene()
    table.change([add(7), { act: 'use-blob', key: keyOf(7), usedAt: 5 }, { act: 'complete-rows' }], 1e9)
    expect([table.blob(keyOf(7))?.usedAt, table.blobBytes(keyOf(7))?.length, table.isComplete]).toEqual([
      5,
      7,
      true,
    ])
    expect(table.countBlobs()).toEqual({ rows: 1, contents: 1 })
    table.change(
      [{ act: 'remove-blob', key: keyOf(7) }, { act: 'doubt-rows' }, { act: 'complete-rows' }],
      1e9,
    )
    expect([table.blob(keyOf(7)), table.blobBytes(keyOf(7)), table.isComplete]).toEqual([
      undefined,
      undefined,
      false,
    ])
    expect(table.countBlobs()).toEqual({ rows: 0, contents: 0 })
    table.change([{ act: 'open-rows' }, { act: 'complete-rows' }], 1e9)
    expect(table.isComplete).toBe(true)
  })
})
