// Rules about a revision, compared with the commit that it stands for: what the mirror asks the Hub for that, and what
// counts while the Hub is away.

import { describe, expect, it } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene } from '../support/scene.ts'

const DENY = "- {name: unreleased, action: deny, match: {revision: ['dev', 'v1', 'refs/pr/*']}}"
const ONLY_MAIN = '- {action: allow, match: {revision: main}}\n- {name: rest, action: deny}'

async function openRules(rules: string) {
  const scene = await openScene({ config: { policies: policiesOf(rules) } })
  const file = (revision: string, token?: string) =>
    scene.ask(`/acme/open/resolve/${revision}/README.md`, { token })
  const refsAsked = () => scene.hub.ledger.requests({ url: /\/refs\?/ })
  return { scene, file, refsAsked, dev: scene.commit('acme/open', 'dev'), main: scene.commit('acme/open') }
}

describe('a rule about revisions', () => {
  it('denies the commit that a denied branch points to, by every route', async () => {
    const { scene, file, refsAsked, dev, main } = await openRules(DENY)
    const proposal = scene.commit('acme/open', 'refs/pr/1')
    for (const commit of [dev, proposal, dev.slice(0, 7), dev.toUpperCase()])
      for (const target of [
        `/acme/open/resolve/${commit}/README.md`,
        `/acme/open/raw/${commit}/README.md`,
        `/api/models/acme/open/tree/${commit}`,
        `/api/models/acme/open/revision/${commit}`,
      ]) {
        const got = await scene.ask(target)
        expect([target, got.status, got.headers['x-error-message']]).toEqual([
          target,
          403,
          expect.stringContaining('policy unreleased'),
        ])
      }
    const cached = `/api/resolve-cache/models/acme/open/${dev}/README.md`
    expect((await scene.ask(cached)).status).toBe(403)
    expect((await file(main)).status).toBe(200)
    expect((await file('main')).status).toBe(200)
    // Once for all of them.
    expect(refsAsked()).toHaveLength(1)
    scene.clock.advance(60_000)
    expect((await file(dev)).status).toBe(403)
    expect(refsAsked()).toHaveLength(2)
  })

  it('lets a client continue with the commit of a branch that is allowed', async () => {
    const { scene, file, dev, main } = await openRules(ONLY_MAIN)
    const info = await scene.ask('/api/models/acme/open/revision/main')
    const { sha } = JSON.parse(info.body.toString()) as { sha: string }
    expect([info.status, sha]).toEqual([200, main])
    expect((await file(sha)).body.toString()).toBe('# open\n')
    expect((await file(dev)).status).toBe(403)
  })

  it('costs no question if a request names a branch, or if no rule is about revisions', async () => {
    const { file, refsAsked } = await openRules(DENY)
    await file('main')
    await file('dev')
    expect(refsAsked()).toEqual([])
    const other = await openRules('- {action: deny, match: {file: "*.pkl"}}')
    expect((await other.file(other.dev)).status).toBe(200)
    expect(other.refsAsked()).toEqual([])
  })

  it('makes the mirror ask about a private repo with the credential of the caller', async () => {
    const { scene, refsAsked } = await openRules('- {action: deny, match: {revision: dev}}')
    const commit = scene.commit('acme/secret')
    const target = `/acme/secret/resolve/${commit}/config.json`
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    expect(refsAsked().map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      `Bearer ${TOKENS.alice}`,
    ])
    // A caller who is shown no refs is not served: the mirror cannot know what stands there.
    expect((await scene.ask(target)).status).toBe(403)
    expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(403)
  })

  it('asks the Hub once in a moment for refs that it does not show, and again after that', async () => {
    const { scene, refsAsked } = await openRules('- {action: deny, match: {revision: dev}}')
    const target = `/acme/secret/resolve/${scene.commit('acme/secret')}/config.json`
    const askers = [
      [undefined, 1],
      [TOKENS.bob, 2],
      [undefined, 2],
      [TOKENS.bob, 2],
    ] as const
    for (const [token, asked] of askers) {
      const { status } = await scene.ask(target, token === undefined ? {} : { token })
      expect([status, refsAsked().length]).toEqual([403, asked])
    }
    // Others are not refused because of them.
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    expect(refsAsked()).toHaveLength(3)
    scene.clock.advance(5_000)
    expect((await scene.ask(target)).status).toBe(403)
    expect(refsAsked()).toHaveLength(4)
  })

  it('asks a Hub that fails once in a moment, and denies in doubt', async () => {
    const { scene, file, refsAsked, dev } = await openRules(DENY)
    scene.hub.faults.add({
      where: 'hub',
      match: /\/refs\?/,
      status: { code: 404 },
      times: Number.POSITIVE_INFINITY,
    })
    for (let round = 0; round < 3; round += 1) expect((await file(dev)).status).toBe(403)
    expect(refsAsked()).toHaveLength(1)
  })

  it.each([
    ['an answer without branches', { tags: [] }],
    ['branches that are no list', { branches: { name: 'main' } }],
    ['a branch without its commit', { branches: [{ name: 'main' }] }],
    ['tags that are no list', { branches: [], tags: 'v1' }],
    ['no answer at all', null],
  ])('denies a commit when the Hub lists refs as %s', async (_, body) => {
    const { scene, file, dev, main } = await openRules(DENY)
    const inJson = { code: 200, headers: { 'content-type': 'application/json' } }
    const fault = { where: 'hub', match: /\/refs\?/, times: Number.POSITIVE_INFINITY } as const
    scene.hub.faults.add({ ...fault, status: { ...inJson, body: JSON.stringify(body) } })
    for (const commit of [dev, main]) {
      const answer = await file(commit)
      expect([answer.status, answer.headers['x-error-message']]).toEqual([
        403,
        expect.stringMatching(/\(revision\).*policy unreleased/),
      ])
    }
  })

  it('uses stored content while the Hub cannot be reached, and denies in doubt', async () => {
    const { scene, file, dev, main } = await openRules(DENY)
    await file('main')
    await scene.settled()
    await scene.restart({ offline: true })
    expect((await file(main)).status).toBe(200)
    const doubt = await file(dev)
    expect([doubt.status, doubt.headers['x-error-message']]).toEqual([
      403,
      expect.stringMatching(/\(revision\).*policy unreleased/),
    ])
  })
})
