import { mkdir, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Layout } from '../../../src/store/layout.ts'
import { BLOCK_BYTES } from '../../../src/store/partials/blocks.ts'
import { DiskPartial } from '../../../src/store/partials/partial.ts'
import {
  BYTES,
  blocksOf,
  dataOf,
  forever,
  handlePrototype,
  ioError,
  KEY,
  put,
  putBlocks,
  readAll,
  SIZE,
} from './partial-scratch.ts'
import { scratchLayout, sha256Key } from './scratch.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

describe('resuming', () => {
  it('continues with the recorded blocks', async () => {
    const layout = await scratchLayout()
    const first = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(first, 1, 4, 5)
    await put(first, 0, 77)
    await first.release()
    const again = await DiskPartial.open(layout, KEY, SIZE)
    expect(again.map.bits()).toEqual(first.map.bits())
    // A block that is not complete is not recorded.
    expect(again.resumeAt(0)).toBe(0)
    expect(
      (await readAll(again, BLOCK_BYTES, 2 * BLOCK_BYTES)).equals(
        BYTES.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES),
      ),
    ).toBe(true)
    await again.release()
  })

  it('uses only what was recorded when the process was killed', async () => {
    const layout = await scratchLayout()
    const lost = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(lost, 0)
    await lost.checkpoint()
    await putBlocks(lost, 1)
    const again = await DiskPartial.open(layout, KEY, SIZE)
    expect([again.map.has(0), again.map.has(1)]).toEqual([true, false])
    await again.release()
    await lost.release()
  })

  const damages: readonly [string, (layout: Layout) => Promise<void>][] = [
    ['whose data is missing', (layout) => rm(dataOf(layout))],
    ['whose data is too short', (layout) => truncate(dataOf(layout), SIZE - 1)],
    ['whose data is too long', (layout) => truncate(dataOf(layout), SIZE + 1)],
    ['whose map is missing', (layout) => rm(blocksOf(layout))],
    ['whose map is torn', (layout) => truncate(blocksOf(layout), 20)],
  ]
  it.each(damages)('starts from nothing with a partial %s, and stays so', async (_, damage) => {
    const layout = await scratchLayout()
    const first = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(first, 0, 1, 2)
    await first.release()
    await damage(layout)
    const anew = await DiskPartial.open(layout, KEY, SIZE)
    expect(anew.map.presentBytes).toBe(0)
    await anew.release()
    // The old map must not come back beside the new, empty file.
    const again = await DiskPartial.open(layout, KEY, SIZE)
    expect(again.map.presentBytes).toBe(0)
    expect((await stat(dataOf(layout))).size).toBe(SIZE)
    await again.release()
  })

  it('starts from nothing when the Hub announces another size', async () => {
    const layout = await scratchLayout()
    const first = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(first, 0)
    await first.release()
    const other = await DiskPartial.open(layout, KEY, SIZE + BLOCK_BYTES)
    expect(other.map.presentBytes).toBe(0)
    expect((await stat(dataOf(layout))).size).toBe(SIZE + BLOCK_BYTES)
    await other.release()
  })

  it.each(['data', 'directory'])('does not follow a link in place of its %s', async (place) => {
    const layout = await scratchLayout()
    const first = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(first, 0)
    await first.release()
    const outside = path.join(layout.root, 'outside')
    const target = place === 'data' ? dataOf(layout) : layout.partial(KEY)
    await rename(target, outside)
    await symlink(outside, target)
    const victim = place === 'data' ? outside : path.join(outside, 'data')
    const before = await readFile(victim)
    const anew = await DiskPartial.open(layout, KEY, SIZE)
    expect(anew.map.presentBytes).toBe(0)
    await putBlocks(anew, 3)
    await anew.release()
    expect((await readFile(victim)).equals(before)).toBe(true)
  })
})

describe('recording', () => {
  it('syncs the data before it writes the map', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(partial, 0)
    const { datasync } = await handlePrototype(dataOf(layout))
    datasync.mockRejectedValueOnce(ioError())
    await expect(partial.checkpoint()).rejects.toThrow('EIO')
    expect(datasync).toHaveBeenCalledOnce()
    await expect(stat(blocksOf(layout))).rejects.toThrow('ENOENT')
    await partial.release().catch(() => undefined)
  })

  it('vouches for nothing after a failed sync, even if the next one succeeds', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(partial, 0)
    await partial.checkpoint()
    await putBlocks(partial, 1, 2, 3, 4, 5)
    const { datasync } = await handlePrototype(dataOf(layout))
    datasync.mockRejectedValueOnce(ioError())
    await expect(partial.checkpoint()).rejects.toThrow('EIO')
    await expect(partial.checkpoint()).rejects.toThrow('EIO')
    await expect(partial.commit()).rejects.toThrow('EIO')
    await expect(partial.release()).rejects.toThrow('EIO')
    await expect(stat(layout.blob(KEY))).rejects.toThrow('ENOENT')
    const again = await DiskPartial.open(layout, KEY, SIZE)
    expect(again.map.presentBytes).toBe(BLOCK_BYTES)
    await again.release()
  })

  it('records at the last release what landed while a record was being written', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(partial, 0)
    const recording = partial.checkpoint()
    await putBlocks(partial, 1)
    await recording
    await partial.release()
    const again = await DiskPartial.open(layout, KEY, SIZE)
    expect(again.map.presentBytes).toBe(2 * BLOCK_BYTES)
    await again.release()
  })

  it('leaves the files alone once the partial was kept', async () => {
    const layout = await scratchLayout()
    const old = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(old, 0)
    await old.keep()
    const next = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(next, 1)
    await next.checkpoint()
    await old.checkpoint()
    await old.release()
    await next.release()
    const again = await DiskPartial.open(layout, KEY, SIZE)
    expect(again.map.presentBytes).toBe(2 * BLOCK_BYTES)
    await again.release()
  })
})

describe('finishing', () => {
  async function complete(): Promise<{ layout: Layout; partial: DiskPartial }> {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    await putBlocks(partial, 0, 1, 2, 3, 4, 5)
    return { layout, partial }
  }

  it('becomes the blob, read-only and alone, while readers read on', async () => {
    const { layout, partial } = await complete()
    partial.retain()
    await partial.commit()
    await partial.release()
    expect((await readAll(partial, 100, SIZE)).equals(BYTES.subarray(100))).toBe(true)
    await partial.release()
    expect((await readFile(layout.blob(KEY))).equals(BYTES)).toBe(true)
    expect((await stat(layout.blob(KEY))).mode & 0o777).toBe(0o400)
    expect(await readdir(layout.partials)).toEqual([])
    expect(await readdir(layout.tmp)).toEqual([])
  })

  it('closes the file with its last release, not before', async () => {
    const { partial } = await complete()
    partial.retain().retain()
    await partial.release()
    await partial.release()
    await readAll(partial, 0, 10)
    await partial.release()
    await expect(partial.read(Buffer.alloc(1), 0, 1, 0)).rejects.toThrow('closed')
  })

  it('replaces what stands in place of the blob, and follows no link there', async () => {
    const { layout, partial } = await complete()
    const outside = path.join(layout.root, 'outside')
    await writeFile(outside, 'mine')
    await mkdir(path.dirname(layout.blob(KEY)), { recursive: true })
    await symlink(outside, layout.blob(KEY))
    await partial.commit()
    await partial.release()
    expect(await readFile(outside, 'utf8')).toBe('mine')
    expect((await readFile(layout.blob(KEY))).equals(BYTES)).toBe(true)
  })

  it('removes a discarded partial and rejects waiting readers, while others read on', async () => {
    const { layout, partial } = await complete()
    partial.map.remove(3)
    partial.retain()
    const wait = partial.whenAvailable(3 * BLOCK_BYTES, forever)
    const discarded = partial.discard(new Error('the disk failed'), { quarantine: false })
    await expect(wait).rejects.toThrow('the disk failed')
    await discarded
    await partial.release()
    expect((await readAll(partial, 0, 100)).equals(BYTES.subarray(0, 100))).toBe(true)
    await partial.release()
    expect(await readdir(layout.partials)).toEqual([])
  })

  it('keeps the newest eight files whose digest was wrong in quarantine', async () => {
    const layout = await scratchLayout()
    const names: string[] = []
    for (let index = 0; index < 10; index += 1) {
      const key = sha256Key(Buffer.from([index]))
      const partial = await DiskPartial.open(layout, key, 10)
      await partial.write(0, [Buffer.alloc(10, index)])
      await partial.discard(new Error('wrong digest'), { quarantine: true })
      await partial.release()
      names.push(path.basename(layout.partial(key)))
      // Times of the file system have a resolution of milliseconds.
      await vi.waitUntil(
        (
          (start) => () =>
            Date.now() > start + 5
        )(Date.now()),
      )
    }
    expect(await readdir(layout.partials)).toEqual([])
    expect((await readdir(layout.quarantine)).sort()).toEqual(names.slice(2).sort())
  })

  it('keeps no large file whose digest was wrong', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, 257 * 1024 * 1024)
    await partial.discard(new Error('wrong digest'), { quarantine: true })
    await partial.release()
    await expect(readdir(layout.quarantine)).rejects.toThrow('ENOENT')
    expect(await readdir(layout.partials)).toEqual([])
  })
})
