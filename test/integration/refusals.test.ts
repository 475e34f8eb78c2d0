// What the mirror makes of the Hub's refusals: it repeats one for a moment without asking, a refusal ends what was
// granted before on every route, and no caller learns from it what is stored.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import type { Reply } from '../support/ask.ts'
import { SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const SMALL = '/acme/secret/resolve/main/config.json'
const LARGE = '/acme/secret/resolve/main/w.bin'
const INFO = '/api/models/acme/secret'
/** A "yes" lives for 60 s here, and a "no" for 5. */
const NO_MS = 5_000

const asked = (scene: Scene) => scene.hub.ledger.requests({ server: 'hub' }).length

describe('a refusal', () => {
  it.each([
    ['an anonymous caller', undefined],
    ['another user', TOKENS.bob],
    ['a bad token', TOKENS.invalid],
  ])(
    'to %s is requested once in a while, whichever file of the repo the caller wants',
    async (_who, token) => {
      const scene = await openScene()
      const first = await scene.ask(SMALL, { token })
      expect(first.status).toBeGreaterThanOrEqual(401)
      scene.hub.ledger.clear()
      for (const target of [SMALL, LARGE, '/acme/secret/resolve/main/none.txt']) {
        for (const method of ['HEAD', 'GET']) {
          const again = await scene.ask(target, { method, token })
          expect([again.status, again.headers['x-error-code'], again.headers['x-error-message']]).toEqual([
            first.status,
            first.headers['x-error-code'],
            first.headers['x-error-message'],
          ])
        }
      }
      expect(asked(scene)).toBe(0)
      scene.clock.advance(NO_MS)
      expect((await scene.ask(SMALL, { token })).status).toBe(first.status)
      expect(asked(scene)).toBeGreaterThan(0)
    },
  )

  it('of a document is repeated unchanged', async () => {
    const scene = await openScene()
    for (const token of [undefined, TOKENS.bob]) {
      const first = await scene.ask(INFO, { token })
      scene.hub.ledger.clear()
      const again = await scene.ask(`${INFO}/tree/main`, { token })
      expect(asked(scene)).toBe(0)
      expect([again.status, again.body.toString()]).toEqual([first.status, first.body.toString()])
      expect(again.headers['x-error-code']).toBe(first.headers['x-error-code'])
      scene.clock.advance(NO_MS)
    }
  })

  it('is repeated to no other caller, and for no other repo', async () => {
    const scene = await openScene()
    for (const token of [undefined, TOKENS.bob, TOKENS.invalid]) await scene.ask(SMALL, { token })
    expect((await scene.ask(SMALL, { token: TOKENS.alice })).body.toString()).toBe(SECRET_CONFIG)
    expect((await scene.ask('/acme/open/resolve/main/config.json', { token: TOKENS.bob })).status).toBe(200)
  })

  it('does not delay a new right for longer than that', async () => {
    const scene = await openScene()
    expect((await scene.ask(SMALL, { token: TOKENS.bob })).status).toBe(404)
    scene.world.model('acme/secret').private(['alice', 'bob'])
    scene.clock.advance(NO_MS)
    expect((await scene.ask(SMALL, { token: TOKENS.bob })).status).toBe(200)
  })

  it('is requested every time with an access TTL of zero', async () => {
    const scene = await openScene({ config: { accessTtlMs: 0 } })
    for (const target of [SMALL, INFO]) {
      expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(404)
      scene.world.model('acme/secret').private(['alice', 'bob'])
      expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(200)
      scene.world.model('acme/secret').private(['alice'])
    }
  })

  it('of a gated repo leaves its card and its info open', async () => {
    const scene = await openScene()
    for (const token of [undefined, TOKENS.bob]) {
      expect((await scene.ask('/acme/gated/resolve/main/config.json', { token })).status).toBeGreaterThan(400)
      expect((await scene.ask('/acme/gated/resolve/main/README.md', { token })).status).toBe(200)
      expect((await scene.ask('/api/models/acme/gated', { token })).status).toBe(200)
    }
  })

  it('of a file, by a rule of another mirror, is about that file only', async () => {
    const scene = await openScene()
    const refusal = { code: 403, headers: { 'x-error-code': 'DeniedByPolicy', 'x-error-message': 'No.' } }
    scene.hub.faults.add({ where: 'hub', method: 'HEAD', match: /w\.bin/, times: 10, status: refusal })
    const token = TOKENS.alice
    expect((await scene.ask(LARGE, { token })).status).toBe(403)
    expect((await scene.ask(SMALL, { token })).status).toBe(200)
    scene.hub.ledger.clear()
    expect((await scene.ask(LARGE, { token })).status).toBe(403)
    expect(asked(scene)).toBe(0)
  })

  it('is not repeated to a caller that then makes the repo', async () => {
    const scene = await openScene()
    const token = TOKENS.alice
    const target = '/api/models/alice/new'
    expect((await scene.ask(target, { token })).status).toBe(404)
    const made = await scene.ask('/api/repos/create', {
      method: 'POST',
      token,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ type: 'model', name: 'new', private: true }),
    })
    expect(made.status).toBeLessThan(300)
    expect((await scene.ask(target, { token })).status).toBe(200)
  })

  it('of an anonymous caller ends when the repo becomes public', async () => {
    const scene = await openScene()
    expect((await scene.ask(SMALL)).status).toBe(401)
    scene.world.model('acme/secret').open()
    scene.clock.advance(1)
    expect((await scene.ask(INFO, { token: TOKENS.alice })).status).toBe(200)
    expect((await scene.ask(SMALL)).status).toBe(200)
  })
})

describe('a right that was granted', () => {
  const pinned = (scene: Scene) => SMALL.replace('main', scene.commit('acme/secret'))

  it.each([
    ['a body that was asked for', '/acme/secret/resolve/main/w.bin', 'GET'],
    ['a pull over git', '/acme/secret.git/info/refs?service=git-upload-pack', 'GET'],
    ['a raw file', '/acme/secret/raw/main/config.json', 'GET'],
    ['a question whether it may', '/api/models/acme/secret/auth-check', 'GET'],
    ['a document', '/api/models/acme/secret/tree/main', 'GET'],
  ])('ends when the Hub refuses %s', async (_what, other, method) => {
    const scene = await openScene({ config: { cachePrivate: true } })
    const token = TOKENS.alice
    const target = pinned(scene)
    expect((await scene.ask(target, { token })).status).toBe(200)
    // Known to the mirror before the right ends, but for bytes it has to go to the Hub.
    scene.hub.signedUrlSeconds = -1
    await scene.ask(LARGE, { method: 'HEAD', token })
    await scene.settled()
    expect((await scene.ask(target, { token })).headers['x-cache']).toMatch(/REVALIDATED|HIT/)
    scene.world.model('acme/secret').private([])
    // The Hub asks git for a password.
    const password = { code: 401, headers: { 'www-authenticate': 'Basic realm="Authentication required"' } }
    scene.hub.faults.add({ where: 'hub', match: /\.git\/info\/refs/, status: password })
    scene.clock.advance(1)
    scene.hub.ledger.clear()
    await scene.ask(other, { method, token })
    expect((await scene.ask(target, { token })).status).toBe(404)
  })

  it('of anonymous callers stays, though one was refused a page of a public repo that is for its owner', async () => {
    const scene = await openScene()
    const target = '/acme/open/resolve/main/config.json'
    await scene.ask(target)
    await scene.settled()
    for (const other of [
      '/api/models/acme/open/preupload/main',
      '/acme/open.git/info/refs?service=git-receive-pack',
      '/api/models/acme/open/auth-check/write',
    ]) {
      expect((await scene.ask(other)).status).toBeGreaterThanOrEqual(401)
    }
    await scene.ask('/api/models/acme/open/commit/main', { method: 'POST', body: '{}' })
    scene.hub.ledger.clear()
    expect((await scene.ask(target)).headers['x-cache']).toBe('HIT')
    expect(asked(scene)).toBe(0)
  })
})

describe('the presence of a file in the store', () => {
  /** The whole answer but what belongs to the single request. */
  const shown = ({ status, headers, names, body }: Reply) => ({
    status,
    names,
    headers: { ...headers, date: undefined, 'x-request-id': undefined },
    body: body.toString(),
  })

  it.each([
    ['an anonymous caller', undefined],
    ['another user', TOKENS.bob],
    ['a bad token', TOKENS.invalid],
  ])('cannot be learnt by %s: stored, not stored and absent look the same', async (_who, token) => {
    const scene = await openScene({ config: { cachePrivate: true } })
    const bytes = { 'config.json': 'the same words\n', 'w.bin': lfs({ sizeBytes: 50_000, seed: 77 }) }
    scene.world.model('acme/stored').private(['alice']).commit(bytes)
    scene.world.model('acme/twin').private(['alice']).commit(bytes)
    scene.world.model('acme/public').commit(bytes)
    for (const path of ['config.json', 'w.bin']) {
      expect((await scene.ask(`/acme/public/resolve/main/${path}`)).status).toBe(200)
      const got = await scene.ask(`/acme/stored/resolve/main/${path}`, { token: TOKENS.alice })
      expect(got.status).toBe(200)
    }
    await scene.ask('/api/models/acme/stored', { token: TOKENS.alice })
    await scene.settled()
    for (const [method, headers] of [
      ['HEAD', {}],
      ['GET', {}],
      ['GET', { range: 'bytes=0-9' }],
      ['GET', { range: 'bytes=999999-' }],
      ['GET', { 'if-none-match': '*' }],
      ['HEAD', { 'if-none-match': `"${'0'.repeat(40)}"` }],
    ] as const) {
      for (const tail of ['/resolve/main/config.json', '/resolve/main/w.bin', '/resolve/main/none']) {
        const answers = []
        for (const id of ['acme/stored', 'acme/twin', 'acme/absent'])
          answers.push(shown(await scene.ask(`/${id}${tail}`, { method, token, headers })))
        expect(answers[0]).toEqual(answers[1])
        expect(answers[0]).toEqual(answers[2])
        // Also when it is repeated, and when the Hub is asked again.
        scene.clock.advance(NO_MS)
      }
    }
    for (const route of ['', '/tree/main', '/revision/main', '/refs']) {
      const answers = []
      for (const id of ['acme/stored', 'acme/twin', 'acme/absent'])
        answers.push(shown(await scene.ask(`/api/models/${id}${route}`, { token })))
      expect(answers[0]).toEqual(answers[1])
      expect(answers[0]).toEqual(answers[2])
    }
    await scene.hub.stop()
    scene.clock.advance(120_000)
    const away = []
    for (const id of ['acme/stored', 'acme/twin', 'acme/absent'])
      away.push(shown(await scene.ask(`/${id}/resolve/main/w.bin`, { token })))
    expect(away[0]).toEqual(away[1])
    expect(away[0]).toEqual(away[2])
    expect(away[0]?.status).toBe(502)
  })

  it('in a public repo does not open it in a private one, and it is not fetched again for a caller that may read both', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    const bytes = { 'w.bin': lfs({ sizeBytes: 50_000, seed: 78 }) }
    scene.world.model('acme/public').commit(bytes)
    scene.world.model('acme/twin').private(['alice']).commit(bytes)
    expect((await scene.ask('/acme/public/resolve/main/w.bin')).status).toBe(200)
    await scene.settled()
    const twin = '/acme/twin/resolve/main/w.bin'
    for (const token of [undefined, TOKENS.bob])
      expect((await scene.ask(twin, { token })).status).not.toBe(200)
    scene.hub.ledger.clear()
    const got = await scene.ask(twin, { token: TOKENS.alice })
    expect(got.body.equals(scene.bytes('acme/twin', 'w.bin'))).toBe(true)
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
    const heads = scene.hub.ledger.requests({ server: 'hub', method: 'HEAD' })
    expect(heads.filter((entry) => scene.hub.ledger.credential(entry) === TOKENS.alice).length).toBe(1)
  })
})
