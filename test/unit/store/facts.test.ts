import { stat } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { encodeFact, factId } from '../../../src/store/facts/fact-bytes.ts'
import { type FactsOptions } from '../../../src/store/facts/facts.ts'
import type { Layout } from '../../../src/store/layout.ts'
import { openTable } from '../../../src/store/table/table.ts'
import { walkFacts } from '../../../src/store/upkeep/walk.ts'
import { type OpenFacts, openFacts } from '../../support/open-facts.ts'
import { scratchLayout } from './scratch.ts'

interface Scene {
  readonly layout: Layout
  readonly facts: OpenFacts
  /** As after a restart, nothing is in memory. It closes those that were open. */
  readonly cold: (options?: Partial<FactsOptions>) => Promise<OpenFacts>
  /** Replaces what is stored of the key by other bytes. */
  readonly damage: (key: string, change: (bytes: Buffer) => Buffer) => Promise<void>
}

async function scratchFacts(memoryBytes = 1_000_000): Promise<Scene> {
  const layout = await scratchLayout()
  let open: OpenFacts | undefined
  const cold = async (options: Partial<FactsOptions> = {}): Promise<OpenFacts> => {
    await open?.close()
    open = await openFacts(layout, { memoryBytes, ...options })
    return open
  }
  onTestFinished(() => open?.close())
  return {
    layout,
    cold,
    facts: await cold(),
    async damage(key, change) {
      await open?.close()
      const table = await openTable(layout.facts, { readOnly: false })
      const name = { kind: 'refs', id: factId(key) } as const
      const before = table.fact(name)?.bytes ?? Buffer.alloc(0)
      table.change([{ act: 'put', ...name, bytes: change(Buffer.from(before)), usedAt: 0 }], 1e9)
      await table.close()
    },
  }
}

describe('facts', () => {
  it('are read back before and after a restart', async () => {
    const { facts, cold, layout } = await scratchFacts()
    const key = 'https://hub org/name "refs/pr/1"'
    await facts.write('refs', key, { commit: 'abc', list: [1, null, 'ü'] })
    expect(await facts.read('refs', key)).toEqual({ commit: 'abc', list: [1, null, 'ü'] })
    expect(await (await cold()).read('refs', key)).toEqual({ commit: 'abc', list: [1, null, 'ü'] })
    expect(await (await cold()).read('files', key)).toBeUndefined()
    for (const name of ['data.mdb', 'lock.mdb'])
      expect((await stat(`${layout.facts}/${name}`)).mode & 0o777).toBe(0o600)
  })

  it('are found by peek only in memory', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.write('refs', 'k', 1)
    expect(facts.peek('refs', 'k')).toBe(1)
    const restarted = await cold()
    expect(restarted.peek('refs', 'k')).toBeUndefined()
    await restarted.read('refs', 'k')
    expect(restarted.peek('refs', 'k')).toBe(1)
    await restarted.remove('refs', 'k')
    expect(restarted.peek('refs', 'k')).toBeUndefined()
  })

  it('are known to be absent until they are written', async () => {
    const { facts } = await scratchFacts()
    expect(await facts.read('refs', 'k')).toBeUndefined()
    expect(await facts.read('refs', 'k')).toBeUndefined()
    await facts.write('refs', 'k', 2)
    expect(await facts.read('refs', 'k')).toBe(2)
  })

  it('can be removed, even if they never existed', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.remove('refs', 'never')
    await facts.write('refs', 'k', 1)
    await facts.remove('refs', 'k')
    expect(await (await cold()).read('refs', 'k')).toBeUndefined()
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
    const restarted = await cold()
    const reading = restarted.read('refs', 'k')
    const writing = restarted.write('refs', 'k', 'new')
    expect(await reading).toBe('new')
    await writing
    expect(restarted.peek('refs', 'k')).toBe('new')
  })

  it('are read whole while they are overwritten again and again', async () => {
    const { facts } = await scratchFacts(0)
    const value = (round: number): string => String(round % 10).repeat(20_000)
    await facts.write('documents', 'k', value(0))
    const progress = { round: 0 }
    const writer = (async () => {
      for (; progress.round < 60; progress.round += 1)
        await facts.write('documents', 'k', value(progress.round))
    })()
    for (let reads = 0; reads < 20 || progress.round < 60; reads += 1) {
      expect(await facts.read('documents', 'k')).toMatch(/^(\d)\1{19999}$/)
      await setImmediate()
    }
    await writer
  })

  it('stay on the disk when they are used from memory', async () => {
    let now = 1e12
    const { layout, cold } = await scratchFacts()
    const facts = await cold({ now: () => now })
    await facts.write('refs', 'used', 1)
    await facts.write('refs', 'not used', 2)
    now += 3_600_000
    expect(facts.peek('refs', 'used')).toBe(1)
    await facts.close()
    const table = await openTable(layout.facts, { readOnly: true })
    expect([...(table?.walkFacts('refs') ?? [])].map(({ id }) => id)).toEqual([
      factId('not used'),
      factId('used'),
    ])
    await table?.close()
  })

  it('make other facts go where the limit is lower than what they take', async () => {
    const { facts, cold } = await scratchFacts()
    await Promise.all(Array.from({ length: 500 }, (_, index) => facts.write('files', `f${index}`, { index })))
    const sizes: number[] = []
    const smaller = await cold({ maxBytes: 10 * 4096 })
    smaller.watch((bytes) => sizes.push(bytes))
    await smaller.fit()
    expect(sizes[0]).toBeGreaterThan(10 * 4096)
    expect(sizes.at(-1)).toBeLessThanOrEqual(10 * 4096)
    expect(await smaller.read('files', 'f499')).toEqual({ index: 499 })
    expect(await smaller.read('files', 'f0')).toBeUndefined()
  })

  it('leave no old value behind when the new one is too large to be stored', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.write('documents', 'd', 'small')
    const limited = await cold({ maxBytes: 100_000 })
    await limited.write('documents', 'd', 'x'.repeat(30_000))
    expect(await limited.read('documents', 'd')).toHaveLength(30_000)
    expect(await (await cold()).read('documents', 'd')).toBeUndefined()
  })

  it('take no more room on a disk that is nearly full', async () => {
    const { cold } = await scratchFacts()
    let size = 0
    let asked = (): void => {}
    const wasAsked = new Promise<void>((resolve) => {
      asked = resolve
    })
    const facts = await cold({
      shortBytes() {
        asked()
        return Promise.resolve(1)
      },
    })
    facts.watch((bytes) => {
      size = bytes
    })
    await facts.write('documents', 'old', 'x'.repeat(1_100_000))
    await wasAsked
    const before = size
    for (let index = 0; index < 10; index += 1)
      await facts.write('documents', `d${index}`, 'x'.repeat(200_000))
    expect(size).toBeLessThanOrEqual(before)
    expect(await (await cold()).read('documents', 'd9')).toHaveLength(200_000)
  })
})

describe('a fact with a body', () => {
  const body = Buffer.concat([Buffer.from('{"a":1}\n\n'), Buffer.alloc(30_000, 0xff)])

  it('is read back byte for byte, before and after a restart', async () => {
    const { facts, cold } = await scratchFacts()
    await facts.write('refs', 'k', { type: 'x', body })
    expect(await facts.read('refs', 'k')).toEqual({ type: 'x', body })
    const again = await cold()
    expect(await again.read('refs', 'k')).toEqual({ type: 'x', body })
    await again.write('refs', 'k', { type: 'x', body: Buffer.alloc(0) })
    expect(await (await cold()).read('refs', 'k')).toEqual({ type: 'x', body: Buffer.alloc(0) })
  })

  it('is one object for all concurrent readers, and is not cached when memory is too small', async () => {
    const { facts, cold } = await scratchFacts(100_000)
    await facts.write('refs', 'k', { body })
    const restarted = await cold()
    const [one, other] = await Promise.all([restarted.read('refs', 'k'), restarted.read('refs', 'k')])
    expect(one).toBe(other)
    expect(restarted.peek('refs', 'k')).toBeUndefined()
  })

  it('is not read in its old state by a caller that asks after the write', async () => {
    const { facts, cold } = await scratchFacts(100_000)
    await facts.write('refs', 'k', { body })
    const restarted = await cold()
    const other = Buffer.alloc(body.length, 1)
    const before = restarted.read('refs', 'k')
    const writing = restarted.write('refs', 'k', { body: other })
    const after = restarted.read('refs', 'k')
    await Promise.all([before, writing])
    expect(await after).toEqual({ body: other })
    expect(await restarted.read('refs', 'k')).toEqual({ body: other })
  })

  it('is listed without its body', async () => {
    const { facts, layout } = await scratchFacts()
    await facts.write('refs', 'k', { type: 'x', body })
    await facts.close()
    const found = []
    for await (const fact of walkFacts(layout, 'refs')) found.push(fact)
    expect(found).toEqual([{ kind: 'fact', place: { id: factId('k') }, key: 'k', value: { type: 'x' } }])
  })
})

describe('bytes that are no fact', () => {
  const flipped = (position: number) => (bytes: Buffer) => {
    bytes[position] = (bytes[position] ?? 0) ^ 1
    return bytes
  }
  const damages: readonly [string, (bytes: Buffer) => Buffer][] = [
    ['are none', () => Buffer.alloc(0)],
    ['are three', (bytes) => bytes.subarray(0, 3)],
    ['are torn', (bytes) => bytes.subarray(0, 12)],
    ['have something behind them', (bytes) => Buffer.concat([bytes, Buffer.from('x')])],
    ['have a flipped bit in the checksum', flipped(0)],
    ['have a flipped bit in the JSON', flipped(20)],
    ['have a flipped bit in the body', (bytes) => flipped(bytes.length - 1)(bytes)],
    ['have a hole', (bytes) => bytes.fill(0, bytes.length - 4096)],
    ['are of another key', () => encodeFact('other', 1)],
  ]
  it.each(damages)('count as absent when they %s, and are replaced by a write', async (_, change) => {
    const { facts, cold, damage } = await scratchFacts()
    await facts.write('refs', 'k', { commit: 'abc', body: Buffer.alloc(9000, 1) })
    await damage('k', change)
    const restarted = await cold()
    expect(await restarted.read('refs', 'k')).toBeUndefined()
    await restarted.write('refs', 'k', 'again')
    expect(await (await cold()).read('refs', 'k')).toBe('again')
  })
})
