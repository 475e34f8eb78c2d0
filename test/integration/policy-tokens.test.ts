// Rules that lend one of the mirror's own Hub tokens: to which callers, for which repos, and for nothing else.

import { describe, expect, it } from 'vitest'
import { COMPANY_TOKEN, credentials, OPEN, openCompany, SECRET } from '../support/company-world.ts'
import { SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { filesBelow } from '../support/start-mirror.ts'

const GATED = '/acme/gated/resolve/main/config.json'
const toCi = (repo: string) =>
  `- {name: lend, action: use-token, token: team, match: {repo: ${repo}, caller: {mirrorToken: ci}}}`

describe('a rule that lends a Hub token', () => {
  it('lends it to the callers and for the repos that it names', async () => {
    const { scene, issue } = await openCompany({ rules: toCi('acme/secret') })
    const [ci, other] = [await issue('ci'), await issue('other')]
    expect((await scene.ask(SECRET, { token: ci })).body.toString()).toBe(SECRET_CONFIG)
    expect((await scene.ask('/api/models/acme/secret/tree/main', { token: ci })).status).toBe(200)
    expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN}`)).toBe(true)
    scene.hub.ledger.clear()
    for (const [target, token] of [
      [SECRET, undefined],
      [SECRET, other],
      [GATED, ci],
      [OPEN, ci],
      ['/api/models?author=acme', ci],
    ] as const) {
      await scene.ask(target, { token })
    }
    expect([...credentials(scene)]).toEqual([undefined])
  })

  it('lends one to a network for a gated repo, and leaves a token of the caller in its place', async () => {
    const { scene } = await openCompany({
      rules:
        '- {action: use-token, token: team, match: {repo: acme/*, access: gated, caller: {network: 127.0.0.0/8}}}',
    })
    expect((await scene.ask(GATED)).status).toBe(200)
    expect((await scene.ask(SECRET)).status).toBe(401)
    expect((await scene.ask(GATED, { token: TOKENS.bob })).status).toBe(403)
    const line = scene.hub.ledger
      .requests()
      .find((entry) => entry.headers.authorization === `Bearer ${COMPANY_TOKEN}`)
    expect(line?.url).toContain('/acme/gated/')
  })

  it('lends none for what another rule denies', async () => {
    const { scene, issue } = await openCompany({
      rules: `${toCi('acme/*')}\n- {action: deny, match: {file: '*.bin'}}`,
    })
    const token = await issue('ci')
    expect((await scene.ask('/acme/secret/resolve/main/w.bin', { token })).status).toBe(403)
    expect(scene.hub.ledger.requests()).toEqual([])
    expect((await scene.ask(SECRET, { token })).status).toBe(200)
  })

  it('lends none for the new name of a repo that it names by the old one', async () => {
    const { scene, issue } = await openCompany({ rules: toCi('acme/old') })
    scene.world.model('acme/new').private(['corp'])
    const token = await issue('ci')
    const target = '/acme/old/resolve/main/config.json'
    expect([403, 404, 401]).toContain((await scene.ask(target, { token })).status)
    expect([403, 404, 401]).toContain((await scene.ask(target, { token })).status)
    const sent = scene.hub.ledger.requests().filter((entry) => entry.headers.authorization !== undefined)
    expect(sent.filter(({ url }) => url.includes('acme/new'))).toEqual([])
    const both = await openCompany({ rules: toCi('[acme/old, acme/new]') })
    both.scene.world.model('acme/new').private(['corp'])
    expect((await both.scene.ask(target, { token: await both.issue('ci') })).status).toBe(200)
  })

  it('lets the mirror ask with it for a licence that a later rule needs', async () => {
    const { scene, issue } = await openCompany({
      rules: `${toCi('acme/*')}\n- {action: deny, match: {licence: '*-nc-*'}}`,
    })
    scene.world.model('acme/secret').licensed('mit')
    const token = await issue('ci')
    const infos = () =>
      scene.hub.ledger
        .requests({ url: /^\/api\/models\/acme\/secret/ })
        .filter((entry) => entry.headers.authorization)
    for (let round = 0; round < 3; round += 1) expect((await scene.ask(SECRET, { token })).status).toBe(200)
    expect(infos()).toHaveLength(1)
    scene.world.model('acme/secret').licensed('cc-by-nc-4.0')
    scene.clock.advance(60_000)
    expect((await scene.ask(SECRET, { token })).status).toBe(403)
  })

  it('may be about a repo that another rule keeps off the disk', async () => {
    const { scene, issue } = await openCompany({
      rules: `${toCi('acme/*')}\n- {action: no-store, match: {repo: acme/secret}}`,
      config: { cachePrivate: true },
    })
    const token = await issue('ci')
    for (let round = 0; round < 2; round += 1) {
      const got = await scene.ask(SECRET, { token })
      expect([got.headers['x-cache'], got.body.toString()]).toEqual(['BYPASS', SECRET_CONFIG])
    }
    await scene.settled()
    for (const [path, bytes] of await filesBelow(scene.mirror.cacheDir)) {
      expect(path.includes('secret') || bytes.includes(SECRET_CONFIG.trim()), path).toBe(false)
    }
  })
})
