// Reads of one blob that are verified against its sums: what they find, what they read, and what becomes of the blob.

import { mkdir, readdir, readFile, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import { loadConfig } from '../../../src/config/load.ts'
import { BlobTable } from '../../../src/store/blobs/blob-table.ts'
import { DiskBlobs } from '../../../src/store/blobs/blobs.ts'
import { BlockSums, readBlockSums, writeBlockSums } from '../../../src/store/blobs/block-sums.ts'
import { CheckedReads, DamagedBlock, FileChecks } from '../../../src/store/blobs/checked-reads.ts'
import type { Damage } from '../../../src/store/damage.ts'
import type { BlobKey } from '../../../src/store/digest.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { Ledger } from '../../../src/store/ledger.ts'
import { BLOCK_BYTES } from '../../../src/store/partials/blocks.ts'
import type { BlobHandle } from '../../../src/store/store.ts'
import { TableThread } from '../../../src/store/table/table-thread.ts'
import { takeInventory } from '../../../src/store/upkeep/inventory.ts'
import { carryOut, planPrune } from '../../../src/store/upkeep/prune.ts'
import { scrub } from '../../../src/store/upkeep/scrub.ts'
import { smallBlobsOf } from '../../../src/store/upkeep/walk.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { flipBit } from '../../support/damage.ts'
import { open as openStore, patternBytes, scratchDirectory, scratchLayout, sha256Key } from './scratch.ts'

const BYTES = patternBytes(4 * BLOCK_BYTES + 1000)
const KEY = sha256Key(BYTES)
const LIFE_MS = 60_000

async function scene({ trustMs = LIFE_MS, key = KEY }: { trustMs?: number; key?: BlobKey } = {}) {
  const layout = await scratchLayout()
  const clock = { now: 1000 }
  const damages: Damage[] = []
  const ledger = new Ledger({
    maxBytes: undefined,
    minFreeBytes: 0,
    freeBytes: () => Promise.resolve(1e12),
    remove: () => Promise.resolve(),
    now: Date.now,
    observer: silentObserver,
  })
  // It opens with the first change. What other code reads of it here must come before that.
  const table = new TableThread({ directory: layout.facts, readOnly: false })
  onTestFinished(() => table.close())
  const checks = new CheckedReads({ layout, trustMs: trustMs, monotonic: () => clock.now })
  const blobs = new DiskBlobs({
    layout,
    ledger,
    table: new BlobTable({ layout, table, now: Date.now, readOnly: false }),
    memoryBytes: 0,
    now: Date.now,
    observer: silentObserver,
    checks,
    onDamaged: (damage) => void damages.push(damage),
  })
  onTestFinished(() => blobs.close())
  const put = async () => {
    await mkdir(path.dirname(layout.blob(key)), { recursive: true })
    await writeFile(layout.blob(key), BYTES, { mode: 0o600 })
    const sums = new BlockSums(BYTES.length)
    sums.update(BYTES)
    await writeBlockSums(layout, key, sums)
  }
  await put()
  return {
    layout,
    clock,
    ledger,
    blobs,
    damages,
    put,
    flip: (position: number) => flipBit(layout.blob(key), position),
    opened: async (): Promise<BlobHandle> => {
      const blob = await blobs.open(key, BYTES.length)
      if (blob === undefined) throw new Error('not there')
      onTestFinished(() => blob.close())
      return blob
    },
  }
}

async function bytesOf(blob: BlobHandle, start: number, end: number): Promise<Buffer> {
  const buffer = Buffer.alloc(end - start + 7, 0xee)
  expect(await blob.read(buffer, 7, end - start, start)).toBe(end - start)
  return buffer.subarray(7)
}

/** The checks for reads of the file. Which file it is does not matter here. */
function checksOf(time: { readonly trustMs: number; readonly monotonic: () => number }): FileChecks {
  const sums = new BlockSums(BYTES.length)
  sums.update(BYTES)
  const free: Buffer[] = []
  const scratch = {
    acquire: () => free.pop() ?? Buffer.alloc(BLOCK_BYTES),
    release: (buffer: Buffer) => void free.push(buffer),
  }
  return new FileChecks(sums, { inode: 1, changedAt: 1 }, { ...time, scratch })
}

it('a read of any range returns the right bytes, or fails when one of its blocks is damaged', async () => {
  const readAt =
    (file: Buffer) =>
    (buffer: Buffer, offset: number, length: number, position: number): Promise<number> =>
      Promise.resolve(file.copy(buffer, offset, position, position + length))
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: BYTES.length * 8 - 1 }),
      fc.array(fc.tuple(fc.nat(BYTES.length - 1), fc.integer({ min: 1, max: 1_200_000 })), {
        minLength: 1,
        maxLength: 6,
      }),
      async (bit, reads) => {
        const file = Buffer.from(BYTES)
        file[bit >> 3] = (file[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        const wrong = Math.floor((bit >> 3) / BLOCK_BYTES)
        const checks = checksOf({ trustMs: 1, monotonic: () => 0 })
        for (const [position, length] of reads) {
          const end = Math.min(position + length, BYTES.length)
          const buffer = Buffer.alloc(length)
          const reading = checks.read(readAt(file), { buffer, offset: 0, length, position })
          const touches =
            Math.floor(position / BLOCK_BYTES) <= wrong && wrong <= Math.floor((end - 1) / BLOCK_BYTES)
          if (touches) await expect(reading).rejects.toThrow(DamagedBlock)
          else {
            expect(await reading).toBe(end - position)
            expect(buffer.subarray(0, end - position).equals(BYTES.subarray(position, end))).toBe(true)
          }
        }
      },
    ),
    { numRuns: 60 },
  )
})

it.each([
  ['off', undefined],
  ['OFF', undefined],
  ['none', undefined],
  ['0s', 0],
  ['90m', 5_400_000],
])('the setting %s means %s ms', (text, expected) => {
  expect(loadConfig({ env: { HUBMIRROR_CHECK_READS: text } }).config.checkReadsMs).toBe(expected)
})

it('checked reads are off unless the setting gives a time', () => {
  expect(loadConfig({ env: {} }).config.checkReadsMs).toBeUndefined()
  expect(() => loadConfig({ env: { HUBMIRROR_CHECK_READS: 'on' } })).toThrow('expected a time with a unit')
})

it('a block that was checked is not checked again until its time is over', async () => {
  const clock = { now: 1000 }
  const checks = checksOf({ trustMs: LIFE_MS, monotonic: () => clock.now })
  const callsOf = async (start: number, end: number) => {
    const calls: [position: number, length: number][] = []
    const buffer = Buffer.alloc(end - start)
    const read = await checks.read(
      (into, offset, length, position) => {
        calls.push([position, length])
        return Promise.resolve(BYTES.copy(into, offset, position, position + length))
      },
      { buffer, offset: 0, length: buffer.length, position: start },
    )
    expect([read, buffer.equals(BYTES.subarray(start, end))]).toEqual([buffer.length, true])
    return calls
  }
  expect(checks.isTrusted({ start: 0, end: 1 })).toBe(false)
  // For a small range, the rest of its block is read as well.
  const [first, second] = [BLOCK_BYTES + 100, BLOCK_BYTES + 200]
  expect(await callsOf(first, second)).toEqual([
    [first, 100],
    [BLOCK_BYTES, 100],
    [second, BLOCK_BYTES - 200],
  ])
  expect(checks.isTrusted({ start: BLOCK_BYTES, end: 2 * BLOCK_BYTES })).toBe(true)
  expect(checks.isTrusted({ start: BLOCK_BYTES, end: 2 * BLOCK_BYTES + 1 })).toBe(false)
  for (let times = 0; times < 20; times += 1) expect(await callsOf(first, second)).toEqual([[first, 100]])
  expect(await callsOf(BLOCK_BYTES, 2 * BLOCK_BYTES)).toHaveLength(1)
  // Whole blocks are checked in the buffer of the reader.
  expect(await callsOf(0, BYTES.length)).toHaveLength(1)
  clock.now += LIFE_MS - 1
  expect(checks.isTrusted({ start: 0, end: BYTES.length })).toBe(true)
  expect(await callsOf(first, second)).toHaveLength(1)
  clock.now += 1
  expect(checks.isTrusted({ start: first, end: second })).toBe(false)
  expect(await callsOf(first, second)).toHaveLength(3)
})

it('each read is checked when no block is trusted', async () => {
  const { opened, flip } = await scene({ trustMs: 0 })
  const blob = await opened()
  await bytesOf(blob, 0, 1000)
  await flip(500_000)
  await bytesOf(blob, 0, 1000)
  await expect(blob.read(Buffer.alloc(10), 0, 10, 400_000)).rejects.toThrow(
    'EIO: block 1 differs from what was stored',
  )
})

it('a damaged blob is quarantined once, however many read it, and the ledger drops it', async () => {
  const { opened, flip, blobs, damages, layout, ledger, put } = await scene()
  const readers = await Promise.all([opened(), opened(), opened()])
  await flip(3)
  const buffers = readers.map(() => Buffer.alloc(100))
  const found = await Promise.allSettled(
    readers.map((blob, index) => blob.read(buffers[index] ?? Buffer.alloc(0), 0, 100, 0)),
  )
  for (const { status } of found) expect(status).toBe('rejected')
  expect(damages).toEqual([{ key: KEY, sizeBytes: BYTES.length, reason: 'block', place: 'quarantined' }])
  expect(await readdir(layout.quarantine)).toHaveLength(1)
  await expect(stat(layout.sums(KEY))).rejects.toThrow('ENOENT')
  expect(ledger.count).toBe(0)
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  expect(blobs.openCached(KEY, BYTES.length)).toBeUndefined()
  // Another file has taken its place meanwhile: a reader of the old one must not touch it.
  await put()
  await (await opened()).close()
  const [late] = readers
  await expect(late?.read(Buffer.alloc(100), 0, 100, 0)).rejects.toThrow(DamagedBlock)
  expect(damages).toHaveLength(1)
  expect((await bytesOf(await opened(), 0, 100)).equals(BYTES.subarray(0, 100))).toBe(true)
})

it('a damaged blob that cannot be moved is removed', async () => {
  const { opened, flip, damages, layout, blobs } = await scene()
  await writeFile(layout.quarantine, 'a file where the folder would be')
  const blob = await opened()
  await flip(3)
  await expect(blob.read(Buffer.alloc(1), 0, 1, 0)).rejects.toThrow(DamagedBlock)
  expect(damages.map(({ place }) => place)).toEqual(['in-place'])
  expect(await blobs.open(KEY, BYTES.length)).toBeUndefined()
  await expect(stat(layout.sums(KEY))).rejects.toThrow('ENOENT')
})

it('a file that became shorter while it was open is damaged', async () => {
  const { opened, layout } = await scene()
  const blob = await opened()
  await writeFile(layout.blob(KEY), BYTES.subarray(0, 300_000))
  await expect(blob.read(Buffer.alloc(100_000), 0, 100_000, 250_000)).rejects.toThrow(DamagedBlock)
})

it('no block is trusted of a file that was written to or touched since it was checked', async () => {
  const { opened, flip, blobs, layout } = await scene()
  const first = await opened()
  await bytesOf(first, 0, BYTES.length)
  await first.close()
  await blobs.close()
  await utimes(layout.blob(KEY), 1, 1)
  const touched = await opened()
  await bytesOf(touched, 0, BYTES.length)
  await touched.close()
  await blobs.close()
  await flip(BYTES.length - 1)
  await expect((await opened()).read(Buffer.alloc(1), 0, 1, BYTES.length - 2)).rejects.toThrow(DamagedBlock)
})

it('blocks stay trusted when the file is opened again', async () => {
  const { opened, blobs } = await scene()
  const first = await opened()
  await bytesOf(first, 0, BYTES.length)
  await first.close()
  await blobs.close()
  const again = await opened()
  const crc = vi.spyOn(BlockSums.prototype, 'has')
  onTestFinished(() => crc.mockRestore())
  await bytesOf(again, 0, BYTES.length)
  expect(crc).not.toHaveBeenCalled()
})

it('a blob without sums is served unchecked, and its handle says so', async () => {
  const { opened, flip, layout } = await scene()
  await unlink(layout.sums(KEY))
  const blob = await opened()
  expect(blob.isChecked).toBe(false)
  await flip(3)
  expect((await bytesOf(blob, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(false)
})

it('small blobs are verified against their digest even if none are cached in memory', async () => {
  const { layout, blobs } = await scene()
  const small = Buffer.from('a small one')
  const key = sha256Key(small)
  await mkdir(path.dirname(layout.blob(key)), { recursive: true })
  await writeFile(layout.blob(key), small, { mode: 0o600 })
  expect(await blobs.open(key, small.length)).toBeDefined()
  await flipBit(layout.blob(key), 3)
  expect(await blobs.open(key, small.length)).toBeUndefined()
})

async function pass(
  layout: Awaited<ReturnType<typeof scratchLayout>>,
  keepsSums: boolean,
): Promise<Damage[]> {
  const damages: Damage[] = []
  await scrub(layout, {
    rateBytesPerSecond: undefined,
    signal: new AbortController().signal,
    smallBlobs: smallBlobsOf(layout),
    keepsSums,
    onDamaged: (damage) => void damages.push(damage),
  })
  return damages
}

it('a pass over the blobs makes the missing sums if they are wanted, and removes sums without a blob', async () => {
  const { layout } = await scene()
  const table = await readFile(layout.sums(KEY))
  await unlink(layout.sums(KEY))
  expect(await pass(layout, false)).toEqual([])
  await expect(stat(layout.sums(KEY))).rejects.toThrow('ENOENT')
  expect(await pass(layout, true)).toEqual([])
  expect(await readFile(layout.sums(KEY))).toEqual(table)
  await writeFile(layout.sums(KEY), 'torn')
  expect(await pass(layout, true)).toEqual([])
  expect(await readFile(layout.sums(KEY))).toEqual(table)
  await rm(layout.blob(KEY))
  expect(await pass(layout, false)).toEqual([])
  await expect(stat(layout.sums(KEY))).rejects.toThrow('ENOENT')
})

it('sums show that a blob with an opaque key was damaged', async () => {
  const key = `opaque:${'7'.repeat(64)}` as const
  const { layout, flip } = await scene({ key })
  const table = await readFile(layout.sums(key))
  expect(await pass(layout, true)).toEqual([])
  expect(await readFile(layout.sums(key))).toEqual(table)
  await flip(1_000_000)
  expect(await pass(layout, true)).toEqual([
    { key, sizeBytes: BYTES.length, reason: 'block', place: 'quarantined' },
  ])
  await expect(stat(layout.sums(key))).rejects.toThrow('ENOENT')
})

it('a blob loses its sums when it is pruned', async () => {
  const { layout } = await scene()
  const inventory = await takeInventory(layout)
  await carryOut(layout, planPrune(inventory, { unclaimed: true, olderThanMs: 0 }, Date.now() + 1000))
  await expect(stat(layout.blob(KEY))).rejects.toThrow('ENOENT')
  await expect(stat(layout.sums(KEY))).rejects.toThrow('ENOENT')
})

it.each([
  [undefined, false],
  [0, true],
])(
  'sums are stored with a blob when reads are checked (%s), and go when it is evicted',
  async (checkReadsMs, kept) => {
    const layout = createLayout(await scratchDirectory())
    const store = await openStore(layout.root, { checkReadsMs })
    onTestFinished(() => store.close())
    const partial = await store.beginPartial(KEY, BYTES.length)
    await partial.write(0, [BYTES])
    const digest = partial.digest()
    digest.advance(BYTES.length)
    expect(await digest.matches).toBe(true)
    await partial.commit()
    await partial.release()
    const sums = await readBlockSums(layout, KEY, BYTES.length)
    expect(sums !== undefined).toBe(kept)
    expect(await store.ledger.evict(KEY, 'max-size')).toBe(true)
    expect(await readBlockSums(layout, KEY, BYTES.length)).toBeUndefined()
  },
)
