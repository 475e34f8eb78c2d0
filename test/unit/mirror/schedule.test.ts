import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  connectionsFor,
  nextRun,
  type Run,
  type RunUnderWay,
  type Want,
} from '../../../src/mirror/downloads/schedule.ts'
import { BlockMap } from '../../../src/store/partials/blocks.ts'

const MIB = 1024 * 1024
const BLOCK = 256 * 1024
const URGENT_EXTRA = 4
const STEAL_DISTANCE_BYTES = 4 * MIB

const whole = (map: BlockMap, position = 0): Want => ({ position, range: { start: 0, end: map.sizeBytes } })

interface TestRun extends RunUnderWay {
  first: number
  end: number
}

/** A run whose writer may be writing up to `reached`. */
function underWay({ first, end }: Run, reached = first): TestRun {
  const run = {
    first,
    end,
    shorten: (to: number) => {
      run.end = Math.min(run.end, Math.max(to, reached))
    },
  }
  return run
}

describe('connectionsFor', () => {
  it.each([
    [0, 4, 1],
    [1, 4, 1],
    [16 * MIB, 4, 1],
    [16 * MIB + 1, 4, 2],
    [1000 * MIB, 4, 4],
    [1000 * MIB, 1, 1],
  ])('gives a file of %d bytes, %d configured, %d', (sizeBytes, configured, connections) => {
    expect(connectionsFor(sizeBytes, configured)).toBe(connections)
  })
})

describe('nextRun', () => {
  it('starts where the first reader is', () => {
    const map = new BlockMap(100 * MIB)
    const run = nextRun({ map, wants: [whole(map, 40 * MIB + 5)], fill: true, runs: [], connections: 4 })
    expect(run?.first).toBe(map.blockAt(40 * MIB + 5))
  })

  it('fetches no more than a reader of a range wants', () => {
    const map = new BlockMap(100 * MIB)
    const wants = [{ position: 10 * MIB + 3, range: { start: 10 * MIB + 3, end: 10 * MIB + 8 } }]
    const run = nextRun({ map, wants, fill: false, runs: [], connections: 4 })
    expect(run).toEqual({ first: 40, end: 41 })
    expect(nextRun({ map, wants, fill: false, runs: [underWay(run!)], connections: 4 })).toBeUndefined()
  })

  it('fetches a small file in one piece', () => {
    const map = new BlockMap(16 * MIB)
    expect(nextRun({ map, wants: [whole(map)], fill: true, runs: [], connections: 1 })).toEqual({
      first: 0,
      end: 64,
    })
  })

  it('returns nothing without readers, unless the file is to be filled', () => {
    const map = new BlockMap(10 * MIB)
    expect(nextRun({ map, wants: [], fill: false, runs: [], connections: 1 })).toBeUndefined()
    expect(nextRun({ map, wants: [], fill: true, runs: [], connections: 1 })).toEqual({ first: 0, end: 40 })
  })

  it('returns nothing when all blocks are present', () => {
    const map = new BlockMap(BLOCK)
    map.add(0)
    expect(nextRun({ map, wants: [whole(map)], fill: true, runs: [], connections: 1 })).toBeUndefined()
    const empty = new BlockMap(0)
    expect(
      nextRun({ map: empty, wants: [whole(empty)], fill: true, runs: [], connections: 1 }),
    ).toBeUndefined()
  })

  it.each([
    ['just within', STEAL_DISTANCE_BYTES, false],
    ['just beyond', STEAL_DISTANCE_BYTES + BLOCK, true],
  ])('shortens a run for a reader %s the distance that a reader waits for: %o', (_, distance, stolen) => {
    const map = new BlockMap(64 * MIB)
    const run = underWay({ first: 0, end: 256 })
    const wants = [whole(map), whole(map, distance)]
    const next = nextRun({ map, wants, fill: false, runs: [run], connections: 1 })
    if (!stolen) {
      expect(next).toBeUndefined()
      expect(run).toMatchObject({ first: 0, end: 256 })
    } else {
      expect(next).toEqual({ first: distance / BLOCK, end: 256 })
      expect(run).toMatchObject({ first: 0, end: distance / BLOCK })
    }
  })

  it('takes no block from a run that may be writing it already', () => {
    const map = new BlockMap(64 * MIB)
    const wants = [whole(map), whole(map, 6 * MIB)]
    const [urgent, reached] = [(6 * MIB) / BLOCK, (6 * MIB) / BLOCK + 1]
    const run = underWay({ first: 0, end: 256 }, reached)
    expect(nextRun({ map, wants, fill: false, runs: [run], connections: 1 })).toBeUndefined()
    expect(run.end).toBe(reached)
    const before = underWay({ first: 0, end: 256 }, urgent)
    expect(nextRun({ map, wants, fill: false, runs: [before], connections: 1 })).toEqual({
      first: urgent,
      end: 256,
    })
  })

  it('opens a few more connections for readers that wait elsewhere, then no more', () => {
    const map = new BlockMap(1000 * MIB)
    const runs: TestRun[] = []
    for (let reader = 0; reader < 20; reader += 1) {
      const position = reader * 50 * MIB
      const wants = [{ position, range: { start: position, end: position + 1 } }]
      const run = nextRun({ map, wants, fill: false, runs, connections: 2 })
      if (run !== undefined) runs.push(underWay(run))
    }
    expect(runs).toHaveLength(2 + URGENT_EXTRA)
  })

  it('does not use for the filling the connections that only readers may open', () => {
    const map = new BlockMap(1000 * MIB)
    const runs: TestRun[] = []
    for (let round = 0; round < 20; round += 1) {
      const run = nextRun({ map, wants: [whole(map)], fill: true, runs, connections: 3 })
      if (run === undefined) break
      runs.push(underWay(run))
    }
    expect(runs).toHaveLength(3)
  })

  it('continues before the first reader when all blocks behind it are present', () => {
    const map = new BlockMap(10 * MIB)
    for (let block = 20; block < map.count; block += 1) map.add(block)
    const run = nextRun({ map, wants: [whole(map, 6 * MIB)], fill: true, runs: [], connections: 1 })
    expect(run).toEqual({ first: 0, end: 20 })
  })
})

const event = fc.record({
  kind: fc.constantFrom(
    'land' as const,
    'land' as const,
    'land' as const,
    'fail' as const,
    'join' as const,
    'leave' as const,
  ),
  pick: fc.nat(1000),
  amount: fc.integer({ min: 1, max: 200 }),
})

it('every wanted block is fetched once, for readers first, whatever lands, fails, joins or leaves', () => {
  const shape = fc.record({
    sizeBytes: fc.integer({ min: 1, max: 200 * MIB }),
    configured: fc.integer({ min: 1, max: 8 }),
    fill: fc.boolean(),
    present: fc.array(fc.nat(800), { maxLength: 60 }),
  })
  fc.assert(
    fc.property(
      shape,
      fc.array(event, { maxLength: 60 }),
      ({ sizeBytes, configured, fill, present }, events) => {
        const map = new BlockMap(sizeBytes)
        for (const block of present) map.add(block)
        const connections = connectionsFor(sizeBytes, configured)
        const runs: TestRun[] = []
        const wants: { position: number; range: { start: number; end: number } }[] = [whole(map)]

        const claimed = (block: number): boolean => runs.some((run) => block >= run.first && block < run.end)
        const urgentOf = ({ position, range }: Want): number | undefined =>
          map.firstMissing(map.blockAt(position), map.blocksOf(range).end)
        const pump = (): void => {
          for (let started = 0; ; started += 1) {
            const before = runs.map((run) => ({ ...run }))
            const urgentFirst = wants.map(urgentOf).find((block) => block !== undefined && !claimed(block))
            const run = nextRun({ map, wants, fill, runs, connections })
            if (run === undefined) break
            expect(started).toBeLessThan(connections + URGENT_EXTRA + 1)
            expect(run.end).toBeGreaterThan(run.first)
            const shortened = runs.filter((other, index) => other.end !== before[index]?.end)
            for (const other of shortened) {
              expect((run.first - other.first) * BLOCK).toBeGreaterThan(STEAL_DISTANCE_BYTES)
              expect(other.end).toBe(run.first)
            }
            for (const other of runs) {
              const apart = run.end <= other.first || other.end <= run.first
              expect(apart || other.first === other.end, 'runs overlap').toBe(true)
            }
            for (let block = run.first; block < run.end; block += 1) expect(map.has(block)).toBe(false)
            if (urgentFirst !== undefined && shortened.length === 0) expect(run.first).toBe(urgentFirst)
            runs.push(underWay(run))
            expect(runs.length).toBeLessThanOrEqual(connections + URGENT_EXTRA)
          }
          // No reader waits for a block that is not being fetched while there is a connection for it.
          if (runs.length < connections + URGENT_EXTRA) {
            for (const want of wants) {
              const urgent = urgentOf(want)
              if (urgent !== undefined) expect(claimed(urgent)).toBe(true)
            }
          }
        }
        const land = (run: TestRun, blocks: number): void => {
          for (let left = blocks; left > 0 && run.first < run.end; left -= 1) {
            map.add(run.first)
            run.first += 1
          }
          if (run.first >= run.end) runs.splice(runs.indexOf(run), 1)
          for (const want of wants) want.position = Math.min(want.range.end, map.presentEnd(want.position))
        }

        pump()
        for (const { kind, pick, amount } of events) {
          const run = runs[pick % Math.max(1, runs.length)]
          if (kind === 'land' && run !== undefined) land(run, amount)
          if (kind === 'fail' && run !== undefined) runs.splice(runs.indexOf(run), 1)
          if (kind === 'join') {
            const start = (pick * 7919 * BLOCK) % sizeBytes
            wants.push({
              position: start,
              range: { start, end: Math.min(sizeBytes, start + amount * 10_000) },
            })
          }
          if (kind === 'leave' && wants.length > 0) wants.splice(pick % wants.length, 1)
          pump()
        }
        for (let round = 0; runs.length > 0; round += 1) {
          expect(round).toBeLessThan(5000)
          land(runs[round % runs.length]!, 50)
          pump()
        }
        for (const want of wants) expect(urgentOf(want)).toBeUndefined()
        if (fill) expect(map.complete).toBe(true)
      },
    ),
    { numRuns: 150 },
  )
})
