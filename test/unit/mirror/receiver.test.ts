// What an upload leaves in the store: a blob when all is well, and nothing in every other case.

import { setImmediate as turn } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { Downloads } from '../../../src/mirror/downloads/downloads.ts'
import { PendingBytes, Receiver } from '../../../src/mirror/downloads/receiver.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from '../store/scratch.ts'

const BYTES = patternBytes(600_000)
const KEY = sha256Key(BYTES)
const HALVES = [BYTES.subarray(0, 300_000), BYTES.subarray(300_000)] as const

function fail(error: unknown): void {
  throw error
}

async function setUp() {
  const store = await open(await scratchDirectory(), {})
  await store.scanned
  const downloads = new Downloads({
    store,
    connections: 1,
    abandoned: 'stop',
    observer: silentObserver,
    onStorageFailed: fail,
    onNoSpace: () => undefined,
  })
  onTestFinished(async () => {
    await downloads.close()
    expect(store.ledger.reservedBytes).toBe(0)
    await store.close()
  })
  const isStored = async () => {
    const blob = await store.blobs.open(KEY, BYTES.length)
    await blob?.close()
    return blob !== undefined
  }
  return { store, downloads, isStored }
}

const yes = () => Promise.resolve(true)

it.each([
  ['whole, right and public', HALVES, yes, true],
  ['not public', HALVES, () => Promise.resolve(false), false],
  ['shorter than announced', [HALVES[0]], yes, false],
  ['of another digest', [HALVES[1], HALVES[0]], yes, false],
])('an upload that is %s', async (_how, chunks, mayKeep, isKept) => {
  const { downloads, isStored } = await setUp()
  const receiver = await downloads.receive(KEY, BYTES.length, mayKeep)
  for (const chunk of chunks) receiver?.write(chunk)
  receiver?.finish()
  await downloads.finishing(KEY)
  await downloads.settled(KEY)
  expect(await isStored()).toBe(isKept)
})

it('bytes that were received are not resumed by a download', async () => {
  const { store, downloads } = await setUp()
  const receiver = await downloads.receive(KEY, BYTES.length, yes)
  receiver?.write(HALVES[0])
  await turn()
  receiver?.stop()
  await downloads.settled(KEY)
  const partial = await store.beginPartial(KEY, BYTES.length)
  expect(partial.map.presentBytes).toBe(0)
  await partial.release()
})

it('one upload of the same bytes is stored at a time, and none beside a partial that can be resumed', async () => {
  const { store, downloads } = await setUp()
  const first = downloads.receive(KEY, BYTES.length, yes)
  expect(await downloads.receive(KEY, BYTES.length, yes)).toBeUndefined()
  ;(await first)?.stop()
  await downloads.settled(KEY)
  const partial = await store.beginPartial(KEY, BYTES.length)
  await partial.reserve({ start: 0, end: BYTES.length })
  await partial.write(0, [HALVES[0]])
  await partial.keep()
  await partial.release()
  expect(await downloads.receive(KEY, BYTES.length, yes)).toBeUndefined()
  const resumed = await store.beginPartial(KEY, BYTES.length)
  expect(resumed.map.presentBytes).toBeGreaterThan(0)
  await resumed.release()
})

it('an upload gives way to bytes that a command brings, as it does to a download', async () => {
  const { downloads, isStored } = await setUp()
  const receiver = await downloads.receive(KEY, BYTES.length, yes)
  receiver?.write(HALVES[0])
  async function* chunks(): AsyncGenerator<Buffer> {
    yield* HALVES
  }
  const { signal } = new AbortController()
  expect(await downloads.take(KEY, BYTES.length, { chunks: chunks(), signal }, async () => false)).toBe(
    'stored',
  )
  receiver?.write(HALVES[1])
  receiver?.finish()
  expect(await isStored()).toBe(true)
})

it('a disk that is too far behind ends the storing, and gives the memory back', async () => {
  const { store } = await setUp()
  const partial = await store.beginPartial(KEY, BYTES.length)
  const pending = new PendingBytes(350_000)
  let isEnded = (): void => {}
  const ended = new Promise<void>((resolve) => (isEnded = resolve))
  const none = { onStorageFailed: fail, onNoSpace: () => undefined }
  const receiver = new Receiver({ ...none, partial, pending, mayKeep: yes, onEnded: isEnded })
  receiver.write(HALVES[0])
  receiver.write(HALVES[1])
  receiver.finish()
  await ended
  expect([pending.take(350_000), await store.blobs.open(KEY, BYTES.length)]).toEqual([true, undefined])
})
