// A small range of a stored file is answered without a decision, with one read of a file that is open already. It must
// be the very answer that the full path gives, never of a file that has gone, and nothing may stay open for it.

import { createHash } from 'node:crypto'
import { readFile, stat, unlink } from 'node:fs/promises'
import { Agent, get, type IncomingMessage } from 'node:http'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { BlockSums } from '../../src/store/blobs/block-sums.ts'
import { OpenFile } from '../../src/store/blobs/open-files.ts'
import { quarantineBlob } from '../../src/store/blobs/quarantine.ts'
import type { BlobKey } from '../../src/store/digest.ts'
import { createLayout } from '../../src/store/layout.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { cachedScene, comparable, FULL_PATH } from '../support/cached-scene.ts'
import { cutShort, flipBit } from '../support/damage.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { rawHttp } from '../support/raw-http.ts'
import { metricValue } from '../support/start-mirror.ts'

const SIZE = 1_000_000
const REPO = 'acme/parts'
const BRANCH = `/${REPO}/resolve/main/w.bin`
const SMALL = Buffer.from('{"small":true,"but":"of some bytes"}\n')
const KIB = 1024

async function rangeScene(config: Partial<Config> = {}) {
  const scene = await cachedScene(config)
  scene.world.model(REPO).commit({ 'w.bin': lfs({ sizeBytes: SIZE, seed: 9 }), 'c.json': SMALL.toString() })
  const bytes = scene.bytes(REPO, 'w.bin')
  const key: BlobKey = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const { mirror } = scene
  const blob = createLayout(mirror.cacheDir).blob(key)
  const part = (first: number, last: number) => ({ headers: { range: `bytes=${first}-${last}` } })
  await scene.ask(BRANCH)
  await scene.settled()
  return {
    ...scene,
    pinned: BRANCH.replace('main', scene.commit(REPO)),
    bytes,
    key,
    blob,
    part,
    /** Asks for a part until its response is cached, and compares it with the bytes. */
    async warmPart(first: number, last: number, target = BRANCH) {
      const reply = await scene.warm(target, part(first, last))
      expect([reply.status, reply.body.equals(bytes.subarray(first, last + 1))]).toEqual([206, true])
      return reply
    },
    /** Waits until no blob is open. */
    closed: () =>
      eventually(
        () => openFilesBelow(`${mirror.cacheDir}/blobs`),
        (open) => open.length === 0,
      ),
    stays: () =>
      stat(blob).then(
        () => true,
        () => false,
      ),
    failures: async () =>
      metricValue(await mirror.metrics(), 'hubmirror_integrity_failures_total{kind="disk"}') ?? 0,
  }
}

/** The next read of a stored file: begun when `begun` resolves, over when `release` is called. */
function heldRead() {
  let release = (): void => {}
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => (begin = resolve))
  const reading = vi.spyOn(OpenFile.prototype, 'read')
  onTestFinished(() => reading.mockRestore())
  reading.mockImplementationOnce(async function (this: OpenFile, ...args) {
    begin()
    await new Promise<void>((resolve) => (release = resolve))
    return this.read(...args)
  })
  return { begun, release: () => release() }
}

describe('a cached range', () => {
  it('is the answer that the full path gives, for every range', async () => {
    const scene = await rangeScene({ refTtlMs: 3_600_000, accessTtlMs: 3_600_000 })
    const place = fc.oneof(
      fc.integer({ min: 0, max: SIZE + 10 }),
      fc.constantFrom(0, 1, SMALL.length - 1, SMALL.length, 64 * KIB, SIZE - 1, SIZE, 2 ** 53),
    )
    const length = fc.oneof(fc.integer({ min: 1, max: 64 * KIB }), fc.constantFrom(64 * KIB, 64 * KIB + 1))
    const range = fc.oneof(
      { weight: 4, arbitrary: fc.tuple(place, length).map(([at, size]) => `bytes=${at}-${at + size - 1}`) },
      length.map((size) => `bytes=-${size}`),
      place.map((at) => `bytes=${at}-`),
      fc.constantFrom(
        'bytes=5-2',
        'bytes=-0',
        'bytes=0-0,4-5',
        'items=0-1',
        'Bytes= 3-9 ',
        'bytes=',
        'bytes=-',
      ),
    )
    const targets = [BRANCH, scene.pinned, `${scene.pinned}?download=true`, BRANCH.replace('w.bin', 'c.json')]
    const etag = `"${scene.key.slice('sha256:'.length)}"`
    const headers = fc.record(
      { range, 'if-range': fc.constantFrom(etag, etag, '"other"') },
      { requiredKeys: ['range'] },
    )
    let cached = 0
    for (const target of targets) await scene.warm(target, { headers: { range: 'bytes=0-9' } })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...targets), headers, async (target, asked) => {
        const full = await scene.asks(target, { headers: { ...asked, ...FULL_PATH } })
        const fast = await scene.asks(target, { headers: asked })
        expect(comparable(fast)).toEqual(comparable(full))
        expect(full.cached).toBe(false)
        if (fast.cached) cached += 1
      }),
      { numRuns: 80 },
    )
    // By chance: a tenth of them and more.
    expect(cached).toBeGreaterThan(0)
    await scene.closed()
  })

  it.each([
    [0, 7],
    [12_345, 12_345],
    [SIZE - 64 * KIB, SIZE - 1],
  ])('from %i to %i is read once, without a request to the Hub', async (first, last) => {
    const scene = await rangeScene()
    await scene.warmPart(first, last)
    const reading = vi.spyOn(OpenFile.prototype, 'read')
    onTestFinished(() => reading.mockRestore())
    scene.hub.ledger.clear()
    await eventually(
      async () => {
        reading.mockClear()
        return scene.asks(BRANCH, scene.part(first, last))
      },
      (reply) => reply.cached,
    )
    expect(reading).toHaveBeenCalledTimes(1)
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('may be the end of the file, and is never more than a buffer for one client', async () => {
    const scene = await rangeScene()
    const end = await scene.warm(BRANCH, { headers: { range: 'bytes=-8' } })
    expect(end.body).toEqual(scene.bytes.subarray(SIZE - 8))
    expect(end.headers['content-range']).toBe(`bytes ${SIZE - 8}-${SIZE - 1}/${SIZE}`)
    await scene.warmPart(0, 64 * KIB - 1)
    const large = await scene.asks(BRANCH, scene.part(0, 64 * KIB))
    expect([large.cached, large.body.equals(scene.bytes.subarray(0, 64 * KIB + 1))]).toEqual([false, true])
  })

  it('follows If-Range: it is a part of the same file, or the whole of a changed one', async () => {
    const scene = await rangeScene()
    const { etag = '' } = (await scene.warmPart(5, 9)).headers
    const asked = (ifRange: string) => ({ headers: { range: 'bytes=5-9', 'if-range': ifRange } })
    const same = await scene.warm(BRANCH, asked(etag))
    expect([same.status, same.body]).toEqual([206, scene.bytes.subarray(5, 10)])
    for (const other of ['"other"', `W/${etag}`, 'Thu, 01 Jan 2026 00:00:00 GMT']) {
      const whole = await scene.asks(BRANCH, asked(other))
      expect([whole.status, whole.cached, whole.body.equals(scene.bytes)]).toEqual([200, false, true])
    }
  })

  it('is counted, logged and audited like any other', async () => {
    const scene = await rangeScene()
    await scene.warmPart(10, 109)
    const count = async () => {
      const text = await scene.mirror.metrics()
      return [
        metricValue(text, 'hubmirror_requests_total{route="file",outcome="hit",status="206"}'),
        metricValue(text, 'hubmirror_access_decisions_total{result="public"}'),
        metricValue(text, 'hubmirror_served_bytes_total{route="file",outcome="hit"}'),
      ].map(Number)
    }
    const before = await count()
    const headers = { range: 'bytes=10-109', 'x-request-id': 'mine-1' }
    const reply = await scene.asks(BRANCH, { headers, token: TOKENS.bob })
    expect(reply.headers['x-request-id']).toBe('mine-1')
    const after = await count()
    expect(after.map((value, index) => value - (before[index] ?? 0))).toEqual([1, 1, 100])
    const logged = scene.mirror.logLines('mine-1')
    expect(logged).toHaveLength(1)
    expect(JSON.parse(logged[0] ?? '')).toMatchObject({
      method: 'GET',
      route: 'file',
      repo: `models/${REPO}`,
      path: 'w.bin',
      status: 206,
      outcome: 'hit',
      bytes: 100,
      originTrips: 0,
      client: '127.0.0.1',
      token: expect.stringMatching(/^[0-9a-f]{6}$/),
    })
    const audited = await eventually(
      async () => (await scene.mirror.auditText()).split('\n').filter((line) => line.includes('mine-1')),
      (lines) => lines.length > 0,
    )
    expect(audited).toHaveLength(1)
    expect(JSON.parse(audited[0] ?? '')).toMatchObject({ decision: 'allowed', reason: 'public' })
  })

  it('is dropped with the verdict, and as soon as an anonymous caller is refused anything of the repo', async () => {
    const scene = await rangeScene({ accessTtlMs: 20_000, refTtlMs: 3_600_000 })
    await scene.warmPart(0, 9)
    scene.world.model(REPO).makePrivate(['alice'])
    scene.clock.advance(19_999)
    expect((await scene.asks(BRANCH, scene.part(0, 9))).status).toBe(206)
    expect((await scene.ask(`/${REPO}/resolve/main/none.txt`)).status).toBe(401)
    expect((await scene.asks(BRANCH, scene.part(0, 9))).status).toBe(401)
    expect((await scene.asks(BRANCH, { ...scene.part(0, 9), token: TOKENS.alice })).status).toBe(206)
    expect((await scene.asks(BRANCH, scene.part(0, 9))).status).toBe(401)
  })

  it('is not sent if its repo is invalidated while it is read', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    const { begun, release } = heldRead()
    const reading = scene.ask(BRANCH, scene.part(0, 9))
    await begun
    scene.world.model(REPO).makePrivate(['alice'])
    expect((await scene.ask(`/${REPO}/resolve/main/none.txt`)).status).toBe(401)
    release()
    expect((await reading).status).toBe(401)
    await scene.closed()
  })

  it('is sent to no caller whose network is not served, and leaves nothing open for such a caller', async () => {
    const scene = await rangeScene({ trustProxy: ['127.0.0.1'], clientsDeny: ['10.1.0.0/16'] })
    const from = (address: string) => ({ headers: { range: 'bytes=0-9', 'x-forwarded-for': address } })
    await scene.warm(BRANCH, from('10.2.0.1'))
    for (let round = 0; round < 5; round += 1)
      expect((await scene.ask(BRANCH, from('10.1.0.1'))).status).toBe(403)
    await scene.closed()
  })

  it('keeps its place in the order of its connection', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    const places = [0, 500_000, 3, 999_000, 70_000]
    const questions = places.map(
      (at, index) =>
        `GET ${BRANCH} HTTP/1.1\r\nHost: x\r\nRange: bytes=${at}-${at + 99}\r\n` +
        `${index === places.length - 1 ? 'Connection: close\r\n' : ''}\r\n`,
    )
    const raw = await rawHttp(scene.mirror.url, questions.join(''))
    const bodies = raw.text.split('HTTP/1.1 206').slice(1)
    const expected = places.map((at) => scene.bytes.toString('latin1', at, at + 100))
    expect(bodies.map((text) => text.slice(text.indexOf('\r\n\r\n') + 4))).toEqual(expected)
  })
})

describe('a file that is open for ranges', () => {
  it('is closed soon after the last of them', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    await scene.closed()
    await scene.warmPart(10, 19)
  })

  it('is closed when it is evicted, and the next range makes the mirror fetch it again', async () => {
    const scene = await rangeScene({ cacheMaxSizeBytes: SIZE + 600_000 })
    scene.world.model('acme/other').commit({ 'o.bin': lfs({ sizeBytes: 1_100_000, seed: 3 }) })
    await scene.warmPart(0, 9)
    expect((await scene.ask('/acme/other/resolve/main/o.bin')).status).toBe(200)
    await scene.settled()
    expect(await scene.stays()).toBe(false)
    expect((await openFilesBelow(scene.mirror.cacheDir)).filter((name) => name.includes('deleted'))).toEqual(
      [],
    )
    scene.hub.ledger.clear()
    const again = await scene.asks(BRANCH, scene.part(100, 199))
    expect([again.status, again.body.equals(scene.bytes.subarray(100, 200))]).toEqual([206, true])
    expect(scene.hub.ledger.bodyRequests()).not.toEqual([])
  })

  it('is not evicted while it is read', async () => {
    const scene = await rangeScene({ cacheMaxSizeBytes: SIZE + 600_000 })
    scene.world.model('acme/other').commit({ 'o.bin': lfs({ sizeBytes: 1_100_000, seed: 3 }) })
    await scene.warmPart(0, 9)
    const { begun, release } = heldRead()
    const reading = scene.ask(BRANCH, scene.part(0, 9))
    await begun
    const other = await scene.ask('/acme/other/resolve/main/o.bin')
    expect([other.status, other.body.length]).toEqual([200, 1_100_000])
    expect(await scene.stays()).toBe(true)
    release()
    expect((await reading).body).toEqual(scene.bytes.subarray(0, 10))
  })

  it.each(['removed', 'quarantined'])(
    'that another process has %s gives its space back and is fetched again',
    async (how) => {
      const scene = await rangeScene()
      await scene.warmPart(0, 9)
      const layout = createLayout(scene.mirror.cacheDir)
      if (how === 'removed') await unlink(scene.blob)
      else expect(await quarantineBlob(layout, scene.key, (await stat(scene.blob)).ino)).toBe('quarantined')
      scene.hub.ledger.clear()
      // There is always a reader.
      await eventually(
        async () => {
          const reply = await scene.ask(BRANCH, scene.part(7, 99))
          expect([reply.status, reply.body.equals(scene.bytes.subarray(7, 100))]).toEqual([206, true])
          const open = await openFilesBelow(scene.mirror.cacheDir)
          return (
            open.filter((name) => /deleted|quarantine/.test(name)).length +
            (scene.hub.ledger.bodyRequests().length === 0 ? 1 : 0)
          )
        },
        (left) => left === 0,
      )
      await scene.ask(BRANCH)
      await scene.settled()
      expect((await readFile(scene.blob)).equals(scene.bytes)).toBe(true)
      await scene.warmPart(0, 9)
    },
  )

  it('and has become shorter is fetched again, and no client sees it', async () => {
    const scene = await rangeScene()
    await scene.warmPart(900_000, 900_099)
    await cutShort(scene.blob, 900_050)
    const reply = await scene.ask(BRANCH, scene.part(900_000, 900_099))
    expect([reply.status, reply.body.equals(scene.bytes.subarray(900_000, 900_100))]).toEqual([206, true])
    await scene.ask(BRANCH)
    await scene.settled()
    expect((await readFile(scene.blob)).equals(scene.bytes)).toBe(true)
  })

  it('and was lost by the disk is counted once, removed, and fetched again', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 99)
    const before = await scene.failures()
    const reading = vi.spyOn(OpenFile.prototype, 'read')
    onTestFinished(() => reading.mockRestore())
    reading.mockRejectedValueOnce(Object.assign(new Error('lost'), { code: 'EIO', syscall: 'read' }))
    const headers = { range: 'bytes=0-99', 'x-request-id': 'lost-1' }
    const reply = await scene.ask(BRANCH, { headers })
    expect([reply.status, reply.body.equals(scene.bytes.subarray(0, 100))]).toEqual([206, true])
    expect(await scene.failures()).toBe(before + 1)
    expect(scene.mirror.logLines('lost-1').filter((line) => line.includes('"request"'))).toHaveLength(1)
    await scene.ask(BRANCH)
    await scene.settled()
    expect(await scene.stays()).toBe(true)
    await scene.closed()
  })

  it('and was changed by the disk since the last read reaches no client if reads are checked', async () => {
    const scene = await rangeScene({ checkReadsMs: 0 })
    await scene.warmPart(0, 9)
    await flipBit(scene.blob, 100_000)
    scene.hub.ledger.clear()
    // Another part of the block, and of an open file.
    const reply = await scene.asks(BRANCH, scene.part(0, 9))
    expect([reply.status, reply.body.equals(scene.bytes.subarray(0, 10))]).toEqual([206, true])
    expect([reply.cached, reply.headers['x-cache']]).toEqual([false, 'MISS'])
    expect(scene.hub.ledger.bytes('cdn')).toBe(256 * KIB)
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, 'hubmirror_integrity_failures_total{kind="disk"}')).toBe(1)
    expect(await scene.stays()).toBe(false)
  })

  it('is trusted for a while after it was checked', async () => {
    const scene = await rangeScene({ checkReadsMs: 3_600_000, refTtlMs: 7_200_000, accessTtlMs: 7_200_000 })
    await scene.warmPart(0, 9)
    const reading = vi.spyOn(BlockSums.prototype, 'has')
    onTestFinished(() => reading.mockRestore())
    for (let times = 0; times < 5; times += 1) await scene.warmPart(0, 9)
    expect(reading).not.toHaveBeenCalled()
    scene.clock.advance(3_600_000)
    await scene.warmPart(0, 9)
    expect(reading).toHaveBeenCalled()
  })

  it('is released when the client disconnects during a read, and the log says that the client left', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    const { begun, release } = heldRead()
    const agent = new Agent({ keepAlive: true })
    onTestFinished(() => agent.destroy())
    const headers = { range: 'bytes=0-9', 'x-request-id': 'left-1' }
    const asking = get(`${scene.mirror.url}${BRANCH}`, { headers, agent })
    const answered: IncomingMessage[] = []
    asking.on('response', (message) => answered.push(message))
    asking.on('error', () => undefined)
    await begun
    asking.destroy()
    // The mirror has noticed it when only the connection of this request is left.
    await eventually(
      () => connections(scene.mirror.app),
      (count) => count === 0,
    )
    release()
    const [line = ''] = await eventually(
      () => scene.mirror.logLines('left-1'),
      (lines) => lines.length > 0,
    )
    expect(JSON.parse(line)).toMatchObject({ status: 499, bytes: 0, outcome: 'hit', route: 'file' })
    expect(answered).toEqual([])
    await scene.closed()
    expect(scene.mirror.logLines('left-1')).toHaveLength(1)
  })
})

function connections(app: {
  readonly server: {
    readonly server: { getConnections(done: (error: Error | null, count: number) => void): unknown }
  }
}): Promise<number> {
  return new Promise((resolve, reject) => {
    app.server.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  })
}
