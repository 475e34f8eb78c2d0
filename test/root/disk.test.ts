import { mkdir, open, rm, statfs, unlink, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { BodyThreads } from '../../src/origin/threads/body-threads.ts'
import { type Asked, probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { manualClock } from '../support/clock.ts'
import { cutShort } from '../support/damage.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import {
  filesBelow,
  metricValue,
  type RunningMirror,
  startMirror,
  whenIdle,
} from '../support/start-mirror.ts'
import { startTlsCdn } from '../support/tls-cdn.ts'
import { mountDisk, type SmallDisk, whyNoDisk } from '../support/tmpfs.ts'
import { verdictOf } from '../support/verdict.ts'

const SIZE = 5_000_000
const LARGE = 24_000_000
const FILES = ['a.bin', 'b.bin', 'c.bin'] as const
const noDisk = await whyNoDisk()

let hub: Hub
let mirror: RunningMirror
let disk: SmallDisk
let readOnly = false
const clock = manualClock()

afterEach(async () => {
  hub.faults.clear()
  try {
    if (readOnly) await disk.readOnly(false)
    await mkdir(mirror.cacheDir, { recursive: true })
    await mirror.close()
  } finally {
    await hub.close()
    await disk.unmount()
  }
})

async function start(
  cacheMinFreeBytes = 0,
  diskMiB = 16,
  cdn: Partial<Awaited<ReturnType<typeof startTlsCdn>>> = {},
): Promise<void> {
  readOnly = false
  const world = new World()
  world.model('acme/open').commit({
    ...Object.fromEntries(FILES.map((name, index) => [name, lfs({ sizeBytes: SIZE, seed: index + 1 })])),
    'large.bin': lfs({ sizeBytes: LARGE, seed: 9 }),
    'small.json': '{"small":true}',
  })
  hub = await startHub({ world, ...cdn })
  disk = await mountDisk(diskMiB)
  const cacheDir = join(disk.directory, 'cache')
  const config = { cacheMinFreeBytes, redirectHosts: ['127.0.0.1', '127.0.0.2'] }
  mirror = await startMirror({ hub, cacheDir, config, monotonic: clock.now })
}

const get = (path: string, asked: Asked = {}) => probe(`${mirror.url}/acme/open/resolve/main/${path}`, asked)
const right = (path: string) => bytesOf(hub.world.model('acme/open'), 'main', path)

async function expectServed(path: string): Promise<string> {
  const got = await get(path)
  expect(verdictOf(got, right(path))).toBe('whole')
  return String(got.headers['x-cache'])
}

async function storeIsOk(): Promise<boolean> {
  const answer = await fetch(`${mirror.url}/readyz`)
  expect(answer.status, 'not ready, though it serves').toBe(200)
  const { checks } = (await answer.json()) as { checks: { store: { ok: boolean } } }
  return checks.store.ok
}

/** The store is asked again some seconds after it failed. */
async function afterRest(): Promise<void> {
  clock.advance(11_000)
}

async function setReadOnly(on: boolean): Promise<void> {
  await disk.readOnly(on)
  readOnly = on
}

/** Takes every byte that is left. */
async function fillUp(): Promise<() => Promise<void>> {
  const ballast = join(disk.directory, 'ballast')
  const handle = await open(ballast, 'w')
  for (const size of [1024 * 1024, 4096, 1]) {
    const piece = Buffer.alloc(size)
    for (;;) {
      const written = await handle.write(piece).catch(() => undefined)
      if (written === undefined || written.bytesWritten < size) break
    }
  }
  await handle.close()
  return () => unlink(ballast)
}

async function freeBytes(): Promise<number> {
  const { bavail, bsize } = await statfs(disk.directory)
  return bavail * bsize
}

const settledMetrics = () => whenIdle(() => mirror.metrics())

const noBodiesOpen = () =>
  eventually(
    async () =>
      (await openFilesBelow(mirror.cacheDir)).filter(
        (name) => !/\/(?:LOCK|(?:data|lock)\.mdb)( |$)/.test(name),
      ),
    (open) => open.length === 0,
  )

describe.skipIf(noDisk !== undefined)('a disk', () => {
  it('that is full from the start costs no request, and is used as soon as there is space', async () => {
    await start()
    const free = await fillUp()
    for (const path of [...FILES, 'small.json', ...FILES]) await expectServed(path)
    expect(await storeIsOk()).toBe(false)
    await free()
    await expectServed('a.bin')
    expect(
      await eventually(
        () => expectServed('a.bin'),
        (word) => word === 'HIT',
      ),
    ).toBe('HIT')
    await afterRest()
    expect(await storeIsOk()).toBe(true)
    await noBodiesOpen()
  })

  it.each([
    ['this thread', false],
    ['another thread', true],
  ])('that fills up in the middle of a download by %s costs no reader a byte', async (_, isTls) => {
    await start(0, 16, isTls ? await startTlsCdn() : {})
    const fetch = vi.spyOn(BodyThreads.prototype, 'fetch')
    onTestFinished(() => {
      fetch.mockRestore()
    })
    hub.faults.add({ where: 'cdn', stallAfterBytes: 2_000_000 })
    const readers = [get('a.bin'), get('a.bin'), get('a.bin', { headers: { range: 'bytes=1000-' } })]
    await hub.faults.whenStalled()
    expect(fetch.mock.calls.length > 0).toBe(isTls)
    const free = await fillUp()
    hub.faults.release()
    const [one, two, tail] = await Promise.all(readers)
    if (one === undefined || two === undefined || tail === undefined) throw new Error('no answer')
    expect(verdictOf(one, right('a.bin'))).toBe('whole')
    expect(verdictOf(two, right('a.bin'))).toBe('whole')
    // The rest of a file whose front this reader never got cannot be vouched for, but must not be wrong.
    expect(['whole', 'broken']).toContain(verdictOf(tail, right('a.bin').subarray(1000)))
    expect(await storeIsOk()).toBe(false)
    await free()
    await expectServed('a.bin')
    expect(
      await eventually(
        () => expectServed('a.bin'),
        (word) => word === 'HIT',
      ),
    ).toBe('HIT')
    await afterRest()
    expect(await storeIsOk()).toBe(true)
    await noBodiesOpen()
  })

  it('that has little space left loses the files used longest ago, until enough is free', async () => {
    const minFree = 5_500_000
    await start(minFree)
    const evictions = async () =>
      metricValue(await settledMetrics(), 'hubmirror_cache_evictions_total{reason="min-free"}')
    const serve = async (...paths: string[]) => {
      const words: string[] = []
      for (const path of paths) {
        words.push(await expectServed(path))
        await settledMetrics()
      }
      return words
    }
    // Two of them fit, beside what must stay free.
    expect([await serve('a.bin', 'b.bin', 'a.bin'), await evictions()]).toEqual([['MISS', 'MISS', 'HIT'], 0])
    expect([await serve('c.bin'), await evictions()]).toEqual([['MISS'], 1])
    expect(await freeBytes()).toBeGreaterThanOrEqual(minFree)
    expect([await serve('a.bin', 'c.bin', 'b.bin'), await evictions()]).toEqual([['HIT', 'HIT', 'MISS'], 2])
    // Another program takes what was free: there is room for one file of ours only.
    const tenant = join(disk.directory, 'tenant')
    await writeFile(tenant, Buffer.alloc(4_000_000))
    expect([await serve('a.bin', 'a.bin'), await evictions()]).toEqual([['MISS', 'HIT'], 4])
    expect(await freeBytes()).toBeGreaterThanOrEqual(minFree)
    // More than giving up everything could bring: it is kept then, and what is asked for passes through.
    const free = await fillUp()
    expect([await serve('b.bin', 'a.bin'), await evictions()]).toEqual([['BYPASS', 'HIT'], 4])
    const { checks } = (await (await fetch(`${mirror.url}/readyz`)).json()) as {
      checks: { room: { ok: boolean } }
    }
    expect(checks.room.ok).toBe(false)
    await Promise.all([free(), unlink(tenant)])
    expect([await serve('b.bin', 'b.bin', 'a.bin'), await evictions()]).toEqual([['MISS', 'HIT', 'HIT'], 4])
    await noBodiesOpen()
  })

  it('that becomes read-only in the middle of a download costs no reader a byte, and its files are served', async () => {
    await start()
    await expectServed('b.bin')
    hub.faults.add({ where: 'cdn', stallAfterBytes: 2_000_000 })
    const reader = get('a.bin')
    await hub.faults.whenStalled()
    await setReadOnly(true)
    hub.faults.release()
    expect(verdictOf(await reader, right('a.bin'))).toBe('whole')
    await noBodiesOpen()
    expect(await expectServed('b.bin')).toBe('HIT')
    await expectServed('c.bin')
    await expectServed('small.json')
    expect(await storeIsOk()).toBe(false)
    await setReadOnly(false)
    await expectServed('c.bin')
    expect(
      await eventually(
        () => expectServed('c.bin'),
        (word) => word === 'HIT',
      ),
    ).toBe('HIT')
    await afterRest()
    expect(await storeIsOk()).toBe(true)
  })

  it('whose directory is removed is not needed to serve, and is used again when it is back', async () => {
    await start()
    await expectServed('a.bin')
    hub.faults.add({ where: 'cdn', stallAfterBytes: 2_000_000 })
    const reader = get('b.bin')
    await hub.faults.whenStalled()
    await rm(mirror.cacheDir, { recursive: true })
    hub.faults.release()
    expect(verdictOf(await reader, right('b.bin'))).toBe('whole')
    for (const path of [...FILES, 'small.json']) await expectServed(path)
    await mkdir(mirror.cacheDir, { recursive: true })
    for (const path of [...FILES, 'small.json']) await expectServed(path)
    expect(
      await eventually(
        () => expectServed('c.bin'),
        (word) => word === 'HIT',
      ),
    ).toBe('HIT')
    await afterRest()
    expect(await storeIsOk()).toBe(true)
    await noBodiesOpen()
  })

  it('that loses or shortens a blob does not keep the right bytes from being served', async () => {
    await start()
    for (const path of FILES) await expectServed(path)
    await eventually(
      () => expectServed('c.bin'),
      (word) => word === 'HIT',
    )
    const blobs = [...(await filesBelow(join(mirror.cacheDir, 'blobs'))).keys()].map((name) =>
      join(mirror.cacheDir, 'blobs', name),
    )
    expect(blobs).toHaveLength(3)
    for (const [index, blob] of blobs.entries()) {
      if (index === 0) await unlink(blob)
      else if (index === 1) await cutShort(blob, 1000)
      else await rm(blob).then(() => writeFile(blob, ''))
    }
    for (const path of FILES) await expectServed(path)
    for (const path of FILES)
      expect(
        await eventually(
          () => expectServed(path),
          (word) => word === 'HIT',
        ),
      ).toBe('HIT')
  })

  it('that shortens a file under its readers breaks a whole download off, and serves a part to its end', async () => {
    await start(0, 64)
    await expectServed('large.bin')
    await settledMetrics()
    const begin = (range: string | undefined): Promise<IncomingMessage> =>
      new Promise((resolve) => {
        const url = `${mirror.url}/acme/open/resolve/main/large.bin`
        const asked = request(url, { agent: false, headers: range === undefined ? {} : { range } }, resolve)
        // The request reports a reset, too, if it is seen before the answer's end.
        asked.on('error', () => undefined).end()
      })
    const answers = [await begin(undefined), await begin(`bytes=0-${LARGE - 2}`)]
    for (const answer of answers) {
      expect(answer.headers['x-cache']).toBe('HIT')
      await new Promise((resolve) => answer.once('readable', resolve))
    }
    // What is on its way to a client that reads nothing is a fraction of this file.
    hub.ledger.clear()
    const [blob] = [...(await filesBelow(join(mirror.cacheDir, 'blobs'))).keys()]
    await cutShort(join(mirror.cacheDir, 'blobs', blob ?? ''), 100_000)
    const [whole, part] = await Promise.all(answers.map(collect))
    // What it got came from a disk that loses bytes: it cannot be known that all of it was right.
    expect(whole?.isComplete).toBe(false)
    expect(whole?.bytes.equals(right('large.bin').subarray(0, whole.bytes.length))).toBe(true)
    expect([part?.isComplete, part?.bytes.equals(right('large.bin').subarray(0, LARGE - 1))]).toEqual([
      true,
      true,
    ])
    const fetched = hub.ledger.bytes('cdn')
    expect(fetched).toBeGreaterThan(LARGE / 4)
    expect(fetched).toBeLessThan(LARGE)
    // The next one finds that the file is not what was stored.
    expect(await expectServed('large.bin')).toBe('MISS')
    expect(hub.ledger.bytes('cdn')).toBe(fetched + LARGE)
    await settledMetrics()
    expect(await expectServed('large.bin')).toBe('HIT')
    await noBodiesOpen()
  })
})

async function collect(answer: IncomingMessage): Promise<{ bytes: Buffer; isComplete: boolean }> {
  const parts: Buffer[] = []
  try {
    for await (const part of answer) parts.push(part as Buffer)
  } catch {
    // `complete` shows it.
  }
  return { bytes: Buffer.concat(parts), isComplete: answer.complete }
}
