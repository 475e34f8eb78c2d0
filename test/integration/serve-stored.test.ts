// Rules with `serve-stored`: which callers get what is stored of a restricted repo after a restart without the Hub, and what the disk
// then says of such a repo. test/long/serve-stored.test.ts has what ends it.

import { describe, expect, it } from 'vitest'
import type { Question } from '../support/ask.ts'
import { COMPANY_TOKEN } from '../support/company-world.ts'
import { SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import {
  ABSENT,
  ACCESS_TTL_MS,
  downloaded,
  expectNothingTold,
  factsRemoved,
  from,
  INFO,
  LARGE,
  LEND,
  loseHub,
  NOT_SERVED,
  REFS,
  RULES,
  restrictedFacts,
  SERVED,
  SMALL,
  seen,
  TREE,
} from '../support/served-company.ts'
import { filesBelow } from '../support/start-mirror.ts'

describe('a mirror that is offline, started after one download', () => {
  it('serves the named callers all that clients ask for, and no other caller', async () => {
    const { scene, ci, other, team } = await downloaded()
    // A restricted repo that no rule names: its bytes are stored, and nothing else.
    expect((await scene.ask('/acme/gated/resolve/main/config.json', { token: ci })).status).toBe(200)
    const commit = scene.commit('acme/secret')
    scene.world.model('acme/secret').tag('v1', commit)
    scene.clock.advance(ACCESS_TTL_MS)
    expect((await scene.ask(REFS, { token: ci })).status).toBe(200)
    await scene.settled()
    await scene.restart({ offline: true })
    scene.hub.ledger.clear()
    const json = async (target: string, question: Question) => {
      const got = await scene.ask(target, question)
      expect([target, got.status, got.headers['x-cache']]).toEqual([target, 200, 'HIT'])
      return JSON.parse(got.body.toString()) as unknown
    }
    for (const named of [{ token: ci }, { token: team }, from('10.1.2.3')]) {
      for (const revision of 'token' in named && named.token === ci ? ['main', 'v1', commit] : ['main']) {
        const at = (target: string) => target.replace('main', revision)
        const small = await scene.ask(at(SMALL), named)
        expect([small.status, small.body.toString()]).toEqual([200, SECRET_CONFIG])
        expect(small.headers['x-repo-commit']).toBe(commit)
        const head = await scene.ask(at(LARGE), { ...named, method: 'HEAD' })
        expect([head.status, head.headers['content-length']]).toEqual([200, '300000'])
        expect((await scene.ask(at(LARGE), named)).body.equals(scene.bytes('acme/secret', 'w.bin'))).toBe(
          true,
        )
        const absent = await scene.ask(at(ABSENT), named)
        expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
        expect(await json(at(INFO), named)).toMatchObject({ id: 'acme/secret', sha: commit, private: true })
        const paths = (await json(at(TREE), named)) as { path: string }[]
        expect(paths.map(({ path }) => path)).toEqual(['config.json', 'w.bin'])
        const paged = await scene.ask(at(TREE).replace('&', '&limit=1&'), named)
        const next = /<([^>]+)>/.exec(String(paged.headers['link']))?.[1] ?? ''
        expect(await json(next.replace(scene.mirror.url, ''), named)).toMatchObject([{ path: 'w.bin' }])
        const asked = { method: 'POST', body: '{"paths":["w.bin"]}' }
        const headers = { ...named.headers, 'content-type': 'application/json' }
        expect(
          await json(`/api/models/acme/secret/paths-info/${revision}`, { ...named, ...asked, headers }),
        ).toMatchObject([{ path: 'w.bin', size: 300_000 }])
      }
      expect(await json(REFS, named)).toMatchObject({
        branches: [{ name: 'main', targetCommit: commit }],
        tags: [{ name: 'v1', targetCommit: commit }],
      })
    }
    const strangers = [
      {},
      { token: TOKENS.alice },
      { token: TOKENS.bob },
      { token: TOKENS.invalid },
      from('10.2.0.1'),
      from('unknown'),
      from('10.1.2.3:80, _hidden'),
    ]
    await expectNothingTold(scene, { token: other })
    for (const question of strangers) await expectNothingTold(scene, question, [SMALL, INFO])
    // Named for that repo only.
    const gated = await scene.ask('/acme/gated/resolve/main/config.json', { token: ci })
    expect([gated.status, gated.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
    const list = await scene.ask('/api/models?author=acme', { token: ci })
    expect(list.body.includes('acme/secret')).toBe(false)
    expect(scene.hub.ledger.requests()).toEqual([])
    const lines = (await scene.mirror.auditText())
      .split('\n')
      .filter((line) => line.includes('"reason":"rule"'))
    expect(lines[0]).toContain('"rule":"lend,air-gap"')
    expect(await scene.mirror.metrics()).toMatch(
      /hubmirror_policy_decisions_total\{rule="lab",action="serve-stored"\} [1-9]/,
    )
    await scene.mirror.close({ keepDir: true })
    const files = await filesBelow(scene.mirror.cacheDir)
    const facts = files.get('facts/data.mdb')
    expect(facts?.includes('restricted:')).toBe(true)
    for (const [path, bytes] of files) {
      for (const secret of ['acme/gated', ci, COMPANY_TOKEN])
        expect([path, bytes.includes(secret)]).toEqual([path, false])
    }
  })
})

describe('a rule that goes', () => {
  it('a rule that goes by a reload ends it at once, and what the disk has is removed', async () => {
    const company = await downloaded()
    const { scene } = company
    await loseHub(scene)
    expect(await seen(scene, company)).toEqual(SERVED)
    await scene.mirror.app.change({ ...scene.mirror.config, policies: policiesOf(LEND) })
    expect(await seen(scene, company)).toEqual(NOT_SERVED)
    await factsRemoved(scene)
    // Nothing is left that a rule could open again.
    await scene.mirror.app.change({ ...scene.mirror.config, policies: policiesOf(RULES) })
    expect(await seen(scene, company)).toEqual(NOT_SERVED)
    expect(await restrictedFacts(scene)).toEqual([])
  })

  it('what the disk has is removed at the start without the rule', async () => {
    const { scene } = await downloaded()
    expect((await restrictedFacts(scene)).length).toBeGreaterThan(5)
    await scene.restart({ offline: true, policies: [] })
    await factsRemoved(scene)
    expect(await restrictedFacts(scene)).toEqual([])
  })
})
