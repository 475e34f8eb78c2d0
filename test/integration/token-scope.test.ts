// The repos that a mirror token was issued for: compared with every name that a repo turns out to have, before a Hub
// token is used or anything is answered.

import { describe, expect, it } from 'vitest'
import { ask } from '../support/ask.ts'
import { COMPANY_TOKEN, openCompany, SECRET } from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import { SECRET_CONFIG } from '../support/mirror-world.ts'
import type { Scene } from '../support/scene.ts'

const LEND_BOTH =
  '- {action: use-token, token: team, match: {repo: [acme/old, acme/new, acme/secret, acme/hidden], caller: {mirrorToken: "*"}}}'
const OLD = '/acme/old/resolve/main/config.json'

/** The requests with the lent token for the repo of this name. */
const lentFor = (scene: Scene, id: string) =>
  scene.hub.ledger
    .requests()
    .filter(({ url, headers }) => url.includes(id) && headers.authorization?.includes(COMPANY_TOKEN) === true)

async function expectOutOfScope(scene: Scene, target: string, token: string, name = 'acme/new') {
  for (const method of ['HEAD', 'GET']) {
    const got = await scene.ask(target, { token, method })
    expect([target, method, got.status, got.headers['x-error-code']]).toEqual([
      target,
      method,
      403,
      'GatedRepo',
    ])
    expect(got.headers['x-error-message']).toContain(`'narrow' is not valid for models/${name}`)
  }
}

describe('a repo that was renamed out of the scope of a mirror token', () => {
  it.each([
    ['a small file', OLD],
    ['a large file', '/acme/old/resolve/main/w.bin'],
    ['its info', '/api/models/acme/old'],
    ['a tree', '/api/models/acme/old/tree/main'],
  ])('gets no Hub token, though the rules lend one for both of its names: %s', async (_what, target) => {
    const { scene, issue } = await openCompany({ rules: LEND_BOTH })
    scene.world.model('acme/new').private(['corp'])
    const token = await issue('narrow', { repos: ['acme/old'] })
    // The first request is sent before the name is known, the next one after that.
    await expectOutOfScope(scene, target, token)
    expect(lentFor(scene, 'acme/new')).toEqual([])
    scene.hub.ledger.clear()
    await expectOutOfScope(scene, target, token)
    expect(scene.hub.ledger.requests()).toEqual([])
    expect((await scene.ask(target, { token: await issue('wide') })).status).toBe(200)
    await expectOutOfScope(scene, target, token)
    const both = await issue('both', { repos: ['acme/old', 'ACME/New'] })
    expect((await scene.ask(target, { token: both })).status).toBe(200)
    const me = await scene.ask('/api/whoami-v2', { token })
    expect([me.status, JSON.parse(me.body.toString()).name]).toEqual([200, 'narrow'])
  })

  it('is not shown by a route that is passed through either', async () => {
    const { scene, issue } = await openCompany({ rules: LEND_BOTH })
    scene.world.model('acme/new').private(['corp'])
    const token = await issue('narrow', { repos: ['acme/old'] })
    const target = '/acme/old/raw/main/config.json'
    const got = await scene.ask(target, { token })
    const { pathname } = new URL(got.headers['location'] ?? '', scene.mirror.url)
    expect([got.status, pathname]).toEqual([307, '/acme/new/raw/main/config.json'])
    expect((await scene.ask(pathname, { token })).status).toBe(403)
    expect(lentFor(scene, 'acme/new')).toEqual([])
    await scene.ask(OLD, { token })
    expect((await scene.ask(target, { token })).status, 'once the name is known').toBe(403)
  })

  it('is refused though its private bytes are stored', async () => {
    const { scene, issue } = await openCompany({ rules: LEND_BOTH, config: { cachePrivate: true } })
    const [narrow, wide] = [await issue('narrow', { repos: ['acme/secret'] }), await issue('wide')]
    for (const token of [narrow, wide])
      expect((await scene.ask(SECRET, { token })).body.toString()).toBe(SECRET_CONFIG)
    await scene.settled()
    scene.world.model('acme/secret').renamedTo('acme/hidden')
    scene.clock.advance(120_000)
    await expectOutOfScope(scene, SECRET, narrow, 'acme/hidden')
    const got = await scene.ask(SECRET, { token: wide })
    expect([got.status, got.headers['x-cache']]).toEqual([200, 'REVALIDATED'])
    await expectOutOfScope(scene, SECRET, narrow, 'acme/hidden')
  })

  it('is refused without any rules, though all other callers may read it, also from the disk alone', async () => {
    const { scene, issue } = await openCompany({ rules: '' })
    const [narrow, wide] = [await issue('narrow', { repos: ['acme/old'] }), await issue('wide')]
    for (const path of ['config.json', 'w.bin'])
      await expectOutOfScope(scene, `/acme/old/resolve/main/${path}`, narrow)
    await expectOutOfScope(scene, '/api/models/acme/old', narrow)
    expect((await scene.ask(OLD, { token: wide })).status).toBe(200)
    expect((await scene.ask(OLD)).status).toBe(200)
    await scene.settled()
    await scene.restart({ offline: true })
    expect((await scene.ask(OLD, { token: wide })).headers['x-cache']).toBe('HIT')
    await expectOutOfScope(scene, OLD, narrow)
  })

  it('is refused also behind an origin that follows the rename by itself', async () => {
    const { scene, issue } = await openCompany({ rules: '' })
    const [narrow, wide] = [await issue('narrow', { repos: ['acme/old'] }), await issue('wide')]
    // Another mirror: it answers under the name that was asked for.
    const origin = await scene.another()
    const behind = await scene.another({
      config: { origin: new URL(origin.url), mirrorTokens: `${scene.mirror.cacheDir}/mirror-tokens.json` },
    })
    for (const target of [OLD, '/api/models/acme/old', '/acme/old/resolve/main/w.bin']) {
      const got = await ask(behind.url, target, { token: narrow })
      expect([target, got.status, got.headers['x-error-code']]).toEqual([target, 403, 'GatedRepo'])
      expect((await ask(behind.url, target, { token: wide })).status).toBe(200)
    }
    const lines = await eventually(
      async () => (await behind.auditText()).split('\n').filter((line) => line.includes('"narrow"')),
      (found) => found.length === 3,
    )
    for (const line of lines)
      expect(JSON.parse(line)).toMatchObject({ decision: 'denied', reason: 'mirror-token', status: 403 })
  })
})

describe('a repo that has got its old name back', () => {
  const back = (scene: Scene, id: string, old: string) => {
    scene.world.model(id).renamedTo(old)
    scene.clock.advance(60_000)
  }

  it.each([
    ['public', ''],
    ['private', LEND_BOTH],
  ])('is served again once the other name has expired: %s', async (kind, rules) => {
    const { scene, issue } = await openCompany({ rules })
    if (kind === 'private') scene.world.model('acme/new').private(['corp'])
    const token = await issue('narrow', { repos: ['acme/old'] })
    await expectOutOfScope(scene, OLD, token)
    scene.clock.advance(60_000)
    scene.hub.ledger.clear()
    // The name is still the other one, about which the mirror asks once more.
    await expectOutOfScope(scene, OLD, token)
    await expectOutOfScope(scene, OLD, token)
    expect(scene.hub.ledger.requests({ url: /^\/api\/models\/acme\/old/ })).toHaveLength(
      kind === 'private' ? 2 : 1,
    )
    expect(lentFor(scene, 'acme/new')).toEqual([])
    back(scene, 'acme/new', 'acme/old')
    expect((await scene.ask(OLD, { token })).status).toBe(200)
    expect((await scene.ask('/api/models/acme/old', { token })).status).toBe(200)
  })

  it('is refused while the Hub cannot be reached and the mirror cannot know', async () => {
    const { scene, issue } = await openCompany({ rules: '' })
    const token = await issue('narrow', { repos: ['acme/old'] })
    await scene.ask(OLD)
    await scene.settled()
    await expectOutOfScope(scene, OLD, token)
    await scene.hub.stop()
    back(scene, 'acme/new', 'acme/old')
    await expectOutOfScope(scene, OLD, token)
    expect((await scene.ask(OLD)).status).toBe(200)
  })
})

describe('a repo within the scope', () => {
  it('is served by an old short name, which no other user can take', async () => {
    const { scene, issue } = await openCompany({ rules: '' })
    const token = await issue('narrow', { repos: ['legacy'] })
    for (let round = 0; round < 2; round += 1) {
      for (const target of ['/legacy/resolve/main/w.bin', '/api/models/legacy'])
        expect([target, (await scene.ask(target, { token })).status]).toEqual([target, 200])
      await scene.settled()
    }
  })

  it('is served after a rename that stays within it', async () => {
    const { scene, issue } = await openCompany({ rules: LEND_BOTH })
    scene.world.model('acme/new').private(['corp'])
    const token = await issue('narrow', { repos: ['acme/*'] })
    for (const target of [OLD, '/api/models/acme/old', '/acme/old/resolve/main/w.bin'])
      expect([target, (await scene.ask(target, { token })).status]).toEqual([target, 200])
  })
})

describe('a token for some repos', () => {
  it.each([
    '/v2/other/x/manifests/latest',
    '/v2/other/x/blobs/sha256:00',
    '/other/x.git/info/refs?service=git-upload-pack',
    '/other/x.git/info/lfs/objects/batch',
    '/other%2Fx/raw/main/a',
    '/spaces/acme/x/raw/main/a',
    '/buckets/acme/x/resolve/a',
    '/api/models/other/x/no-such-word',
    '/api/Models/other/x',
    '/api/buckets/acme/x/tree',
    '/api/resolve-cache/unknown/other/x',
    '/api/collections/other/x-1234',
    '/api/quicksearch?q=other/x',
    '/api/unknown?repo=other/x',
    '/papers/2401.00001.md',
    '/.well-known/openid-configuration',
  ])('gives no access to others: %s', async (target) => {
    const { scene, issue } = await openCompany({ rules: '' })
    const token = await issue('narrow', { repos: ['acme/*'] })
    const isBatch = target.endsWith('/batch')
    const body = '{"operation":"download","objects":[]}'
    const got = await scene.ask(target, { token, ...(isBatch ? { method: 'POST', body } : {}) })
    expect([got.status, got.headers['x-error-code']]).toEqual([
      403,
      expect.stringMatching(/GatedRepo|MirrorTokenScope/),
    ])
    expect(got.headers['x-error-message']).toContain("'narrow' is not valid for")
    expect(scene.hub.ledger.requests()).toEqual([])
    // For a token that covers all repos there is no check.
    for (const repos of [undefined, ['*']]) {
      const wide = await issue(repos === undefined ? 'wide' : 'star', { repos })
      await scene.ask(target, { token: wide, ...(isBatch ? { method: 'POST', body } : {}) })
    }
    expect(scene.hub.ledger.requests()).not.toEqual([])
  })

  it.each([
    '/api/whoami-v2',
    '/api/models?author=acme',
    '/api/agent-harnesses',
    '/api/organizations/acme/overview',
    '/v2/acme/open/manifests/latest',
  ])('is not stopped on its way to %s', async (target) => {
    const { scene, issue } = await openCompany({ rules: '' })
    const got = await scene.ask(target, { token: await issue('narrow', { repos: ['acme/*'] }) })
    expect(got.headers['x-error-code'] ?? '').not.toMatch(/GatedRepo|MirrorToken/)
    expect(got.status).not.toBe(403)
  })
})

describe('a misspelt mirror token', () => {
  it.each([
    ['HF_mirror…', (token: string) => `HF_${token.slice(3)}`],
    ['hf_Mirror…', (token: string) => token.replace('hf_m', 'hf_M')],
    ['hf-mirror…', (token: string) => token.replace('hf_', 'hf-')],
    ['hf mirror…', (token: string) => token.replace('hf_', 'hf ')],
    ['hf_miror…', (token: string) => token.replace('mirr', 'mir')],
    ['mirror…', (token: string) => token.slice(3)],
    ['its secret alone', (token: string) => token.slice(9)],
    ['quotes', (token: string) => `"${token}"`],
    ['HF_TOKEN=', (token: string) => `HF_TOKEN=${token.slice(3)}`],
  ])('is not sent on: %s', async (_what, spell) => {
    const { scene, issue } = await openCompany({ rules: '' })
    const text = spell(await issue('narrow'))
    const basic = Buffer.from(`user:${text}`).toString('base64')
    for (const authorization of [`Bearer ${text}`, `Basic ${basic}`, text]) {
      const got = await scene.ask('/api/models/acme/secret', { headers: { authorization } })
      expect([authorization, got.status]).toEqual([authorization, 401])
      expect(got.headers['x-error-message']).toMatch(/mirror token/)
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})
