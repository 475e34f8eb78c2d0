// One file is fetched once, however many ask, and no more of it than they ask for.

import { describe, expect, it } from 'vitest'
import { bytesOf, lfs } from '../hub-simulator/repos.ts'
import { ask, open } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const SIZE = 8_000_000
const TARGET = '/acme/big/resolve/main/big.bin'

async function openBig(bytesPerSecond?: number): Promise<Scene> {
  const scene = await openScene()
  scene.world.model('acme/big').commit({ 'big.bin': lfs({ sizeBytes: SIZE, seed: 42 }) })
  scene.hub.bytesPerSecond = bytesPerSecond
  return scene
}

describe('a file that many clients request at once', () => {
  it('is transferred once', async () => {
    const scene = await openBig()
    const bytes = scene.bytes('acme/big', 'big.bin')
    const replies = await Promise.all(Array.from({ length: 20 }, () => scene.ask(TARGET)))
    for (const reply of replies) {
      expect([reply.status, reply.whole, reply.body.equals(bytes)]).toEqual([200, true, true])
    }
    expect(scene.hub.ledger.bytes('cdn')).toBe(SIZE)
    const words = replies.map(({ headers }) => headers['x-cache'])
    expect(words.filter((word) => word === 'MISS').length).toBe(1)
    expect(words.filter((word) => word === 'COALESCED').length).toBe(19)
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, 'hubmirror_flights_total')).toBe(1)
    expect(metricValue(metrics, 'hubmirror_flights_joined_total')).toBe(19)
    expect(metricValue(metrics, 'hubmirror_fetched_bytes_total{kind="cdn"}')).toBe(SIZE)
  })

  it('is transferred once also if it is small', async () => {
    const scene = await openScene()
    const target = '/acme/open/resolve/main/config.json'
    const replies = await Promise.all(Array.from({ length: 20 }, () => scene.ask(target)))
    expect(replies.every(({ status }) => status === 200)).toBe(true)
    expect(scene.hub.ledger.bodyRequests().length).toBe(1)
    const heads = scene.hub.ledger.requests({ method: 'HEAD', url: /^\/acme/ })
    expect(heads.length, 'the question is shared as well').toBe(1)
  })

  it('is sent from its beginning to a client that joins in the middle', async () => {
    const scene = await openBig(3_200_000)
    const first = scene.ask(TARGET)
    await scene.hub.ledger.whenBytes({ server: 'cdn' }, SIZE / 4)
    const late = scene.ask(TARGET)
    const tail = scene.ask(TARGET, { headers: { range: `bytes=${SIZE - 100}-` } })
    scene.hub.bytesPerSecond = undefined
    const bytes = scene.bytes('acme/big', 'big.bin')
    expect((await first).body.equals(bytes)).toBe(true)
    expect((await late).body.equals(bytes)).toBe(true)
    expect((await late).headers['x-cache']).toBe('COALESCED')
    expect((await tail).body.equals(bytes.subarray(SIZE - 100))).toBe(true)
    expect(scene.hub.ledger.bytes('cdn')).toBeLessThan(SIZE * 1.5)
    await scene.settled()
    scene.hub.ledger.clear()
    expect((await scene.ask(TARGET)).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('reaches the other clients when the first one leaves', async () => {
    const scene = await openBig(3_200_000)
    const leaver = await open(scene.mirror.url, TARGET)
    leaver.on('error', () => undefined)
    await scene.hub.ledger.whenBytes({ server: 'cdn' }, SIZE / 4)
    const others = Promise.all([scene.ask(TARGET), scene.ask(TARGET)])
    await eventually(
      async () => metricValue(await scene.mirror.metrics(), 'hubmirror_flights_joined_total'),
      (joined) => joined === 2,
    )
    leaver.destroy()
    scene.hub.bytesPerSecond = undefined
    const bytes = scene.bytes('acme/big', 'big.bin')
    for (const reply of await others) expect([reply.whole, reply.body.equals(bytes)]).toEqual([true, true])
    expect(scene.hub.ledger.bytes('cdn')).toBe(SIZE)
    await eventually(
      () => scene.mirror.logLines('"route":"file"').length,
      (lines) => lines === 3,
    )
  })

  it('is finished though its only reader left near the end, and is not fetched again', async () => {
    const scene = await openBig(3_200_000)
    const leaver = await open(scene.mirror.url, TARGET)
    leaver.on('error', () => undefined)
    await scene.hub.ledger.whenBytes({ server: 'cdn' }, SIZE / 4)
    leaver.destroy()
    scene.hub.bytesPerSecond = undefined
    await scene.settled()
    scene.hub.ledger.clear()
    const got = await scene.ask(TARGET)
    expect([got.headers['x-cache'], got.body.equals(scene.bytes('acme/big', 'big.bin'))]).toEqual([
      'HIT',
      true,
    ])
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

describe('ranges of a file that is not stored', () => {
  const HUGE = 200_000_000
  const target = '/acme/huge/resolve/main/huge.bin'

  it('far apart cost their own blocks only, and are kept', async () => {
    const scene = await openScene()
    const repo = scene.world.model('acme/huge')
    repo.commit({ 'huge.bin': lfs({ sizeBytes: HUGE, seed: 8, sha256: 'a'.repeat(64) }) })
    const ranges = [
      [1_000, 65_000],
      [150_000_000, 150_070_000],
    ] as const
    const check = async () => {
      for (const [start, end] of ranges) {
        const got = await scene.ask(target, { headers: { range: `bytes=${start}-${end - 1}` } })
        expect(got.status).toBe(206)
        expect(got.body.equals(bytesOf(repo, 'main', 'huge.bin', start, end))).toBe(true)
      }
    }
    await check()
    await scene.settled()
    expect(scene.hub.ledger.bytes('cdn')).toBeLessThan(8 * 1024 * 1024)
    scene.hub.ledger.clear()
    await check()
    expect(scene.hub.ledger.requests(), 'their blocks are on the disk').toEqual([])
    await scene.restart()
    scene.hub.ledger.clear()
    await check()
    expect(scene.hub.ledger.bodyRequests(), 'and stay there').toEqual([])
  })

  it('that many clients request at once are fetched once', async () => {
    const scene = await openScene()
    scene.world
      .model('acme/huge')
      .commit({ 'huge.bin': lfs({ sizeBytes: HUGE, seed: 8, sha256: 'b'.repeat(64) }) })
    const headers = { range: 'bytes=100000000-100099999' }
    const replies = await Promise.all(
      Array.from({ length: 10 }, () => ask(scene.mirror.url, target, { headers })),
    )
    for (const reply of replies) expect([reply.status, reply.body.length]).toEqual([206, 100_000])
    expect(scene.hub.ledger.bodyRequests({ server: 'cdn' }).length).toBe(1)
  })
})

it('a public file is finished though the token that requested it is no longer valid', async () => {
  const scene = await openScene()
  const target = '/acme/open/resolve/main/config.json'
  await scene.ask(target, { method: 'HEAD', token: TOKENS.alice })
  scene.world.revokeToken(TOKENS.alice)
  const got = await scene.ask(target, { token: TOKENS.alice })
  expect([
    got.status,
    got.headers['x-cache'],
    got.body.equals(scene.bytes('acme/open', 'config.json')),
  ]).toEqual([200, 'MISS', true])
})
