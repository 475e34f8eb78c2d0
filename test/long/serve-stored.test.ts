// Rules with `serve-stored` while the Hub is away: who is served, what ends it, and which other rules count.

import { describe, expect, it } from 'vitest'
import { reachMirror } from '../../src/commands/prefetch/reach.ts'
import { openCompany } from '../support/company-world.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { prefetchBy } from '../support/prefetch.ts'
import {
  ACCESS_TTL_MS,
  type Company,
  downloaded,
  expectNothingTold,
  from,
  HUB_SAYS_NO,
  INFO,
  LARGE,
  LEND,
  loseHub,
  NOT_SERVED,
  RULES,
  restrictedFacts,
  SERVED,
  SMALL,
  seen,
  TREE,
} from '../support/served-company.ts'

describe('while the Hub is away', () => {
  it.each([1, 2])(
    'named callers are served, and no answer is repeated to others (workers: %i)',
    async (workers) => {
      const company = await downloaded({ workers })
      const { scene } = company
      // The Hub is asked as long as it answers, and its refusal counts.
      expect(await seen(scene, company)).toEqual(HUB_SAYS_NO)
      await loseHub(scene)
      for (let round = 0; round < 2; round += 1) expect(await seen(scene, company)).toEqual(SERVED)
      for (const question of [{ token: TOKENS.bob }, from('unknown')])
        await expectNothingTold(scene, question, [SMALL])
      expect((await scene.ask(LARGE, { ...from('10.1.0.1'), method: 'HEAD' })).status).toBe(200)
    },
  )

  it('it is away if it answers 5xx, and not if it asks to wait or something answers in its place', async () => {
    const company = await downloaded()
    const { scene, team } = company
    const { faults } = scene.hub
    scene.clock.advance(ACCESS_TTL_MS)
    faults.add({ where: 'hub', status: { code: 503 }, times: 1_000 })
    expect((await seen(scene, company)).slice(0, 3)).toEqual(['STALE', 'STALE', 'STALE'])
    faults.clear()
    scene.clock.advance(ACCESS_TTL_MS)
    expect(await seen(scene, company)).toEqual(HUB_SAYS_NO)
    const page = { code: 403, body: '<html>blocked</html>', headers: { 'content-type': 'text/html' } }
    for (const fault of [{ status: { code: 429 } }, { edge: page }]) {
      faults.add({ where: 'hub', ...fault, times: 1_000 })
      for (const target of [SMALL, INFO])
        expect((await scene.ask(target, { token: team })).status).not.toBe(200)
      faults.clear()
      scene.clock.advance(ACCESS_TTL_MS)
    }
  })
})

describe('what is stored of a restricted repo is not served any more', () => {
  async function expectOver(company: Company): Promise<void> {
    const { scene } = company
    await loseHub(scene)
    expect(await seen(scene, company)).toEqual(NOT_SERVED)
    await scene.restart({ offline: true })
    expect(await seen(scene, company)).toEqual([404, 404, 404, 404, 404, 404])
  }

  it.each([
    [
      'refused the token by which it was shown',
      async ({ scene, ci }: Company) => {
        scene.world.model('acme/secret').private(['alice'])
        scene.clock.advance(ACCESS_TTL_MS)
        expect((await scene.ask('/acme/secret/resolve/main/other', { token: ci })).status).toBe(404)
      },
    ],
    [
      'refused the token of the mirror, after a restart',
      async ({ scene, ci }: Company) => {
        scene.world.model('acme/secret').private(['alice'])
        await scene.restart()
        scene.clock.advance(ACCESS_TTL_MS)
        expect((await scene.ask(INFO, { token: ci })).status).toBe(404)
      },
    ],
    [
      'carried out a write of the repo',
      async ({ scene }: Company) => {
        scene.clock.advance(1_000)
        const header = JSON.stringify({ key: 'header', value: { summary: 'change' } })
        const value = {
          path: 'config.json',
          encoding: 'base64',
          content: Buffer.from('{}').toString('base64'),
        }
        const written = await scene.ask('/api/models/acme/secret/commit/main', {
          method: 'POST',
          token: TOKENS.alice,
          headers: { 'content-type': 'application/x-ndjson' },
          body: `${header}\n${JSON.stringify({ key: 'file', value })}\n`,
        })
        expect(written.status).toBe(200)
      },
    ],
    [
      'called the repo public, and then private again',
      async ({ scene, other }: Company) => {
        const repo = scene.world.model('acme/secret').open()
        scene.clock.advance(ACCESS_TTL_MS)
        const target = `/acme/secret/resolve/${scene.commit('acme/secret')}/config.json`
        scene.hub.ledger.clear()
        expect((await scene.ask(target, { token: other })).headers['x-cache']).toBe('REVALIDATED')
        // Nothing that was kept of the private repo has answered this.
        expect(scene.hub.ledger.requests({ server: 'hub', method: 'HEAD' }).length).toBeGreaterThan(0)
        repo.private(['alice'])
        scene.clock.advance(ACCESS_TTL_MS)
        expect((await scene.ask(SMALL, { token: other })).status).toBe(401)
      },
    ],
  ])('once the Hub has %s', async (_what, change) => {
    const company = await downloaded()
    await change(company)
    await expectOver(company)
  })

  it('under another spelling of the name', async () => {
    const company = await downloaded()
    const { scene, ci, team } = company
    const spelled = SMALL.replace('acme/secret', 'ACME/Secret')
    expect((await scene.ask(spelled, { token: ci })).status).toBe(200)
    await scene.settled()
    scene.world.model('acme/secret').private(['alice'])
    scene.clock.advance(ACCESS_TTL_MS)
    expect((await scene.ask(SMALL, { token: ci })).status).toBe(404)
    await loseHub(scene)
    expect((await scene.ask(spelled, { token: team })).status).toBe(502)
    await scene.restart({ offline: true })
    expect((await scene.ask(spelled, { token: team })).status).toBe(404)
  })

  it('once a write was accepted that may have been to any repo; not if it made a new one', async () => {
    const company = await downloaded()
    const { scene } = company
    const write = (method: string, target: string) =>
      scene.ask(`/api/repos/${target}`, {
        method,
        token: TOKENS.alice,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'mine' }),
      })
    scene.clock.advance(ACCESS_TTL_MS)
    expect((await write('POST', 'create')).status).toBe(200)
    await scene.restart({ offline: true })
    expect((await seen(scene, company)).slice(0, 3)).toEqual(['HIT', 'HIT', 'HIT'])
    await scene.restart()
    expect((await write('DELETE', 'delete')).status).toBe(200)
    await expectOver(company)
  })

  it('but not by prefetch, which may run without the rules of the mirror', async () => {
    const company = await downloaded()
    const { scene } = company
    const { config } = scene.mirror
    await scene.mirror.close({ keepDir: true })
    const options = { version: '0.0.0', say() {}, signal: new AbortController().signal }
    const reached = await reachMirror({ ...config, policies: [], cachePrivate: false }, options)
    await prefetchBy(reached.socketPath, ['acme/open'])
    await reached.close()
    await scene.restart({ offline: true })
    expect((await seen(scene, company)).slice(0, 3)).toEqual(['HIT', 'HIT', 'HIT'])
  })

  it('until the Hub shows the repo again', async () => {
    const company = await downloaded()
    const { scene, ci } = company
    scene.world.model('acme/secret').private([])
    scene.clock.advance(ACCESS_TTL_MS)
    expect((await scene.ask(SMALL, { token: ci })).status).toBe(404)
    scene.world.model('acme/secret').private(['corp'])
    scene.clock.advance(ACCESS_TTL_MS)
    expect((await scene.ask(SMALL, { token: ci })).status).toBe(200)
    await scene.settled()
    await loseHub(scene)
    expect(await seen(scene, company)).toEqual(SERVED)
  })

  it('but the refusal of another token ends nothing for those whom the rule names', async () => {
    const company = await downloaded()
    const { scene } = company
    scene.clock.advance(ACCESS_TTL_MS)
    for (const token of [undefined, TOKENS.bob, TOKENS.invalid, company.team])
      expect((await scene.ask(SMALL, { token })).status).toBeGreaterThan(400)
    await loseHub(scene)
    expect(await seen(scene, company)).toEqual(SERVED)
    // Bob is in the lab, and the Hub has refused his own token.
    expect((await scene.ask(SMALL, { token: TOKENS.bob, ...from('10.1.0.1') })).status).toBe(502)
  })

  it('if no right to its files was proved: the Hub shows a gated card, info and listing to every user', async () => {
    const rules = RULES.replaceAll('acme/secret', 'acme/gated')
    const company = await openCompany({ rules, config: { cachePrivate: true } })
    const { scene } = company
    const team = await company.issue('team-a')
    const gated = (target: string) => target.replace('acme/secret', 'acme/gated')
    const card = gated(SMALL).replace('config.json', 'README.md')
    for (const target of [gated(INFO), gated(TREE), card])
      expect([target, (await scene.ask(target, { token: TOKENS.bob })).status]).toEqual([target, 200])
    await scene.settled()
    await scene.restart({ offline: true })
    for (const target of [gated(INFO), card])
      expect((await scene.ask(target, { token: team })).status).toBe(404)
  })
})

describe('a renamed repo', () => {
  const RENAMED = `${LEND}
- {action: serve-stored, match: {repo: [acme/secret, acme/moved], caller: {mirrorToken: team-*}}}`

  it('is served under the name that the Hub uses, so that a rule about that name is found', async () => {
    const { scene, ci, team } = await downloaded({}, RENAMED)
    scene.world.model('acme/secret').renamedTo('acme/moved')
    scene.clock.advance(ACCESS_TTL_MS)
    const moved = SMALL.replace('secret', 'moved')
    for (const target of [SMALL, moved]) expect((await scene.ask(target, { token: ci })).status).toBe(200)
    await scene.settled()
    const answers = async () => {
      const found = [await scene.ask(SMALL, { token: team }), await scene.ask(moved, { token: team })]
      return found.map(({ status }) => status)
    }
    await scene.restart({ offline: true })
    expect(await answers()).toEqual([404, 200])
    const policies = policiesOf(`${RENAMED}\n- {action: deny, match: {repo: acme/moved}}`)
    await scene.mirror.app.change({ ...scene.mirror.config, policies })
    expect(await answers()).toEqual([404, 403])
  })
})

describe('the rules decide', () => {
  it.each([
    ['a rule denies the file', '- {action: deny, match: {file: "*.json"}}', [403, 'STALE', 'STALE']],
    ['a rule keeps the repo off the disk', '- {action: no-store, match: {repo: acme/*}}', [502, 502, 502]],
    ['an earlier rule allows all', undefined, [502, 502, 502]],
  ])('%s', async (_what, rule, expected) => {
    const company = await downloaded()
    const { scene } = company
    await loseHub(scene)
    const text = rule === undefined ? `- {action: allow}\n${RULES}` : `${RULES}\n${rule}`
    await scene.mirror.app.change({ ...scene.mirror.config, policies: policiesOf(text) })
    expect((await seen(scene, company)).slice(0, 3)).toEqual(expected)
  })

  it('hubmirror prefetch with a token fills the store for the callers whom a rule names', async () => {
    const company = await openCompany({ rules: RULES, config: { cachePrivate: true } })
    const { scene } = company
    const team = await company.issue('team-a')
    const socket = await scene.mirror.app.openControl()
    await prefetchBy(socket, ['acme/secret'], { token: TOKENS.alice })
    await scene.settled()
    await scene.restart({ offline: true })
    const got = await scene.ask(LARGE, { token: team })
    expect([got.status, got.body.equals(scene.bytes('acme/secret', 'w.bin'))]).toEqual([200, true])
    expect((await scene.ask(INFO, { token: team })).status).toBe(200)
  })

  it('nothing is written to the disk without HUBMIRROR_CACHE_PRIVATE', async () => {
    const { scene } = await downloaded({ cachePrivate: false })
    expect(await restrictedFacts(scene)).toEqual([])
  })
})
