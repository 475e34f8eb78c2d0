import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { expect, it } from 'vitest'
import { readBlockMap, writeBlockMap } from '../../../src/store/partials/block-map.ts'
import { BlockMap } from '../../../src/store/partials/blocks.ts'
import { scratchLayout } from './scratch.ts'

const SIZE = 1_000_003

async function recorded(): Promise<{
  file: string
  map: BlockMap
  bytes: Buffer
  tmp: string
  root: string
}> {
  const layout = await scratchLayout()
  const file = path.join(layout.root, 'blocks')
  const map = new BlockMap(SIZE, 65_536)
  for (const block of [0, 3, 7, 8, 15]) map.add(block)
  await writeBlockMap(layout.tmp, file, map)
  return { file, map, bytes: await readFile(file), tmp: layout.tmp, root: layout.root }
}

it('a map reads back as it was written, and leaves no other file', async () => {
  const { file, map, tmp } = await recorded()
  const again = await readBlockMap(file, SIZE)
  expect(again?.bits()).toEqual(map.bits())
  expect(again?.blockBytes).toBe(65_536)
  expect(again?.presentBytes).toBe(map.presentBytes)
  expect(await readdir(tmp)).toEqual([])
})

it('there is no map when no file exists, or for a file of another size', async () => {
  const { file, root } = await recorded()
  expect(await readBlockMap(path.join(root, 'none'), SIZE)).toBeUndefined()
  expect(await readBlockMap(file, SIZE + 1)).toBeUndefined()
})

it('a truncated or lengthened map counts as none', async () => {
  const { file, bytes } = await recorded()
  for (let length = 0; length < bytes.length; length += 1) {
    await writeFile(file, bytes.subarray(0, length))
    expect(await readBlockMap(file, SIZE), `first ${length} bytes`).toBeUndefined()
  }
  await writeFile(file, Buffer.concat([bytes, Buffer.alloc(1)]))
  expect(await readBlockMap(file, SIZE)).toBeUndefined()
})

it('a map with a flipped bit counts as none', async () => {
  const { file, bytes } = await recorded()
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const damaged = Buffer.from(bytes)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    await writeFile(file, damaged)
    expect(await readBlockMap(file, SIZE), `bit ${bit}`).toBeUndefined()
  }
})

it.each([
  ['blocks of no bytes', 16, 0],
  ['more bits than it holds', 20, 100],
  ['another version', 4, 2],
])('a map that says %s counts as none, even if its checksum is right', async (_, offset, value) => {
  const { file, bytes } = await recorded()
  bytes.writeUInt32BE(value, offset)
  bytes.writeUInt32BE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  await writeFile(file, bytes)
  expect(await readBlockMap(file, SIZE)).toBeUndefined()
})

it('a FIFO in place of a map does not hold up its reader', async () => {
  const { root } = await recorded()
  const fifo = path.join(root, 'fifo')
  execFileSync('mkfifo', [fifo])
  expect(await readBlockMap(fifo, SIZE)).toBeUndefined()
})

it('a link in place of a map is not followed', async () => {
  const { file, root } = await recorded()
  await mkdir(path.join(root, 'elsewhere'))
  const link = path.join(root, 'elsewhere', 'blocks')
  await symlink(file, link)
  expect(await readBlockMap(link, SIZE)).toBeUndefined()
})
