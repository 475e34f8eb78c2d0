// A small range of a stored file is answered without a decision, from memory or with one read. It must be the very answer
// that the full path gives, never of a file that has gone, and nothing may stay open for it.

import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { OpenFile } from '../../src/store/blobs/open-files.ts'
import { comparable, FULL_PATH } from '../support/cached-scene.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { BRANCH, heldRead, KIB, REPO, rangeScene, SIZE, SMALL } from '../support/range-scene.ts'
import { rawHttp } from '../support/raw-http.ts'
import { metricValue } from '../support/start-mirror.ts'

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
  ])(
    'from %i to %i is read twice, and then comes from memory, without a request to the Hub',
    async (first, last) => {
      const scene = await rangeScene()
      await scene.warm(BRANCH, scene.part(500_000, 500_009))
      const reading = vi.spyOn(OpenFile.prototype, 'read')
      onTestFinished(() => reading.mockRestore())
      scene.hub.ledger.clear()
      for (const reads of [1, 2, 2, 2]) {
        const reply = await scene.asks(BRANCH, scene.part(first, last))
        expect([reply.cached, reply.status]).toEqual([true, 206])
        expect(reply.body.equals(scene.bytes.subarray(first, last + 1))).toBe(true)
        expect(reading).toHaveBeenCalledTimes(reads)
      }
      expect(scene.hub.ledger.requests()).toEqual([])
    },
  )

  it('comes from memory after its file was closed, once the file is open again', async () => {
    const scene = await rangeScene()
    for (const _ of [1, 2]) await scene.warmPart(500_000, 500_099)
    const reading = vi.spyOn(OpenFile.prototype, 'read')
    onTestFinished(() => reading.mockRestore())
    await scene.closed()
    const reply = await scene.asks(BRANCH, scene.part(500_000, 500_099))
    expect([reply.cached, reply.body.equals(scene.bytes.subarray(500_000, 500_100))]).toEqual([true, true])
    expect(reading).not.toHaveBeenCalled()
    await scene.closed()
  })

  it('of a repo that was made private comes from memory only for callers that the Hub lets read it', async () => {
    const scene = await rangeScene({ accessTtlMs: 20_000, refTtlMs: 20_000, cachePrivate: true })
    for (const _ of [1, 2]) await scene.warmPart(0, 9)
    scene.world.model(REPO).makePrivate(['alice'])
    scene.clock.advance(20_000)
    for (const [token, status] of [
      [undefined, 401],
      [TOKENS.bob, 404],
      [TOKENS.alice, 206],
      [TOKENS.bob, 404],
      [undefined, 401],
    ] as const) {
      const reply = await scene.asks(BRANCH, {
        ...scene.part(0, 9),
        ...(token === undefined ? {} : { token }),
      })
      expect([reply.status, reply.cached]).toEqual([status, false])
    }
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
    const reading = scene.ask(BRANCH, scene.part(500_000, 500_009))
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
