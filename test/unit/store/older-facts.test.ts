// Facts of a store that an earlier version has written: they are there at once, and move to the table meanwhile.

import { chmod, mkdir, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { DiskStore } from '../../../src/store/disk-store.ts'
import { decodeOlderFact } from '../../../src/store/facts/older-facts.ts'
import { createLayout, type Layout } from '../../../src/store/layout.ts'
import { fileRecords, takeInventory } from '../../../src/store/upkeep/inventory.ts'
import { carryOut, planPrune } from '../../../src/store/upkeep/prune.ts'
import { eventually } from '../../support/eventually.ts'
import { OLDER_FILE, OLDER_ORIGIN, writeOlderFact, writeOlderStore } from '../../support/older-store.ts'
import { openFacts } from '../../support/open-facts.ts'
import { open, scratchDirectory } from './scratch.ts'

const REPO = `${OLDER_ORIGIN} models/acme/open`
const FILE_KEY = `${REPO} ${OLDER_FILE.commit} "config.json"`
const DOCUMENT_KEY = `${OLDER_ORIGIN} GET /api/models/acme/open/revision/main`

async function olderStore(): Promise<{ root: string; layout: Layout }> {
  const root = await scratchDirectory()
  await writeOlderStore(root)
  return { root, layout: createLayout(root) }
}

async function opened(root: string): Promise<DiskStore> {
  const store = await open(root)
  onTestFinished(() => store.close())
  return store
}

const foldersOf = async (layout: Layout) =>
  (await readdir(layout.facts, { withFileTypes: true })).filter((entry) => entry.isDirectory())
const moved = (layout: Layout) =>
  eventually(
    () => foldersOf(layout),
    (folders) => folders.length === 0,
  )

async function expectAll(store: DiskStore): Promise<void> {
  expect(await store.facts.read('files', FILE_KEY)).toMatchObject({ sizeBytes: 8, lfs: false })
  expect(await store.facts.read('files', `${REPO} ${OLDER_FILE.commit} "none.json"`)).toMatchObject({
    absent: true,
  })
  expect(await store.facts.read('refs', `${REPO} "main"`)).toEqual({ commit: OLDER_FILE.commit })
  expect(await store.facts.read('refs', `${REPO} names`)).toEqual({ names: ['main'] })
  expect(await store.facts.read('repos', REPO)).toEqual({ public: true })
  const repos = []
  for await (const each of store.facts.list('repos')) repos.push(each)
  expect(repos).toEqual([{ key: REPO, value: { public: true } }])
  const { body } = (await store.facts.read('documents', DOCUMENT_KEY)) as { body: Buffer }
  expect(JSON.parse(body.toString())).toMatchObject({ id: 'acme/open' })
}

describe('a store of an earlier version', () => {
  it('has all its facts at once, while they move, and after a restart', async () => {
    const { root, layout } = await olderStore()
    const store = await open(root)
    await expectAll(store)
    await moved(layout)
    await expectAll(store)
    await store.close()
    await expectAll(await opened(root))
    expect((await readdir(layout.facts)).sort()).toEqual(['data.mdb', 'in-use', 'lock.mdb'])
  })

  it('is refused by the earlier version from the moment it is opened, and is whole until then', async () => {
    const { root } = await olderStore()
    expect(await readFile(path.join(root, 'FORMAT'), 'utf8')).toBe('hubmirror 1\n')
    await opened(root)
    // That version accepts `hubmirror 1` alone, and names what it has found.
    expect(await readFile(path.join(root, 'FORMAT'), 'utf8')).toBe('hubmirror 2\n')
  })

  it('is listed and pruned by commands before any mirror has opened it', async () => {
    const { layout } = await olderStore()
    const inventory = await takeInventory(layout)
    expect([...inventory.holdings.values()]).toMatchObject([
      { repo: 'models/acme/open', files: 1, isPublic: true },
    ])
    const plan = planPrune(inventory, { owners: new Set([REPO]), unclaimed: false }, Date.now())
    expect(await carryOut(layout, plan)).toMatchObject({ facts: 6, skipped: 0 })
    for await (const record of fileRecords(layout)) throw new Error(`${JSON.stringify(record)} is left`)
  })

  it('has every fact once, however often its move is interrupted', async () => {
    const { root, layout } = await olderStore()
    const keys = Array.from({ length: 20 }, (_, index) => `${REPO} ${OLDER_FILE.commit} "f${index}"`)
    for (const key of keys) await writeOlderFact(root, key, { key: 'sha256:0', sizeBytes: keys.indexOf(key) })
    for (let round = 0; (await foldersOf(layout)).length > 0; round += 1) {
      expect(round).toBeLessThanOrEqual(50)
      const facts = await openFacts(layout, { memoryBytes: 1 })
      const ending = new AbortController()
      const moving = facts.adopt(ending.signal)
      expect(await facts.read('files', keys[round % 20] ?? '')).toMatchObject({ sizeBytes: round % 20 })
      // How far it gets before, depends on the machine.
      if (round < 50) ending.abort()
      await moving
      await facts.close()
    }
    await opened(root).then(expectAll)
  })

  it('does not get an old value back that was replaced or removed while it moved', async () => {
    const { root, layout } = await olderStore()
    for (let index = 0; index < 300; index += 1) await writeOlderFact(root, `f${index}`, { index })
    const store = await open(root)
    for (let index = 0; index < 300; index += 3) {
      void store.facts.write('files', `f${index}`, { index: index + 1000 })
      void store.facts.remove('files', `f${index + 1}`)
    }
    await moved(layout)
    await store.close()
    const again = await opened(root)
    for (let index = 0; index < 300; index += 3) {
      expect(await again.facts.read('files', `f${index}`)).toEqual({ index: index + 1000 })
      expect(await again.facts.read('files', `f${index + 1}`)).toBeUndefined()
      expect(await again.facts.read('files', `f${index + 2}`)).toEqual({ index: index + 2 })
    }
  })

  it('loses no fact where a crash came between the table and the file', async () => {
    const { root, layout } = await olderStore()
    const facts = await openFacts(layout, { memoryBytes: 1 })
    await facts.adopt(new AbortController().signal)
    await facts.write('repos', REPO, { public: false })
    await facts.close()
    // The files are there again, as if they had not been removed.
    await writeOlderStore(root)
    const store = await opened(root)
    await moved(layout)
    expect(await store.facts.read('repos', REPO)).toEqual({ public: false })
    expect(await store.facts.read('refs', `${REPO} "main"`)).toEqual({ commit: OLDER_FILE.commit })
  })

  it('leaves files of others in its folders, and the targets of links', async () => {
    const { root, layout } = await olderStore()
    const outside = path.join(await scratchDirectory(), 'outside.json')
    await writeFile(outside, JSON.stringify({ key: 'k', value: 'mine' }))
    await rm(layout.olderFact('repos', REPO))
    await symlink(outside, layout.olderFact('repos', REPO))
    await writeFile(path.join(layout.facts, 'refs', 'notes.txt'), 'mine')
    const store = await opened(root)
    expect(await store.facts.read('repos', REPO)).toBeUndefined()
    await eventually(
      () => foldersOf(layout),
      (folders) => folders.length === 1,
    )
    expect(JSON.parse(await readFile(outside, 'utf8'))).toEqual({ key: 'k', value: 'mine' })
    expect(await readdir(path.join(layout.facts, 'refs'))).toEqual(['notes.txt'])
    expect((await stat(outside)).isFile()).toBe(true)
  })
})

describe('a file of an earlier version that is no fact', () => {
  const damages: readonly [string, (file: string) => Promise<void>][] = [
    ['is empty', (file) => truncate(file, 0)],
    ['is torn', (file) => truncate(file, 12)],
    ['is of another key', (file) => writeFile(file, JSON.stringify({ key: 'other', value: 1 }))],
    ['is a list', (file) => writeFile(file, '[1]')],
    ['is null', (file) => writeFile(file, 'null')],
    ['is nested too deep', (file) => writeFile(file, '['.repeat(200_000))],
    ['is absurdly large', (file) => truncate(file, 3 * 1024 ** 3)],
    ['is a folder', (file) => rm(file).then(() => mkdir(file))],
  ]
  it.each(damages)('counts as absent when it %s', async (_, damage) => {
    const { root, layout } = await olderStore()
    await chmod(layout.olderFact('repos', REPO), 0o600)
    await damage(layout.olderFact('repos', REPO))
    const store = await opened(root)
    expect(await store.facts.read('repos', REPO)).toBeUndefined()
    expect(await store.facts.read('refs', `${REPO} names`)).toEqual({ names: ['main'] })
  })

  it.each([
    ['shorter', (file: Buffer) => file.subarray(0, -1)],
    ['longer', (file: Buffer) => Buffer.concat([file, Buffer.from('x')])],
    ['another', (file: Buffer) => Buffer.concat([file.subarray(0, -1), Buffer.from('x')])],
    ['lost', (file: Buffer) => file.subarray(0, file.indexOf('\n'))],
  ])('is one whose body is %s', (_, change) => {
    const file = Buffer.from('{"key":"k","value":{"a":1},"bytes":{"length":2,"crc32":3633523372}}\nhi')
    expect(decodeOlderFact(file)).toEqual({ key: 'k', value: { a: 1, body: Buffer.from('hi') } })
    expect(decodeOlderFact(change(file))).toBeUndefined()
  })
})
