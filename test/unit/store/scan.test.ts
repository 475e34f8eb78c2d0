import { mkdir, open, symlink, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import type { Layout } from '../../../src/store/layout.ts'
import { partialName } from '../../../src/store/partials/partial-name.ts'
import type { BlobRow } from '../../../src/store/table/blob-rows.ts'
import { type Scan, scanStore } from '../../../src/store/upkeep/scan.ts'
import { scratchLayout, sha256Key } from './scratch.ts'

const never = new AbortController().signal
const keyOf = (text: string): BlobKey => sha256Key(Buffer.from(text))

async function plant(file: string, content: string | Buffer, usedAt = 1000): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, content)
  await utimes(file, usedAt, usedAt)
}

async function* rowsOf(rows: readonly BlobRow[]): AsyncGenerator<BlobRow> {
  yield* rows
}

/** Scans a store whose table has these rows. */
function scan(layout: Layout, rows: readonly BlobRow[] = [], isComplete = false): Promise<Scan> {
  return scanStore(layout, rowsOf(rows), { isComplete, signal: never })
}

async function names(layout: Layout): Promise<string[]> {
  return (await scan(layout)).entries.map(({ name }) => name)
}

it('a scan finds nothing in an empty store', async () => {
  expect(await names(await scratchLayout())).toEqual([])
})

it('a scan finds all kinds, the least recently used first', async () => {
  const layout = await scratchLayout()
  const git: BlobKey = `gitsha1:${'a'.repeat(40)}`
  const opaque: BlobKey = `opaque:${'b'.repeat(64)}`
  await plant(layout.blob(keyOf('x')), '12345', 3000)
  await plant(layout.blob(git), '1', 1000)
  await plant(layout.blob(opaque), '22', 4000)
  await plant(path.join(layout.partial(keyOf('y')), 'data'), '333', 2000)
  expect((await scan(layout)).entries).toMatchObject([
    { name: git, sizeBytes: 1, usedAt: 1_000_000 },
    { name: partialName(keyOf('y')) },
    { name: keyOf('x'), sizeBytes: 5, usedAt: 3_000_000 },
    { name: opaque, sizeBytes: 2, usedAt: 4_000_000 },
  ])
})

it('a scan counts the space that a partial takes, not its length', async () => {
  const layout = await scratchLayout()
  const file = path.join(layout.partial(keyOf('y')), 'data')
  await mkdir(path.dirname(file), { recursive: true })
  const handle = await open(file, 'w')
  await handle.truncate(50_000_000)
  await handle.write(Buffer.alloc(4096, 1), 0, 4096, 20_000_000)
  await handle.close()
  const [found] = (await scan(layout)).entries
  expect(found?.sizeBytes).toBeGreaterThanOrEqual(4096)
  expect(found?.sizeBytes).toBeLessThan(1_000_000)
})

it('a scan ignores names that are not ours', async () => {
  const layout = await scratchLayout()
  const hex = 'ab'.repeat(32)
  for (const foreign of [
    'blobs/lost+found/x',
    'blobs/.DS_Store',
    'blobs/sha256/.DS_Store',
    'blobs/sha256/abc/file',
    `blobs/sha256/AB/${hex}`,
    `blobs/sha256/cd/${hex}`,
    `blobs/sha256/ab/${hex}.part`,
    `blobs/md5/ab/${hex}`,
    `partial/sha256-${hex}x/data`,
    `partial/sha256:${hex}/data`,
    'partial/data',
    `quarantine/sha256-${hex}/data`,
  ]) {
    await plant(path.join(layout.root, foreign), 'x')
  }
  await mkdir(layout.blob(`sha256:${'ab'.repeat(31)}cd`), { recursive: true })
  await symlink('/etc/hostname', layout.blob(`sha256:${'ab'.repeat(31)}ce`))
  await mkdir(layout.partial(`sha256:${'ab'.repeat(31)}cf`), { recursive: true })
  expect(await names(layout)).toEqual([])
})

it('a scan finds each of many in one directory once', async () => {
  const layout = await scratchLayout()
  const keys = Array.from(
    { length: 200 },
    (_, index) => `sha256:ab${String(index).padStart(62, '0')}` as BlobKey,
  )
  for (const key of keys) await plant(layout.blob(key), '1')
  expect((await names(layout)).sort()).toEqual(keys)
})

it('a scan returns one order over all directories', async () => {
  const layout = await scratchLayout()
  const times = Array.from({ length: 300 }, (_, index) => 1000 + ((index * 7919) % 300))
  for (const [index, usedAt] of times.entries()) await plant(layout.blob(keyOf(`${index}`)), '1', usedAt)
  await plant(path.join(layout.partial(keyOf('y')), 'data'), '333', 1100)
  const found = (await scan(layout)).entries.map(({ usedAt }) => usedAt)
  expect(found).toHaveLength(301)
  expect(found).toEqual(found.toSorted((a, b) => a - b))
})

it('a scan ends early when its signal aborts', async () => {
  const layout = await scratchLayout()
  await plant(layout.blob(keyOf('x')), '12345')
  const scanned = scanStore(layout, rowsOf([]), { isComplete: false, signal: AbortSignal.abort() })
  expect(await scanned).toEqual({ entries: [], smallFiles: [], changes: [] })
})

it('a scan believes complete rows, and does not look for files', async () => {
  const layout = await scratchLayout()
  await plant(layout.blob(keyOf('x')), Buffer.alloc(70_000))
  const row = { key: keyOf('y'), sizeBytes: 80_000, usedAt: 5000, isInTable: false }
  const { entries, changes } = await scan(layout, [row], true)
  expect(entries).toEqual([{ name: keyOf('y'), sizeBytes: 80_000, usedAt: 5000 }])
  expect(changes).toEqual([])
})

it('a scan completes the rows: it adds those of files without one, and removes those without a file', async () => {
  const layout = await scratchLayout()
  await plant(layout.blob(keyOf('known')), Buffer.alloc(70_000), 1)
  await plant(layout.blob(keyOf('new')), Buffer.alloc(80_000), 2)
  await plant(layout.blob(keyOf('grown')), Buffer.alloc(90_000), 3)
  const large = { usedAt: 9000, isInTable: false }
  const rows = [
    { key: keyOf('known'), sizeBytes: 70_000, ...large },
    { key: keyOf('grown'), sizeBytes: 70_000, ...large },
    { key: keyOf('gone'), sizeBytes: 70_000, ...large },
    { key: keyOf('small'), sizeBytes: 5, usedAt: 4000, isInTable: true },
  ]
  const { entries, changes, smallFiles } = await scan(layout, rows)
  expect(entries).toEqual([
    { name: keyOf('new'), sizeBytes: 80_000, usedAt: 2000 },
    { name: keyOf('grown'), sizeBytes: 90_000, usedAt: 3000 },
    { name: keyOf('small'), sizeBytes: 5, usedAt: 4000 },
    { name: keyOf('known'), sizeBytes: 70_000, usedAt: 9000 },
  ])
  expect(new Set(changes.map(({ act, ...rest }) => `${act} ${'key' in rest ? rest.key : ''}`))).toEqual(
    new Set([`remove-blob ${keyOf('gone')}`, `add-blob ${keyOf('new')}`, `add-blob ${keyOf('grown')}`]),
  )
  expect(smallFiles).toEqual([])
})

it('a scan tells which small blobs are in files, also if the table has them already', async () => {
  const layout = await scratchLayout()
  await plant(layout.blob(keyOf('a')), 'a', 1)
  await plant(layout.blob(keyOf('b')), 'bb', 2)
  const row = { key: keyOf('b'), sizeBytes: 2, usedAt: 9000, isInTable: true }
  const { entries, changes, smallFiles } = await scan(layout, [row])
  expect(entries.map(({ name }) => name)).toEqual([keyOf('a'), keyOf('b')])
  expect(smallFiles.map(({ key }) => key).sort()).toEqual([keyOf('a'), keyOf('b')].sort())
  expect(changes).toEqual([])
})
