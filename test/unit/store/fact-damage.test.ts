// A table of facts that the disk, or another program, has changed: nothing wrong is read from it, and the mirror starts.

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
import type { DiskStore } from '../../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../../src/store/layout.ts'
import { chance } from '../../support/seeded.ts'
import { open, scratchDirectory, sha256Key } from './scratch.ts'

const COUNT = 400
const valueOf = (index: number) => ({ index, text: `value ${index} `.repeat(20) })

async function filled(): Promise<{ root: string; layout: Layout; file: string }> {
  const root = await scratchDirectory()
  const store = await open(root)
  await Promise.all(
    Array.from({ length: COUNT }, (_, index) => store.facts.write('files', `f${index}`, valueOf(index))),
  )
  await store.close()
  const layout = createLayout(root)
  return { root, layout, file: path.join(layout.facts, 'data.mdb') }
}

/** Opens the store, and tells how many facts it has. All of them are right. */
async function rightFacts(store: DiskStore): Promise<number> {
  let count = 0
  for (let index = 0; index < COUNT; index += 1) {
    const value = await store.facts.read('files', `f${index}`).catch(() => undefined)
    if (value === undefined) continue
    expect(value).toEqual(valueOf(index))
    count += 1
  }
  return count
}

describe('a table of facts', () => {
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
    const store = await open(root, { onFactsSetAside: () => (setAside += 1) })
    onTestFinished(() => store.close())
    expect([setAside, await rightFacts(store)]).toEqual([1, 0])
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
    const store = await open(root, { onFactsSetAside: () => (setAside += 1) })
    expect(await rightFacts(store)).toBe(0)
    await store.close()
    expect(setAside).toBe(1)
    await copyFile(sound, file)
    await writeFile(layout.factsInUse, '')
    const again = await open(root, { onFactsSetAside: () => (setAside += 1) })
    onTestFinished(() => again.close())
    expect([setAside, await rightFacts(again)]).toEqual([1, COUNT])
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
    const again = await open(root, { onFactsSetAside: () => (setAside += 1) })
    onTestFinished(() => again.close())
    const left = await rightFacts(again)
    expect([setAside, await again.facts.read('repos', 'r')]).toEqual([1, { public: true }])
    expect(left).toBeGreaterThan(COUNT / 4)
    expect(left).toBeLessThan(COUNT)
    expect(await readdir(layout.quarantine)).toEqual(['facts-data.mdb'])
  })

  it('that two mirrors in a row have not closed is made anew, with all its facts', async () => {
    const { root, layout, file } = await filled()
    const { ino } = await stat(file)
    await writeFile(layout.factsInUse, '')
    // A mirror that is killed: it leaves the mark that it has found one.
    await open(root).then((store) => store.close())
    expect((await stat(file)).ino).toBe(ino)
    await writeFile(layout.factsInUse, 'again')
    const store = await open(root, { onFactsSetAside: () => expect.unreachable() })
    onTestFinished(() => store.close())
    expect((await stat(file)).ino).not.toBe(ino)
    expect(await rightFacts(store)).toBe(COUNT)
    expect(await readFile(layout.factsInUse, 'utf8')).toBe('again')
    expect((await readdir(layout.facts)).sort()).toEqual(['data.mdb', 'in-use', 'lock.mdb'])
  })

  it('with flipped bits yields what was written, or nothing, and ends no mirror after the second crash', async () => {
    const { root, layout, file } = await filled()
    const dice = chance('flipped bits')
    const sound = await readFile(file)
    let kept = 0
    for (let round = 0; round < 20; round += 1) {
      const bytes = Buffer.from(sound)
      for (let flip = 0; flip < 12; flip += 1) {
        const at = dice.below(bytes.length)
        bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8))
      }
      await rm(path.join(layout.facts, 'lock.mdb'), { force: true })
      await writeFile(file, bytes)
      await writeFile(layout.factsInUse, 'again')
      const store = await open(root)
      kept += await rightFacts(store)
      for (let index = 0; index < 40; index += 1)
        await store.facts.write('files', `f${index}`, valueOf(index))
      await store.close()
    }
    expect(kept).toBeGreaterThan(COUNT)
  })
})
