import { execFileSync } from 'node:child_process'
import {
  chmod,
  lstat,
  mkdir,
  open,
  readFile,
  stat,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { SMALL_BYTES } from '../../../src/store/blobs/blob-file.ts'
import type { BlobTable } from '../../../src/store/blobs/blob-table.ts'
import { DiskBlobs, type DiskBlobsOptions } from '../../../src/store/blobs/blobs.ts'
import { OpenFile } from '../../../src/store/blobs/open-files.ts'
import type { Layout } from '../../../src/store/layout.ts'
import { Ledger } from '../../../src/store/ledger.ts'
import type { BlobRow } from '../../../src/store/table/blob-rows.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { scratchTable } from './blob-table.ts'
import { patternBytes, scratchLayout, sha256Key } from './scratch.ts'

/** Just too large for the table. */
const BYTES = Buffer.concat([Buffer.from('the bytes of a blob'), patternBytes(SMALL_BYTES)])
const KEY = sha256Key(BYTES)
const SMALL = Buffer.from('the bytes of a small blob')
const SMALL_KEY = sha256Key(SMALL)
const HOUR_MS = 3_600_000

async function stored(
  remove: (layout: Layout) => Promise<void> = () => Promise.resolve(),
): Promise<{ layout: Layout; ledger: Ledger; table: BlobTable; blobs: DiskBlobs; clock: { now: number } }> {
  const layout = await scratchLayout()
  const clock = { now: Date.UTC(2030, 0) }
  const ledger = new Ledger({
    maxBytes: 1_000_000,
    minFreeBytes: 0,
    freeBytes: () => Promise.resolve(1e12),
    remove: () => remove(layout),
    now: () => clock.now,
    observer: silentObserver,
  })
  await mkdir(path.dirname(layout.blob(KEY)), { recursive: true })
  await writeFile(layout.blob(KEY), BYTES)
  await mkdir(path.dirname(layout.blob(SMALL_KEY)), { recursive: true })
  await writeFile(layout.blob(SMALL_KEY), SMALL)
  const table = await scratchTable(layout, () => clock.now)
  return {
    layout,
    ledger,
    blobs: new DiskBlobs({
      layout,
      ledger,
      table,
      memoryBytes: 0,
      now: () => clock.now,
      observer: silentObserver,
    }),
    table,
    clock,
  }
}

/** The same with small blobs cached in memory. `again` makes another such object over the same store. */
async function cachingBlobs(
  options: Partial<Pick<DiskBlobsOptions, 'memoryBytes' | 'observer'>> = {},
): Promise<Awaited<ReturnType<typeof stored>> & { again: () => DiskBlobs }> {
  const scene = await stored()
  const { layout, ledger, table, clock } = scene
  const again = (): DiskBlobs =>
    new DiskBlobs({
      layout,
      ledger,
      table,
      memoryBytes: 1_000_000,
      now: () => clock.now,
      observer: silentObserver,
      ...options,
    })
  return { ...scene, blobs: again(), again }
}

it('a read starts at any position, and ends at the end of the blob', async () => {
  const { blobs } = await stored()
  const blob = await blobs.open(KEY, BYTES.length)
  const buffer = Buffer.alloc(100)
  expect(await blob?.read(buffer, 10, 5, 4)).toBe(5)
  expect(buffer.toString('utf8', 10, 15)).toBe('bytes')
  expect(await blob?.read(buffer, 0, 100, BYTES.length - 4)).toBe(4)
  expect(await blob?.read(buffer, 0, 100, BYTES.length)).toBe(0)
  await blob?.close()
  await blob?.close()
})

it('an open blob is kept from eviction, even if the scan has not found it yet', async () => {
  const { blobs, ledger } = await stored()
  const first = await blobs.open(KEY, BYTES.length)
  const second = await blobs.open(KEY, BYTES.length)
  expect(ledger.storedBytes).toBe(BYTES.length)
  await first?.close()
  await first?.close()
  expect(await ledger.evict(KEY, 'prune')).toBe(false)
  await second?.close()
  expect(await ledger.evict(KEY, 'prune')).toBe(true)
})

it('a blob is kept from eviction while it is being opened', async () => {
  const { blobs, ledger } = await stored()
  ledger.add(KEY, BYTES.length)
  const opening = blobs.open(KEY, BYTES.length)
  expect(await ledger.evict(KEY, 'prune')).toBe(false)
  await (await opening)?.close()
  expect(await ledger.evict(KEY, 'prune')).toBe(true)
})

it('a blob that is being evicted counts as gone, and is not entered again', async () => {
  let release = (): void => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const { blobs, ledger } = await stored((layout) => held.then(() => unlink(layout.blob(KEY))))
  ledger.add(KEY, BYTES.length)
  const evicting = ledger.evict(KEY, 'prune')
  const opening = blobs.open(KEY, BYTES.length)
  release()
  expect([await opening, await evicting, ledger.count]).toEqual([undefined, true, 0])
})

it('openCached opens a blob without the disk, pinned and used like any other, until it is invalidated', async () => {
  const { blobs, ledger, clock } = await stored()
  expect(blobs.openCached(KEY, BYTES.length)).toBeUndefined()
  await (await blobs.open(KEY, BYTES.length))?.close()
  ledger.add('another', 1)
  clock.now += 1
  const again = blobs.openCached(KEY, BYTES.length)
  const buffer = Buffer.alloc(3)
  expect(await again?.read(buffer, 0, 3, 4)).toBe(3)
  expect(buffer.toString()).toBe('byt')
  expect(await ledger.evict(KEY, 'prune')).toBe(false)
  const entry = { sizeBytes: BYTES.length, usedAt: clock.now, pins: 1 }
  expect([...ledger.entries()].at(-1)).toMatchObject([KEY, entry])
  await again?.close()
  await again?.close()
  expect([...ledger.entries()].at(-1)?.[1].pins).toBe(0)
  await blobs.remove(KEY)
  expect(blobs.openCached(KEY, BYTES.length)).toBeUndefined()
  expect(ledger.count).toBe(1)
  await blobs.close()
})

it('a blob whose bytes the disk has lost is removed, so that it is fetched again', async () => {
  const { blobs, layout, ledger } = await stored()
  const blob = await blobs.open(KEY, BYTES.length)
  const reading = vi.spyOn(OpenFile.prototype, 'read')
  onTestFinished(() => reading.mockRestore())
  const read = () => blob?.read(Buffer.alloc(8), 0, 8, 0)
  reading.mockRejectedValueOnce(Object.assign(new Error('busy'), { code: 'EAGAIN' }))
  await expect(read()).rejects.toThrow('busy')
  expect(await readFile(layout.blob(KEY))).toEqual(BYTES)
  reading.mockRejectedValueOnce(Object.assign(new Error('lost'), { code: 'EIO', syscall: 'read' }))
  await expect(read()).rejects.toThrow('lost')
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  expect(ledger.storedBytes).toBe(0)
  await blob?.close()
})

it.each(['longer', 'shorter', 'empty'])('a blob that became %s is removed', async (how) => {
  const { blobs, layout, ledger } = await stored()
  ledger.add(KEY, BYTES.length)
  await chmod(layout.blob(KEY), 0o600)
  await truncate(layout.blob(KEY), { longer: BYTES.length + 1, shorter: BYTES.length - 1 }[how] ?? 0)
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  await expect(stat(layout.blob(KEY))).rejects.toThrow('ENOENT')
  expect(ledger.storedBytes).toBe(0)
})

it('a blob that another process removed is dropped', async () => {
  const { blobs, ledger } = await stored()
  ledger.add(KEY, BYTES.length)
  await blobs.remove(KEY)
  ledger.add(KEY, BYTES.length)
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  expect(ledger.count).toBe(0)
})

it('an open handle reads on after the removal', async () => {
  const { blobs } = await stored()
  const blob = await blobs.open(KEY, BYTES.length)
  await blobs.remove(KEY)
  const buffer = Buffer.alloc(3)
  expect(await blob?.read(buffer, 0, 3, 0)).toBe(3)
  expect(buffer.toString()).toBe('the')
  await blob?.close()
})

it('a link in place of a blob is not followed, and is removed', async () => {
  const { blobs, layout } = await stored()
  const outside = path.join(layout.root, 'outside')
  await writeFile(outside, BYTES)
  await blobs.remove(KEY)
  await symlink(outside, layout.blob(KEY))
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  expect(await readFile(outside)).toEqual(BYTES)
  await expect(stat(layout.blob(KEY))).rejects.toThrow('ENOENT')
})

it('a FIFO in place of a blob does not hold up who opens it, and is removed', async () => {
  const { blobs, layout } = await stored()
  await blobs.remove(KEY)
  execFileSync('mkfifo', [layout.blob(KEY)])
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  await expect(stat(layout.blob(KEY))).rejects.toThrow('ENOENT')
})

it('a use is recorded on the disk, once an hour', async () => {
  const { blobs, layout, ledger, clock } = await stored()
  const file = layout.blob(KEY)
  await utimes(file, 1000, 1000)
  await ledger.load([{ name: KEY, sizeBytes: BYTES.length, usedAt: clock.now - HOUR_MS + 1 }])
  await (await blobs.open(KEY, BYTES.length))?.close()
  expect((await stat(file)).mtimeMs).toBe(1_000_000)
  clock.now += HOUR_MS
  await (await blobs.open(KEY, BYTES.length))?.close()
  await vi.waitUntil(async () => (await stat(file)).mtimeMs === clock.now)
})

it('a small blob is cached in memory, and is verified when it is read from the disk', async () => {
  const failures: string[] = []
  const observer = { ...silentObserver, integrityFailure: (kind: string) => failures.push(kind) }
  const { layout, blobs, again } = await cachingBlobs({ observer })
  const whole = async (): Promise<string | undefined> => {
    const blob = await blobs.open(SMALL_KEY, SMALL.length)
    const buffer = Buffer.alloc(SMALL.length)
    await blob?.read(buffer, 0, buffer.length, 0)
    await blob?.close()
    return blob === undefined ? undefined : buffer.toString()
  }
  expect(await whole()).toBe(SMALL.toString())
  await chmod(layout.blob(SMALL_KEY), 0o600)
  await writeFile(layout.blob(SMALL_KEY), SMALL.toString().replace('blob', 'blub'))
  expect(await whole()).toBe(SMALL.toString())
  expect(failures).toEqual([])

  expect(await again().open(SMALL_KEY, SMALL.length)).toBeUndefined()
  expect(failures).toEqual(['disk'])
  await expect(stat(layout.blob(SMALL_KEY))).rejects.toThrow('ENOENT')
})

it.each([
  ['a FIFO', 'closed', (file: string) => Promise.resolve(void execFileSync('mkfifo', [file]))],
  ['a FIFO', 'open', (file: string) => Promise.resolve(void execFileSync('mkfifo', [file]))],
  ['a link', 'closed', (file: string) => symlink('/etc/hostname', file)],
  ['a longer file', 'closed', (file: string) => writeFile(file, `${SMALL.toString()}s`)],
  ['a shorter file', 'closed', (file: string) => writeFile(file, SMALL.subarray(1))],
] as const)('%s (%s) in place of a small blob is no blob, and is removed', async (_, state, put) => {
  const { layout, ledger, blobs } = await cachingBlobs()
  const file = layout.blob(SMALL_KEY)
  await unlink(file)
  expect(await blobs.open(SMALL_KEY, SMALL.length)).toBeUndefined()
  await put(file)
  const writer = state === 'open' ? await open(file, 'r+') : undefined
  onTestFinished(() => writer?.close())
  expect(await blobs.open(SMALL_KEY, SMALL.length)).toBeUndefined()
  await expect(lstat(file)).rejects.toThrow('ENOENT')
  expect(ledger.count).toBe(0)
})

it('a folder in place of a small blob is no blob', async () => {
  const { layout, blobs } = await cachingBlobs()
  await unlink(layout.blob(SMALL_KEY))
  await mkdir(layout.blob(SMALL_KEY))
  const found = await blobs.open(SMALL_KEY, SMALL.length).catch(() => undefined)
  expect(found).toBeUndefined()
})

it('a small blob that is read before the ledger knows it stays in the table', async () => {
  const { ledger, table, blobs } = await cachingBlobs()
  await ledger.load([])
  await blobs.store(SMALL_KEY, SMALL)
  // A commit stores the bytes, and enters them in the ledger behind that.
  expect(blobs.cachedBytes(SMALL_KEY, SMALL.length)).toEqual(SMALL)
  // Waits for what has been noted.
  await table.close()
  const rows: BlobRow[] = []
  for await (const row of table.rows()) rows.push(row)
  expect(rows).toMatchObject([{ key: SMALL_KEY, sizeBytes: SMALL.length, isInTable: true }])
})

it('memory holds the small blobs used last, up to its limit, and no large one', async () => {
  const memoryBytes = 200_000
  const { layout, blobs } = await cachingBlobs({ memoryBytes })
  const make = async (sizeBytes: number, seed: number) => {
    const bytes = patternBytes(sizeBytes, seed)
    const key = sha256Key(bytes)
    await mkdir(path.dirname(layout.blob(key)), { recursive: true })
    await writeFile(layout.blob(key), bytes)
    await (await blobs.open(key, sizeBytes))?.close()
    return { key, sizeBytes }
  }
  const remembered = ({ key, sizeBytes }: { key: typeof KEY; sizeBytes: number }) =>
    blobs.cachedBytes(key, sizeBytes) !== undefined
  const large = await make(65_537, 1)
  expect(remembered(large)).toBe(false)
  const small = [await make(60_000, 2), await make(60_000, 3)]
  for (let seed = 4; seed < 12; seed += 1) {
    // The first one is used again and again.
    expect(remembered(small[0]!)).toBe(true)
    small.push(await make(60_000, seed))
  }
  const left = small.filter(remembered)
  expect(left).toEqual([small[0], ...small.slice(-2)])
  expect(left.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeLessThanOrEqual(memoryBytes)
})
