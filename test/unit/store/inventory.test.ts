import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import { encodeFact, factId } from '../../../src/store/facts/fact-bytes.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { requireStore } from '../../../src/store/prepare.ts'
import { openTable } from '../../../src/store/table/table.ts'
import {
  fileRecords,
  type Inventory,
  takeInventory,
  totalsOf,
  unclaimed,
} from '../../../src/store/upkeep/inventory.ts'
import { walkBlobs } from '../../../src/store/upkeep/walk.ts'
import { COMMIT, gitKey, type MadeStore, makeStore, ORIGIN, repoOf, sha256Key } from './made-store.ts'

let made: MadeStore
beforeEach(async () => {
  made = await makeStore()
})
afterEach(() => made.remove())

const holdingOf = (inventory: Inventory, repo: string, origin = ORIGIN) => {
  const holding = inventory.holdings.get(`${origin} ${repo}`)
  expect(holding, repo).toBeDefined()
  return { ...holding!, ...totalsOf(inventory, holding!.entries) }
}

describe('an inventory', () => {
  it('counts once the bytes that two files of a repo share', async () => {
    const key = await made.stored(repoOf('org/a'), 'model.bin', Buffer.alloc(1000, 1))
    await made.file(repoOf('org/a'), 'copy.bin', key, 1000)
    expect(holdingOf(await takeInventory(made.layout), 'models/org/a')).toMatchObject({
      files: 2,
      blobs: 1,
      sizeBytes: 1000,
      sharedBytes: 0,
    })
  })

  it('says which bytes other repos need as well', async () => {
    const key = await made.stored(repoOf('org/a'), 'model.bin', Buffer.alloc(1000, 1))
    await made.file(repoOf('org/b', 'dataset'), 'model.bin', key, 1000)
    await made.stored(repoOf('org/b', 'dataset'), 'own.bin', Buffer.alloc(500, 2))
    const inventory = await takeInventory(made.layout)
    expect(holdingOf(inventory, 'models/org/a')).toMatchObject({ sizeBytes: 1000, sharedBytes: 1000 })
    expect(holdingOf(inventory, 'datasets/org/b')).toMatchObject({ sizeBytes: 1500, sharedBytes: 1000 })
    expect(totalsOf(inventory, inventory.entries.keys())).toMatchObject({ blobs: 2, sizeBytes: 1500 })
  })

  it('has the files of restricted repos that a rule names, and never calls these public', async () => {
    const origin = `restricted:${ORIGIN}`
    const key = await made.stored(repoOf('org/secret'), 'config.json', Buffer.from('{}'))
    await made.file(repoOf('org/secret'), 'config.json', key, 2, { origin })
    await made.facts.write('repos', `${origin} models/org/secret`, { shown: true })
    const inventory = await takeInventory(made.layout)
    expect(inventory.damagedFacts).toBe(0)
    expect(holdingOf(inventory, 'models/org/secret', origin)).toMatchObject({
      origin: ORIGIN,
      files: 1,
      isPublic: false,
    })
  })

  it('keeps the repos of two origins apart', async () => {
    const key = await made.stored(repoOf('gpt2'), 'config.json', Buffer.from('{}'))
    await made.file(repoOf('gpt2'), 'config.json', key, 2, { origin: 'http://other.example/hub' })
    const inventory = await takeInventory(made.layout)
    expect(holdingOf(inventory, 'models/gpt2', 'http://other.example/hub').files).toBe(1)
    expect([...inventory.holdings.values()].map(({ repo }) => repo)).toEqual(['models/gpt2', 'models/gpt2'])
  })

  it('counts no file whose bytes are missing, and counts an empty file', async () => {
    await made.file(repoOf('org/a'), 'away.bin', sha256Key(Buffer.from('away')), 4)
    await made.file(repoOf('org/a'), 'empty.txt', gitKey(Buffer.alloc(0)), 0)
    expect(holdingOf(await takeInventory(made.layout), 'models/org/a')).toMatchObject({
      files: 1,
      blobs: 0,
      usedAt: undefined,
    })
  })

  it('marks as public only the repos that the mirror knows to be public', async () => {
    for (const id of ['org/open', 'org/closed', 'org/never'])
      await made.stored(repoOf(id), 'a', Buffer.from(id))
    const metadata = made.known()
    await metadata.repos.setPublic(repoOf('org/open'), true)
    await metadata.repos.setPublic(repoOf('org/closed'), true)
    await metadata.repos.setPublic(repoOf('org/closed'), false)
    const inventory = await takeInventory(made.layout)
    const open = [...inventory.holdings.values()].filter((holding) => holding.isPublic)
    expect(open.map(({ repo }) => repo)).toEqual(['models/org/open'])
  })

  it('counts a partial by the space that it takes, and not as a file', async () => {
    const key = sha256Key(Buffer.from('large'))
    await made.partial(key, 50_000_000)
    await made.file(repoOf('org/a'), 'large.bin', key, 50_000_000)
    const holding = holdingOf(await takeInventory(made.layout), 'models/org/a')
    expect(holding).toMatchObject({ files: 0, blobs: 0, sizeBytes: 0, partials: 1 })
    expect(holding.partialBytes).toBeGreaterThan(0)
    expect(holding.partialBytes).toBeLessThan(1_000_000)
  })

  it('takes the last use of a repo from its blob used last', async () => {
    await made.stored(repoOf('org/a'), 'old', Buffer.from('old'), { ageMs: 9_000_000 })
    await made.stored(repoOf('org/a'), 'new', Buffer.from('new'), { ageMs: 5_000_000 })
    const { usedAt } = holdingOf(await takeInventory(made.layout), 'models/org/a')
    expect(Math.abs(Date.now() - 5_000_000 - usedAt!)).toBeLessThan(60_000)
  })

  it('lists the blobs that no fact names', async () => {
    await made.stored(repoOf('org/a'), 'a', Buffer.from('a'))
    const lone = await made.blob(Buffer.from('lone'))
    const inventory = await takeInventory(made.layout)
    expect([...unclaimed(inventory)].map((number) => inventory.entries[number]?.key)).toEqual([lone])
  })

  it('skips damaged facts, and counts them', async () => {
    await made.stored(repoOf('org/a'), 'a', Buffer.from('a'))
    const key = (file: string) => `${ORIGIN} models/org/a ${COMMIT} ${JSON.stringify(file)}`
    await made.facts.write('files', key('no key'), { sizeBytes: 1 })
    await made.facts.write('files', key('no path'), { sizeBytes: 1, key: '../../etc/passwd' })
    await made.facts.write('files', 'of no repo', { sizeBytes: 1, key: sha256Key(Buffer.from('a')) })
    const table = await openTable(made.layout.facts, { readOnly: false })
    const wrong = { act: 'put', kind: 'files', usedAt: 0 } as const
    const torn = encodeFact(key('torn'), {}).subarray(0, 20)
    table.change([{ ...wrong, id: factId(key('torn')), bytes: torn }], 1e9)
    table.change([{ ...wrong, id: factId('elsewhere'), bytes: encodeFact(key('a'), {}) }], 1e9)
    await table.close()
    // That a commit has no such path is a fact, not damage.
    made.known().files.set(repoOf('org/a'), COMMIT, 'gone', { kind: 'absent', commit: COMMIT })
    await made.settled()
    const inventory = await takeInventory(made.layout)
    expect(inventory.damagedFacts).toBe(5)
    expect(holdingOf(inventory, 'models/org/a').files).toBe(1)
  })

  it('reads every path that the mirror can write', async () => {
    const paths = fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }), {
      maxLength: 10,
    })
    await fc.assert(
      fc.asyncProperty(paths, async (names) => {
        const fresh = await makeStore()
        try {
          for (const name of names) await fresh.file(repoOf('org/a'), name, sha256Key(Buffer.from('a')), 1)
          const found: string[] = []
          for await (const record of fileRecords(fresh.layout))
            found.push(record === 'damaged' ? 'damaged!' : record.path)
          expect(found.sort()).toEqual([...names].sort())
        } finally {
          await fresh.remove()
        }
      }),
      { numRuns: 20 },
    )
  })
})

async function keysOf(keys: AsyncIterable<BlobKey>): Promise<BlobKey[]> {
  const all: BlobKey[] = []
  for await (const key of keys) all.push(key)
  return all
}

describe('the list of blobs', () => {
  it('continues after any key, in one order, and ignores names that are not ours', async () => {
    for (let number = 0; number < 40; number += 1) {
      const bytes = Buffer.from(`blob ${number}`)
      await made.fileBlob(bytes, { key: number % 2 === 0 ? gitKey(bytes) : sha256Key(bytes) })
    }
    await mkdir(path.join(made.layout.blobs, 'sha256', 'lost+found'), { recursive: true })
    await mkdir(path.join(made.layout.blobs, 'sha256', '00'), { recursive: true })
    await writeFile(path.join(made.layout.blobs, 'sha256', '00', 'f'.repeat(64)), 'in the wrong folder')
    const all = await keysOf(walkBlobs(made.layout))
    expect(new Set(all).size).toBe(40)
    for (const [index, key] of all.entries())
      expect(await keysOf(walkBlobs(made.layout, key))).toEqual(all.slice(index + 1))
  })
})

describe('a directory', () => {
  it('is refused when it is no store, or one of another version', async () => {
    const other = await mkdtemp(path.join(tmpdir(), 'hubmirror-none-'))
    try {
      const layout = createLayout(other)
      await expect(requireStore(layout)).rejects.toThrow(/is not a store of hubmirror/)
      await writeFile(layout.format, 'hubmirror 3\n')
      await expect(requireStore(layout)).rejects.toThrow(/another version \(format "hubmirror 3\\n";/)
      await requireStore(made.layout)
    } finally {
      await rm(other, { recursive: true })
    }
  })
})
