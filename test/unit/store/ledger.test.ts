import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Ledger, type LedgerOptions } from '../../../src/store/ledger.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'

const PLENTY = 1e12

/** A ledger over a disk of names. `free` counts what its removals free. */
function scratchLedger(
  options: Partial<LedgerOptions> & { freeAtFirst?: number; frees?: (sizeBytes: number) => number } = {},
): {
  ledger: Ledger
  removed: string[]
  evicted: [string, number][]
  troubles: unknown[]
  disk: { free: number }
} {
  const removed: string[] = []
  const evicted: [string, number][] = []
  const troubles: unknown[] = []
  const disk = { free: options.freeAtFirst ?? PLENTY }
  const { frees = (sizeBytes: number) => sizeBytes } = options
  let now = 0
  const ledger = new Ledger({
    maxBytes: undefined,
    minFreeBytes: 0,
    freeBytes: () => Promise.resolve(disk.free),
    remove: (name) => {
      removed.push(name)
      return Promise.resolve()
    },
    now: () => (now += 1),
    onTrouble: (error) => troubles.push(error),
    observer: {
      ...silentObserver,
      evicted(reason, bytes) {
        evicted.push([reason, bytes])
        disk.free += frees(bytes)
      },
    },
    ...options,
  })
  return { ledger, removed, evicted, troubles, disk }
}

describe('making room', () => {
  it('evicts the least recently used first, and no more than is needed', async () => {
    const { ledger, removed, evicted } = scratchLedger({ maxBytes: 100 })
    for (const name of ['a', 'b', 'c', 'd']) ledger.add(name, 25)
    ledger.touch('a')
    expect(await ledger.reserve(30)).toBeDefined()
    expect(removed).toEqual(['b', 'c'])
    expect(evicted).toEqual([
      ['max-size', 25],
      ['max-size', 25],
    ])
    expect([ledger.storedBytes, ledger.reservedBytes]).toEqual([50, 30])
  })

  it('leaves a pinned entry until all its pins are released', async () => {
    const { ledger, removed } = scratchLedger({ maxBytes: 100 })
    ledger.add('a', 60)
    ledger.add('b', 40)
    const first = ledger.pin('a')
    const second = ledger.pin('a')
    expect(await ledger.reserve(61)).toBeUndefined()
    first()
    first()
    expect(await ledger.reserve(61)).toBeUndefined()
    expect(removed).toEqual([])
    second()
    expect(await ledger.reserve(61)).toBeDefined()
    expect(removed).toEqual(['a', 'b'])
  })

  it('counts a pinned entry by its present size, and not once it was dropped', async () => {
    const { ledger, removed } = scratchLedger({ maxBytes: 100 })
    ledger.add('a', 10)
    const unpin = ledger.pin('a')
    ledger.add('a', 50)
    ledger.add('b', 50)
    expect(await ledger.reserve(51)).toBeUndefined()
    ledger.drop('a')
    ledger.add('a', 50)
    unpin()
    expect(await ledger.reserve(100)).toBeDefined()
    expect(removed).toEqual(['b', 'a'])
  })

  it.each([
    ['what is asked for is larger than the store', { maxBytes: 100 }, 101],
    ['the disk is too full, whatever goes', { maxBytes: 1000, minFreeBytes: 500, freeAtFirst: 50 }, 10],
    // The nearer bound alone would be satisfied after one eviction; the farther never.
    [
      'one bound is near and the other out of reach',
      { maxBytes: 100, minFreeBytes: 500, freeAtFirst: 50 },
      10,
    ],
  ])('evicts nothing when %s', async (_, options, bytes) => {
    const { ledger, removed } = scratchLedger(options)
    for (const name of ['a', 'b', 'c', 'd']) ledger.add(name, 25)
    expect(await ledger.reserve(bytes)).toBeUndefined()
    expect(removed).toEqual([])
  })

  it('evicts as much as a full disk lacks', async () => {
    const { ledger, removed, evicted } = scratchLedger({ minFreeBytes: 10, freeAtFirst: 30 })
    for (const name of ['a', 'b', 'c', 'd']) ledger.add(name, 25)
    expect(await ledger.reserve(50)).toBeDefined()
    expect(removed).toEqual(['a', 'b'])
    expect(evicted[0]?.[0]).toBe('min-free')
  })

  it('does not empty the store when a disk frees nothing', async () => {
    const { ledger, removed } = scratchLedger({ minFreeBytes: 10, freeAtFirst: 30, frees: () => 0 })
    for (let index = 0; index < 50; index += 1) ledger.add(`blob ${index}`, 25)
    expect(await ledger.reserve(50)).toBeUndefined()
    expect(removed).toHaveLength(2)
  })

  it('continues when evictions free less than expected', async () => {
    const { ledger, removed } = scratchLedger({
      minFreeBytes: 0,
      freeAtFirst: 0,
      frees: (sizeBytes) => sizeBytes / 2,
    })
    for (let index = 0; index < 50; index += 1) ledger.add(`blob ${index}`, 20)
    expect(await ledger.reserve(100)).toBeDefined()
    expect(removed).toHaveLength(10)
  })

  it('keeps an entry that cannot be removed, and reports the error', async () => {
    const { ledger, troubles, evicted } = scratchLedger({
      maxBytes: 100,
      remove: () => Promise.reject(new Error('EROFS')),
    })
    ledger.add('a', 60)
    ledger.add('b', 40)
    expect(await ledger.reserve(50)).toBeUndefined()
    expect(ledger.storedBytes).toBe(100)
    expect([...ledger.entries()].map(([name]) => name)).toEqual(['b', 'a'])
    expect(troubles).toHaveLength(1)
    expect(evicted).toEqual([])
  })

  it('promises nothing when the free space is unknown, and recovers later', async () => {
    let broken = true
    const { ledger, troubles } = scratchLedger({
      freeBytes: () => (broken ? Promise.reject(new Error('EIO')) : Promise.resolve(PLENTY)),
    })
    expect(await ledger.reserve(1)).toBeUndefined()
    expect(troubles).toHaveLength(1)
    broken = false
    expect(await ledger.reserve(1)).toBeDefined()
  })

  describe('of free space that it knows,', () => {
    const MIB = 1024 * 1024
    function countedLedger(freeAtFirst: number) {
      const clock = { ms: 0 }
      const disk = { free: freeAtFirst, questions: 0 }
      const { ledger } = scratchLedger({
        freeBytes: () => {
          disk.questions += 1
          return Promise.resolve(disk.free)
        },
        now: () => clock.ms,
      })
      return { ledger, clock, disk }
    }

    it('asks the file system once a second while there is plenty', async () => {
      const { ledger, clock, disk } = countedLedger(1000 * MIB)
      for (let count = 0; count < 50; count += 1) (await ledger.reserve(MIB))?.release()
      expect(disk.questions).toBe(1)
      clock.ms = 1000
      expect(await ledger.reserve(MIB)).toBeDefined()
      expect(disk.questions).toBe(2)
      clock.ms = 0
      expect(await ledger.reserve(MIB)).toBeDefined()
      expect(disk.questions, 'a clock that was set back proves nothing').toBe(3)
    })

    it('asks each time where the space may not suffice, and counts what was promised meanwhile as taken', async () => {
      const { ledger, disk } = countedLedger(300 * MIB)
      const first = await ledger.reserve(100 * MIB)
      // Written by its holder: the file system has less, and the promise has ended.
      disk.free -= 100 * MIB
      first?.release()
      expect(await ledger.reserve(250 * MIB)).toBeUndefined()
      expect(await ledger.reserve(150 * MIB)).toBeDefined()
      expect(disk.questions).toBe(3)
    })
  })

  it('resolves when the removal of a name has ended', async () => {
    let finish = (): void => {}
    const { ledger } = scratchLedger({
      maxBytes: 10,
      remove: () => new Promise((resolve) => (finish = resolve)),
    })
    ledger.add('a', 10)
    const order: string[] = []
    const reserving = ledger.reserve(5).then(() => order.push('reserved'))
    await new Promise((resolve) => setImmediate(resolve))
    const waiting = ledger.removed('a').then(() => order.push('removed'))
    const settling = ledger.settled().then(() => order.push('settled'))
    await ledger.removed('b')
    expect(order).toEqual([])
    finish()
    await Promise.all([reserving, waiting, settling])
    expect(order).toContain('removed')
    expect(order.at(-1)).toBe('settled')
  })
})

describe('promises', () => {
  it('are spent and released once, whatever the order and number of calls', async () => {
    const { ledger } = scratchLedger({ maxBytes: 100 })
    const promise = await ledger.reserve(100)
    expect(await ledger.reserve(1)).toBeUndefined()
    promise?.spend(30)
    expect(ledger.reservedBytes).toBe(70)
    promise?.spend(1000)
    promise?.release()
    promise?.release()
    promise?.spend(5)
    expect(ledger.reservedBytes).toBe(0)
  })

  it('to concurrent callers never count the same bytes twice', async () => {
    const { ledger } = scratchLedger({ maxBytes: 100 })
    const promises = await Promise.all(Array.from({ length: 30 }, () => ledger.reserve(10)))
    expect(promises.filter((promise) => promise !== undefined)).toHaveLength(10)
    expect(ledger.reservedBytes).toBe(100)
  })
})

describe('the scan at start', () => {
  it('enters what it found as older than everything used since', async () => {
    const { ledger } = scratchLedger()
    ledger.add('b', 7)
    await ledger.load([
      { name: 'a', sizeBytes: 5, usedAt: 1 },
      { name: 'b', sizeBytes: 6, usedAt: 2 },
      { name: 'c', sizeBytes: 8, usedAt: 3 },
    ])
    expect([...ledger.entries()].map(([name]) => name)).toEqual(['a', 'c', 'b'])
    expect(ledger.storedBytes).toBe(20)
    expect(ledger.count).toBe(3)
  })

  it('does not bring back an entry that was dropped meanwhile', async () => {
    const { ledger } = scratchLedger()
    ledger.add('partial:x', 5)
    ledger.drop('partial:x')
    ledger.drop('never entered')
    await ledger.load([
      { name: 'partial:x', sizeBytes: 5, usedAt: 1 },
      { name: 'never entered', sizeBytes: 5, usedAt: 2 },
      { name: 'a', sizeBytes: 1, usedAt: 3 },
    ])
    expect([...ledger.entries()].map(([name]) => name)).toEqual(['a'])
    expect(ledger.storedBytes).toBe(1)
  })

  it('yields to concurrent changes, and is right in the end', async () => {
    const { ledger } = scratchLedger()
    const found = Array.from({ length: 50_000 }, (_, index) => ({
      name: `n${index}`,
      sizeBytes: 2,
      usedAt: index,
    }))
    const loading = ledger.load(found)
    let isOver = false
    void loading.then(() => (isOver = true))
    ledger.add('n7', 5)
    await new Promise((resolve) => setImmediate(resolve))
    // Other work runs before everything is entered.
    expect(isOver).toBe(false)
    ledger.drop('n8')
    ledger.add('new', 3)
    await loading
    expect(ledger.count).toBe(50_000)
    expect(ledger.storedBytes).toBe(49_998 * 2 + 5 + 3)
    const names = [...ledger.entries()].map(([name]) => name)
    expect([names[0], names.at(-2), names.at(-1)]).toEqual(['n0', 'n7', 'new'])
    expect(names).not.toContain('n8')
  })

  it('keeps the pins of entries in use', async () => {
    const { ledger, removed } = scratchLedger({ maxBytes: 10 })
    ledger.add('a', 10)
    ledger.pin('a')
    await ledger.load([{ name: 'a', sizeBytes: 10, usedAt: 1 }])
    expect(await ledger.reserve(5)).toBeUndefined()
    expect(removed).toEqual([])
  })
})

describe('entries that are no files', () => {
  const isFile = (name: string) => name.startsWith('file')

  it('go when there are too many bytes, in the order of use', async () => {
    const { ledger, removed } = scratchLedger({ maxBytes: 100, isFile })
    for (const name of ['file a', 'row b', 'file c', 'row d']) ledger.add(name, 25)
    ledger.touch('file a')
    expect(await ledger.reserve(50)).toBeDefined()
    expect(removed).toEqual(['row b', 'file c'])
  })

  it('stay when the disk is short: that would give nothing back to it', async () => {
    const rows = Array.from({ length: 8 }, (_, index) => `row ${index}`)
    const { ledger, removed, disk } = scratchLedger({ minFreeBytes: 20, freeAtFirst: 100, isFile })
    await ledger.load(rows.map((name, index) => ({ name, sizeBytes: 25, usedAt: index })))
    for (const name of ['file a', 'file b', 'file c']) ledger.add(name, 25)
    ledger.touch('file a')
    expect(await ledger.reserve(110)).toBeDefined()
    expect([removed, disk.free]).toEqual([['file b', 'file c'], 150])
    expect(await ledger.reserve(100), 'rows do not help').toBeUndefined()
    expect(removed).toHaveLength(2)
    expect(ledger.storedBytes).toBe(9 * 25)
  })

  it('make room for each other when the disk is short, and files make room for them, in the order of use', async () => {
    const { ledger, removed, disk } = scratchLedger({
      minFreeBytes: 20,
      freeAtFirst: 20,
      frees: () => 0,
      isFile,
    })
    for (const name of ['row a', 'row b', 'row c']) ledger.add(name, 25)
    const store = async (name: string): Promise<boolean> => {
      const room = await ledger.reserve(25, { isFile: false })
      if (room === undefined) return false
      room.spend(25)
      ledger.add(name, 25)
      room.release()
      return true
    }
    for (const name of ['row d', 'row e', 'row f', 'row g']) expect(await store(name)).toBe(true)
    expect(removed).toEqual(['row a', 'row b', 'row c', 'row d'])
    expect([disk.free, ledger.storedBytes]).toEqual([20, 75])
    // What has left the table is room for a row, and none for a file.
    ledger.drop('row e')
    expect(await ledger.reserve(25)).toBeUndefined()
    expect(await store('row h')).toBe(true)
    expect(removed).toHaveLength(4)
  })

  it('take the room that the table has free at first', async () => {
    const options = { minFreeBytes: 20, freeAtFirst: 20, isFile, tableRoomBytes: 30 }
    const { ledger, removed } = scratchLedger(options)
    expect(await ledger.reserve(31, { isFile: false })).toBeUndefined()
    expect(await ledger.reserve(30, { isFile: false })).toBeDefined()
    expect(removed).toEqual([])
  })
})

const name = fc.constantFrom('a', 'b', 'c', 'd', 'e')
const step = fc.oneof(
  fc.record({
    do: fc.constant('pull' as const),
    name,
    bytes: fc.integer({ min: 1, max: 60 }),
    lands: fc.nat(60),
  }),
  fc.record({ do: fc.constant('touch' as const), name }),
  fc.record({ do: fc.constant('drop' as const), name }),
  fc.record({ do: fc.constant('pin' as const), name }),
  fc.record({ do: fc.constant('unpin' as const), name }),
)

it('stored and promised bytes never exceed the limit, and pinned entries stay', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 150 }),
      async (steps, maxBytes) => {
        const pins = new Map<string, (() => void)[]>()
        const { ledger } = scratchLedger({
          maxBytes,
          remove(name) {
            expect(pins.get(name) ?? []).toEqual([])
            return Promise.resolve()
          },
        })
        const within = (): void => {
          expect(ledger.storedBytes + ledger.reservedBytes).toBeLessThanOrEqual(maxBytes)
          const sum = [...ledger.entries()].reduce((bytes, [, entry]) => bytes + entry.sizeBytes, 0)
          expect(ledger.storedBytes).toBe(sum)
          expect(ledger.reservedBytes).toBeGreaterThanOrEqual(0)
        }
        for (const [index, step] of steps.entries()) {
          if (step.do === 'pull') {
            // A new file each time, in two pieces; the second may never come.
            const file = `${step.name}${index}`
            const promise = await ledger.reserve(step.bytes)
            within()
            const lands = Math.min(step.lands, step.bytes)
            if (promise !== undefined) {
              promise.spend(lands)
              if (lands > 0) ledger.add(file, lands)
              within()
              promise.release()
            }
          } else {
            const known = [...ledger.entries()]
              .map(([name]) => name)
              .find((known) => known.startsWith(step.name))
            if (known === undefined) continue
            if (step.do === 'touch') ledger.touch(known)
            if (step.do === 'drop' && (pins.get(known) ?? []).length === 0) ledger.drop(known)
            if (step.do === 'pin') pins.set(known, [...(pins.get(known) ?? []), ledger.pin(known)])
            if (step.do === 'unpin') pins.get(known)?.pop()?.()
          }
          within()
        }
        expect(ledger.reservedBytes).toBe(0)
      },
    ),
  )
})
