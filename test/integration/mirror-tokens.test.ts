// Mirror tokens: what they give access to, for whom, and that they are never forwarded.

import { rm, writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { changeTokenFile, mirrorTokensPath } from '../../src/callers/token-file.ts'
import { tokenHash } from '../../src/callers/token-list.ts'
import type { Question } from '../support/ask.ts'
import {
  basic,
  COMPANY_TOKEN,
  credentials,
  LARGE,
  OPEN,
  openCompany,
  SECRET,
  START_AT,
} from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'

describe('a mirror token', () => {
  it.each(['acme/secret', 'acme/gated'])(
    'opens %s with the Hub token that a rule lends to its holder, and nothing else',
    async (id) => {
      const { scene, issue } = await openCompany()
      const token = await issue()
      const target = `/${id}/resolve/main/config.json`
      const head = await scene.ask(target, { method: 'HEAD', token })
      expect([head.status, head.headers['x-error-message']]).toEqual([200, undefined])
      expect((await scene.ask(target, { token })).body.equals(scene.bytes(id, 'config.json'))).toBe(true)
      const large = await scene.ask(`/${id}/resolve/main/w.bin`, { token })
      expect(large.body.equals(scene.bytes(id, 'w.bin'))).toBe(true)
      expect((await scene.ask(`/api/models/${id}`, { token })).status).toBe(200)
      expect((await scene.ask(`/api/models/${id}/tree/main`, { token })).status).toBe(200)
      expect((await scene.ask(`/${id}/raw/main/config.json`, { token })).status).toBe(200)
      const seen = credentials(scene)
      expect(seen.has(`Bearer ${COMPANY_TOKEN}`)).toBe(true)
      seen.delete(`Bearer ${COMPANY_TOKEN}`)
      // The anonymous request that finds out what is public.
      seen.delete(undefined)
      expect([...seen]).toEqual([])
      expect(scene.hub.ledger.requests({ server: 'cdn' }).length).toBeGreaterThan(0)
    },
  )

  it('without a lent Hub token reads what an anonymous caller may read', async () => {
    const { scene, issue } = await openCompany()
    const token = await issue('guest')
    expect((await scene.ask(OPEN, { token })).status).toBe(200)
    const got = await scene.ask(SECRET, { token })
    expect([got.status, got.headers['x-error-code']]).toEqual([401, 'RepoNotFound'])
    expect([...credentials(scene)]).toEqual([undefined])
  })

  it.each([false, true])(
    'leaves what it opened closed to all other callers, with private bytes stored or not (%s)',
    async (cachePrivate) => {
      const { scene, issue } = await openCompany({ config: { cachePrivate } })
      const token = await issue()
      const guest = await issue('guest')
      for (const target of [SECRET, LARGE, '/api/models/acme/secret']) {
        expect((await scene.ask(target, { token })).status).toBe(200)
      }
      await scene.settled()
      for (const target of [SECRET, LARGE, '/api/models/acme/secret']) {
        expect((await scene.ask(target)).status).toBe(401)
        expect((await scene.ask(target, { token: guest })).status).toBe(401)
        expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(404)
      }
      await scene.hub.stop()
      scene.clock.advance(120_000)
      for (const target of [SECRET, LARGE, '/api/models/acme/secret']) {
        expect((await scene.ask(target)).status).toBe(502)
        expect((await scene.ask(target, { token: guest })).status).toBe(502)
      }
    },
  )

  it.each<readonly [string, (token: string) => readonly [string, Question]]>([
    ['twice Bearer', (token) => [OPEN, { headers: { authorization: `Bearer Bearer ${token}` } }]],
    ['no Bearer', (token) => [OPEN, { headers: { authorization: token } }]],
    ['another scheme', (token) => [OPEN, { headers: { authorization: `Token ${token}` } }]],
    [
      'something beside it',
      (token) => [OPEN, { headers: { authorization: `Bearer ${TOKENS.alice}, Bearer ${token}` } }],
    ],
    ['letters before it', (token) => [OPEN, { headers: { authorization: `Bearer x${token}` } }]],
    [
      'Base64 around it',
      (token) => [OPEN, { headers: { authorization: `Bearer ${Buffer.from(token).toString('base64')}` } }],
    ],
    ['a query', (token) => [`${OPEN}?token=${token}`, {}]],
    ['an escaped query', (token) => [`/api/models?search=${token.replace('_', '%5F')}`, {}]],
    ['a query of what is passed through', (token) => [`/acme/open/raw/main/x?t=${token}`, {}]],
    ['a path', (token) => [`/acme/${token}/resolve/main/x`, {}]],
    ['the user agent', (token) => [OPEN, { headers: { 'user-agent': `x/1 ${token}` } }]],
    ['a header that is passed on', (token) => [OPEN, { headers: { 'x-hf-download-counter': token } }]],
    ['a header that is not', (token) => [OPEN, { headers: { cookie: `token=${token}` } }]],
    ['the request id', (token) => [OPEN, { headers: { 'x-request-id': token } }]],
    [
      'a list of paths',
      (token) => [
        '/api/models/acme/open/paths-info/main',
        { method: 'POST', body: `{"paths":["${token}"]}` },
      ],
    ],
  ])('with %s is refused with a message that says so, and is not passed on', async (_where, hide) => {
    const { scene, issue } = await openCompany()
    const token = await issue()
    const got = await scene.ask(...hide(token))
    expect(got.status).toBe(401)
    expect(got.headers['x-error-code']).toMatch(/^(?:GatedRepo|MirrorTokenMisplaced)$/)
    expect(got.headers['x-error-message']).toMatch(/Bearer/)
    expect(JSON.stringify([got.headers, got.body.toString()]).includes(token)).toBe(false)
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it.each([
    (token: string) => `/%zz?token=${token}`,
    (token: string) => `/%zz/${token.replace('_', '%5F')}`,
    (token: string) => `/acme/open/resolve/main/%zz${token.replaceAll('r', '%72')}`,
  ])('in an unreadable URL does not get into the log (%#)', async (hide) => {
    const { scene, issue } = await openCompany()
    const token = await issue()
    expect((await scene.ask(hide(token))).status).toBe(400)
    expect(scene.mirror.logText()).toContain('FST_ERR_BAD_URL')
    expect(scene.mirror.logText().includes(token.slice(12, 20))).toBe(false)
  })

  it('after a repeated Bearer is refused with a message that says so', async () => {
    const { scene, issue } = await openCompany()
    const got = await scene.ask(OPEN, { headers: { authorization: `Bearer Bearer ${await issue()}` } })
    expect(got.headers['x-error-message']).toContain('says Bearer twice')
  })
})

describe('a refused mirror token', () => {
  const REASONS = [
    ['is unknown', 'unknown here', undefined],
    ['lacks a letter', 'checksum', undefined],
    ['has expired', 'expired on 2030-01-01', { expiresAt: START_AT }],
    ['was revoked', 'revoked on 2030-01-01', { revokedAt: START_AT }],
  ] as const

  it.each(REASONS)(
    'that %s is refused with the reason, also for public content',
    async (_what, reason, more) => {
      const { scene, issue } = await openCompany()
      await scene.ask(OPEN)
      await scene.settled()
      scene.hub.ledger.clear()
      const made = more === undefined ? createMirrorToken() : await issue('ci', more)
      const token = reason === 'checksum' ? made.slice(0, -1) : made
      for (const [target, code] of [
        [OPEN, 'GatedRepo'],
        ['/api/models/acme/open', 'GatedRepo'],
        ['/api/models?search=x', 'MirrorTokenRefused'],
        ['/api/whoami-v2', 'MirrorTokenRefused'],
      ] as const) {
        const got = await scene.ask(target, { token })
        expect([got.status, got.headers['x-error-code'], got.headers['www-authenticate']]).toEqual([
          401,
          code,
          'Bearer realm="hubmirror"',
        ])
        expect(got.headers['x-error-message']).toContain(reason)
        expect(got.headers['x-cache']).toBe('REFUSED')
        expect(JSON.parse(got.body.toString())).toEqual({ error: got.headers['x-error-message'] })
      }
      expect(scene.hub.ledger.requests()).toEqual([])
    },
  )

  it('that was issued for other repos is refused with that reason, and opens its own repos', async () => {
    const { scene, issue } = await openCompany()
    const token = await issue('ci', { repos: ['acme/secret', 'datasets/acme/*'] })
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
    expect((await scene.ask('/datasets/acme/data/resolve/main/data/train.csv', { token })).status).toBe(200)
    scene.hub.ledger.clear()
    for (const target of [
      OPEN,
      '/api/models/acme/open',
      '/acme/open/raw/main/config.json',
      '/acme/open.git/info/refs?service=git-upload-pack',
    ]) {
      const got = await scene.ask(target, { token })
      expect([got.status, got.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
      expect(got.headers['x-error-message']).toContain("'ci' is not valid for models/acme/open")
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('that was revoked opens nothing from the next second on, whatever it has opened before', async () => {
    const { scene, issue, change, now } = await openCompany()
    const token = await issue()
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
    await change((list) => list.map((entry) => ({ ...entry, revokedAt: now() })))
    scene.hub.ledger.clear()
    for (const target of [SECRET, OPEN, '/api/models/acme/secret']) {
      expect((await scene.ask(target, { token })).status).toBe(401)
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('is valid from the instant of its issue on', async () => {
    const { scene, issue } = await openCompany()
    await scene.ask(OPEN, { token: await issue('first') })
    const token = createMirrorToken()
    const entry = { name: 'ci', sha256: tokenHash(token), createdAt: START_AT }
    expect((await scene.ask(SECRET, { token })).status).toBe(401)
    await changeTokenFile(mirrorTokensPath(scene.mirror.config), (list) => [...list, entry])
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
  })

  it('is refused from the instant of its expiry on', async () => {
    const { scene, issue, pass, now } = await openCompany()
    const token = await issue('ci', { expiresAt: now() + 5_000 })
    pass(4_999)
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
    pass(1)
    expect((await scene.ask(SECRET, { token })).status).toBe(401)
  })

  it('is still recognised while the list on the disk is broken, and the log says what is wrong', async () => {
    const { scene, issue } = await openCompany()
    const token = await issue()
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
    await writeFile(mirrorTokensPath(scene.mirror.config), '{"version":1,')
    scene.clock.advance(1_000)
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
    expect(scene.mirror.logText()).toContain('the list of mirror tokens cannot be read')
    await rm(mirrorTokensPath(scene.mirror.config))
    scene.clock.advance(1_000)
    expect((await scene.ask(SECRET, { token })).status).toBe(401)
  })
})

describe('who-am-I with a mirror token', () => {
  it('is answered by the mirror itself as the Hub would, with the Hub or without', async () => {
    const { scene, issue, now } = await openCompany()
    const token = await issue()
    await scene.hub.stop()
    const got = await scene.ask('/api/whoami-v2', { token })
    expect([got.status, JSON.parse(got.body.toString())]).toMatchObject([
      200,
      {
        type: 'user',
        name: 'ci',
        orgs: [],
        auth: {
          type: 'access_token',
          accessToken: { displayName: 'ci', role: 'read', createdAt: new Date(now()).toISOString() },
        },
      },
    ])
    expect(scene.hub.ledger.requests()).toEqual([])
    const audit = await eventually(
      () => scene.mirror.auditText(),
      (text) => text !== '',
    )
    expect(JSON.parse(audit)).toMatchObject({
      decision: 'allowed',
      reason: 'own',
      caller: { mirrorToken: 'ci' },
      status: 200,
    })
  })
})

describe('a mirror token is refused', () => {
  it.each<readonly [string, string, Question]>([
    ['commit', '/api/models/acme/secret/commit/main', { method: 'POST', body: '{}' }],
    ['create', '/api/repos/create', { method: 'POST', body: '{"name":"x"}' }],
    ['delete', '/api/repos/delete', { method: 'DELETE', body: '{"name":"x"}' }],
    ['change settings', '/api/models/acme/secret/settings', { method: 'PUT', body: '{}' }],
    ['get a token to upload', '/api/models/acme/secret/xet-write-token/main', {}],
    ['begin a push', '/acme/secret.git/info/refs?service=git-receive-pack', {}],
    ['push', '/acme/secret.git/git-receive-pack', { method: 'POST', body: '0000' }],
    [
      'upload by LFS',
      '/acme/secret.git/info/lfs/objects/batch',
      { method: 'POST', body: '{"operation":"upload","objects":[]}' },
    ],
    ['ask for access', '/acme/secret/ask-access', { method: 'POST', body: '{}' }],
  ])('if it is used to %s', async (_what, target, question) => {
    const { scene, issue } = await openCompany()
    const token = await issue()
    for (const authorization of [`Bearer ${token}`, basic('me', token)]) {
      const got = await scene.ask(target, { ...question, headers: { authorization } })
      expect([got.status, got.headers['x-error-code']]).toEqual([403, 'MirrorTokenIsReadOnly'])
      expect(got.headers['x-error-message']).toContain('read-only')
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})
