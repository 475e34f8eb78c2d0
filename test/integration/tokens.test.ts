// Which credential is sent where, and which content it gives access to.

import { describe, expect, it } from 'vitest'
import { GATED_CONFIG, SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { filesBelow } from '../support/start-mirror.ts'

const CLOSED = [
  { id: 'acme/secret', text: SECRET_CONFIG },
  { id: 'acme/gated', text: GATED_CONFIG },
] as const

/** The credentials that reached the Hub, without repeats; undefined stands for an anonymous request. */
const credentials = (scene: Scene) =>
  new Set(scene.hub.ledger.requests({ server: 'hub' }).map((entry) => scene.hub.ledger.credential(entry)))

describe("a caller's token", () => {
  it.each(CLOSED)('opens $id to HEAD, GET and the API', async ({ id, text }) => {
    const scene = await openScene()
    const target = `/${id}/resolve/main/config.json`
    expect((await scene.ask(target, { method: 'HEAD', token: TOKENS.alice })).status).toBe(200)
    const got = await scene.ask(target, { token: TOKENS.alice })
    expect([got.status, got.body.toString(), got.headers['x-cache']]).toEqual([200, text, 'BYPASS'])
    const large = await scene.ask(`/${id}/resolve/main/w.bin`, { token: TOKENS.alice })
    expect(large.body.equals(scene.bytes(id, 'w.bin'))).toBe(true)
    scene.hub.ledger.clear()
    const info = await scene.ask(`/api/models/${id}`, { token: TOKENS.alice })
    expect([info.status, JSON.parse(info.body.toString()).id]).toEqual([200, id])
    expect(credentials(scene)).toEqual(new Set([TOKENS.alice]))
  })

  it('is never shown to the CDN', async () => {
    const scene = await openScene()
    for (const id of ['acme/open', 'acme/secret', 'acme/gated']) {
      await scene.ask(`/${id}/resolve/main/w.bin`, { token: TOKENS.alice, headers: { cookie: 'token=abc' } })
    }
    const seen = scene.hub.ledger.requests({ server: 'cdn' })
    expect(seen.length).toBeGreaterThanOrEqual(3)
    for (const { headers } of seen) {
      expect([headers.authorization, headers.cookie]).toEqual([undefined, undefined])
    }
    const hub = scene.hub.ledger.requests({ server: 'hub' })
    expect(hub.every(({ headers }) => headers.cookie === undefined)).toBe(true)
  })

  it.each([
    'Bearer  Bearer x',
    'Bearer Bearer hf_abcdefghijklmnop',
    'Basic YWxpY2U6eA==',
    'Token abc',
    'Bearer',
  ])('that the Hub does not understand is passed on, and the Hub refuses it: "%s"', async (authorization) => {
    const scene = await openScene()
    const target = '/acme/open/resolve/main/config.json'
    for (const method of ['HEAD', 'GET']) {
      const got = await scene.ask(target, { method, headers: { authorization } })
      expect([got.status, got.headers['x-error-message'], got.headers['x-error-code']]).toEqual([
        401,
        'Invalid credentials in Authorization header',
        undefined,
      ])
    }
    const asked = scene.hub.ledger.requests({ server: 'hub' })
    expect(asked.some(({ headers }) => headers.authorization === authorization)).toBe(true)
    const info = await scene.ask('/api/models/acme/open', { headers: { authorization } })
    expect(info.status).toBe(401)
  })

  it('in the form that git sends opens what it opens at the Hub', async () => {
    const scene = await openScene()
    const authorization = `Basic ${Buffer.from(`alice:${TOKENS.alice}`).toString('base64')}`
    const got = await scene.ask('/acme/secret/resolve/main/config.json', { headers: { authorization } })
    expect([got.status, got.body.toString()]).toEqual([200, SECRET_CONFIG])
    expect(scene.mirror.logText()).not.toContain(authorization.slice(6))
  })
})

describe('bytes of a restricted repo', () => {
  it.each(CLOSED)('of $id are not written to the disk', async ({ id, text }) => {
    const scene = await openScene()
    for (const path of ['config.json', 'w.bin', 'no-such-secret-file.txt']) {
      await scene.ask(`/${id}/resolve/main/${path}`, { method: 'HEAD', token: TOKENS.alice })
      await scene.ask(`/${id}/resolve/main/${path}`, { token: TOKENS.alice })
      await scene.ask(`/${id}/resolve/main/${path}`)
      await scene.ask(`/${id}/resolve/main/${path}`, { token: TOKENS.bob })
    }
    for (const route of ['', '/tree/main', '/revision/main', '/refs', '/commits/main']) {
      await scene.ask(`/api/models/${id}${route}`, { token: TOKENS.alice })
      await scene.ask(`/api/models/${id}${route}`)
    }
    await scene.ask(`/api/models/${id}/paths-info/main`, {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'paths=config.json',
    })
    await scene.mirror.close({ keepDir: true })
    const large = scene.bytes(id, 'w.bin')
    const file = scene.world.model(id).resolve('main')?.files
    const traces = [
      id,
      text.trim(),
      'no-such-secret-file',
      scene.commit(id),
      file?.get('w.bin')?.lfs?.sha256 ?? '',
      file?.get('config.json')?.oid ?? '',
      large.subarray(0, 64).toString('latin1'),
      large.subarray(200_000, 200_064).toString('latin1'),
    ]
    const files = await filesBelow(scene.mirror.cacheDir)
    expect(files.size, 'the store has files to search').toBeGreaterThan(0)
    for (const [path, bytes] of files) {
      const content = bytes.toString('latin1')
      for (const trace of traces) {
        expect(trace.length).toBeGreaterThan(8)
        expect(path.includes(trace) || content.includes(trace), `${path} tells of ${id}`).toBe(false)
      }
    }
  })

  it.each(CLOSED)(
    'of $id go to no other caller, though alice has just received them',
    async ({ id, text }) => {
      const scene = await openScene()
      const cold = async () => {
        for (const path of ['config.json', 'w.bin']) {
          for (const method of ['HEAD', 'GET']) {
            for (const token of [undefined, TOKENS.bob, TOKENS.invalid]) {
              const got = await scene.ask(`/${id}/resolve/main/${path}`, { method, token })
              expect(got.status, `${method} ${path}`).toBeGreaterThanOrEqual(401)
              expect(got.status).toBeLessThanOrEqual(404)
              expect(got.headers['etag']).toBeUndefined()
              expect(got.headers['x-linked-size']).toBeUndefined()
              expect(got.headers['x-repo-commit']).toBeUndefined()
              expect(got.body.includes(text.trim())).toBe(false)
              expect(got.body.length).toBeLessThan(500)
            }
          }
        }
      }
      await cold()
      for (const path of ['config.json', 'w.bin']) {
        await scene.ask(`/${id}/resolve/main/${path}`, { method: 'HEAD', token: TOKENS.alice })
        expect((await scene.ask(`/${id}/resolve/main/${path}`, { token: TOKENS.alice })).status).toBe(200)
      }
      await cold()
    },
  )

  it('are requested with the token of each caller, and a revoked token stops opening them', async () => {
    const scene = await openScene()
    scene.world.model('acme/secret').private(['alice', 'bob'])
    const target = '/acme/secret/resolve/main/config.json'
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    scene.hub.ledger.clear()
    expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(200)
    expect(credentials(scene)).toContain(TOKENS.bob)
    expect(credentials(scene)).not.toContain(TOKENS.alice)
    scene.world.revokeToken(TOKENS.bob)
    scene.clock.advance(60_000)
    const revoked = await scene.ask(target, { token: TOKENS.bob })
    expect([revoked.status, revoked.headers['x-error-message']]).toEqual([
      401,
      'Invalid credentials in Authorization header',
    ])
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
  })

  it("are not shared with a caller that asks while another caller's request is in flight", async () => {
    const scene = await openScene()
    const target = '/acme/secret/resolve/main/config.json'
    scene.hub.faults.add({
      where: 'hub',
      match: ({ headers }) => headers.authorization?.includes(TOKENS.alice) === true,
      stallHeaders: true,
    })
    const own = scene.ask(target, { method: 'HEAD', token: TOKENS.alice })
    await scene.hub.faults.whenStalled()
    for (const token of [undefined, TOKENS.bob, TOKENS.invalid]) {
      expect((await scene.ask(target, { method: 'HEAD', token })).status).toBeGreaterThanOrEqual(401)
    }
    scene.hub.faults.release()
    expect((await own).status).toBe(200)
  })

  it('are fetched by the signed URL that the Hub made for this very caller', async () => {
    const scene = await openScene()
    scene.world.model('acme/secret').private(['alice', 'bob'])
    const target = '/acme/secret/resolve/main/w.bin'
    await scene.ask(target, { method: 'HEAD', token: TOKENS.alice })
    await scene.ask(target, { method: 'HEAD', token: TOKENS.bob })
    for (const [name, token] of [
      ['alice', TOKENS.alice],
      ['bob', TOKENS.bob],
    ] as const) {
      scene.hub.ledger.clear()
      expect((await scene.ask(target, { token })).status).toBe(200)
      const urls = scene.hub.ledger
        .requests({ server: 'cdn' })
        .map(({ url }) => new URL(url, scene.hub.cdnUrl))
      expect(urls.map((url) => url.searchParams.get('X-Xet-Cas-Uid'))).toEqual([name])
    }
  })

  it('are refused with the request for the body, if the right ended after the HEAD', async () => {
    const scene = await openScene()
    const target = '/acme/secret/resolve/main/config.json'
    await scene.ask(target, { method: 'HEAD', token: TOKENS.alice })
    scene.world.model('acme/secret').private([])
    const got = await scene.ask(target, { token: TOKENS.alice })
    expect([got.status, got.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
    expect(got.body.includes('secret')).toBe(false)
  })
})

describe('a public repo', () => {
  const target = '/acme/open/resolve/main/config.json'

  it('requested with a token costs one anonymous question per repo and access TTL', async () => {
    const scene = await openScene()
    const anonymousRequests = () =>
      scene.hub.ledger
        .requests({ server: 'hub', method: 'HEAD' })
        .filter(
          (entry) => entry.headers.authorization === undefined && entry.url.startsWith('/acme/open/resolve'),
        )
    for (const path of ['config.json', 'w.bin', 'README.md']) {
      await scene.ask(`/acme/open/resolve/main/${path}`, { method: 'HEAD', token: TOKENS.alice })
      const got = await scene.ask(`/acme/open/resolve/main/${path}`, { token: TOKENS.alice })
      expect(got.headers['x-cache']).toBe('MISS')
    }
    expect(anonymousRequests().length).toBe(1)
    await scene.settled()
    scene.clock.advance(60_000)
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    expect(anonymousRequests().length).toBe(2)
    expect((await scene.ask(target, { token: TOKENS.alice })).headers['x-cache']).toBe('HIT')
    expect(anonymousRequests().length).toBe(2)
  })

  it('that was made private is closed to anonymous callers when the access TTL is over', async () => {
    const scene = await openScene()
    const commit = scene.commit('acme/open')
    const pinned = `/acme/open/resolve/${commit}/config.json`
    expect((await scene.ask(pinned)).status).toBe(200)
    await scene.settled()
    scene.world.model('acme/open').makePrivate(['alice'])
    expect((await scene.ask(pinned)).status, 'believed for a while').toBe(200)
    scene.clock.advance(60_000)
    const got = await scene.ask(pinned)
    expect([got.status, got.headers['x-error-code']]).toEqual([401, 'RepoNotFound'])
    const own = await scene.ask(pinned, { token: TOKENS.alice })
    expect([own.status, own.headers['x-cache']]).toEqual([200, 'BYPASS'])
    expect((await scene.ask(pinned)).status).toBe(401)
  })

  it.each(['makePrivate', 'closeGate'] as const)(
    'that became %s is closed at once for all callers when the Hub refuses one',
    async (turn) => {
      const scene = await openScene()
      const commit = scene.commit('acme/open')
      for (const path of ['config.json', 'nested/deeper/vocab.txt']) {
        await scene.ask(`/acme/open/resolve/${commit}/${path}`, { token: TOKENS.alice })
        await scene.ask(`/acme/open/resolve/main/${path}`)
      }
      await scene.settled()
      scene.world.model('acme/open')[turn](['alice'])
      scene.clock.advance(10_000)
      expect((await scene.ask('/acme/open/resolve/main/w.bin')).status).toBe(401)
      for (const path of ['config.json', 'nested/deeper/vocab.txt']) {
        const bob = await scene.ask(`/acme/open/resolve/${commit}/${path}`, { token: TOKENS.bob })
        expect([bob.status >= 401, bob.body.includes('acme/open')]).toEqual([true, turn === 'closeGate'])
        const own = await scene.ask(`/acme/open/resolve/${commit}/${path}`, { token: TOKENS.alice })
        expect([own.status, own.headers['x-cache']]).toEqual([200, 'BYPASS'])
      }
    },
  )

  it('with an access TTL of zero is asked about every time', async () => {
    const scene = await openScene({ config: { accessTtlMs: 0 } })
    const pinned = `/acme/open/resolve/${scene.commit('acme/open')}/config.json`
    await scene.ask(pinned)
    await scene.settled()
    scene.hub.ledger.clear()
    expect((await scene.ask(pinned)).headers['x-cache']).toBe('REVALIDATED')
    expect(scene.hub.ledger.requests({ method: 'HEAD' }).length).toBeGreaterThan(0)
    scene.world.model('acme/open').makePrivate([])
    expect((await scene.ask(pinned)).status).toBe(401)
  })

  it('is not made private by a token that the Hub does not know', async () => {
    const scene = await openScene()
    await scene.ask(target)
    await scene.settled()
    const cold = await scene.ask('/acme/open/resolve/main/w.bin', { token: TOKENS.invalid })
    expect(cold.status).toBe(401)
    scene.hub.ledger.clear()
    expect((await scene.ask(target)).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

describe('who-am-I', () => {
  it('is answered for each caller by the Hub, and never stored', async () => {
    const scene = await openScene()
    const name = async (token: string | undefined) => {
      const got = await scene.ask('/api/whoami-v2', { token })
      return got.status === 200 ? JSON.parse(got.body.toString()).name : got.status
    }
    expect(await name(TOKENS.alice)).toBe('alice')
    expect(await name(TOKENS.bob)).toBe('bob')
    expect(await name(TOKENS.alice)).toBe('alice')
    expect(await name(undefined)).toBe(401)
    expect(await name(TOKENS.invalid)).toBe(401)
    expect(scene.hub.ledger.requests({ url: /whoami/ }).length).toBe(5)
    await scene.hub.stop()
    const away = await scene.ask('/api/whoami-v2', { token: TOKENS.alice })
    expect(away.status).toBe(502)
    for (const [path, bytes] of await filesBelow(scene.mirror.cacheDir)) {
      expect(bytes.includes('alice@'), path).toBe(false)
    }
  })

  it('with a bad token is answered as by the Hub, without a code about repos', async () => {
    const scene = await openScene()
    const got = await scene.ask('/api/whoami-v2', { token: TOKENS.invalid })
    expect([got.status, got.headers['x-error-code'], got.headers['x-error-message']]).toEqual([
      401,
      undefined,
      'Invalid credentials in Authorization header',
    ])
    expect(JSON.parse(got.body.toString())).toEqual({
      error: expect.stringMatching(/^Invalid credentials in Authorization header\. A token arrived/),
    })
    expect((await scene.ask('/api/whoami-v2')).headers['x-error-code']).toBeUndefined()
  })
})
