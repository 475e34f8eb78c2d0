import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MemoryCache } from '../../../src/memory.ts'
import { HOT_BLOCK_BYTES, HotBlocks } from '../../../src/store/blobs/hot-blocks.ts'
import { patternBytes } from './scratch.ts'

const BYTES = patternBytes(5 * HOT_BLOCK_BYTES + 100, 1)
const FILE = { identity: 'sha256:aa 1 2', sizeBytes: BYTES.length }

function memoryOf(maxBytes: number): MemoryCache<Buffer> {
  return new MemoryCache({ maxBytes, sizeOf: (bytes) => bytes.length })
}

/** A read of `bytes`, and the places that were read. */
function readerOf(bytes: Buffer) {
  const places: (readonly [position: number, length: number])[] = []
  const read = (buffer: Buffer, offset: number, length: number, position: number): Promise<number> => {
    places.push([position, length])
    return Promise.resolve(bytes.copy(buffer, offset, position, position + length))
  }
  return { places, read }
}

const RANGES = fc
  .tuple(fc.nat(BYTES.length - 1), fc.integer({ min: 1, max: 64 * 1024 }))
  .map(([start, length]) => ({ start, end: Math.min(BYTES.length, start + length) }))

it('every range has its own bytes, read or in memory, also while others are evicted', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(RANGES, { minLength: 1, maxLength: 20 }),
      fc.constantFrom(2, 4, 100),
      async (ranges, room) => {
        const blocks = new HotBlocks(memoryOf(room * (HOT_BLOCK_BYTES + 400)))
        const { read } = readerOf(BYTES)
        for (const range of ranges) {
          const wanted = BYTES.subarray(range.start, range.end)
          const known = blocks.get(FILE.identity, range)
          if (known !== undefined) expect(known.equals(wanted)).toBe(true)
          expect((await blocks.read(FILE, range, read))?.equals(wanted)).toBe(true)
        }
      },
    ),
  )
})

it('a range is read with the rest of its blocks the second time, and then is in memory with all that they hold', async () => {
  const blocks = new HotBlocks(memoryOf(1_000_000))
  const { places, read } = readerOf(BYTES)
  const end = 2 * HOT_BLOCK_BYTES
  const range = { start: HOT_BLOCK_BYTES - 5, end: HOT_BLOCK_BYTES + 5 }
  await blocks.read(FILE, range, read)
  expect(blocks.get(FILE.identity, range)).toBeUndefined()
  await blocks.read(FILE, range, read)
  expect(places).toEqual([
    [range.start, 10],
    [0, end],
  ])
  expect(blocks.get(FILE.identity, { start: 0, end })?.equals(BYTES.subarray(0, end))).toBe(true)
  expect(blocks.get(FILE.identity, { start: 0, end: end + 1 })).toBeUndefined()
  for (const _ of [1, 2]) await blocks.read(FILE, { start: BYTES.length - 1, end: BYTES.length }, read)
  expect(places.at(-1)).toEqual([5 * HOT_BLOCK_BYTES, 100])
})

it('blocks of a file that was replaced are not found under its new identity', async () => {
  const blocks = new HotBlocks(memoryOf(1_000_000))
  for (const _ of [1, 2]) await blocks.read(FILE, { start: 0, end: 10 }, readerOf(BYTES).read)
  expect(blocks.get(FILE.identity, { start: 0, end: 10 })).toBeDefined()
  expect(blocks.get('sha256:aa 1 3', { start: 0, end: 10 })).toBeUndefined()
})

it('places all over a file that are read once leave the memory to others', async () => {
  const memory = memoryOf(1_000_000)
  const blocks = new HotBlocks(memory)
  const { read } = readerOf(BYTES)
  for (let block = 0; block < 5; block += 1) {
    const start = block * HOT_BLOCK_BYTES
    await blocks.read(FILE, { start, end: start + 8 }, read)
  }
  expect(memory.count).toBe(0)
})

it('of a file that has become shorter nothing is kept', async () => {
  const blocks = new HotBlocks(memoryOf(1_000_000))
  const { read } = readerOf(BYTES.subarray(0, HOT_BLOCK_BYTES + 10))
  const range = { start: HOT_BLOCK_BYTES, end: HOT_BLOCK_BYTES + 5 }
  // The range itself is there, and the block is not.
  expect(await blocks.read(FILE, range, read)).toHaveLength(5)
  expect(await blocks.read(FILE, range, read)).toBeUndefined()
  expect(blocks.get(FILE.identity, range)).toBeUndefined()
})

it('a block that is kept keeps no larger buffer alive, and all of them stay within the bound', async () => {
  const memory = memoryOf(3 * HOT_BLOCK_BYTES + 1000)
  const blocks = new HotBlocks(memory)
  const { read } = readerOf(BYTES)
  for (const _ of [1, 2]) {
    await blocks.read(FILE, { start: 10, end: 64 * 1024 }, read)
    await blocks.read(FILE, { start: 4 * HOT_BLOCK_BYTES, end: BYTES.length }, read)
  }
  expect(memory.count).toBe(3)
  expect(memory.bytes).toBeLessThanOrEqual(3 * HOT_BLOCK_BYTES + 1000)
  for (const block of [3, 4, 5]) {
    const kept = memory.get(`${FILE.identity} ${block}`)
    expect(kept?.buffer.byteLength).toBe(kept?.length)
  }
})
