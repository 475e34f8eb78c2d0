// Which requests may go to the Hub, given what it has said of its limits.

import { describe, expect, it } from 'vitest'
import { bucketsOf, Quota } from '../../../src/origin/quota.ts'
import { type QuotaResult, silentObserver } from '../../../src/telemetry/observer.ts'
import { manualClock } from '../../support/clock.ts'

const BASE = new URL('http://hub.test/hub')
const FILE = new URL('http://hub.test/hub/acme/open/resolve/main/w.bin')
const INFO = new URL('http://hub.test/hub/api/models/acme/open')
const PINNED = new URL('http://hub.test/hub/api/resolve-cache/models/acme/open/c/x')
const CDN = new URL('http://cdn.test/xyz')

function setUp() {
  const clock = manualClock()
  const held: QuotaResult[] = []
  const quota = new Quota({
    base: BASE,
    now: clock.now,
    observer: { ...silentObserver, quotaHeld: (result) => void held.push(result) },
    random: () => 0.5,
  })
  const as = (authorization: string | undefined) => (url: URL) => ({ url, authorization })
  const admit = (asked: { url: URL; authorization: string | undefined }, mayWait = true) =>
    quota.admit(asked, { mayWait })
  return { clock, held, quota, admit, alice: as('Bearer a'), bob: as('Bearer b'), nobody: as(undefined) }
}

it.each([
  ['/acme/open/resolve/main/x', 'resolvers'],
  ['/datasets/acme/open/resolve/main/x', 'resolvers'],
  ['/api/resolve-cache/models/acme/open/c/x', 'resolvers'],
  ['/api/models/acme/open', 'api'],
  ['//api/models', 'api'],
  ['/api/whoami-v2', 'whoami'],
  ['/apis/x', 'pages'],
  ['/acme/open', 'pages'],
  ['/acme/open.git/info/refs', 'pages'],
])('%s is a request to %s', (path, bucket) => {
  expect(bucketsOf(path)[0]).toBe(bucket)
})

it('a used up quota of the API does not hold back files, whatever their address', async () => {
  const { quota, admit, alice } = setUp()
  quota.observe(alice(INFO), 429, { 'retry-after': '30' })
  for (const file of [FILE, PINNED]) expect(await admit(alice(file))).toBeUndefined()
  quota.observe(alice(PINNED), 429, { ratelimit: '"api";r=0;t=40' })
  for (const url of [FILE, PINNED, INFO]) expect(await admit(alice(url))).toMatchObject({ seconds: 40 })
})

it('a refused kind of request is held back until the named time, and no other kind is', async () => {
  const { clock, held, quota, admit, alice, bob, nobody } = setUp()
  expect(quota.observe(alice(FILE), 429, { 'retry-after': '30' })).toEqual({
    bucket: 'resolvers',
    seconds: 30,
  })
  expect(await admit(alice(FILE))).toEqual({ bucket: 'resolvers', seconds: 30 })
  for (const other of [alice(INFO), bob(FILE), nobody(FILE), alice(CDN)]) {
    expect(await admit(other)).toBeUndefined()
  }
  clock.advance(29_500)
  expect(await admit(alice(FILE), false)).toEqual({ bucket: 'resolvers', seconds: 1 })
  clock.advance(500)
  expect(await admit(alice(FILE))).toBeUndefined()
  expect(held).toEqual(['refused', 'refused'])
})

it.each([
  [429, { ratelimit: '"resolvers";r=0;t=55' }, 55],
  [429, { ratelimit: '"resolvers";r=0;t=55', 'retry-after': '90' }, 90],
  [429, { ratelimit: '"resolvers";r=9;t=55', 'retry-after': '20' }, 20],
  [429, { ratelimit: '"resolvers" ; r = 0 ; t = 55' }, 55],
  [429, { 'retry-after': new Date(Date.now() + 100_900).toUTCString() }, 100],
  [429, { 'retry-after': '999999' }, 3600],
  [200, { ratelimit: '"resolvers";r=0;t=55' }, 55],
  [404, { ratelimit: '"api";r=7;t=3, "resolvers";r=0;t=5' }, 5],
])('%i with %o means a wait of %i s', async (status, headers, seconds) => {
  const { quota, admit, alice } = setUp()
  quota.observe(alice(FILE), status, headers)
  const spent = await admit(alice(FILE))
  expect(spent?.bucket).toBe('resolvers')
  expect(Math.abs((spent?.seconds ?? 0) - seconds)).toBeLessThanOrEqual(1)
})

it.each([
  [200, { ratelimit: '"resolvers";r=1;t=55', 'retry-after': '55' }],
  [503, { 'retry-after': '55' }],
])('%i with %o means nothing', async (status, headers) => {
  const { quota, admit, alice } = setUp()
  expect(quota.observe(alice(FILE), status, headers)).toBeUndefined()
  expect(await admit(alice(FILE))).toBeUndefined()
})

it('a date is compared with that of the answer, whatever the clock of this machine says', async () => {
  const { quota, alice } = setUp()
  const headers = { date: 'Tue, 01 Jan 2030 00:00:00 GMT', 'retry-after': 'Tue, 01 Jan 2030 00:01:40 GMT' }
  expect(quota.observe(alice(FILE), 429, headers)?.seconds).toBe(100)
})

describe('a 429 that names no time', () => {
  it.each([
    [{}],
    [{ 'retry-after': '0' }],
    [{ 'retry-after': '-1' }],
    [{ 'retry-after': 'soon' }],
    [{ 'retry-after': '1e9' }],
    [{ ratelimit: '"resolvers";r=0;t=9999999' }],
    [{ ratelimit: ['"resolvers";r=0;t=9', '"resolvers";r=0;t=8'] }],
  ])('makes the mirror pause for a time of its own: %o', async (headers) => {
    const { clock, quota, admit, alice } = setUp()
    const rest = { bucket: 'resolvers', seconds: 4, isBackoff: true }
    expect(quota.observe(alice(FILE), 429, headers)).toEqual(rest)
    expect(await admit(alice(FILE))).toEqual(rest)
    // Other buckets are not concerned.
    expect(await admit(alice(INFO))).toBeUndefined()
    clock.advance(3_750)
    expect(await admit(alice(FILE))).toBeUndefined()
  })

  it('concerns all callers if it is not the Hub that sends it, since they share one address', async () => {
    const { quota, admit, alice, bob, nobody } = setUp()
    quota.observe(alice(FILE), 429, { 'content-type': 'text/html' })
    for (const each of [alice(FILE), bob(FILE), nobody(FILE)])
      expect((await admit(each))?.isBackoff).toBe(true)
  })

  it('concerns one credential if the Hub sends it, which counts by credential', async () => {
    const { quota, admit, alice, bob, nobody } = setUp()
    quota.observe(alice(FILE), 429, { 'x-powered-by': 'huggingface-moon' })
    expect((await admit(alice(FILE)))?.isBackoff).toBe(true)
    for (const each of [bob(FILE), nobody(FILE)]) expect(await admit(each)).toBeUndefined()
  })

  it('doubles the pause each time, up to five minutes, and the first one after another answer is short again', async () => {
    const { clock, quota, admit, nobody } = setUp()
    const seconds: number[] = []
    for (let turn = 0; turn < 9; turn += 1) {
      const rest = quota.observe(nobody(FILE), 429, {})
      seconds.push(rest?.seconds ?? 0)
      clock.advance((rest?.seconds ?? 0) * 1000)
      expect(await admit(nobody(FILE))).toBeUndefined()
    }
    expect(seconds).toEqual([4, 8, 15, 30, 60, 120, 225, 225, 225])
    quota.observe(nobody(FILE), 404, {})
    expect(quota.observe(nobody(FILE), 429, {})?.seconds).toBe(4)
  })

  it('that answers a request from before the pause does not prolong it', async () => {
    const { clock, quota, nobody } = setUp()
    quota.observe(nobody(FILE), 429, {})
    for (let turn = 0; turn < 5; turn += 1) quota.observe(nobody(FILE), 429, {})
    clock.advance(1_000)
    // Nor over by them.
    quota.observe(nobody(FILE), 200, {})
    expect(quota.observe(nobody(FILE), 429, {})?.seconds).toBe(3)
  })

  it('lets one request go ahead after the pause, and the others when that one is answered', async () => {
    const { clock, quota, admit, nobody, bob } = setUp()
    quota.observe(nobody(FILE), 429, {})
    clock.advance(3_750)
    expect(await admit(nobody(FILE))).toBeUndefined()
    expect(await admit(bob(FILE), false), 'in a hurry').toMatchObject({ isBackoff: true, seconds: 1 })
    const others = [admit(nobody(FILE)), admit(bob(FILE))]
    quota.observe(nobody(FILE), 200, {})
    expect(await Promise.all(others)).toEqual([undefined, undefined])
    expect(await admit(bob(FILE))).toBeUndefined()
  })

  it('ends the wait of the others also when the one ahead is refused', async () => {
    const { clock, quota, admit, nobody, bob } = setUp()
    quota.observe(nobody(FILE), 429, {})
    clock.advance(3_750)
    expect(await admit(nobody(FILE))).toBeUndefined()
    const other = admit(bob(FILE))
    quota.observe(nobody(FILE), 429, {})
    expect(await other).toEqual({ bucket: 'resolvers', seconds: 8, isBackoff: true })
  })

  it('of a CDN concerns that host', async () => {
    const { quota, admit, nobody } = setUp()
    quota.observe(nobody(CDN), 429, {})
    expect(await admit(nobody(CDN))).toMatchObject({ bucket: 'cdn', isBackoff: true })
    expect(await admit(nobody(new URL('http://cdn2.test/xyz')))).toBeUndefined()
    expect(await admit(nobody(FILE))).toBeUndefined()
  })
})

it('requests are counted by the bucket that the Hub names, and by the kind of request', async () => {
  const { quota, admit, alice } = setUp()
  quota.observe(alice(new URL('http://hub.test/hub/api/whoami-v2')), 429, { ratelimit: '"api";r=0;t=9' })
  expect((await admit(alice(INFO)))?.bucket).toBe('api')
  quota.observe(alice(FILE), 429, { ratelimit: '"pages";r=0;t=9' })
  expect((await admit(alice(FILE)))?.bucket).toBe('resolvers')
  expect((await admit(alice(new URL('http://hub.test/hub/acme/open'))))?.bucket).toBe('pages')
})

it('the API stays open when only the limit of who-am-I is reached', async () => {
  const { quota, admit, alice } = setUp()
  const who = alice(new URL('http://hub.test/hub/api/whoami-v2'))
  quota.observe(who, 429, { 'retry-after': '60' })
  expect(await admit(alice(INFO))).toBeUndefined()
  expect((await admit(who))?.bucket).toBe('whoami')
  quota.observe(alice(INFO), 200, { ratelimit: '"api";r=0;t=600' })
  expect(await admit({ ...who, authorization: 'Bearer c' })).toBeUndefined()
})

it('a CDN is recognised by its host, and its answers say nothing about the Hub', async () => {
  const { quota, admit, nobody } = setUp()
  quota.observe(nobody(CDN), 200, { ratelimit: '"resolvers";r=0;t=60' })
  expect(await admit(nobody(CDN))).toBeUndefined()
  quota.observe(nobody(CDN), 429, { ratelimit: '"resolvers";r=0;t=60' })
  expect(await admit(nobody(CDN))).toEqual({ bucket: 'cdn', seconds: 60 })
  expect(await admit(nobody(FILE))).toBeUndefined()
  expect(await admit(nobody(new URL('http://cdn2.test/xyz')))).toBeUndefined()
})

it('requests wait if the wait is short enough for them, and are sent in the order of their arrival', async () => {
  const { held, quota, admit, alice } = setUp()
  quota.observe(alice(FILE), 429, { 'retry-after': '1' })
  const startedAt = performance.now()
  const order: number[] = []
  await Promise.all(
    [0, 1, 2, 3].map(async (index) => {
      expect(await admit(alice(FILE))).toBeUndefined()
      order.push(index)
    }),
  )
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(1_000)
  expect(order).toEqual([0, 1, 2, 3])
  expect(held).toEqual(['waited', 'waited', 'waited', 'waited'])
})

it('requests do not wait beyond their deadline, nor in a queue without bounds', async () => {
  const { quota, admit, alice } = setUp()
  quota.observe(alice(FILE), 429, { 'retry-after': '2' })
  expect(await admit(alice(FILE), false)).toEqual({ bucket: 'resolvers', seconds: 2 })
  const waiting = Array.from({ length: 64 }, () => admit(alice(FILE)))
  expect(await admit(alice(FILE))).toEqual({ bucket: 'resolvers', seconds: 2 })
  // A request that was under way learns that the limit lasts longer. No caller waits for that.
  quota.observe(alice(FILE), 429, { 'retry-after': '40' })
  for (const spent of await Promise.all(waiting)) expect(spent).toEqual({ bucket: 'resolvers', seconds: 40 })
})

it('a late answer that names a shorter time releases no request', async () => {
  const { quota, admit, alice } = setUp()
  quota.observe(alice(FILE), 429, { 'retry-after': '40' })
  quota.observe(alice(FILE), 429, { 'retry-after': '3' })
  quota.observe(alice(FILE), 200, { ratelimit: '"resolvers";r=100;t=40' })
  expect((await admit(alice(FILE)))?.seconds).toBe(40)
})

it('a waiting request whose client disconnected is dropped', async () => {
  const { quota, alice, admit } = setUp()
  quota.observe(alice(FILE), 429, { 'retry-after': '1' })
  const leaving = new AbortController()
  const left = quota.admit(alice(FILE), { mayWait: true, signal: leaving.signal })
  const stays = admit(alice(FILE))
  leaving.abort(new Error('gone'))
  await expect(left).rejects.toThrow('gone')
  await expect(quota.admit(alice(FILE), { mayWait: true, signal: leaving.signal })).rejects.toThrow('gone')
  expect(await stays).toBeUndefined()
})

describe('a request of the mirror itself', () => {
  const POLICY = { 'ratelimit-policy': '"fixed window";"api";q=500;w=300' }

  it('may not use the last tenth of a window, which is for callers', () => {
    const { clock, quota, alice, nobody } = setUp()
    expect(quota.hasSpare(nobody(INFO))).toBe(true)
    quota.observe(nobody(INFO), 200, { ...POLICY, ratelimit: '"api";r=51;t=100' })
    expect(quota.hasSpare(nobody(INFO))).toBe(true)
    quota.observe(nobody(INFO), 200, { ...POLICY, ratelimit: '"api";r=50;t=100' })
    expect([quota.hasSpare(nobody(INFO)), quota.hasSpare(nobody(FILE)), quota.hasSpare(alice(INFO))]).toEqual(
      [false, true, true],
    )
    clock.advance(100_000)
    expect(quota.hasSpare(nobody(INFO)), 'the next window').toBe(true)
  })

  it('that is for no caller waits until the end of each such window, of its credential and of visitors', () => {
    const { clock, quota, alice, nobody } = setUp()
    const { authorization } = alice(INFO)
    const reserved = () => [quota.reservedMs(authorization), quota.reservedMs(undefined)]
    expect(reserved()).toEqual([0, 0])
    quota.observe(alice(INFO), 200, { ...POLICY, ratelimit: '"api";r=50;t=100' })
    expect(reserved()).toEqual([100_000, 0])
    quota.observe(nobody(INFO), 200, { ...POLICY, ratelimit: '"api";r=50;t=130' })
    expect(reserved()).toEqual([130_000, 130_000])
    clock.advance(110_000)
    expect(reserved()).toEqual([20_000, 20_000])
    quota.observe(nobody(INFO), 200, { ...POLICY, ratelimit: '"api";r=499;t=300' })
    expect(reserved()).toEqual([0, 0])
  })

  it('waits for no other: while requests are held back it is not sent', () => {
    const { clock, quota, nobody } = setUp()
    quota.observe(nobody(INFO), 429, { 'retry-after': '30' })
    expect(quota.hasSpare(nobody(INFO))).toBe(false)
    clock.advance(30_000)
    expect(quota.hasSpare(nobody(INFO))).toBe(true)
  })

  it.each([
    {},
    { ratelimit: '"api";r=0' },
    { ratelimit: '"api";r=1;t=100' },
    { ratelimit: '"api";r=1;t=100', 'ratelimit-policy': 'unlimited' },
    { ratelimit: '"api";r=1;t=100', 'ratelimit-policy': '"fixed window";"pages";q=500;w=300' },
  ])('is sent where the Hub does not say how large its window is: %j', (headers) => {
    const { quota, nobody } = setUp()
    quota.observe(nobody(INFO), 200, headers)
    expect(quota.hasSpare(nobody(INFO))).toBe(true)
  })
})
