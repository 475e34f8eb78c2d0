import { mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import type { DiskStore } from '../../../src/store/disk-store.ts'
import { readPosition, writePosition } from '../../../src/store/upkeep/scrub-position.ts'
import { type ScrubberOptions, startScrubber } from '../../../src/store/upkeep/scrubber.ts'
import { silentAuditor } from '../../../src/telemetry/audit.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { openFilesBelow } from '../../support/fd.ts'
import { type MadeStore, makeStore, openAt } from './made-store.ts'

let made: MadeStore
beforeEach(async () => {
  made = await makeStore()
})
afterEach(async () => {
  expect(await openFilesBelow(made.root)).toEqual([])
  await made.remove()
})

describe('the scrubber', () => {
  let store: DiskStore
  const lines: { readonly level: string; readonly fields: object; readonly text: string }[] = []
  const seen: unknown[] = []
  beforeEach(async () => {
    lines.length = 0
    seen.length = 0
  })

  /** A scrubber over an open store, which rests until it is stopped. */
  async function running(options: Partial<ScrubberOptions> = {}) {
    store = await openAt(made.root)
    await store.scanned
    let rested: () => void = () => {}
    const resting = new Promise<void>((resolve) => {
      rested = resolve
    })
    const log = (level: string) => (fields: object, text: string) => void lines.push({ level, fields, text })
    const stop = startScrubber({
      root: made.root,
      store,
      rateBytesPerSecond: 1_000_000_000_000,
      observer: {
        ...silentObserver,
        integrityFailure: (kind) => void seen.push(kind),
        evicted: (reason, bytes) => void seen.push([reason, bytes]),
      },
      auditor: { ...silentAuditor, act: ({ act, by }) => void seen.push([act, by.kind]) },
      log: { info: log('info'), warn: log('warn'), error: log('error') },
      now: Date.now,
      clock: {
        now: () => performance.now(),
        async sleep(delayMs, signal) {
          if (delayMs < 1000) return
          rested()
          await new Promise<void>((resolve) => {
            if (signal.aborted) resolve()
            signal.addEventListener('abort', () => resolve(), { once: true })
          })
        },
      },
      ...options,
    })
    return {
      resting,
      async end() {
        await stop()
        await store.close()
      },
    }
  }

  it('takes a damaged blob out of the store and its ledger, counts it and logs it', async () => {
    const sound = await made.blob(Buffer.from('sound'))
    const key = await made.blob(Buffer.alloc(1000, 3))
    await made.flipBit(key)
    const scrubber = await running()
    await scrubber.resting
    expect(seen).toEqual([['scrub', 'mirror'], 'disk', ['damaged', 1000]])
    expect([...store.ledger.entries()].map(([name]) => name)).toEqual([sound])
    expect(await store.blobs.open(key, 1000)).toBeUndefined()
    expect(await made.quarantined()).toHaveLength(1)
    expect(lines.map(({ level, text }) => [level, text])).toEqual([
      ['error', 'a stored blob was damaged; it will be fetched again'],
      ['info', 'the scrubber has verified all blobs'],
    ])
    expect(lines[0]?.fields).toMatchObject({ key, reason: 'digest', sizeBytes: 1000 })
    await scrubber.end()
  })

  it('removes a damaged blob even if the quarantine cannot be made', async () => {
    const keys = [await made.blob(Buffer.alloc(1000, 3)), await made.blob(Buffer.alloc(100_000, 3))]
    for (const key of keys) await made.flipBit(key)
    await writeFile(made.layout.quarantine, 'a file stands in its place')
    const scrubber = await running()
    await scrubber.resting
    await scrubber.end()
    for (const key of keys) expect([await made.has(key), await made.row(key)]).toEqual([false, undefined])
  })

  it('continues where the last process stopped, and begins again after a whole round', async () => {
    const order: BlobKey[] = []
    for (let number = 0; number < 4; number += 1) order.push(await made.blob(Buffer.from(`blob ${number}`)))
    order.sort()
    const before = {
      after: order[1]!,
      startedAt: Date.now(),
      blobs: 2,
      sizeBytes: 12,
      damaged: 0,
      refused: 0,
    }
    await writePosition(made.layout, 'scrub', before)
    // After the position: the rest of the round can find only this one.
    await made.flipBit(order[0]!)
    await made.flipBit(order[3]!)
    const scrubber = await running()
    await scrubber.resting
    expect(seen).toHaveLength(3)
    expect(lines.at(-1)?.fields).toMatchObject({ blobs: 4, damaged: 1 })
    expect(await readPosition(made.layout, 'scrub')).toBeUndefined()
    await scrubber.end()
    const next = await running()
    await next.resting
    expect(seen).toHaveLength(6)
    await next.end()
  })

  it('ends when it is stopped in the middle of a blob, and stores its position', async () => {
    const [first] = [await made.blob(Buffer.alloc(10)), await made.blob(Buffer.alloc(4_000_000, 1))].sort()
    // A byte a second: the first blob costs hours, so that the stop comes in the middle.
    const scrubber = await running({ rateBytesPerSecond: 1 })
    await scrubber.resting
    await scrubber.end()
    const position = await readPosition(made.layout, 'scrub')
    expect([undefined, first]).toContain(position?.after)
    expect(lines).toEqual([])
  })

  it('does nothing without a rate', async () => {
    const key = await made.blob(Buffer.alloc(1000, 3))
    await made.flipBit(key)
    const scrubber = await running({ rateBytesPerSecond: undefined })
    await scrubber.end()
    expect(await made.has(key)).toBe(true)
    expect(await readdir(made.root)).not.toContain('quarantine')
  })

  it('logs why a round failed, and rests before the next', async () => {
    await mkdir(path.join(made.root, 'scrub.json'))
    const scrubber = await running()
    await scrubber.resting
    expect(lines.map(({ level, text }) => [level, text])).toEqual([
      ['error', 'the scrubber failed; it tries again in an hour'],
    ])
    await scrubber.end()
  })
})
