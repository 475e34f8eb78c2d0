// Where the mirror stands: below a prefix, behind a front, before another mirror. What it says of itself must be
// what its clients call it.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { ask } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

/** A page whose Link must lead back. */
const PAGED = '/api/models/acme/open/commits/main?limit=1'
const linkOf = (headers: Readonly<Record<string, string | undefined>>) =>
  /^<([^>]+)>; rel="next"$/.exec(headers['link'] ?? '')?.[1]

describe('a mirror below a base path', () => {
  it('serves everything of the Hub there, and nothing outside', async () => {
    const scene = await openScene({ config: { basePath: '/hub/face' } })
    const file = await scene.ask('/hub/face/acme/open/resolve/main/config.json')
    expect(file.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    expect((await scene.ask('/hub/face//api/models/acme/open')).status).toBe(200)
    const raw = await scene.ask('/hub/face/acme/open/raw/main/config.json')
    expect(raw.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    // What a person opens leads to the Hub, which has no base path.
    const text = (await scene.ask('/hub/face/acme/open')).body.toString()
    expect(text).toContain(`${scene.hub.url}/acme/open\n`)
    expect(text).toContain(`HF_ENDPOINT=${scene.mirror.url}/hub/face\n`)
    const page = await scene.ask(`/hub/face${PAGED}`)
    expect(linkOf(page.headers)).toContain(`${scene.mirror.url}/hub/face/api/models/acme/open/commits/main?`)
    const renamed = await scene.ask('/hub/face/acme/old/raw/main/config.json')
    expect(new URL(renamed.headers['location'] ?? '', scene.mirror.url).pathname).toBe(
      '/hub/face/acme/new/raw/main/config.json',
    )
    scene.hub.ledger.clear()
    for (const target of [
      '/acme/open/resolve/main/config.json',
      '/api/models/acme/open',
      '/hub/facex/acme/open/resolve/main/config.json',
      '/hub',
      '/',
      '/hub/face/-/x',
      '/hub/face//-',
    ]) {
      const got = await scene.ask(target)
      expect([target, got.status, got.headers['x-error-code']]).toEqual([target, 404, 'NotFound'])
    }
    expect(scene.hub.ledger.requests()).toEqual([])
    for (const target of ['/healthz', '/readyz', '/metrics'])
      expect((await scene.ask(target)).status).toBe(200)
  })
})

describe('the name of the mirror', () => {
  it('is the one by which the client calls it', async () => {
    const scene = await openScene()
    for (const host of ['mirror.example:8080', '[::1]:9', 'localhost']) {
      const page = await scene.ask(PAGED, { headers: { host } })
      expect(linkOf(page.headers)).toContain(`http://${host}/api/models/acme/open/commits/main?`)
    }
  })

  it.each(['evil"><b', 'a b', 'user@host', 'host/path', 'host?x', 'a,b'])(
    'is never taken from a Host that is no host: "%s"',
    async (host) => {
      const scene = await openScene()
      const page = await scene.ask(PAGED, { headers: { host } })
      if (page.status === 200) expect(linkOf(page.headers)).toContain('http://localhost/api/models/')
      else expect(page.status).toBe(400)
    },
  )

  it('that one client uses is not sent to another', async () => {
    const scene = await openScene()
    await scene.ask('/acme/open/resolve/main/config.json')
    const commit = scene.commit('acme/open')
    const tree = `/api/models/acme/open/tree/${commit}?recursive=true&limit=1`
    await scene.ask(tree, { headers: { host: 'poison.example' } })
    const got = await scene.ask(tree)
    expect(got.headers['x-cache']).toBe('HIT')
    expect(linkOf(got.headers)).toContain(`${scene.mirror.url}/api/models/acme/open/tree/`)
  })

  it('is the configured one, whatever the request says', async () => {
    const scene = await openScene({
      config: { publicUrl: new URL('https://front.example/hf/'), basePath: '/hf' },
    })
    const page = await scene.ask(`/hf${PAGED}`, { headers: { host: 'other.example' } })
    expect(linkOf(page.headers)).toContain('https://front.example/hf/api/models/acme/open/commits/main?')
  })

  it('is taken from a proxy only if the proxy is trusted', async () => {
    const headers = {
      'x-forwarded-host': 'front.example',
      'x-forwarded-proto': 'https',
      'x-forwarded-for': '10.9.8.7',
    }
    const wary = await openScene()
    const page = await wary.ask(PAGED, { headers })
    expect(linkOf(page.headers)).toContain(`${wary.mirror.url}/api/`)
    expect(wary.mirror.logText()).not.toContain('10.9.8.7')
    const trusting = await wary.another({ config: { trustProxy: ['127.0.0.1'] } })
    const believed = await ask(trusting.url, PAGED, { headers })
    expect(linkOf(believed.headers)).toContain('https://front.example/api/')
  })
})

describe('a mirror before a mirror', () => {
  it('serves files, documents and refusals like one before the Hub', async () => {
    const scene = await openScene({ config: { basePath: '/inner' } })
    const outer = await scene.another({
      config: { origin: new URL(`${scene.mirror.url}/inner`), basePath: '/' },
    })
    scene.world.model('acme/open').commit({ 'big.bin': lfs({ sizeBytes: 5_000_000, seed: 12 }) })
    for (const [target, id, path, token] of [
      ['/acme/open/resolve/main/config.json', 'acme/open', 'config.json', undefined],
      ['/acme/open/resolve/main/big.bin', 'acme/open', 'big.bin', undefined],
      ['/acme/secret/resolve/main/w.bin', 'acme/secret', 'w.bin', TOKENS.alice],
    ] as const) {
      const head = await ask(outer.url, target, { method: 'HEAD', token })
      expect(head.headers['x-repo-commit']).toBe(scene.commit(id))
      const got = await ask(outer.url, target, { token })
      expect([got.status, got.body.equals(scene.bytes(id, path))]).toEqual([200, true])
      expect(got.headers['etag']).toBe(head.headers['etag'])
    }
    expect(scene.hub.ledger.bodyRequests({ url: /big|xet-bridge/ }).length).toBeLessThanOrEqual(2)
    const page = await ask(outer.url, PAGED)
    expect(linkOf(page.headers)).toContain(`${outer.url}/api/models/acme/open/commits/main?`)
    const refused = await ask(outer.url, '/acme/secret/resolve/main/w.bin')
    expect([refused.status, refused.headers['x-error-code']]).toEqual([401, 'RepoNotFound'])
    const passed = await ask(outer.url, '/acme/open/raw/main/config.json')
    expect(passed.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
  })

  it('that is its own origin says so instead of looping', async () => {
    const scene = await openScene()
    await scene.ask('/api/models/acme/open')
    const via = scene.hub.ledger.requests()[0]?.headers.via ?? ''
    expect(via).toMatch(/^1\.1 hubmirror-/)
    scene.hub.ledger.clear()
    const got = await scene.ask('/api/models/acme/open', { headers: { via: `1.0 other, ${via}` } })
    expect([got.status, got.headers['x-error-code']]).toEqual([508, 'MirrorLoop'])
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it.each([
    ['HEAD', '/acme/open/resolve/main/config.json'],
    ['GET', '/api/models/acme/open'],
    ['GET', '/acme/open/raw/main/config.json'],
  ])(
    'that is its own origin by way of others says so, too: %s %s names who passed it on',
    async (method, target) => {
      const scene = await openScene()
      const got = await scene.ask(target, { method, headers: { via: '1.1 hubmirror-other' } })
      expect(got.status).toBe(200)
      for (const { headers } of scene.hub.ledger.requests({ server: 'hub' }))
        expect(headers.via).toMatch(/^1\.1 hubmirror-other, 1\.1 hubmirror-[0-9a-f]{12}$/)
    },
  )
})
