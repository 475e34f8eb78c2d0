import { chmod, mkdir, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { HandoffLinks } from '../../../src/store/blobs/handoff-links.ts'
import type { BlobKey } from '../../../src/store/digest.ts'
import { open, scratchDirectory, scratchLayout, sha256Key } from './scratch.ts'

const BYTES = Buffer.from('the bytes of a blob')
const KEY = sha256Key(BYTES)
const OTHER = sha256Key(Buffer.from('the bytes of another blob'))
const LIFE_MS = 30_000

/** Links of a directory with one blob. Timers of the test stand still until it moves them; pins are counted. */
async function setUp() {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const layout = await scratchLayout()
  const pins = new Map<BlobKey, number>()
  const refused: unknown[] = []
  const add = (name: string, count: number) =>
    pins.set(name as BlobKey, (pins.get(name as BlobKey) ?? 0) + count)
  let unpinned = (): void => {}
  const pin = (name: string) => {
    add(name, 1)
    return () => {
      add(name, -1)
      unpinned()
    }
  }
  const links = new HandoffLinks({ layout, ledger: { pin }, onRefused: (error) => refused.push(error) })
  const store = async (key: BlobKey) => {
    await mkdir(path.dirname(layout.blob(key)), { recursive: true })
    await writeFile(layout.blob(key), BYTES)
    return (await stat(layout.blob(key))).ino
  }
  const inode = await store(KEY)
  return {
    layout,
    links,
    inode,
    refused,
    store,
    pinsOf: (key: BlobKey) => pins.get(key) ?? 0,
    names: () => readdir(layout.handoff),
    /** Lets the time of the one link pass, and waits until its file is removed: the pin is released after that. */
    expire: async (ms: number) => {
      const released = new Promise<void>((resolve) => (unpinned = resolve))
      vi.advanceTimersByTime(ms)
      await released
    },
  }
}

describe('a link', () => {
  it('is another name of the blob, is random, and keeps the bytes when the blob is removed', async () => {
    const { layout, links, inode } = await setUp()
    const name = (await links.nameFor(KEY, inode)) ?? ''
    expect(name).toMatch(/^[0-9a-f]{32}$/)
    expect((await stat(path.join(layout.handoff, name))).ino).toBe(inode)
    await unlink(layout.blob(KEY))
    expect(await readFile(path.join(layout.handoff, name))).toEqual(BYTES)
  })

  it('is removed 30 seconds after its name was given out last, and its blob is pinned until then', async () => {
    const { links, inode, names, pinsOf, expire } = await setUp()
    const name = await links.nameFor(KEY, inode)
    vi.advanceTimersByTime(LIFE_MS - 1)
    expect(await links.nameFor(KEY, inode)).toBe(name)
    vi.advanceTimersByTime(LIFE_MS - 1)
    expect([await names(), pinsOf(KEY)]).toEqual([[name], 1])
    await expire(1)
    expect([await names(), pinsOf(KEY)]).toEqual([[], 0])
    expect(await links.nameFor(KEY, inode)).not.toBe(name)
  })

  it('is made once for all callers that ask at the same time', async () => {
    const { links, inode, names, pinsOf } = await setUp()
    const given = await Promise.all(Array.from({ length: 50 }, () => links.nameFor(KEY, inode)))
    expect(new Set(given)).toEqual(new Set(await names()))
    expect([(await names()).length, pinsOf(KEY)]).toEqual([1, 1])
  })

  it('is not given out for a file that has replaced the blob', async () => {
    const { layout, links, inode, store, expire } = await setUp()
    await links.nameFor(KEY, inode)
    await unlink(layout.blob(KEY))
    const replaced = await store(KEY)
    expect(await links.nameFor(KEY, replaced)).toBeUndefined()
    // The link to the old file is not kept for longer by that.
    await expire(LIFE_MS)
    const name = (await links.nameFor(KEY, replaced)) ?? ''
    expect((await stat(path.join(layout.handoff, name))).ino).toBe(replaced)
  })

  it('is made again when an operator has removed the folder', async () => {
    const { layout, links, inode, store } = await setUp()
    await links.nameFor(KEY, inode)
    await rm(layout.handoff, { recursive: true })
    const name = (await links.nameFor(OTHER, await store(OTHER))) ?? ''
    expect(await readdir(layout.handoff)).toEqual([name])
  })
})

describe('links', () => {
  it('are removed with their pins when they are closed', async () => {
    const { links, inode, names, pinsOf, store } = await setUp()
    await links.nameFor(KEY, inode)
    await links.nameFor(OTHER, await store(OTHER))
    await links.close()
    expect([await names(), pinsOf(KEY), pinsOf(OTHER)]).toEqual([[], 0, 0])
  })

  it('of a blob that is missing are not made, pin nothing, and are not reported as a limit', async () => {
    const { links, pinsOf, refused } = await setUp()
    expect(await links.nameFor(OTHER, 1)).toBeUndefined()
    expect([pinsOf(OTHER), refused]).toEqual([0, []])
  })

  it('that the volume refuses are reported once for each error, and pin nothing', async () => {
    const { layout, links, inode, pinsOf, refused } = await setUp()
    // A file in place of the folder refuses root as well.
    await writeFile(layout.handoff, '')
    for (let round = 0; round < 3; round += 1) expect(await links.nameFor(KEY, inode)).toBeUndefined()
    expect(refused).toEqual([expect.objectContaining({ code: 'EEXIST' })])
    expect(pinsOf(KEY)).toBe(0)
    await rm(layout.handoff)
    expect(await links.nameFor(KEY, inode)).toBeDefined()
  })

  it('of an earlier process are removed when the store is opened, even if their blobs are gone', async () => {
    const root = await scratchDirectory()
    const first = await open(root)
    await first.close()
    const folder = path.join(root, 'handoff')
    await mkdir(folder, { mode: 0o700 })
    await writeFile(path.join(folder, 'a'.repeat(32)), BYTES)
    await chmod(path.join(folder, 'a'.repeat(32)), 0o400)
    const second = await open(root)
    onTestFinished(() => second.close())
    await expect(readdir(folder)).rejects.toThrow('ENOENT')
  })
})
