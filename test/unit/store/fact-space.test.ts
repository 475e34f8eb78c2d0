// Facts take no more space than their share, however many are written.

import { lstat, mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { createFacts, type DiskFacts, type FactsOptions } from '../../../src/store/facts/facts.ts'
import type { Layout } from '../../../src/store/layout.ts'
import type { FactKind } from '../../../src/store/store.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { eventually } from '../../support/eventually.ts'
import { open, scratchDirectory, scratchLayout } from './scratch.ts'

const BLOCK = 4096
const never = new AbortController().signal

interface Scene {
  readonly layout: Layout
  readonly facts: DiskFacts
  readonly bytes: () => number
  readonly troubles: unknown[]
}

async function scene(options: Partial<FactsOptions> = {}, layout?: Layout): Promise<Scene> {
  const at = layout ?? (await scratchLayout())
  let bytes = 0
  const troubles: unknown[] = []
  const facts = createFacts(at, {
    memoryBytes: 0,
    onBytes: (now) => {
      bytes = now
    },
    onTrouble: (error) => troubles.push(error),
    ...options,
  })
  return { layout: at, facts, bytes: () => bytes, troubles }
}

/** The space that the facts take according to the file system. */
async function onDisk(layout: Layout, kind: FactKind | '' = ''): Promise<number> {
  const root = path.join(layout.facts, kind)
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(files.map((file) => lstat(path.join(file.parentPath, file.name))))
  return sizes.reduce((sum, { size }) => sum + Math.max(1, Math.ceil(size / BLOCK)) * BLOCK, 0)
}

async function age(layout: Layout, kind: FactKind, key: string, hours: number): Promise<void> {
  const at = Date.now() / 1000 - hours * 3600
  await utimes(layout.fact(kind, key), at, at)
}

describe('the space of facts', () => {
  it('counts one block for the smallest fact, and the blocks of a larger one', async () => {
    const { facts, bytes, layout } = await scene()
    await facts.write('refs', 'a', 1)
    expect(bytes()).toBe(BLOCK)
    await facts.write('documents', 'b', 'x'.repeat(2 * BLOCK))
    expect(bytes()).toBe(4 * BLOCK)
    await facts.write('documents', 'b', 'shorter')
    expect(bytes()).toBe(2 * BLOCK)
    await facts.remove('documents', 'b')
    await facts.remove('documents', 'b')
    await facts.remove('refs', 'never')
    expect([bytes(), await onDisk(layout)]).toEqual([BLOCK, BLOCK])
  })

  it('is what the files take, after a restart and beside a prune', async () => {
    const { facts, layout } = await scene()
    for (let index = 0; index < 40; index += 1) await facts.write('files', `f${index}`, { index })
    await facts.write('documents', 'd', 'x'.repeat(5 * BLOCK))
    await writeFile(path.join(layout.facts, 'files', 'README'), 'not ours')
    const next = await scene({}, layout)
    await next.facts.count(never)
    expect(next.bytes()).toBe(46 * BLOCK)
    for (let index = 0; index < 10; index += 1) await rm(layout.fact('files', `f${index}`))
    await next.facts.count(never)
    expect(next.bytes()).toBe(36 * BLOCK)
  })

  it('is counted right while facts change', async () => {
    const { facts, layout } = await scene()
    for (let index = 0; index < 300; index += 1) await facts.write('files', `f${index}`, { index })
    const next = await scene({}, layout)
    const counting = next.facts.count(never)
    await Promise.all(
      Array.from({ length: 150 }, (_, index) => [
        next.facts.write('files', `g${index}`, { index }),
        next.facts.write('files', `f${index}`, 'x'.repeat(BLOCK)),
        next.facts.remove('files', `f${index + 150}`),
      ]).flat(),
    )
    await counting
    expect(next.bytes()).toBe(await onDisk(layout))
    expect(next.bytes()).toBe(450 * BLOCK)
  })

  it('is no longer counted once the signal aborts', async () => {
    const { facts, layout } = await scene()
    await facts.write('refs', 'a', 1)
    const next = await scene({}, layout)
    await next.facts.count(AbortSignal.abort())
    expect(next.bytes()).toBe(0)
  })

  it('does not include a fact that could not be written', async () => {
    const { facts, layout, bytes } = await scene()
    await mkdir(layout.fact('refs', 'a'), { recursive: true })
    await writeFile(path.join(layout.fact('refs', 'a'), 'in the way'), '')
    const before = bytes()
    await expect(facts.write('refs', 'a', 1)).rejects.toThrow()
    expect(bytes()).toBe(before)
  })
})

describe('facts above their share', () => {
  it('take no more than their share, however many are written at once', async () => {
    const maxBytes = 50 * BLOCK
    let most = 0
    const { facts, layout, troubles } = await scene({
      maxBytes,
      onBytes: (bytes) => {
        most = Math.max(most, bytes)
      },
    })
    await Promise.all(
      Array.from({ length: 600 }, (_, index) => facts.write('files', `f${index}`, { absent: true })),
    )
    expect(most).toBeLessThanOrEqual(maxBytes)
    expect(await onDisk(layout)).toBeLessThanOrEqual(maxBytes)
    expect(await onDisk(layout)).toBeGreaterThan(maxBytes / 2)
    expect(await readdir(layout.tmp)).toEqual([])
    expect(troubles).toEqual([])
  })

  it('are evicted from the kind that takes most, so that a flood of one kind displaces no other', async () => {
    const { facts, layout } = await scene({ maxBytes: 60 * BLOCK })
    for (let index = 0; index < 10; index += 1) {
      await facts.write('repos', `r${index}`, { public: true })
      await facts.write('refs', `main${index}`, { commit: 'c' })
    }
    for (let index = 0; index < 40; index += 1)
      await facts.write('documents', `d${index}`, 'x'.repeat(3 * BLOCK))
    for (let index = 0; index < 10; index += 1) {
      expect(await facts.read('repos', `r${index}`)).toEqual({ public: true })
      expect(await facts.read('refs', `main${index}`)).toEqual({ commit: 'c' })
    }
    expect(await onDisk(layout)).toBeLessThanOrEqual(60 * BLOCK)
  })

  it('are evicted in the order of their last use', async () => {
    const { facts, layout } = await scene({ maxBytes: 40 * BLOCK })
    for (let index = 0; index < 40; index += 1) {
      await facts.write('files', `f${index}`, { index })
      await age(layout, 'files', `f${index}`, 100 - index)
    }
    // A read is a use, which is recorded on the disk soon.
    expect(await facts.read('files', 'f0')).toEqual({ index: 0 })
    await eventually(
      () => lstat(layout.fact('files', 'f0')),
      ({ mtimeMs }) => Date.now() - mtimeMs < 60_000,
    )
    await facts.write('files', 'new', {})
    expect(await facts.read('files', 'f0')).toEqual({ index: 0 })
    expect(await facts.read('files', 'f1')).toBeUndefined()
    expect(await facts.read('files', 'f39')).toEqual({ index: 39 })
  })

  it('stay on the disk when they are used from memory', async () => {
    let clock = Date.now()
    const { facts, layout } = await scene({ memoryBytes: 1_000_000, now: () => clock })
    await facts.write('refs', 'hot', 1)
    await age(layout, 'refs', 'hot', 50)
    clock += 3_600_000
    expect(facts.peek('refs', 'hot')).toBe(1)
    await eventually(
      () => lstat(layout.fact('refs', 'hot')),
      ({ mtimeMs }) => Math.abs(mtimeMs - clock) < 60_000,
    )
  })

  it('leave no old value behind when the new one is too large to be stored', async () => {
    const { facts, layout, bytes } = await scene({ maxBytes: 40 * BLOCK })
    await facts.write('documents', 'd', 'small')
    await facts.write('documents', 'd', 'x'.repeat(11 * BLOCK))
    expect(await facts.read('documents', 'd')).toBeUndefined()
    expect([bytes(), await onDisk(layout)]).toEqual([0, 0])
  })

  it('are made to fit at the start when the share has become smaller', async () => {
    const { facts, layout } = await scene()
    for (let index = 0; index < 200; index += 1) await facts.write('files', `f${index}`, { index })
    const next = await scene({ maxBytes: 20 * BLOCK }, layout)
    await next.facts.count(never)
    expect(next.bytes()).toBeLessThanOrEqual(20 * BLOCK)
    expect(await onDisk(layout)).toBe(next.bytes())
  })

  it('do not block a write when one of them cannot be removed', async () => {
    const { facts, layout } = await scene({ maxBytes: 8 * BLOCK })
    for (let index = 0; index < 8; index += 1) await facts.write('files', `f${index}`, { index })
    // A directory under the name of a fact: unlink cannot remove it.
    for (let index = 0; index < 8; index += 1) {
      await rm(layout.fact('files', `f${index}`))
      await mkdir(layout.fact('files', `f${index}`))
    }
    await facts.write('refs', 'main', { commit: 'c' })
    expect(await onDisk(layout, 'refs')).toBe(0)
    for (let index = 0; index < 8; index += 1)
      await rm(layout.fact('files', `f${index}`), { recursive: true })
    await facts.write('refs', 'main', { commit: 'c' })
    expect(await facts.read('refs', 'main')).toEqual({ commit: 'c' })
  })

  it('stay removed when they are removed while room is made for them', async () => {
    const { facts, layout } = await scene({ maxBytes: 20 * BLOCK, memoryBytes: 1_000_000 })
    const work: Promise<void>[] = []
    for (let index = 0; index < 100; index += 1) {
      work.push(facts.write('files', `f${index}`, { index }))
      work.push(facts.write('repos', `r${index}`, { public: true }))
      work.push(facts.remove('repos', `r${index}`))
    }
    await Promise.all(work)
    expect(await onDisk(layout, 'repos')).toBe(0)
  })
})

describe('on a disk that is nearly full', () => {
  it('facts displace as much as they take, and no more', async () => {
    let short = 0
    const { facts, layout } = await scene({ shortBytes: () => Promise.resolve(short) })
    for (let index = 0; index < 600; index += 1) await facts.write('files', `f${index}`, { index })
    const before = await onDisk(layout)
    short = 1e12
    for (let index = 0; index < 1200; index += 1) await facts.write('files', `g${index}`, { index })
    const after = await onDisk(layout)
    // The disk is checked once per MiB.
    expect(after).toBeLessThanOrEqual(before + 2 * 1024 * 1024)
    expect(after).toBeGreaterThan(before / 2)
  })

  it('facts are written even if the free space is unknown', async () => {
    const { facts, layout, troubles } = await scene({ shortBytes: () => Promise.reject(new Error('EIO')) })
    for (let index = 0; index < 300; index += 1) await facts.write('files', `f${index}`, { index })
    expect(await onDisk(layout)).toBe(300 * BLOCK)
    expect(troubles.length).toBeGreaterThan(0)
  })
})

describe('a store', () => {
  it('counts its facts toward its limit', async () => {
    const root = await scratchDirectory()
    const first = await open(root, { maxBytes: 100 * BLOCK })
    await first.scanned
    for (let index = 0; index < 60; index += 1) await first.facts.write('files', `f${index}`, { index })
    await first.close()
    const sizes: number[] = []
    const store = await open(root, {
      maxBytes: 100 * BLOCK,
      observer: { ...silentObserver, storeChanged: ({ sizeBytes }) => sizes.push(sizeBytes) },
    })
    await store.scanned
    expect(sizes.at(-1)).toBe(60 * BLOCK)
    expect(await store.ledger.reserve(41 * BLOCK)).toBeUndefined()
    const room = await store.ledger.reserve(40 * BLOCK)
    expect(room).toBeDefined()
    room?.release()
    await store.close()
  })
})
