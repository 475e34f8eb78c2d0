// What stands between the mirror and the Hub: filters, CDNs and proxies that answer in the Hub's place, and gateways that
// drop fields. What they say gives no right. What they drop is found elsewhere. No byte is trusted without its digest.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import {
  ALWAYS,
  CONFIG,
  DROPPED,
  describeDropped,
  describePages,
  drop,
  EMPTY,
  HTML,
  INFO,
  LARGE,
  onHub,
  PAGES,
  SECRET,
  warm,
} from '../support/intermediaries.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

// test/long/further/intermediaries.test.ts has the other pages.
describePages(PAGES)

it('a filter between HEAD and GET is reported at once, and not asked again and again', async () => {
  const scene = await openScene()
  onHub(scene, { method: 'GET', match: /resolve/, edge: { code: 403, headers: HTML, body: '<html>' } })
  const got = await scene.ask(CONFIG)
  expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginIntercepted'])
  expect(got.headers['x-error-message']).toContain('403')
  const gets = scene.hub.ledger.requests({ server: 'hub', method: 'GET', url: /resolve/ })
  expect(new Set(gets.map(({ url }) => url)).size, 'no address is asked twice').toBe(gets.length)
})

it('a file host that a filter blocks is named, so that an operator can allow it', async () => {
  const scene = await openScene()
  scene.hub.faults.add({ where: 'cdn', ...ALWAYS, edge: { code: 403, headers: HTML, body: '<html>' } })
  const got = await scene.ask(LARGE)
  expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginIntercepted'])
  expect(got.headers['x-error-message']).toContain(new URL(scene.hub.cdnUrl).host)
})

describe('a refusal of the Hub counts at once', () => {
  const FIELDS = [
    'x-error-code',
    'x-error-message',
    'x-powered-by',
    'x-request-id',
    'x-repo-commit',
    'ratelimit',
    'ratelimit-policy',
    'www-authenticate',
  ]

  it('by its words, if a gateway drops all of its fields', async () => {
    const scene = await openScene()
    await warm(scene)
    onHub(scene, { dropHeader: FIELDS })
    scene.world.model('acme/open').makePrivate(['alice'])
    for (const target of [CONFIG, LARGE, INFO]) {
      const anonymous = await scene.ask(target)
      expect([target, anonymous.status]).toEqual([target, 401])
      const bob = await scene.ask(target, { token: TOKENS.bob })
      expect([target, bob.status, bob.headers['x-error-code']]).toEqual([target, 404, 'RepoNotFound'])
      const bad = await scene.ask(target, { token: TOKENS.invalid })
      expect([target, bad.status]).toEqual([target, 401])
    }
    expect((await scene.ask(CONFIG, { token: TOKENS.alice })).status).toBe(200)
    await scene.hub.stop()
    scene.clock.advance(60_000)
    expect((await scene.ask(CONFIG)).status, 'not by what was public before').toBe(502)
  })

  it('by its words, if a gateway drops all fields of a gated refusal', async () => {
    const scene = await openScene()
    onHub(scene, { dropHeader: FIELDS })
    for (const [token, status] of [
      [undefined, 401],
      [TOKENS.bob, 403],
    ] as const) {
      const got = await scene.ask('/acme/gated/resolve/main/config.json', { token })
      expect([got.status, got.headers['x-error-code']]).toEqual([status, 'GatedRepo'])
    }
  })

  it('if a filter answers the question about the file, and the Hub the one about the repo', async () => {
    const scene = await openScene()
    await warm(scene)
    onHub(scene, { match: /resolve/, edge: { code: 403, headers: HTML, body: '<html>' } })
    scene.world.model('acme/open').makePrivate([])
    expect((await scene.ask(CONFIG)).status).toBe(502)
    expect((await scene.ask(LARGE, { token: TOKENS.bob })).status).toBe(502)
  })

  it('for an absent file of a commit, if a gateway drops the fields', async () => {
    const scene = await openScene()
    await warm(scene)
    onHub(scene, { dropHeader: FIELDS })
    const commit = scene.commit('acme/open')
    const got = await scene.ask(`/acme/open/resolve/${commit}/none.txt`, { method: 'HEAD' })
    expect([got.status, got.headers['x-error-code'], got.headers['x-repo-commit']]).toEqual([
      404,
      'EntryNotFound',
      commit,
    ])
  })
})

it('a filter that blocks every HEAD does not keep files from being served', async () => {
  const scene = await openScene()
  onHub(scene, { method: 'HEAD', edge: { code: 405, headers: HTML } })
  for (const [target, path] of [
    [CONFIG, 'config.json'],
    [EMPTY, 'empty.txt'],
    [LARGE, 'w.bin'],
  ] as const) {
    const right = scene.bytes('acme/open', path)
    const head = await scene.ask(target, { method: 'HEAD' })
    expect([head.status, head.headers['content-length']]).toEqual([200, String(right.length)])
    expect((await scene.ask(target)).body.equals(right)).toBe(true)
  }
  const absent = await scene.ask('/acme/open/resolve/main/none.txt', { method: 'HEAD' })
  expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
})

// test/long/further/intermediaries.test.ts has the other fields.
describeDropped(DROPPED)

describe('a gateway before the Hub that drops', () => {
  it('everything that describes a file, even in the listing, keeps that file from all clients', async () => {
    const scene = await openScene()
    onHub(scene, drop(['x-linked-size', 'x-linked-etag', 'etag']))
    onHub(scene, { match: /paths-info/, edge: { code: 404, headers: HTML } })
    for (const target of [CONFIG, LARGE]) {
      const got = await scene.ask(target)
      expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginBadAnswer'])
    }
  })

  it('the size of a file without digest makes the mirror pass it on unstored', async () => {
    const scene = await openScene()
    onHub(scene, { match: /resolve/, addHeaders: { ETag: '"opaque-1"' } })
    onHub(scene, { match: /paths-info/, edge: { code: 404, headers: HTML } })
    for (let turn = 0; turn < 2; turn += 1) {
      const got = await scene.ask(CONFIG)
      expect([got.status, got.headers['etag'], got.headers['x-cache']]).toEqual([200, '"opaque-1"', 'BYPASS'])
      expect(got.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    }
    await scene.hub.stop()
    expect((await scene.ask(CONFIG)).status).toBe(502)
  })

  it('the length of a HEAD costs no additional question for a file whose digest is known', async () => {
    const scene = await openScene()
    onHub(scene, drop('content-length', 'HEAD'))
    expect((await scene.ask(CONFIG)).status).toBe(200)
    await scene.settled()
    scene.clock.advance(20_000)
    scene.hub.ledger.clear()
    expect((await scene.ask(CONFIG, { method: 'HEAD' })).headers['x-cache']).toBe('REVALIDATED')
    const gets = scene.hub.ledger.requests({ server: 'hub', method: 'GET', url: /resolve/ })
    expect(gets).toEqual([])
  })

  it('the commit, while the branch moves, lets no client take another commit for that of the bytes', async () => {
    const scene = await openScene()
    const repo = scene.world.model('acme/open')
    let moved = false
    onHub(scene, {
      ...drop('x-repo-commit'),
      match: /resolve/,
      onRequest: () => {
        if (moved) return
        moved = true
        queueMicrotask(() => repo.commit({ 'w.bin': lfs({ sizeBytes: 5_000, seed: 99 }) }))
      },
    })
    const got = await scene.ask(LARGE)
    expect([got.status, got.headers['x-repo-commit']]).toEqual([200, scene.commit('acme/open')])
    expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
  })
})

it('a mirror of a mirror reports refusals and failures as the first one does', async () => {
  const scene = await openScene()
  const behind = await scene.another({ hub: { ...scene.hub, url: scene.mirror.url } })
  const { ask } = await import('../support/ask.ts')
  expect((await ask(behind.url, CONFIG)).body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
  const bob = await ask(behind.url, SECRET, { token: TOKENS.bob })
  expect([bob.status, bob.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
  const anonymous = await ask(behind.url, SECRET)
  expect(anonymous.status).toBe(401)
  const gated = await ask(behind.url, '/acme/gated/resolve/main/config.json', {
    token: TOKENS.bob,
    method: 'HEAD',
  })
  expect([gated.status, gated.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
  await scene.hub.stop()
  scene.clock.advance(120_000)
  const stale = await ask(behind.url, CONFIG)
  expect([stale.status, stale.body.equals(scene.bytes('acme/open', 'config.json'))]).toEqual([200, true])
})

it.each([
  ['a year ahead', 365 * 86_400_000],
  ['a year behind', -365 * 86_400_000],
])('a signed URL is used until its end, and not longer, by a mirror whose clock is %s', async (_, offMs) => {
  const scene = await openScene({ mirror: { now: () => Date.now() + offMs } })
  const roads = async () => {
    scene.hub.ledger.clear()
    const got = await scene.ask(SECRET.replace('config.json', 'w.bin'), { token: TOKENS.alice })
    expect(got.status).toBe(200)
    const gets = scene.hub.ledger.requests({ method: 'GET' })
    return gets.filter(({ url }) => !url.startsWith('/api/')).map(({ server }) => server)
  }
  // The HEAD has reported where the bytes are.
  expect(await roads()).toEqual(['cdn'])
  const commit = scene.commit('acme/secret')
  const pinned = async () => {
    scene.hub.ledger.clear()
    const target = `/acme/secret/resolve/${commit}/w.bin`
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    return scene.hub.ledger.requests({ method: 'HEAD' }).length
  }
  scene.clock.advance(50_000)
  expect(await pinned(), 'the right is remembered, and so is the URL').toBe(0)
  expect(scene.hub.ledger.requests({ server: 'hub', url: /resolve/ })).toEqual([])
})
