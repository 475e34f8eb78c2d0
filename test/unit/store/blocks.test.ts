import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockMap } from '../../../src/store/partials/blocks.ts'

const shape = fc.record({
  sizeBytes: fc.integer({ min: 0, max: 4000 }),
  blockBytes: fc.integer({ min: 1, max: 64 }),
})
const changes = fc.array(
  fc.record({
    add: fc.boolean(),
    block: fc.integer({ min: -3, max: 130 }),
    count: fc.integer({ min: 1, max: 40 }),
  }),
  { maxLength: 40 },
)

/** A map, and the set of its blocks, after the same changes. */
function both(
  { sizeBytes, blockBytes }: { sizeBytes: number; blockBytes: number },
  steps: readonly { add: boolean; block: number; count: number }[],
): { map: BlockMap; model: Set<number>; count: number } {
  const map = new BlockMap(sizeBytes, blockBytes)
  const model = new Set<number>()
  const count = Math.ceil(sizeBytes / blockBytes)
  for (const step of steps) {
    for (let block = step.block; block < step.block + step.count; block += 1) {
      if (step.add) map.add(block)
      else map.remove(block)
      if (block < 0 || block >= count) continue
      if (step.add) model.add(block)
      else model.delete(block)
    }
  }
  return { map, model, count }
}

const bytesOf = (
  block: number,
  { sizeBytes, blockBytes }: { sizeBytes: number; blockBytes: number },
): number => Math.min(blockBytes, sizeBytes - block * blockBytes)

describe('BlockMap', () => {
  it('a map has the blocks that were added, and counts their bytes', () => {
    fc.assert(
      fc.property(shape, changes, (shape, steps) => {
        const { map, model, count } = both(shape, steps)
        expect(map.count).toBe(count)
        for (let block = -1; block <= count; block += 1) expect(map.has(block)).toBe(model.has(block))
        expect(map.complete).toBe(model.size === count)
        const bytes = [...model].reduce((sum, block) => sum + bytesOf(block, shape), 0)
        expect(map.presentBytes).toBe(bytes)
      }),
    )
  })

  it('a map finds the end of the present bytes, and the first missing block', () => {
    fc.assert(
      fc.property(shape, changes, fc.nat(4100), fc.nat(70), (shape, steps, position, until) => {
        const { map, model, count } = both(shape, steps)
        let end = position
        while (end < shape.sizeBytes && model.has(Math.floor(end / shape.blockBytes))) end += 1
        expect(map.presentEnd(position)).toBe(end)
        const from = position % (count + 2)
        const stop = Math.min(count, from + until)
        let missing: number | undefined
        for (let block = stop - 1; block >= from; block -= 1) if (!model.has(block)) missing = block
        expect(map.firstMissing(from, stop)).toBe(missing)
      }),
    )
  })

  it('a map finds them while blocks are added and removed in between', () => {
    const question = fc.record({
      add: fc.boolean(),
      block: fc.nat(70),
      count: fc.integer({ min: 1, max: 20 }),
      at: fc.nat(70),
    })
    fc.assert(
      fc.property(fc.array(question, { maxLength: 60 }), (questions) => {
        const map = new BlockMap(640, 10)
        const model = new Set<number>()
        for (const { add, block, count, at } of questions) {
          for (let each = block; each < Math.min(64, block + count); each += 1) {
            if (add) map.add(each)
            else map.remove(each)
            if (add) model.add(each)
            else model.delete(each)
          }
          let end = at
          while (model.has(end)) end += 1
          expect(map.firstMissing(at, 64)).toBe(end < 64 ? end : undefined)
          expect(map.presentEnd(at * 10 + 3)).toBe(end === at ? at * 10 + 3 : end * 10)
        }
      }),
    )
  })

  it('a map counts the bytes of the missing blocks that a range touches', () => {
    fc.assert(
      fc.property(shape, changes, fc.nat(), fc.nat(), (shape, steps, a, b) => {
        const { map, model, count } = both(shape, steps)
        const [start = 0, end = 0] = [a % (shape.sizeBytes + 1), b % (shape.sizeBytes + 1)].sort(
          (x, y) => x - y,
        )
        let bytes = 0
        for (let block = 0; block < count; block += 1) {
          const from = block * shape.blockBytes
          const touched = start < end && from < end && from + bytesOf(block, shape) > start
          if (touched && !model.has(block)) bytes += bytesOf(block, shape)
        }
        expect(map.missingBytes({ start, end })).toBe(bytes)
      }),
    )
  })

  it('a map reads its own bits back, and is independent of the copy', () => {
    fc.assert(
      fc.property(shape, changes, (shape, steps) => {
        const { map, model, count } = both(shape, steps)
        const bits = map.bits()
        const again = new BlockMap(shape.sizeBytes, shape.blockBytes, bits)
        bits.fill(0)
        for (let block = 0; block < count; block += 1) expect(again.has(block)).toBe(model.has(block))
        expect(again.presentBytes).toBe(map.presentBytes)
      }),
    )
  })

  it('a map divides a file into blocks without gap or overlap', () => {
    fc.assert(
      fc.property(shape, (shape) => {
        const map = new BlockMap(shape.sizeBytes, shape.blockBytes)
        let end = 0
        for (let block = 0; block < map.count; block += 1) {
          const range = map.rangeOf(block)
          expect(range.start).toBe(end)
          expect(range.end).toBeGreaterThan(range.start)
          expect(map.blocksOf(range)).toEqual({ first: block, end: block + 1 })
          end = range.end
        }
        expect(end).toBe(shape.sizeBytes)
      }),
    )
  })

  it('a map is exact in a file of half a terabyte', () => {
    const map = new BlockMap(500e9)
    map.add(map.count - 1)
    expect(map.presentEnd(500e9 - 1)).toBe(500e9)
    expect(map.presentEnd(500e9)).toBe(500e9)
    expect(map.rangeOf(map.count - 1).end).toBe(500e9)
    expect(map.firstMissing(map.count - 1, map.count)).toBeUndefined()
  })

  it('a map of an empty file is complete', () => {
    expect(new BlockMap(0).complete).toBe(true)
    expect(new BlockMap(0).presentEnd(0)).toBe(0)
  })
})
