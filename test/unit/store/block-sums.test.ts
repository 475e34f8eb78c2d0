import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { BlockSums, readBlockSums, writeBlockSums } from '../../../src/store/blobs/block-sums.ts'
import type { Layout } from '../../../src/store/layout.ts'
import { BLOCK_BYTES } from '../../../src/store/partials/blocks.ts'
import { patternBytes, scratchLayout, sha256Key } from './scratch.ts'

const BYTES = patternBytes(2 * BLOCK_BYTES + 1000)
const KEY = sha256Key(BYTES)

function sumsOf(bytes: Buffer): BlockSums {
  const sums = new BlockSums(bytes.length)
  sums.update(bytes)
  return sums
}

async function recorded(): Promise<{
  readonly layout: Layout
  readonly file: string
  readonly table: Buffer
}> {
  const layout = await scratchLayout()
  await writeBlockSums(layout, KEY, sumsOf(BYTES))
  const file = layout.sums(KEY)
  return { layout, file, table: await readFile(file) }
}

it('each block has its CRC-32, whatever pieces the bytes come in', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: BYTES.length }),
      fc.array(fc.integer({ min: 0, max: BYTES.length }), { maxLength: 8 }),
      (sizeBytes, cuts) => {
        const bytes = BYTES.subarray(0, sizeBytes)
        const sums = new BlockSums(sizeBytes)
        const edges = [0, ...cuts.filter((cut) => cut < sizeBytes), sizeBytes].sort((a, b) => a - b)
        for (const [index, start] of edges.entries()) {
          expect(sums.isWhole).toBe(start === sizeBytes)
          sums.update(bytes.subarray(start, edges[index + 1] ?? sizeBytes))
        }
        const blocks = Array.from({ length: Math.ceil(sizeBytes / BLOCK_BYTES) }, (_, block) =>
          crc32(bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)),
        )
        expect([...sums.values]).toEqual(blocks)
        for (const [block, sum] of blocks.entries())
          expect([sums.has(block, sum), sums.has(block, sum ^ 1)]).toEqual([true, false])
      },
    ),
  )
})

it('sums are not whole before the last byte, nor after too many', () => {
  const sums = new BlockSums(10)
  sums.update(Buffer.alloc(9))
  expect(sums.isWhole).toBe(false)
  sums.update(Buffer.alloc(2))
  expect(sums.isWhole).toBe(false)
})

it('sums of any size read back as they were written, and leave no other file', async () => {
  const layout = await scratchLayout()
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: BYTES.length }), async (sizeBytes) => {
      const bytes = BYTES.subarray(0, sizeBytes)
      const key = sha256Key(bytes)
      await writeBlockSums(layout, key, sumsOf(bytes))
      const again = await readBlockSums(layout, key, sizeBytes)
      expect(again?.equals(sumsOf(bytes))).toBe(true)
      expect(again?.isWhole).toBe(true)
    }),
    { numRuns: 30 },
  )
  expect(await readdir(layout.tmp)).toEqual([])
})

it('there are no sums when no file exists, for a file of another size, or under the name of another blob', async () => {
  const { layout, table } = await recorded()
  expect(await readBlockSums(layout, KEY, BYTES.length + 1)).toBeUndefined()
  expect(await readBlockSums(layout, KEY, BYTES.length + BLOCK_BYTES)).toBeUndefined()
  const other = sha256Key(Buffer.from('other'))
  expect(await readBlockSums(layout, other, BYTES.length)).toBeUndefined()
  await mkdir(path.dirname(layout.sums(other)), { recursive: true })
  await writeFile(layout.sums(other), table)
  expect(await readBlockSums(layout, other, BYTES.length)).toBeUndefined()
})

it('a table that is torn, lengthened or has a flipped bit counts as none', async () => {
  const { layout, file, table } = await recorded()
  const read = () => readBlockSums(layout, KEY, BYTES.length)
  for (let length = 0; length < table.length; length += 1) {
    await writeFile(file, table.subarray(0, length))
    expect(await read(), `first ${length} bytes`).toBeUndefined()
  }
  await writeFile(file, Buffer.concat([table, Buffer.alloc(1)]))
  expect(await read()).toBeUndefined()
  for (let bit = 0; bit < table.length * 8; bit += 1) {
    const damaged = Buffer.from(table)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    await writeFile(file, damaged)
    expect(await read(), `bit ${bit}`).toBeUndefined()
  }
  await writeFile(file, table)
  expect((await read())?.equals(sumsOf(BYTES))).toBe(true)
})

it.each([
  ['another version', 4, 2],
  ['another size', 12, BYTES.length - 1],
  ['blocks of another size', 16, BLOCK_BYTES / 2],
  ['another number of sums', 20, 2],
])('a table that says %s counts as none, even if its checksum is right', async (_, offset, value) => {
  const { layout, file, table } = await recorded()
  table.writeUInt32BE(value, offset)
  table.writeUInt32BE(crc32(table.subarray(0, -4), crc32(KEY)), table.length - 4)
  await writeFile(file, table)
  expect(await readBlockSums(layout, KEY, BYTES.length)).toBeUndefined()
})

it('a link in place of a table is not followed', async () => {
  const { layout, file } = await recorded()
  await rename(file, `${file}.moved`)
  await symlink(`${file}.moved`, file)
  expect(await readBlockSums(layout, KEY, BYTES.length)).toBeUndefined()
})
