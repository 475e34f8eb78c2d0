// A table that the disk, or another program, has changed: nothing wrong is read from it, and the mirror starts.

import { statSync } from 'node:fs'
import {
  appendFile,
  copyFile,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { withTable } from '../../../src/store/table/table.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import {
  BLOBS,
  blobOf,
  COUNT,
  filled,
  putBlob,
  rightBlobs,
  rightFacts,
  valueOf,
} from '../../support/filled-store.ts'
import { open, sha256Key } from './scratch.ts'

describe('a table', () => {
  const damages: readonly [string, (file: string) => Promise<void>][] = [
    ['is cut to half', async (file) => truncate(file, Math.floor((await readFile(file)).length / 2))],
    ['is cut to its first two pages', (file) => truncate(file, 8192)],
    ['is cut to some bytes', (file) => truncate(file, 100)],
    ['is full of zero bytes', async (file) => writeFile(file, Buffer.alloc((await readFile(file)).length))],
    ['is a text', (file) => writeFile(file, 'Dear '.repeat(10_000))],
  ]
  it.each(damages)('that %s is set aside, and the blobs stay', async (_, damage) => {
    const { root, layout, file } = await filled()
    const bytes = Buffer.from('kept')
    const blob = layout.blob(sha256Key(bytes))
    await mkdir(path.dirname(blob), { recursive: true })
    await writeFile(blob, bytes)
    await damage(file)
    let setAside = 0
    const store = await open(root, { onTableSetAside: () => (setAside += 1) })
    onTestFinished(() => store.close())
    expect([setAside, await rightFacts(store), await rightBlobs(store)]).toEqual([1, 0, 0])
    expect(await readdir(layout.quarantine)).toEqual(['facts-data.mdb'])
    await store.facts.write('files', 'f1', valueOf(1))
    const found = await store.blobs.open(sha256Key(bytes), bytes.length)
    expect(found?.sizeBytes).toBe(4)
    await found?.close()
  })

  it.each([
    ['is empty', (file: string) => truncate(file, 0)],
    ['is missing', (file: string) => rm(file)],
  ])('that %s is made again', async (_, damage) => {
    const { root, file } = await filled()
    await damage(file)
    const store = await open(root)
    onTestFinished(() => store.close())
    expect(await rightFacts(store)).toBe(0)
    await store.facts.write('files', 'f1', valueOf(1))
    expect(await rightFacts(store)).toBe(1)
  })

  it('whose last pages a transaction has taken and freed has its full length, and is opened', async () => {
    const { root, layout, file } = await filled()
    await withTable(layout.facts, { readOnly: false }, (table) => {
      const keys = Array.from({ length: 100 }, (_, index) => sha256Key(Buffer.from(`gone ${index}`)))
      const bytes = Buffer.alloc(60_000, 1)
      const row = { sizeBytes: bytes.length, usedAt: 1, bytes }
      const added = keys.map((key) => ({ act: 'add-blob', key, ...row }) as const)
      const removed = keys.map((key) => ({ act: 'remove-blob', key }) as const)
      table?.change([...added, ...removed], Number.POSITIVE_INFINITY)
      expect(table?.usage.fileBytes).toBe(statSync(file).size)
    })
    const store = await open(root, { onTableSetAside: () => expect.unreachable() })
    onTestFinished(() => store.close())
    expect([await rightFacts(store), await rightBlobs(store)]).toEqual([COUNT, BLOBS])
  })

  it('that has something behind its end is read', async () => {
    const { root, file } = await filled()
    await appendFile(file, 'x'.repeat(10_000))
    const store = await open(root)
    onTestFinished(() => store.close())
    expect(await rightFacts(store)).toBe(COUNT)
  })

  it('that was closed is not read through at the next start, and one that was not is', async () => {
    const { root, layout, file } = await filled()
    const sound = `${file}.sound`
    await copyFile(file, sound)
    // What a mirror leaves that was killed, with pages that LMDB cannot read.
    const bytes = await readFile(file)
    bytes.fill(0, 8192)
    await writeFile(file, bytes)
    await writeFile(layout.factsInUse, '')
    let setAside = 0
    const store = await open(root, { onTableSetAside: () => (setAside += 1) })
    expect(await rightFacts(store)).toBe(0)
    await store.close()
    expect(setAside).toBe(1)
    await copyFile(sound, file)
    await writeFile(layout.factsInUse, '')
    const again = await open(root, { onTableSetAside: () => (setAside += 1) })
    onTestFinished(() => again.close())
    expect([setAside, await rightFacts(again), await rightBlobs(again)]).toEqual([1, COUNT, BLOBS])
  })

  it('with damage in it keeps the facts that can be read', async () => {
    const { root, layout, file } = await filled()
    const store = await open(root)
    await store.facts.write('repos', 'r', { public: true })
    await store.close()
    const bytes = await readFile(file)
    // One of the pages that have facts of files, and no other.
    const page = Math.floor(bytes.indexOf('value 200 ') / 4096) * 4096
    await writeFile(file, bytes.fill(0xff, page, page + 4096))
    await writeFile(layout.factsInUse, '')
    let setAside = 0
    const again = await open(root, { onTableSetAside: () => (setAside += 1) })
    onTestFinished(() => again.close())
    const left = await rightFacts(again)
    expect([setAside, await again.facts.read('repos', 'r')]).toEqual([1, { public: true }])
    expect(left).toBeGreaterThan(COUNT / 4)
    expect(left).toBeLessThan(COUNT)
    expect(await rightBlobs(again)).toBe(BLOBS)
    expect(await readdir(layout.quarantine)).toEqual(['facts-data.mdb'])
  })

  it('with damage in the bytes of a small blob loses that blob, and no other', async () => {
    const { root, file } = await filled()
    const bytes = await readFile(file)
    const at = bytes.indexOf(blobOf(40).subarray(10_000, 10_100))
    expect(at).toBeGreaterThan(0)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    await writeFile(file, bytes)
    const failures: string[] = []
    const observer = { ...silentObserver, integrityFailure: (kind: string) => failures.push(kind) }
    const store = await open(root, { observer })
    onTestFinished(() => store.close())
    expect([await rightBlobs(store), failures]).toEqual([BLOBS - 1, ['disk']])
    await putBlob(store, 40)
    expect([await rightBlobs(store), await rightFacts(store)]).toEqual([BLOBS, COUNT])
  })

  it('that two mirrors in a row have not closed is made anew, with all its facts', async () => {
    const { root, layout, file } = await filled()
    const { ino } = await stat(file)
    await writeFile(layout.factsInUse, '')
    // A mirror that is killed: it leaves how many have ended so before.
    await open(root).then((store) => store.close())
    expect((await stat(file)).ino).toBe(ino)
    await writeFile(layout.factsInUse, '1')
    const store = await open(root, { onTableSetAside: () => expect.unreachable() })
    onTestFinished(() => store.close())
    expect((await stat(file)).ino).not.toBe(ino)
    expect([await rightFacts(store), await rightBlobs(store)]).toEqual([COUNT, BLOBS])
    // The new table is sound: if this mirror is killed, too, reading it through will do.
    expect(await readFile(layout.factsInUse, 'utf8')).toBe('0')
    expect((await readdir(layout.facts)).sort()).toEqual(['data.mdb', 'in-use', 'lock.mdb'])
  })
})
