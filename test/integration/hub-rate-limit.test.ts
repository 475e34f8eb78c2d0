// The Hub's rate limit: no request is sent before the time that the Hub named, callers that can be served without the
// Hub are served, and a 429 reaches a caller as one, for its own quota only.

import { expect, it } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const LARGE = '/acme/open/resolve/main/w.bin'
const SECRET = '/acme/secret/resolve/main/config.json'
const INFO = '/api/models/acme/open'
const ALWAYS = { times: Number.POSITIVE_INFINITY }

/** The requests that reached Hub and CDN, as whose. */
const asked = (scene: Scene) =>
  scene.hub.ledger
    .requests()
    .map((entry) => [entry.server, entry.url.split('?')[0], scene.hub.ledger.credential(entry)])

it('no request goes to a bucket that an answer called used up before the time that the Hub named', async () => {
  const scene = await openScene()
  scene.hub.faults.add({
    where: 'hub',
    match: ({ url, headers }) => url.includes('/resolve/main/config') && headers.authorization !== undefined,
    addHeaders: { RateLimit: '"resolvers";r=0;t=60' },
  })
  expect((await scene.ask(SECRET, { method: 'HEAD', token: TOKENS.alice })).status).toBe(200)
  scene.hub.ledger.clear()
  const held = await scene.ask('/acme/secret/resolve/main/w.bin', { token: TOKENS.alice })
  expect([held.status, held.headers['retry-after'], held.headers['ratelimit']]).toEqual([
    429,
    '60',
    '"resolvers";r=0;t=60',
  ])
  expect(asked(scene).filter(([, , token]) => token === TOKENS.alice)).toEqual([])
  // Other buckets and other credentials are not concerned.
  expect((await scene.ask('/api/models/acme/secret', { token: TOKENS.alice })).status).toBe(200)
  expect((await scene.ask(LARGE, { token: TOKENS.bob })).status).toBe(200)
  expect((await scene.ask(LARGE)).status).toBe(200)
  scene.clock.advance(59_900)
  const last = await scene.ask('/acme/gated/resolve/main/w.bin', { token: TOKENS.alice, method: 'HEAD' })
  expect(last.status, 'the rest is short, and worth waiting for').toBe(200)
})

it('stored public content is served with its age, and without a request', async () => {
  const scene = await openScene()
  for (const target of [CONFIG, LARGE, INFO]) await scene.ask(target)
  await scene.settled()
  scene.clock.advance(120_000)
  scene.hub.faults.add({ where: 'hub', rateLimit429: { rateLimit: '"resolvers";r=0;t=100' }, ...ALWAYS })
  await scene.ask(CONFIG)
  await scene.ask(INFO)
  scene.hub.ledger.clear()
  for (const target of [CONFIG, LARGE, INFO]) {
    const got = await scene.ask(target)
    expect([target, got.status, got.headers['x-cache'], got.headers['age']]).toEqual([
      target,
      200,
      'STALE',
      '120',
    ])
    expect(got.headers['cache-status']).toBe('hubmirror; hit; detail="origin-quota"')
  }
  expect(asked(scene)).toEqual([])
  const absent = await scene.ask('/acme/open/resolve/main/README.md')
  expect([absent.status, absent.headers['retry-after']]).toEqual([429, '100'])
  expect(asked(scene)).toEqual([])
  // A hit has nothing to do with any quota: what is named by its commit, and is known to be public, never had.
  scene.hub.faults.clear()
  scene.clock.advance(100_000)
  expect((await scene.ask(CONFIG)).headers['x-cache']).toBe('REVALIDATED')
  scene.clock.advance(4_000)
  const hit = await scene.ask(CONFIG)
  expect([hit.headers['x-cache'], hit.headers['age']]).toEqual(['HIT', '4'])
  const pinned = await scene.ask(CONFIG.replace('main', scene.commit('acme/open')))
  expect([pinned.headers['x-cache'], pinned.headers['age']]).toEqual(['HIT', undefined])
})

it('content that an earlier process requested has no age', async () => {
  const scene = await openScene()
  for (const target of [CONFIG, INFO]) await scene.ask(target)
  await scene.settled()
  await scene.restart()
  scene.hub.faults.add({ where: 'hub', rateLimit429: { retryAfter: 100 }, ...ALWAYS })
  for (const target of [CONFIG, INFO]) {
    const got = await scene.ask(target)
    expect([got.status, got.headers['x-cache'], got.headers['age']]).toEqual([200, 'STALE', undefined])
  }
})

it.each([
  ['a file', SECRET],
  ['a document', '/api/models/acme/secret'],
  ['who am I', '/api/whoami-v2'],
  ['what passes through', '/api/settings/notifications'],
  ['a raw file', '/acme/secret/raw/main/config.json'],
])(
  'a 429 for %s reaches the client with the time to wait, once from the Hub and then from the mirror',
  async (_what, target) => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', rateLimit429: { retryAfter: 77 }, ...ALWAYS })
    for (const method of ['GET', 'HEAD', 'GET']) {
      const got = await scene.ask(target, { token: TOKENS.alice, method })
      expect([got.status, got.headers['retry-after'], got.headers['x-cache']]).toEqual([429, '77', 'REFUSED'])
      expect(got.headers['ratelimit']).toMatch(/^"(resolvers|api|whoami|pages)";r=0;t=77$/)
    }
    expect(asked(scene).filter(([, , token]) => token === TOKENS.alice)).toHaveLength(1)
    expect(
      metricValue(await scene.mirror.metrics(), 'hubmirror_origin_quota_holds_total{result="refused"}'),
    ).toBeGreaterThanOrEqual(2)
  },
)

it.each([
  ['a file', SECRET],
  ['a document', '/api/models/acme/secret'],
  ['what passes through', '/api/settings/notifications'],
])('a time to wait that no client can read is not passed on: %s', async (_what, target) => {
  const scene = await openScene()
  scene.hub.faults.add({ where: 'hub', rateLimit429: { retryAfter: 'in a while' }, ...ALWAYS })
  const got = await scene.ask(target, { token: TOKENS.alice })
  expect(got.status).toBe(429)
  expect(Number(got.headers['retry-after']), 'one of our own').toBeGreaterThan(0)
  scene.hub.faults.clear()
  scene.clock.advance(5_000)
  scene.hub.faults.add({
    where: 'hub',
    status: { code: 503, headers: { 'Retry-After': 'in a while' } },
    ...ALWAYS,
  })
  const busy = await scene.ask(target, { token: TOKENS.alice })
  expect([undefined, '5']).toContain(busy.headers['retry-after'])
})

it('an upload is not sent before the time that the Hub named either', async () => {
  const scene = await openScene()
  const commit = { method: 'POST', token: TOKENS.alice, body: '{}' }
  scene.hub.faults.add({ where: 'hub', method: 'POST', rateLimit429: { retryAfter: 50 } })
  expect((await scene.ask('/api/models/acme/open/commit/main', commit)).status).toBe(429)
  scene.hub.ledger.clear()
  const held = await scene.ask('/api/models/acme/open/commit/main', commit)
  expect([held.status, held.headers['retry-after']]).toEqual([429, '50'])
  expect(asked(scene)).toEqual([])
})

it('a CDN that answers 429 is left alone, whichever caller comes', async () => {
  const scene = await openScene()
  scene.hub.faults.add({ where: 'cdn', rateLimit429: { retryAfter: 40 }, ...ALWAYS })
  for (const token of [undefined, TOKENS.alice, TOKENS.bob]) {
    const got = await scene.ask(LARGE, { token })
    expect([got.status, got.headers['retry-after']]).toEqual([429, '40'])
  }
  expect(scene.hub.ledger.requests({ server: 'cdn' })).toHaveLength(1)
  scene.hub.faults.clear()
  expect((await scene.ask(CONFIG)).status, 'what the Hub itself gives is not concerned').toBe(200)
})

it('a download continues without a token whose owner is out of quota, since other callers wait for it', async () => {
  const scene = await openScene()
  scene.hub.faults.add({
    where: 'hub',
    method: 'GET',
    match: ({ url, headers }) => /resolve/.test(url) && headers.authorization !== undefined,
    rateLimit429: { retryAfter: 40 },
    ...ALWAYS,
  })
  const got = await scene.ask(CONFIG, { token: TOKENS.alice })
  expect(got.status).toBe(200)
  expect(got.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
  // Once out of quota, and then without a token: the Hub redirects an anonymous request once more.
  const gets = scene.hub.ledger
    .requests({ server: 'hub', url: /resolve/ })
    .filter(({ method }) => method === 'GET')
  expect(gets.map((entry) => scene.hub.ledger.credential(entry))).toEqual([
    TOKENS.alice,
    undefined,
    undefined,
  ])
})

it('a download that no caller has quota for is a 429, with the time to wait', async () => {
  const scene = await openScene()
  scene.hub.faults.add({
    where: 'hub',
    method: 'GET',
    match: /resolve/,
    rateLimit429: { retryAfter: 40 },
    ...ALWAYS,
  })
  const got = await scene.ask(CONFIG, { token: TOKENS.alice })
  expect([got.status, got.headers['retry-after'], got.headers['x-cache']]).toEqual([429, '40', 'REFUSED'])
})

it('requests whose time is a moment away wait, and are sent in the order of their arrival', async () => {
  const scene = await openScene()
  scene.hub.faults.add({ where: 'hub', match: /whoami/, rateLimit429: { retryAfter: 1 } })
  expect((await scene.ask('/api/whoami-v2', { token: TOKENS.alice })).status).toBe(429)
  const waiting = [1, 2, 3].map((turn) => scene.ask(`/api/whoami-v2?turn=${turn}`, { token: TOKENS.alice }))
  for (const got of await Promise.all(waiting)) expect(got.status).toBe(200)
  const [refused, ...later] = scene.hub.ledger.requests({ url: /whoami/ })
  for (const { at } of later) expect(at - (refused?.at ?? 0)).toBeGreaterThanOrEqual(1_000)
  expect(
    metricValue(await scene.mirror.metrics(), 'hubmirror_origin_quota_holds_total{result="waited"}'),
  ).toBe(3)
})

it.each([
  [
    'in the words of something else',
    { edge: { code: 429, headers: { 'Content-Type': 'text/html' }, body: '<html>' } },
  ],
  ['in the Hub’s own', { rateLimit429: {} }],
] as const)(
  'while 429s name no time, the mirror sends fewer requests than it gets, and names a time to each caller: %s',
  async (_what, fault) => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', ...fault, ...ALWAYS })
    const targets = ['config.json', 'README.md', 'empty.txt', 'w.bin'].map((path) =>
      CONFIG.replace('config.json', path),
    )
    for (const token of [undefined, TOKENS.alice, undefined, TOKENS.alice]) {
      for (const target of [...targets, INFO, '/acme/open/raw/main/config.json']) {
        const got = await scene.ask(target, { token })
        expect([target, got.status]).toEqual([target, 429])
        expect(Number(got.headers['retry-after'])).toBeGreaterThan(0)
        expect(got.body.toString()).not.toContain('<html>')
      }
    }
    const first = asked(scene).length
    expect(
      first,
      'one question for each bucket, and for each credential that is counted',
    ).toBeLessThanOrEqual(6)
    // Nothing leaves before the rest is over (in its last two seconds who comes would wait for its end); then one does,
    // and the rest is longer.
    scene.clock.advance(400)
    await scene.ask(CONFIG)
    expect(asked(scene)).toHaveLength(first)
    scene.clock.advance(4_700)
    await scene.ask(CONFIG, { method: 'HEAD' })
    const second = asked(scene).length
    expect(second).toBeGreaterThan(first)
    scene.clock.advance(2_900)
    expect((await scene.ask(CONFIG)).status).toBe(429)
    expect(asked(scene)).toHaveLength(second)
    // It is over when the Hub answers.
    scene.hub.faults.clear()
    scene.clock.advance(8_000)
    expect((await scene.ask(CONFIG)).status).toBe(200)
    for (const target of targets) expect((await scene.ask(target)).status).toBe(200)
  },
)

it('git prints why it must wait, whether the Hub is asked or the mirror pauses', async () => {
  const scene = await openScene()
  const edge = { code: 429, headers: { 'Content-Type': 'text/html' }, body: '<html>' }
  scene.hub.faults.add({ where: 'hub', edge, ...ALWAYS })
  for (const state of ['asked', 'paused']) {
    const got = await scene.ask('/acme/open/info/refs?service=git-upload-pack')
    expect([state, got.status, got.headers['content-type'], got.body.toString()]).toEqual([
      state,
      429,
      'text/plain; charset=utf-8',
      expect.stringMatching(/too many requests/),
    ])
  }
  expect(asked(scene)).toHaveLength(1)
})

it('while 429s name no time, stored public content is served', async () => {
  const scene = await openScene()
  for (const target of [CONFIG, LARGE, INFO]) await scene.ask(target)
  await scene.settled()
  scene.clock.advance(120_000)
  scene.hub.faults.add({ where: 'hub', edge: { code: 429, body: 'slow down' }, ...ALWAYS })
  for (const target of [CONFIG, LARGE, INFO]) {
    const got = await scene.ask(target)
    expect([target, got.status, got.headers['x-cache']]).toEqual([target, 200, 'STALE'])
    expect(got.headers['cache-status']).toContain('origin-quota')
  }
})
