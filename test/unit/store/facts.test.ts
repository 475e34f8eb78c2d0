import { appendFile, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { createFacts } from '../../../src/store/facts/facts.ts'
import type { Layout } from '../../../src/store/layout.ts'
import type { Facts } from '../../../src/store/store.ts'
import { walkFacts } from '../../../src/store/upkeep/walk.ts'
import { scratchLayout } from './scratch.ts'

async function scratchFacts(
  memoryBytes = 1_000_000,
): Promise<{ layout: Layout; facts: Facts; cold: () => Facts; file: (key: string) => string }> {
  const layout = await scratchLayout()
  return {
    layout,
    facts: createFacts(layout, { memoryBytes }),
    // As after a restart, nothing is in memory.
    cold: () => createFacts(layout, { memoryBytes }),
    file: (key) => layout.fact('refs', key),
  }
}

describe('facts', () => {
  it('are read back before and after a restart', async () => {
    const { facts, cold, layout } = await scratchFacts()
    const key = 'https://hub org/name "refs/pr/1"'
    await facts.write('refs', key, { commit: 'abc', list: [1, null, 'ü'] })
    expect(await facts.read('refs', key)).toEqual({ commit: 'abc', list: [1, null, 'ü'] })
    expect(await cold().read('refs', key)).toEqual({ commit: 'abc', list: [1, null, 'ü'] })
    expect(await cold().read('files', key)).toBeUndefined()
    expect(await readdir(layout.tmp)).toEqual([])
    expect((await stat(layout.fact('refs', key))).mode & 0o777).toBe(0o600)
  })

  it('are found by peek only in memory', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.write('refs', 'k', 1)
    expect(facts.peek('refs', 'k')).toBe(1)
    const restarted = cold()
    expect(restarted.peek('refs', 'k')).toBeUndefined()
    await restarted.read('refs', 'k')
    expect(restarted.peek('refs', 'k')).toBe(1)
    await restarted.remove('refs', 'k')
    expect(restarted.peek('refs', 'k')).toBeUndefined()
  })

  it('are known to be absent until they are written', async () => {
    const { facts, file } = await scratchFacts()
    expect(await facts.read('refs', 'k')).toBeUndefined()
    await mkdir(path.dirname(file('k')), { recursive: true })
    await writeFile(file('k'), JSON.stringify({ key: 'k', value: 1 }))
    expect(await facts.read('refs', 'k')).toBeUndefined()
    await facts.write('refs', 'k', 2)
    expect(await facts.read('refs', 'k')).toBe(2)
  })

  it('can be removed, even if they never existed', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.remove('refs', 'never')
    await facts.write('refs', 'k', 1)
    await facts.remove('refs', 'k')
    expect(await cold().read('refs', 'k')).toBeUndefined()
  })

  it('are read from the disk when memory cannot hold them', async () => {
    const { facts } = await scratchFacts(100)
    await facts.write('documents', 'k', 'x'.repeat(10_000))
    expect(facts.peek('documents', 'k')).toBeUndefined()
    expect(await facts.read('documents', 'k')).toHaveLength(10_000)
    await facts.remove('documents', 'k')
    expect(await facts.read('documents', 'k')).toBeUndefined()
  })

  it('in memory are not replaced by an older value of a slow read', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.write('refs', 'k', 'old')
    const restarted = cold()
    const reading = restarted.read('refs', 'k')
    const writing = restarted.write('refs', 'k', 'new')
    expect(await reading).toBe('new')
    await writing
    expect(restarted.peek('refs', 'k')).toBe('new')
  })

  it('are read whole while they are overwritten again and again', async () => {
    const { facts, cold } = await scratchFacts()
    const value = (round: number): string => String(round % 10).repeat(20_000)
    await facts.write('documents', 'k', value(0))
    const progress = { round: 0 }
    const writer = (async () => {
      for (; progress.round < 60; progress.round += 1)
        await facts.write('documents', 'k', value(progress.round))
    })()
    for (let reads = 0; reads < 20 || progress.round < 60; reads += 1) {
      expect(await cold().read('documents', 'k')).toMatch(/^(\d)\1{19999}$/)
    }
    await writer
  })
})

describe('a fact with a body', () => {
  const body = Buffer.concat([Buffer.from('{"a":1}\n\n'), Buffer.alloc(30_000, 0xff)])

  it('is read back byte for byte, before and after a restart', async () => {
    const { facts, cold, file } = await scratchFacts()
    await facts.write('refs', 'k', { type: 'x', body })
    for (const each of [facts, cold()]) expect(await each.read('refs', 'k')).toEqual({ type: 'x', body })
    const stored = await readFile(file('k'))
    expect(stored.subarray(-body.length).equals(body)).toBe(true)
    await facts.write('refs', 'k', { type: 'x', body: Buffer.alloc(0) })
    expect(await cold().read('refs', 'k')).toEqual({ type: 'x', body: Buffer.alloc(0) })
  })

  it('is one object for all concurrent readers, and is not cached when memory is too small', async () => {
    const { facts, cold } = await scratchFacts(100_000)
    await facts.write('refs', 'k', { body })
    const restarted = cold()
    const [one, other] = await Promise.all([restarted.read('refs', 'k'), restarted.read('refs', 'k')])
    expect(one).toBe(other)
    expect(restarted.peek('refs', 'k')).toBeUndefined()
  })

  it('is not read in its old state by a caller that asks after the write', async () => {
    const { facts, cold } = await scratchFacts(100_000)
    await facts.write('refs', 'k', { body })
    const restarted = cold()
    const other = Buffer.alloc(body.length, 1)
    const before = restarted.read('refs', 'k')
    const writing = restarted.write('refs', 'k', { body: other })
    const after = restarted.read('refs', 'k')
    await Promise.all([before, writing])
    expect(await after).toEqual({ body: other })
  })

  it.each([
    ['is shorter', (file: string) => truncate(file, 1000)],
    ['is longer', (file: string) => appendFile(file, 'x')],
    ['has lost its body', async (file: string) => truncate(file, (await readFile(file)).indexOf('\n'))],
    [
      'has a hole',
      async (file: string) => {
        const bytes = await readFile(file)
        await writeFile(file, bytes.fill(0, bytes.length - 4096))
      },
    ],
  ] as const)('counts as absent when its file %s', async (_, damage) => {
    const { facts, cold, file } = await scratchFacts()
    await facts.write('refs', 'k', { body })
    await damage(file('k'))
    expect(await cold().read('refs', 'k')).toBeUndefined()
  })

  it('is listed without its body', async () => {
    const { facts, layout, file } = await scratchFacts()
    await facts.write('refs', 'k', { type: 'x', body })
    await facts.write('refs', 'long', { type: 'y'.repeat(20_000), body })
    const found = []
    for await (const fact of walkFacts(layout, 'refs')) found.push(fact)
    const [one, other] = found.toSorted((a, b) => JSON.stringify(a).length - JSON.stringify(b).length)
    expect(one).toEqual({ kind: 'fact', file: file('k'), key: 'k', value: { type: 'x' } })
    expect(JSON.stringify(other).length).toBeGreaterThan(20_000)
    expect(JSON.stringify(other).length).toBeLessThan(21_000)
  })
})

describe('a file that is no fact', () => {
  const damages: readonly [string, (file: string, layout: Layout) => Promise<void>][] = [
    ['is empty', (file) => truncate(file, 0)],
    ['is torn', (file) => truncate(file, 12)],
    ['has something behind it', (file) => appendFile(file, '{}')],
    ['is of another key', (file) => writeFile(file, JSON.stringify({ key: 'other', value: 1 }))],
    ['has no key', (file) => writeFile(file, '{"value":1}')],
    ['is a list', (file) => writeFile(file, '[1]')],
    ['is null', (file) => writeFile(file, 'null')],
    ['is nested too deep', (file) => writeFile(file, '['.repeat(200_000))],
    ['is absurdly large', (file) => truncate(file, 3 * 1024 ** 3)],
  ]
  it.each(damages)('counts as absent when it %s, and is replaced by a write', async (_, damage) => {
    const { layout, facts, cold, file } = await scratchFacts()
    await facts.write('refs', 'k', { commit: 'abc' })
    await damage(file('k'), layout)
    const restarted = cold()
    expect(await restarted.read('refs', 'k')).toBeUndefined()
    await restarted.write('refs', 'k', 'again')
    expect(await cold().read('refs', 'k')).toBe('again')
  })

  it('is neither read nor written through a link', async () => {
    const { layout, cold, file } = await scratchFacts()
    const outside = path.join(layout.root, 'outside.json')
    await writeFile(outside, JSON.stringify({ key: 'k', value: 'mine' }))
    await mkdir(path.dirname(file('k')), { recursive: true })
    await symlink(outside, file('k'))
    expect(await cold().read('refs', 'k')).toBeUndefined()
    await cold().write('refs', 'k', 'theirs')
    expect(JSON.parse(await readFile(outside, 'utf8'))).toEqual({ key: 'k', value: 'mine' })
    expect(await cold().read('refs', 'k')).toBe('theirs')
    await cold().remove('refs', 'k')
    expect(JSON.parse(await readFile(outside, 'utf8'))).toEqual({ key: 'k', value: 'mine' })
  })
})
