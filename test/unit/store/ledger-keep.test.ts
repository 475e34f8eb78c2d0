import { expect, it } from 'vitest'
import { Ledger } from '../../../src/store/ledger.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'

it('a ledger leaves what is to be kept, also what is added later and found by the scan, until it is not', async () => {
  const removed: string[] = []
  const ledger = new Ledger({
    maxBytes: 100,
    minFreeBytes: 0,
    freeBytes: () => Promise.resolve(1e12),
    remove: async (name) => void removed.push(name),
    now: () => 0,
    observer: silentObserver,
  })
  ledger.keep((name) => name.startsWith('kept'))
  ledger.add('kept 1', 30)
  ledger.add('a', 30)
  await ledger.load([
    { name: 'kept 2', sizeBytes: 30, usedAt: 0 },
    { name: 'kept 1', sizeBytes: 20, usedAt: 0 },
  ])
  const [first, second] = [await ledger.reserve(41), await ledger.reserve(10)]
  expect([removed, first, second?.leftBytes]).toEqual([[], undefined, 10])
  second?.release()
  ledger.drop('kept 2')
  expect(await ledger.reserve(71)).toBeUndefined()
  expect((await ledger.reserve(70))?.leftBytes).toBe(70)
  expect(removed).toEqual(['a'])
  ledger.keep(() => false)
  expect(await ledger.reserve(30)).toBeDefined()
  expect(removed).toEqual(['a', 'kept 1'])
})

it('a ledger keeps what has become wanted while it entered what the scan found', async () => {
  const ledger = new Ledger({
    maxBytes: 20_000,
    minFreeBytes: 0,
    freeBytes: () => Promise.resolve(1e12),
    remove: () => Promise.resolve(),
    now: () => 0,
    observer: silentObserver,
  })
  const found = Array.from({ length: 15_000 }, (_, index) => ({ name: `${index}`, sizeBytes: 1, usedAt: 0 }))
  const loading = ledger.load(found)
  ledger.keep((name) => Number(name) < 5_000)
  await loading
  expect(await ledger.reserve(15_001)).toBeUndefined()
  expect((await ledger.reserve(15_000))?.leftBytes).toBe(15_000)
  expect(['0', '4999', '5000'].map((name) => ledger.has(name))).toEqual([true, true, false])
})

it('a ledger counts the free pages of its table as room for what goes there, and for nothing else', async () => {
  const ledger = new Ledger({
    maxBytes: undefined,
    minFreeBytes: 20,
    tableRoomBytes: 30,
    freeBytes: () => Promise.resolve(30),
    remove: () => Promise.resolve(),
    now: () => 0,
    observer: silentObserver,
  })
  const asked: readonly (readonly [bytes: number, rowBytes: number])[] = [
    [11, 0],
    [40, 30],
    [41, 41],
    [20, 10],
    [21, 10],
  ]
  const answers = []
  for (const [bytes, rowBytes] of asked) answers.push(await ledger.hasRoom(bytes, 0, rowBytes))
  expect(answers).toEqual([false, true, false, true, false])
})

it('a ledger says whether there is room beside what must stay, and evicts nothing for the answer', async () => {
  const removed: string[] = []
  const ledger = new Ledger({
    maxBytes: 100,
    minFreeBytes: 0,
    freeBytes: () => Promise.resolve(50),
    remove: async (name) => void removed.push(name),
    now: () => 0,
    observer: silentObserver,
  })
  for (const name of ['a', 'b', 'c']) ledger.add(name, 30)
  const asked: readonly (readonly [bytes: number, keptBytes: number])[] = [
    [10, 90],
    [11, 90],
    [40, 60],
    [41, 60],
    [100, 0],
    [101, 0],
  ]
  const answers = []
  for (const [bytes, keptBytes] of asked) answers.push(await ledger.hasRoom(bytes, keptBytes))
  expect(answers).toEqual([true, false, true, false, true, false])
  ledger.pin('a')
  expect([await ledger.hasRoom(70, 0), await ledger.hasRoom(71, 0)]).toEqual([true, false])
  // What must stay is another entry than the one that is held.
  expect([ledger.isHeld('a'), ledger.isHeld('b'), ledger.isHeld('d')]).toEqual([true, false, false])
  expect([await ledger.hasRoom(40, 30), await ledger.hasRoom(41, 30)]).toEqual([true, false])
  expect([removed, ledger.reservedBytes]).toEqual([[], 0])
})
