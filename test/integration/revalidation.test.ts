// What is asked of the Hub again, and what never is.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const LARGE = '/acme/open/resolve/main/w.bin'
/** How the mirror asks without a token whether the repo is public. */
const IS_PUBLIC = '/api/models/acme/open?expand=private&expand=gated&expand=disabled'

describe('a file', () => {
  it.each([CONFIG, LARGE])(
    'that is stored is neither fetched nor revalidated again within the TTL of the branch: %s',
    async (target) => {
      const scene = await openScene()
      const first = await scene.ask(target)
      expect(first.headers['x-cache']).toBe('MISS')
      expect(first.headers['cache-status']).toBe('hubmirror; fwd=uri-miss; stored')
      await scene.settled()
      scene.hub.ledger.clear()
      for (const method of ['GET', 'HEAD', 'GET']) {
        const again = await scene.ask(target, { method })
        expect([again.status, again.headers['x-cache'], again.headers['cache-status']]).toEqual([
          200,
          'HIT',
          'hubmirror; hit',
        ])
        if (method === 'GET') expect(again.body.equals(first.body)).toBe(true)
      }
      expect(scene.hub.ledger.requests()).toEqual([])
    },
  )

  it('costs two questions to the Hub, for the file and for the repo, and one body, if a HEAD and then a GET fetch it', async () => {
    const scene = await openScene()
    await scene.ask(LARGE, { method: 'HEAD' })
    await scene.ask(LARGE)
    const asked = scene.hub.ledger.requests({ server: 'hub' }).map(({ method, url }) => `${method} ${url}`)
    expect(asked.sort()).toEqual([`GET ${IS_PUBLIC}`, `HEAD ${LARGE}`])
    expect(scene.hub.ledger.requests({ server: 'cdn' }).map(({ method }) => method)).toEqual(['GET'])
    expect(scene.hub.ledger.bytes()).toBe(scene.bytes('acme/open', 'w.bin').length)
  })

  it('that is small costs one question for its bytes, which goes to the address that the HEAD was redirected to', async () => {
    const scene = await openScene()
    await scene.ask(CONFIG, { method: 'HEAD', token: TOKENS.alice })
    scene.hub.ledger.clear()
    const got = await scene.ask(CONFIG, { token: TOKENS.alice })
    expect(got.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    const asked = scene.hub.ledger.requests({ method: 'GET', url: /resolve/ })
    expect(asked.map((entry) => [entry.url.split('?')[0], scene.hub.ledger.credential(entry)])).toEqual([
      [`/api/resolve-cache/models/acme/open/${scene.commit('acme/open')}/config.json`, TOKENS.alice],
    ])
  })

  it.each([404, 403])(
    'is requested at its own address if the address from the HEAD answers %i',
    async (code) => {
      const scene = await openScene()
      await scene.ask(CONFIG, { method: 'HEAD' })
      scene.hub.ledger.clear()
      scene.hub.faults.add({ where: 'hub', method: 'GET', match: /resolve-cache/, status: { code } })
      expect((await scene.ask(CONFIG)).status).toBe(200)
      const own = `/acme/open/resolve/${scene.commit('acme/open')}/config.json`
      const urls = scene.hub.ledger.requests({ method: 'GET', url: /resolve/ }).map(({ url }) => url)
      expect(urls).toEqual([
        expect.stringContaining('resolve-cache'),
        own,
        expect.stringContaining('resolve-cache'),
      ])
    },
  )

  it('is requested by its commit if the HEAD was redirected to the branch of another name', async () => {
    const scene = await openScene()
    const led = { where: 'hub', match: /^\/acme\/open\/resolve/, times: 10 } as const
    scene.hub.faults.add({ ...led, redirectTo: ({ url }) => url.replace('/acme/open/', '/legacy/') })
    const commit = scene.commit('legacy')
    await scene.ask(CONFIG, { method: 'HEAD' })
    scene.hub.ledger.clear()
    scene.world.model('legacy').commit({ 'config.json': '{"moved":true}\n' })
    const got = await scene.ask(CONFIG)
    expect([got.status, got.headers['x-repo-commit']]).toEqual([200, commit])
    const urls = scene.hub.ledger.requests({ method: 'GET', url: /resolve/ }).map(({ url }) => url)
    expect(urls).toEqual([
      `/acme/open/resolve/${commit}/config.json`,
      `/legacy/resolve/${commit}/config.json`,
    ])
  })

  it('stored by its commit is never revalidated while the repo is known to be public', async () => {
    const scene = await openScene({ config: { accessTtlMs: 1_000_000 } })
    const commit = scene.commit('acme/open')
    await scene.ask(`/acme/open/resolve/${commit}/w.bin`)
    await scene.settled()
    scene.hub.ledger.clear()
    scene.clock.advance(900_000)
    const again = await scene.ask(`/acme/open/resolve/${commit}/w.bin`)
    expect(again.headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('stored for one repo is served for another without another fetch', async () => {
    const scene = await openScene()
    const content = lfs({ sizeBytes: 3_000_000, seed: 1 })
    scene.world.model('acme/twin').commit({ 'copy.bin': content, 'c.json': '{"model_type":"open","v":2}\n' })
    await scene.ask(LARGE)
    await scene.ask(CONFIG)
    await scene.settled()
    scene.hub.ledger.clear()
    const large = await scene.ask('/acme/twin/resolve/main/copy.bin')
    expect(large.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    expect(large.headers['x-cache']).toBe('REVALIDATED')
    const small = await scene.ask('/acme/twin/resolve/main/c.json')
    expect(small.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    expect(scene.hub.ledger.bodyRequests()).toEqual([])
  })

  it('that is stored is still there after a restart, and is revalidated once', async () => {
    const scene = await openScene()
    await scene.ask(LARGE)
    await scene.ask(CONFIG)
    await scene.settled()
    await scene.restart()
    scene.hub.ledger.clear()
    const large = await scene.ask(LARGE)
    expect([large.headers['x-cache'], large.body.equals(scene.bytes('acme/open', 'w.bin'))]).toEqual([
      'REVALIDATED',
      true,
    ])
    // Those questions said where main is, and that all may read the repo.
    const small = await scene.ask(CONFIG)
    expect([small.headers['x-cache'], small.body.equals(scene.bytes('acme/open', 'config.json'))]).toEqual([
      'HIT',
      true,
    ])
    const asked = scene.hub.ledger.requests().map(({ method, url }) => `${method} ${url}`)
    expect(asked.sort()).toEqual([`GET ${IS_PUBLIC}`, `HEAD ${LARGE}`])
  })
})

describe('a branch', () => {
  it('is revalidated after its TTL, and not before', async () => {
    const scene = await openScene()
    await scene.ask(CONFIG)
    await scene.settled()
    scene.hub.ledger.clear()
    scene.clock.advance(9_999)
    expect((await scene.ask(CONFIG)).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
    scene.clock.advance(1)
    const asked = await scene.ask(CONFIG)
    expect([
      asked.headers['x-cache'],
      asked.headers['cache-status']?.startsWith('hubmirror; fwd=stale'),
    ]).toEqual(['REVALIDATED', true])
    expect(scene.hub.ledger.requests().every(({ method }) => method === 'HEAD')).toBe(true)
    const trips = scene.hub.ledger.requests().length
    expect((await scene.ask(CONFIG)).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests().length, 'fresh again').toBe(trips)
  })

  it('that moved is noticed after its TTL', async () => {
    const scene = await openScene()
    const before = await scene.ask(CONFIG)
    await scene.settled()
    const commit = scene.world.model('acme/open').commit({ 'config.json': '{"moved":true}\n' })
    const during = await scene.ask(CONFIG)
    expect(during.body.equals(before.body)).toBe(true)
    scene.clock.advance(10_000)
    const after = await scene.ask(CONFIG)
    expect([after.body.toString(), after.headers['x-repo-commit']]).toEqual(['{"moved":true}\n', commit])
  })

  it('with a TTL of zero is revalidated with every request', async () => {
    const scene = await openScene({ config: { refTtlMs: 0 } })
    await scene.ask(CONFIG)
    await scene.settled()
    scene.world.model('acme/open').commit({ 'config.json': '{"moved":true}\n' })
    expect((await scene.ask(CONFIG)).body.toString()).toBe('{"moved":true}\n')
  })

  it('that moves between HEAD and GET is answered with the commit of the HEAD', async () => {
    const scene = await openScene()
    const head = await scene.ask(LARGE, { method: 'HEAD' })
    const bytes = scene.bytes('acme/open', 'w.bin')
    scene.world.model('acme/open').commit({ 'w.bin': lfs({ sizeBytes: 500_000, seed: 77 }) })
    scene.clock.advance(10_000)
    const got = await scene.ask(LARGE)
    expect(got.headers['x-repo-commit']).toBe(head.headers['x-repo-commit'])
    expect(got.headers['etag']).toBe(head.headers['etag'])
    expect(got.body.equals(bytes)).toBe(true)
    const later = await scene.ask(LARGE, { method: 'HEAD' })
    expect(later.headers['x-repo-commit']).toBe(scene.commit('acme/open'))
    expect((await scene.ask(LARGE)).body.length).toBe(500_000)
  })

  it('keeps the commit of a HEAD for the client that sent it, not for another credential', async () => {
    const scene = await openScene()
    await scene.ask(CONFIG, { method: 'HEAD' })
    scene.world.model('acme/open').commit({ 'config.json': '{"moved":true}\n' })
    scene.clock.advance(10_000)
    expect((await scene.ask(CONFIG, { token: TOKENS.bob })).body.toString()).toBe('{"moved":true}\n')
    expect((await scene.ask(CONFIG)).body.toString()).toContain('"v":2')
    scene.clock.advance(60_001)
    expect((await scene.ask(CONFIG)).body.toString()).toBe('{"moved":true}\n')
  })

  it('that was deleted is refused as soon as its TTL is over', async () => {
    const scene = await openScene()
    const target = '/acme/open/resolve/dev/config.json'
    expect((await scene.ask(target)).status).toBe(200)
    scene.world.model('acme/open').refs.delete('refs/heads/dev')
    scene.clock.advance(10_000)
    const got = await scene.ask(target)
    expect([got.status, got.headers['x-error-code']]).toEqual([404, 'RevisionNotFound'])
  })
})

describe('an absent file', () => {
  const target = '/acme/open/resolve/main/no.txt'

  it('of a public repo is cached as absent for its commit', async () => {
    const scene = await openScene()
    await scene.ask(CONFIG)
    const first = await scene.ask(target)
    scene.hub.ledger.clear()
    const again = await scene.ask(target)
    expect(again.status).toBe(404)
    for (const name of ['x-error-code', 'x-error-message', 'x-repo-commit']) {
      expect(again.headers[name]).toBe(first.headers[name])
    }
    expect(scene.hub.ledger.requests()).toEqual([])
    scene.world.model('acme/open').commit({ 'no.txt': 'there now\n' })
    scene.clock.advance(10_000)
    expect((await scene.ask(target)).body.toString()).toBe('there now\n')
  })

  it.each(['acme/secret', 'acme/gated'])('of %s is requested from the Hub every time', async (id) => {
    const scene = await openScene()
    const absent = `/${id}/resolve/main/no.txt`
    for (const method of ['HEAD', 'GET', 'GET']) {
      scene.hub.ledger.clear()
      const got = await scene.ask(absent, { method, token: TOKENS.alice })
      expect([got.status, got.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
      const asked = scene.hub.ledger.requests()
      expect(asked.some((entry) => scene.hub.ledger.credential(entry) === TOKENS.alice)).toBe(true)
    }
    const anonymous = await scene.ask(absent)
    expect([anonymous.status, anonymous.headers['x-error-code']]).toEqual([
      401,
      id === 'acme/gated' ? 'GatedRepo' : 'RepoNotFound',
    ])
  })
})
