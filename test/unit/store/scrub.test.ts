import { renameSync } from 'node:fs'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../../src/config/load.ts'
import { QUARANTINED_MAX } from '../../../src/store/blobs/quarantine.ts'
import type { Damage } from '../../../src/store/damage.ts'
import type { BlobKey } from '../../../src/store/digest.ts'
import { createPace, type ScrubClock, type ScrubReport, scrub } from '../../../src/store/upkeep/scrub.ts'
import { readPosition, writePosition } from '../../../src/store/upkeep/scrub-position.ts'
import { smallBlobsOf } from '../../../src/store/upkeep/walk.ts'
import { cutShort } from '../../support/damage.ts'
import { openFilesBelow } from '../../support/fd.ts'
import { gitKey, type MadeStore, makeStore, openAt, repoOf, sha256Key } from './made-store.ts'

let made: MadeStore
beforeEach(async () => {
  made = await makeStore()
})
afterEach(async () => {
  expect(await openFilesBelow(made.root)).toEqual([])
  await made.remove()
})

/** A clock that advances only by sleeping. */
function sleepingClock(): ScrubClock & { readonly sleptMs: () => number } {
  let nowMs = 5_000
  return {
    now: () => nowMs,
    sleptMs: () => nowMs - 5_000,
    sleep(delayMs) {
      nowMs += delayMs
      return Promise.resolve()
    },
  }
}

async function pass(
  options: Partial<Parameters<typeof scrub>[1]> = {},
): Promise<{ readonly report: ScrubReport; readonly damages: readonly Damage[] }> {
  const damages: Damage[] = []
  const report = await scrub(made.layout, {
    rateBytesPerSecond: undefined,
    signal: new AbortController().signal,
    smallBlobs: smallBlobsOf(made.layout),
    onDamaged: (damage) => void damages.push(damage),
    ...options,
  })
  return { report, damages }
}

describe('a pass', () => {
  it('finds one flipped bit in any block of a file, and moves the file away', async () => {
    const sound = await made.blob(Buffer.alloc(3_000_000, 1))
    const key = await made.blob(Buffer.alloc(3_000_000, 2))
    await made.flipBit(key, 2_500_000)
    const { report, damages } = await pass()
    expect(report).toEqual({
      finished: true,
      last: [sound, key].sort()[1],
      blobs: 2,
      sizeBytes: 6_000_000,
      damaged: 1,
      refused: 0,
    })
    expect(damages).toEqual([{ key, sizeBytes: 3_000_000, reason: 'digest', place: 'quarantined' }])
    await expect(stat(made.layout.blob(key))).rejects.toThrow('ENOENT')
    await stat(made.layout.blob(sound))
    expect(await made.quarantined()).toEqual([key.replace(':', '-')])
    expect((await pass()).report).toMatchObject({ blobs: 1, damaged: 0 })
  })

  it('verifies git blobs against their git id, which includes the length', async () => {
    const bytes = Buffer.from('{"model_type": "gpt2"}')
    await made.blob(bytes, { key: gitKey(bytes) })
    const cut = Buffer.from('a file that lost its end')
    const key = await made.fileBlob(cut, { key: gitKey(cut) })
    await cutShort(made.layout.blob(key), 6)
    const inTable = Buffer.from('a row that lost its end')
    const short = await made.blob(inTable.subarray(1), { key: gitKey(inTable) })
    const { report, damages } = await pass()
    expect(report.blobs).toBe(3)
    expect(damages.map((damage) => damage.key).sort()).toEqual([key, short].sort())
    expect(await made.quarantined()).toHaveLength(2)
    expect([await made.has(key), await made.has(short)]).toEqual([false, false])
    expect((await pass()).report).toMatchObject({ blobs: 1, damaged: 0 })
  })

  it('verifies a blob without a digest against the length in its fact, if there is one', async () => {
    const [short, right, unknown] = ['a', 'b', 'c'].map((digit): BlobKey => `opaque:${digit.repeat(64)}`)
    await made.fileBlob(Buffer.alloc(90), { key: short! })
    await made.file(repoOf('org/a'), 'short', short!, 100)
    await made.fileBlob(Buffer.alloc(100), { key: right! })
    await made.file(repoOf('org/a'), 'right', right!, 100)
    await made.fileBlob(Buffer.alloc(10), { key: unknown! })
    const { damages } = await pass({ readsFacts: true })
    expect(damages).toEqual([{ key: short, sizeBytes: 90, reason: 'length', place: 'quarantined' }])
  })

  it('continues after any blob, and sees each once', async () => {
    const bytes = Array.from({ length: 12 }, (_, number) => Buffer.from(`blob ${number}`))
    for (const [number, content] of bytes.entries())
      await made[number % 2 === 0 ? 'blob' : 'fileBlob'](content, {
        key: number % 3 === 0 ? gitKey(content) : sha256Key(content),
      })
    const order: BlobKey[] = []
    await pass({ onBlob: ({ last }) => void order.push(last as BlobKey) })
    expect(new Set(order).size).toBe(12)
    // By algorithm, and then by digest.
    expect(order.map((key) => key.slice(0, 4))).toEqual([...Array(8).fill('sha2'), ...Array(4).fill('gits')])
    for (const part of [order.slice(0, 8), order.slice(8)]) expect(part).toEqual(part.toSorted())
    await fc.assert(
      fc.asyncProperty(fc.nat(11), async (after) => {
        const seen: (BlobKey | undefined)[] = []
        const { report } = await pass({ from: order[after], onBlob: ({ last }) => void seen.push(last) })
        expect(seen).toEqual(order.slice(after + 1))
        expect(report.last).toBe(order[11])
      }),
      { numRuns: 12 },
    )
  })

  it('finds no damage in a small blob that was removed since it was listed', async () => {
    const keys = [await made.blob(Buffer.from('one')), await made.blob(Buffer.from('other'))].sort()
    const store = await openAt(made.root)
    await store.scanned
    const rows = store.smallBlobs.after(undefined)
    expect((await rows.next()).value?.key).toBe(keys[0])
    await store.blobs.remove(keys[1]!)
    expect(await rows.next()).toEqual({ done: true, value: undefined })
    await store.close()
  })

  it('takes as long as its rate says', async () => {
    const sizes = [3_000_000, 2_000_000, 10_000]
    for (const [index, size] of sizes.entries()) await made.blob(Buffer.alloc(size, index))
    const clock = sleepingClock()
    await pass({ rateBytesPerSecond: 1_000_000, clock })
    // Opening each of the two files costs as much as reading 64 KiB.
    expect(clock.sleptMs()).toBeCloseTo((5_010_000 + 2 * 65_536) / 1000, 0)
  })

  it('ends within one read of the signal, and continues with the blob it was at', async () => {
    const [first, second] = [Buffer.alloc(5_000_000, 1), Buffer.alloc(5_000_000, 2)].sort((a, b) =>
      sha256Key(a) < sha256Key(b) ? -1 : 1,
    )
    const done = await made.blob(first!)
    await made.blob(second!)
    const stopping = new AbortController()
    let readBytes = 0
    const { report } = await pass({
      signal: stopping.signal,
      onBytes(bytes) {
        readBytes += bytes
        if (readBytes > 6_000_000) stopping.abort()
      },
    })
    expect(report).toMatchObject({ finished: false, last: done, blobs: 1 })
    expect(readBytes).toBeLessThan(8_000_000)
  })

  it('does not wait for its pace once the signal has aborted', async () => {
    await made.blob(Buffer.alloc(3_000_000, 1))
    const stopping = new AbortController()
    const { report } = await pass({
      // A rate by which this file takes hours.
      rateBytesPerSecond: 100,
      signal: stopping.signal,
      clock: {
        now: () => performance.now(),
        sleep: async (_, signal) => {
          stopping.abort()
          expect(signal.aborted).toBe(true)
        },
      },
    })
    expect(report.finished).toBe(false)
  })

  it('leaves alone a good file that replaced the damaged one while it was read', async () => {
    const bytes = Buffer.alloc(2_000_000, 7)
    const key = await made.blob(bytes)
    await made.flipBit(key)
    const better = path.join(made.layout.tmp, 'better')
    await writeFile(better, bytes)
    let replaced = false
    const { damages } = await pass({
      onBytes() {
        if (replaced) return
        replaced = true
        renameSync(better, made.layout.blob(key))
      },
    })
    expect(damages.map(({ place }) => place)).toEqual(['replaced'])
    expect((await pass()).report).toMatchObject({ blobs: 1, damaged: 0 })
  })

  it('leaves a blob that it may not read, reports it, and continues', async () => {
    const odd: BlobKey = `sha256:${'0'.repeat(64)}`
    await mkdir(made.layout.blob(odd), { recursive: true })
    await made.blob(Buffer.from('behind it'))
    const refused: BlobKey[] = []
    const { report } = await pass({ onRefused: (key) => void refused.push(key) })
    expect(refused).toEqual([odd])
    expect(report).toMatchObject({ finished: true, blobs: 1, damaged: 0, refused: 1 })
  })

  it('keeps only the newest few in quarantine, directories of failed downloads among them', async () => {
    await mkdir(path.join(made.layout.quarantine, `sha256-${'e'.repeat(64)}`), { recursive: true })
    const keys: BlobKey[] = []
    for (let number = 0; number < QUARANTINED_MAX + 3; number += 1)
      keys.push(await made.blob(Buffer.from(`blob ${number}`)))
    for (const key of keys) await made.flipBit(key)
    const order: BlobKey[] = []
    await pass({ onDamaged: ({ key }) => void order.push(key) })
    const left = await made.quarantined()
    expect(left).toHaveLength(QUARANTINED_MAX)
    expect(left).toContain(order.at(-1)!.replace(':', '-'))
    expect(left).not.toContain(`sha256-${'e'.repeat(64)}`)
  })
})

describe('the pace', () => {
  it('lets nothing through faster than its rate, except for one second saved up', async () => {
    const steps = fc.array(
      fc.record({ bytes: fc.integer({ min: 0, max: 5_000 }), pauseMs: fc.integer({ min: 0, max: 10_000 }) }),
      { minLength: 1, maxLength: 40 },
    )
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 10_000 }), async (list, rate) => {
        const clock = sleepingClock()
        const { signal } = new AbortController()
        const pace = createPace(rate, clock)
        const times: { readonly at: number; readonly bytes: number }[] = []
        for (const { bytes, pauseMs } of list) {
          await clock.sleep(pauseMs, signal)
          const at = clock.now()
          await pace(bytes, signal)
          times.push({ at, bytes })
        }
        const endAt = clock.now()
        for (const [first, { at }] of times.entries()) {
          const bytes = times.slice(first).reduce((sum, step) => sum + step.bytes, 0)
          expect(bytes).toBeLessThanOrEqual(rate * ((endAt - at) / 1000 + 1) + 1e-3)
        }
      }),
    )
  })
})

describe('a position', () => {
  it('counts as none when it is damaged', async () => {
    const good = {
      after: sha256Key(Buffer.from('a')),
      startedAt: 1,
      blobs: 2,
      sizeBytes: 3,
      damaged: 0,
      refused: 0,
    }
    await writePosition(made.layout, 'verify', good)
    expect(await readPosition(made.layout, 'verify')).toEqual(good)
    expect(await readPosition(made.layout, 'scrub')).toBeUndefined()
    for (const bad of [
      '',
      '{"after":',
      '[]',
      JSON.stringify({ ...good, after: '../x' }),
      JSON.stringify({ ...good, blobs: -1 }),
    ]) {
      await writeFile(path.join(made.root, 'verify.json'), bad)
      expect(await readPosition(made.layout, 'verify')).toBeUndefined()
    }
  })
})

describe('its setting', () => {
  it.each([
    ['off', undefined],
    ['none', undefined],
    ['20MB', 20_000_000],
  ])('%s is read as %s bytes a second', (text, expected) => {
    const { config } = loadConfig({ env: { HUBMIRROR_SCRUB_RATE: text } })
    expect(config.scrubRateBytesPerSecond).toBe(expected)
  })

  it('is off unless it is set, and a rate too slow to end is refused', () => {
    expect(loadConfig({ env: {} }).config.scrubRateBytesPerSecond).toBeUndefined()
    expect(() => loadConfig({ env: { HUBMIRROR_SCRUB_RATE: '1KB' } })).toThrow(
      'expected at least 100000 bytes',
    )
  })
})
