// What downloads reserve in the store: room for a file once, however many readers it has, and none after the end. And when a
// download without readers goes on.

import { describe, expect, it, onTestFinished } from 'vitest'
import { type AbandonedPull, Downloads } from '../../../src/mirror/downloads/downloads.ts'
import type { RangeSource } from '../../../src/mirror/downloads/range-source.ts'
import type { DiskStore, StoreOptions } from '../../../src/store/disk-store.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { eventually } from '../../support/eventually.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from '../store/scratch.ts'

const BLOCK = 256 * 1024
const BYTES = patternBytes(4 * BLOCK)
const KEY = sha256Key(BYTES)

async function setUp(options: Partial<StoreOptions> = {}, abandoned: AbandonedPull = 'stop') {
  const store = await open(await scratchDirectory(), options)
  await store.scanned
  const downloads = new Downloads({
    store,
    connections: 1,
    abandoned,
    observer: silentObserver,
    onStorageFailed: fail,
    onNoSpace: () => undefined,
  })
  onTestFinished(async () => {
    await downloads.close()
    await store.close()
  })
  return { store, downloads }
}

function fail(error: unknown): void {
  throw error
}

/** Gives nothing before `gate` resolves. */
function bodyAfter(gate: Promise<void>): () => RangeSource {
  const body = {
    ignoresRanges: false,
    async *read(range: { start: number; end: number }) {
      await gate
      yield BYTES.subarray(range.start, range.end)
    },
  }
  return () => body
}

function gate(): { readonly passed: Promise<void>; open(): void; fail(error: Error): void } {
  const waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  const passed = new Promise<void>((resolve, reject) => waiting.push({ resolve, reject }))
  return { passed, open: () => waiting[0]?.resolve(), fail: (error) => waiting[0]?.reject(error) }
}

const signal = new AbortController().signal
const WHOLE = { range: { start: 0, end: BYTES.length }, whole: true, signal }
const HALF = { range: { start: 0, end: 2 * BLOCK }, whole: false, signal }

/** Joins as `join` does, where no load is under way. */
function joinOf(downloads: Downloads) {
  return async (...args: Parameters<Downloads['join']>) => {
    const joined = await downloads.join(...args)
    if (joined === 'loading') throw new Error('there is no load')
    return joined
  }
}

async function idle(store: DiskStore, downloads: Downloads): Promise<void> {
  await eventually(
    () => downloads.count,
    (count) => count === 0,
  )
  expect(store.ledger.reservedBytes).toBe(0)
}

describe('the start of a download', () => {
  it('is counted once, for the reader that starts it', async () => {
    const { downloads } = await setUp()
    const start = gate()
    const counted: number[] = []
    const asking = Array.from({ length: 8 }, (_, who) => {
      const claim = () => Promise.resolve(void counted.push(who))
      return joinOf(downloads)(
        KEY,
        BYTES.length,
        { ...WHOLE, countAgainstLimit: claim },
        bodyAfter(start.passed),
      )
    })
    const joined = await Promise.all(asking)
    start.open()
    for (const each of joined) await each?.source.close()
    expect(counted).toEqual([0])
  })

  it('leaves it to the next reader when the first may not start it', async () => {
    const { downloads } = await setUp()
    const decided = gate()
    const refusal = new Error('too many')
    const claims = [() => decided.passed, () => Promise.resolve(), () => Promise.resolve()]
    const asking = claims.map((claim) =>
      joinOf(downloads)(
        KEY,
        BYTES.length,
        { ...WHOLE, countAgainstLimit: claim },
        bodyAfter(Promise.resolve()),
      ),
    )
    decided.fail(refusal)
    const [first, ...others] = await Promise.allSettled(asking)
    expect(first).toMatchObject({ status: 'rejected', reason: refusal })
    const joined = others.map((each) => (each.status === 'fulfilled' ? each.value : undefined))
    expect(joined.map((each) => each?.how)).toEqual(['started', 'joined'])
    for (const each of joined) await each?.source.close()
  })

  it('does not keep the table from closing while it waits to be counted', async () => {
    const { store, downloads } = await setUp()
    const decided = gate()
    const asking = joinOf(downloads)(
      KEY,
      BYTES.length,
      { ...WHOLE, countAgainstLimit: () => decided.passed },
      bodyAfter(decided.passed),
    )
    const closing = downloads.close()
    decided.fail(new Error('too many'))
    await expect(asking).rejects.toThrow('too many')
    await closing
    await idle(store, downloads)
  })
})

describe('the space for a file', () => {
  it.each([
    ['the whole of it', WHOLE, BYTES.length],
    ['the same part of it', HALF, BYTES.length],
  ])('is reserved once if many callers request %s at the same time', async (_, reader, mostBytes) => {
    // Room for one and a half: reserving it twice would fail.
    const { store, downloads } = await setUp({ maxBytes: BYTES.length * 1.5 })
    const start = gate()
    const asking = Array.from({ length: 8 }, () =>
      joinOf(downloads)(KEY, BYTES.length, reader, bodyAfter(start.passed)),
    )
    const joined = (await Promise.all(asking)).filter((each) => each !== undefined)
    expect(joined.map(({ how }) => how)).toEqual(['started', ...Array.from({ length: 7 }, () => 'joined')])
    expect(store.ledger.reservedBytes).toBeLessThanOrEqual(mostBytes)
    start.open()
    await Promise.all(joined.map(({ source }) => source.waitFor(0)))
    await Promise.all(joined.map(({ source }) => source.close()))
    await idle(store, downloads)
  })

  it('is released when the download fails while it is being made, and the next download serves', async () => {
    const { store, downloads } = await setUp()
    const start = gate()
    const first = await joinOf(downloads)(KEY, BYTES.length, HALF, bodyAfter(start.passed))
    const failed = first?.source.waitFor(0).catch((error: unknown) => error)
    const made = gate()
    const reserve = store.ledger.reserve.bind(store.ledger)
    store.ledger.reserve = async (bytes) => {
      store.ledger.reserve = reserve
      const reservation = await reserve(bytes)
      await made.passed
      return reservation
    }
    const rest = { range: { start: 2 * BLOCK, end: BYTES.length }, whole: false, signal }
    const counted: string[] = []
    const claim = () => Promise.resolve(void counted.push('second'))
    const second = joinOf(downloads)(
      KEY,
      BYTES.length,
      { ...rest, countAgainstLimit: claim },
      bodyAfter(Promise.resolve()),
    )
    await eventually(
      () => store.ledger.reservedBytes,
      (bytes) => bytes === BYTES.length,
    )
    start.fail(new Error('the origin went away'))
    await failed
    await first?.source.close()
    await eventually(
      () => downloads.count,
      (count) => count === 0,
    )
    made.open()
    const joined = await second
    expect([joined?.how, counted]).toEqual(['started', ['second']])
    const { start: position } = rest.range
    expect(await joined?.source.waitFor(position)).toBe(BYTES.length)
    const bytes = Buffer.alloc(BLOCK)
    await joined?.source.read(bytes, 0, BLOCK, position)
    expect(bytes.equals(BYTES.subarray(position, position + BLOCK))).toBe(true)
    await joined?.source.close()
    await idle(store, downloads)
  })
})

describe('a download whose last reader has left', () => {
  const MIB = 1024 * 1024

  it.each<['goes on' | 'ends', AbandonedPull, string, { size: number; blocks: number }]>([
    ['goes on', 'finish', 'whatever is missing', { size: 600 * MIB, blocks: 0 }],
    ['ends', 'stop', 'however little is missing', { size: MIB, blocks: 3 }],
    ['goes on', 'auto', 'with 256 MB to come', { size: 256_000_000, blocks: 0 }],
    ['ends', 'auto', 'with a byte more to come', { size: 256_000_001, blocks: 0 }],
    ['goes on', 'auto', 'with half of it there', { size: 600 * MIB, blocks: 1200 }],
    ['ends', 'auto', 'with a block less than half of it there', { size: 600 * MIB, blocks: 1199 }],
  ])('%s under %s, %s', async (then, abandoned, _, { size, blocks }) => {
    const { store, downloads } = await setUp({}, abandoned)
    const earlier = await store.beginPartial(KEY, size)
    for (let block = 0; block < blocks; block += 1) earlier.map.add(block)
    await earlier.checkpoint()
    await earlier.release()
    const pulling: AbortSignal[] = []
    const body = {
      ignoresRanges: false,
      read(_range: unknown, untilEnd: AbortSignal) {
        pulling.push(untilEnd)
        const nothing = new Promise<never>((_resolve, reject) => {
          untilEnd.addEventListener('abort', () => reject(untilEnd.reason as Error))
        })
        return { [Symbol.asyncIterator]: () => ({ next: () => nothing }) }
      },
    }
    const whole = { range: { start: 0, end: size }, whole: true, signal }
    const joined = await joinOf(downloads)(KEY, size, whole, () => body)
    expect([joined?.how, pulling.length]).toEqual([blocks > 0 ? 'resumed' : 'started', 1])
    await joined?.source.close()
    expect(pulling.map(({ aborted }) => aborted)).toEqual([then === 'ends'])
    if (then === 'ends') await idle(store, downloads)
    else expect(downloads.count).toBe(1)
  })
})

describe('a load', () => {
  it('holds up a reader for seconds at most, and not one that leaves', async () => {
    const { downloads } = await setUp()
    const stalled = gate()
    const chunks = stalledAfter(2 * BLOCK, stalled.passed)
    const { signal } = new AbortController()
    const loading = downloads.take(KEY, BYTES.length, { chunks, signal }, () => Promise.resolve(false))
    const gone = new AbortController()
    const waiting = downloads.take(KEY, BYTES.length, { chunks, signal: gone.signal }, () =>
      Promise.resolve(false),
    )
    gone.abort(new Error('the command has left'))
    await expect(waiting).rejects.toThrow('the command has left')
    const leaving = new AbortController()
    const left = downloads.arriving(KEY, leaving.signal)
    leaving.abort(new Error('the reader has left'))
    await expect(left).rejects.toThrow('the reader has left')
    const startedAt = performance.now()
    await downloads.arriving(KEY, signal)
    expect(performance.now() - startedAt).toBeGreaterThan(2_000)
    const none = () => fail(new Error('nothing is requested')) as never
    expect(await downloads.join(KEY, BYTES.length, WHOLE, none)).toBe('loading')
    // What a reader waits for when its download has ended is no load.
    await downloads.settled(KEY)
    stalled.open()
    expect(await loading).toBe('stored')
    expect(downloads.arriving(KEY, signal)).toBeUndefined()
  })
})

/** The first bytes of the file, and the others when `gate` resolves. */
async function* stalledAfter(bytes: number, gate: Promise<void>): AsyncGenerator<Buffer, void, undefined> {
  yield BYTES.subarray(0, bytes)
  await gate
  yield BYTES.subarray(bytes)
}
