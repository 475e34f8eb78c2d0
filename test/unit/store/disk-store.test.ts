import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { DiskStore, StoreOptions } from '../../../src/store/disk-store.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { DirectoryInUse } from '../../../src/store/lock.ts'
import { BLOCK_BYTES } from '../../../src/store/partials/blocks.ts'
import { partialName } from '../../../src/store/partials/partial-name.ts'
import { UnusableDirectory } from '../../../src/store/prepare.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from './scratch.ts'

async function opened(root: string, options: Partial<StoreOptions> = {}): Promise<DiskStore> {
  const store = await open(root, options)
  onTestFinished(() => store.close())
  return store
}

/** Everything below `directory`, with its mode. */
async function modes(directory: string, below = ''): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  for (const entry of await readdir(path.join(directory, below), { withFileTypes: true })) {
    const name = path.join(below, entry.name)
    all[name] = ((await stat(path.join(directory, name))).mode & 0o777).toString(8)
    if (entry.isDirectory()) Object.assign(all, await modes(directory, name))
  }
  return all
}

describe('a directory', () => {
  it('is made when it does not exist, and can be opened again', async () => {
    const root = path.join(await scratchDirectory(), 'a', 'b')
    await (await open(root)).close()
    await opened(root)
    expect(await readFile(path.join(root, 'FORMAT'), 'utf8')).toBe('hubmirror 2\n')
    expect(await readFile(path.join(root, 'CACHEDIR.TAG'), 'utf8')).toMatch(
      /^Signature: 8a477f597d28d172789f/,
    )
  })

  it.each(['mirror-tokens.json', 'transfer-key'])(
    'becomes a store when it contains only %s, put there before the first start',
    async (name) => {
      const root = await scratchDirectory()
      await writeFile(path.join(root, name), 'given')
      await opened(root)
      expect(await readFile(path.join(root, name), 'utf8')).toBe('given')
    },
  )

  it.each([
    ['of another version', 'FORMAT', 'hubmirror 3\n', 'another version'],
    ['that contains other files', 'letter.txt', 'Dear', 'contains other files'],
    ['that contains a foreign tmp/', 'tmp/letter.txt', 'Dear', 'contains other files'],
  ])('%s is refused and left unchanged', async (_, file, content, message) => {
    const root = await scratchDirectory()
    await mkdir(path.dirname(path.join(root, file)), { recursive: true })
    await writeFile(path.join(root, file), content)
    const before = await modes(root)
    const opening = open(root)
    await expect(opening).rejects.toThrow(UnusableDirectory)
    await expect(opening).rejects.toThrow(message)
    expect(await modes(root)).toEqual(before)
  })

  it.each([
    ['empty', ''],
    ['full of zero bytes', '\0'.repeat(12)],
  ])('becomes a store again, with its contents, when a crash left FORMAT %s', async (_, format) => {
    const root = await scratchDirectory()
    await (await open(root)).close()
    const blob = createLayout(root).blob(sha256Key(Buffer.from('kept')))
    await mkdir(path.dirname(blob), { recursive: true })
    await writeFile(blob, 'kept')
    await writeFile(path.join(root, 'verify.json'), '{}')
    await writeFile(path.join(root, 'FORMAT'), format)
    const store = await opened(root)
    expect(await readFile(path.join(root, 'FORMAT'), 'utf8')).toBe('hubmirror 2\n')
    const found = await store.blobs.open(sha256Key(Buffer.from('kept')), 4)
    expect(found?.sizeBytes).toBe(4)
    await found?.close()
  })

  it('is refused and left unchanged when an empty FORMAT lies beside foreign files', async () => {
    const root = await scratchDirectory()
    await writeFile(path.join(root, 'FORMAT'), '')
    await writeFile(path.join(root, 'letter.txt'), 'Dear')
    await expect(open(root)).rejects.toThrow('contains other files')
    expect((await readdir(root)).sort()).toEqual(['FORMAT', 'letter.txt'])
  })

  it('is refused when all users may write to it', async () => {
    const root = await scratchDirectory()
    await chmod(root, 0o777)
    await expect(open(root)).rejects.toThrow('All users may write')
  })

  it('is refused when it is a file', async () => {
    const file = path.join(await scratchDirectory(), 'file')
    await writeFile(file, '')
    await expect(open(file)).rejects.toThrow(UnusableDirectory)
  })

  it('may be reached through a link', async () => {
    const root = await scratchDirectory()
    await mkdir(path.join(root, 'real'), { mode: 0o700 })
    await symlink(path.join(root, 'real'), path.join(root, 'link'))
    await opened(path.join(root, 'link'))
    expect(await readdir(path.join(root, 'real'))).toContain('FORMAT')
  })

  it('is refused while it is in use, and free after the store was closed', async () => {
    const root = await scratchDirectory()
    const first = await open(root)
    const second = open(root)
    await expect(second).rejects.toThrow(DirectoryInUse)
    await expect(second).rejects.toThrow(`process ${process.pid}`)
    await first.close()
    await opened(root)
  })

  it('keeps its tmp/ when a second mirror is refused', async () => {
    const root = await scratchDirectory()
    await opened(root)
    await writeFile(path.join(root, 'tmp', 'under-way'), '')
    await expect(open(root)).rejects.toThrow(DirectoryInUse)
    expect(await readdir(path.join(root, 'tmp'))).toEqual(['under-way'])
  })

  it('has its tmp/ emptied at the start', async () => {
    const root = await scratchDirectory()
    await (await open(root)).close()
    await writeFile(path.join(root, 'tmp', 'a'.repeat(24)), 'half a fact')
    await mkdir(path.join(root, 'tmp', 'directory'))
    await opened(root)
    expect(await readdir(path.join(root, 'tmp'))).toEqual([])
  })

  it.each([
    ['the lock', ['LOCK', `LOCK.${'0'.repeat(24)}`]],
    ['the lock and tmp/', ['LOCK', 'tmp/']],
    ['half of FORMAT', ['LOCK', 'tmp/', `tmp/${'0'.repeat(24)}`]],
    ['FORMAT', ['LOCK', 'tmp/', 'FORMAT']],
    ['some directories', ['LOCK', 'tmp/', 'FORMAT', 'blobs/']],
  ])('is accepted when its first start was interrupted after %s', async (_, names) => {
    const root = await scratchDirectory()
    for (const name of names) {
      if (name.endsWith('/')) await mkdir(path.join(root, name))
      else await writeFile(path.join(root, name), name === 'FORMAT' ? 'hubmirror 2\n' : '')
    }
    await opened(root)
    expect(await readdir(root)).toEqual(
      expect.arrayContaining(['CACHEDIR.TAG', 'FORMAT', 'LOCK', 'blobs', 'facts', 'partial', 'tmp']),
    )
  })

  it('leaves the targets of links unchanged when they stand in place of its files', async () => {
    const root = await scratchDirectory()
    await (await open(root)).close()
    const outside = path.join(await scratchDirectory(), 'outside')
    await mkdir(outside)
    await writeFile(path.join(outside, 'mine'), 'mine')
    const layout = createLayout(root)
    for (const [link, target] of [
      [layout.tmp, outside],
      [layout.lock, path.join(outside, 'mine')],
    ] as const) {
      await rm(link, { recursive: true })
      await symlink(target, link)
    }
    await open(root).then(
      (store) => store.close(),
      (error: unknown) => expect(error).toBeInstanceOf(UnusableDirectory),
    )
    expect(await readFile(path.join(outside, 'mine'), 'utf8')).toBe('mine')
    expect(await readdir(outside)).toEqual(['mine'])
  })
})

describe('a store in use', () => {
  const BYTES = patternBytes(BLOCK_BYTES + 5)
  const KEY = sha256Key(BYTES)

  async function pulled(store: DiskStore): Promise<void> {
    const partial = await store.beginPartial(KEY, BYTES.length)
    await partial.write(0, [BYTES])
    await partial.commit()
    await partial.release()
  }

  it('gives no other user a permission on anything in it', async () => {
    const root = path.join(await scratchDirectory(), 'cache')
    const store = await opened(root)
    await pulled(store)
    const half = await store.beginPartial(sha256Key(Buffer.from('other')), BYTES.length)
    await half.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
    await half.release()
    await store.facts.write('repos', 'k', 1)
    await store.probe()
    expect(((await stat(root)).mode & 0o777).toString(8)).toBe('700')
    const all = Object.entries(await modes(root))
    const wrong = all.filter(([name, mode]) => {
      const isDirectory = !/(?:^|\/)(?:[A-Z.]+|data|blocks|in-use|\w+\.mdb|[0-9a-f]{64})$/.test(name)
      return mode !== (isDirectory ? '700' : name.startsWith('blobs/') ? '400' : '600')
    })
    expect(wrong).toEqual([])
    expect(all.length).toBeGreaterThan(12)
  })

  it('counts a partial as it grows, and then the blob', async () => {
    const store = await opened(await scratchDirectory())
    await store.scanned
    await pulled(store)
    expect(store.ledger.storedBytes).toBe(BYTES.length)
    expect([...store.ledger.entries()].map(([name]) => name)).toEqual([KEY])
    const blob = await store.blobs.open(KEY, BYTES.length)
    const buffer = Buffer.alloc(BYTES.length)
    await blob?.read(buffer, 0, buffer.length, 0)
    expect(buffer.equals(BYTES)).toBe(true)
    await blob?.close()
  })

  it('finds blobs and partials again after a restart', async () => {
    const root = await scratchDirectory()
    const store = await open(root)
    await pulled(store)
    const other = sha256Key(Buffer.from('other'))
    const half = await store.beginPartial(other, BYTES.length)
    await half.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
    await half.release()
    await store.close()
    const again = await opened(root)
    await again.scanned
    expect([...again.ledger.entries()].map(([name]) => name).sort()).toEqual([partialName(other), KEY].sort())
    expect(again.ledger.storedBytes).toBe(BYTES.length + BLOCK_BYTES)
  })

  it('evicts no partial while it is open, and can evict it afterwards', async () => {
    const root = await scratchDirectory()
    const store = await opened(root, { maxBytes: 2 * BLOCK_BYTES })
    const partial = await store.beginPartial(KEY, BYTES.length)
    await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
    expect(await store.ledger.reserve(2 * BLOCK_BYTES)).toBeUndefined()
    await partial.release()
    expect(await store.ledger.reserve(2 * BLOCK_BYTES)).toBeDefined()
    expect(await readdir(createLayout(root).partials)).toEqual([])
  })

  it('opens a partial only after its eviction has ended', async () => {
    const root = await scratchDirectory()
    const store = await opened(root)
    const partial = await store.beginPartial(KEY, BYTES.length)
    await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
    await partial.release()
    const evicting = store.ledger.evict(partialName(KEY), 'prune')
    const anew = await store.beginPartial(KEY, BYTES.length)
    expect(await evicting).toBe(true)
    await anew.write(0, [BYTES])
    await anew.commit()
    await anew.release()
    expect((await readFile(createLayout(root).blob(KEY))).equals(BYTES)).toBe(true)
  })

  it('keeps blobs and facts in memory within their common limit', async () => {
    const root = await scratchDirectory()
    const memoryBytes = 400_000
    const store = await opened(root, { memoryBytes })
    const blobs = Array.from({ length: 8 }, (_, index) => patternBytes(50_000, index + 1))
    for (const bytes of blobs) {
      const partial = await store.beginPartial(sha256Key(bytes), bytes.length)
      await partial.write(0, [bytes])
      await partial.commit()
      await partial.release()
    }
    const facts = Array.from({ length: 40 }, (_, index) => `fact ${index}`)
    for (const key of facts) await store.facts.write('refs', key, 'x'.repeat(10_000))
    const ofBlobs = blobs.filter((bytes) => store.blobs.cachedBytes(sha256Key(bytes), bytes.length)).length
    const ofFacts = facts.filter((key) => store.facts.peek('refs', key) !== undefined).length
    // A fact takes a little more than its text.
    expect([ofBlobs, ofFacts]).toEqual([3, 19])
    expect(ofBlobs * 50_000 + ofFacts * 10_000).toBeLessThanOrEqual(memoryBytes)
  })

  it('answers many concurrent probes, and leaves no file of them', async () => {
    const root = await scratchDirectory()
    const store = await opened(root)
    await Promise.all(Array.from({ length: 10 }, () => store.probe()))
    expect(await readdir(path.join(root, 'tmp'))).toEqual([])
  })

  it('rejects a probe when it cannot write', async () => {
    const root = await scratchDirectory()
    const store = await opened(root)
    await rm(path.join(root, 'tmp'), { recursive: true })
    await writeFile(path.join(root, 'tmp'), 'in the way')
    await expect(store.probe()).rejects.toThrow('EEXIST')
  })
})
