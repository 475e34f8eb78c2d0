// HUBMIRROR_STALE_GRACE: while the Hub cannot be asked, a caller gets what the Hub has shown to this very caller of a restricted
// repo within that time, if it is stored. No other caller gets it, and any refusal of the Hub ends it.

import { describe, expect, it } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import type { Question, Reply } from '../support/ask.ts'
import { ask } from '../support/ask.ts'
import { GATED_CONFIG, SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

const SMALL = '/acme/secret/resolve/main/config.json'
const LARGE = '/acme/secret/resolve/main/w.bin'
const ABSENT = '/acme/secret/resolve/main/adapter_config.json'
const INFO = '/api/models/acme/secret'
const TREE = '/api/models/acme/secret/tree/main?recursive=true'
const ACCESS_TTL_MS = 60_000
const HOUR_MS = 3_600_000

/** What Alice has requested of the private repo: each of these is answered to her by the Hub. */
async function shownToAlice(config: Partial<Config> = {}): Promise<Scene> {
  const scene = await openScene({ config: { cachePrivate: true, ...config } })
  await showAll(scene, TOKENS.alice)
  return scene
}

async function showAll(scene: Scene, token: string): Promise<void> {
  for (const target of [SMALL, LARGE, INFO, TREE])
    expect([target, (await scene.ask(target, { token })).status]).toEqual([target, 200])
  expect((await scene.ask(ABSENT, { token })).status).toBe(404)
  await scene.settled()
}

async function loseHub(scene: Scene, afterMs = ACCESS_TTL_MS): Promise<void> {
  await scene.hub.stop()
  scene.clock.advance(afterMs)
}

const alice = (question: Question = {}): Question => ({ ...question, token: TOKENS.alice })
const kindOf = ({ status, headers }: Reply) => [status, headers['x-cache']]

async function expectRefused(scene: Scene, token: string | undefined, status: number): Promise<void> {
  for (const target of [SMALL, LARGE, INFO, TREE, ABSENT]) {
    const got = await scene.ask(target, { token })
    expect([target, got.status]).toEqual([target, status])
    expect(got.headers['etag']).toBeUndefined()
    expect(got.body.includes('of alice')).toBe(false)
    expect(got.body.includes('rfilename')).toBe(false)
  }
}

describe('while the Hub is away', () => {
  it('a caller gets the files, documents and absences of a private repo that the Hub has shown to it', async () => {
    const scene = await shownToAlice()
    const info = (await ask(scene.hub.url, INFO, alice())).body
    await loseHub(scene)
    const small = await scene.ask(SMALL, alice())
    expect([small.body.toString(), ...kindOf(small)]).toEqual([SECRET_CONFIG, 200, 'STALE'])
    expect(small.headers['age']).toBe('60')
    expect(small.headers['cache-status']).toContain('origin-away')
    const pinned = await scene.ask(LARGE.replace('main', scene.commit('acme/secret')), alice())
    expect([kindOf(pinned), pinned.body.equals(scene.bytes('acme/secret', 'w.bin'))]).toEqual([
      [200, 'STALE'],
      true,
    ])
    const head = await scene.ask(LARGE, alice({ method: 'HEAD' }))
    expect([head.status, head.headers['content-length']]).toEqual([200, '300000'])
    const range = await scene.ask(LARGE, alice({ headers: { range: 'bytes=5-14' } }))
    expect([range.status, range.body.length]).toEqual([206, 10])
    const described = await scene.ask(INFO, alice())
    expect([kindOf(described), described.headers['age']]).toEqual([[200, 'STALE'], '60'])
    expect((JSON.parse(described.body.toString()) as { sha: string }).sha).toBe(
      (JSON.parse(info.toString()) as { sha: string }).sha,
    )
    expect(kindOf(await scene.ask(TREE, alice()))).toEqual([200, 'STALE'])
    const absent = await scene.ask(ABSENT, alice())
    expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
    const reasons = (await scene.mirror.auditText())
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { reason?: string }).reason)
    expect(reasons.slice(-7)).toEqual(Array.from({ length: 7 }, () => 'grace'))
  })

  it('no other caller gets them, whatever it may read', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    scene.world.addUser('carol', { token: `hf_${'carol4'.repeat(6).slice(0, 34)}` })
    scene.world.model('acme/secret').private(['alice', 'carol'])
    await showAll(scene, TOKENS.alice)
    await loseHub(scene)
    for (const token of [undefined, TOKENS.bob, TOKENS.invalid, `hf_${'carol4'.repeat(6).slice(0, 34)}`])
      await expectRefused(scene, token, 502)
  })

  it('neither a file nor a document that the caller has not requested is served, nor one that is not stored', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    expect((await scene.ask(LARGE, alice({ method: 'HEAD' }))).status).toBe(200)
    expect((await scene.ask('/acme/gated/resolve/main/config.json', alice())).body.toString()).toBe(
      GATED_CONFIG,
    )
    await scene.settled()
    await loseHub(scene)
    expect((await scene.ask('/acme/gated/resolve/main/config.json', alice())).status).toBe(200)
    for (const target of [LARGE, SMALL, INFO, '/acme/gated/resolve/main/w.bin', '/api/models/acme/gated']) {
      for (const method of ['HEAD', 'GET'])
        expect([target, (await scene.ask(target, alice({ method }))).status]).toEqual([target, 502])
    }
  })

  it('the right ends with the grace, counted from the proof', async () => {
    const scene = await shownToAlice()
    await loseHub(scene, HOUR_MS - 1)
    expect((await scene.ask(SMALL, alice())).status).toBe(200)
    scene.clock.advance(1)
    await expectRefused(scene, TOKENS.alice, 502)
  })

  it('a wall clock that is set back does not make the grace longer', async () => {
    let wallMs = Date.now()
    const scene = await openScene({
      config: { cachePrivate: true },
      mirror: { now: () => wallMs },
    })
    await showAll(scene, TOKENS.alice)
    await loseHub(scene)
    wallMs -= 24 * HOUR_MS
    expect((await scene.ask(SMALL, alice())).status).toBe(200)
    scene.clock.advance(HOUR_MS - ACCESS_TTL_MS)
    // An outage of this length is a long one.
    await expectRefused(scene, TOKENS.alice, 424)
  })

  it.each([
    ['the setting is 0s', { staleGraceMs: 0 }],
    ['nothing of restricted repos is stored', { cachePrivate: false }],
  ])('a caller gets nothing if %s', async (_why, config) => {
    const scene = await shownToAlice(config)
    await loseHub(scene)
    await expectRefused(scene, TOKENS.alice, 502)
  })

  it('a reload that sets it to 0s ends it at once', async () => {
    const scene = await shownToAlice()
    await loseHub(scene)
    expect((await scene.ask(SMALL, alice())).status).toBe(200)
    await scene.mirror.app.change({ ...scene.mirror.config, staleGraceMs: 0 })
    await expectRefused(scene, TOKENS.alice, 502)
  })

  it('a rule that keeps the repo off the disk, or denies it, is obeyed', async () => {
    const scene = await shownToAlice()
    await loseHub(scene)
    for (const [action, status] of [
      ['no-store', 502],
      ['deny', 403],
    ] as const) {
      const policies = policiesOf(`- {action: ${action}, match: {repo: acme/secret}}`)
      await scene.mirror.app.change({ ...scene.mirror.config, policies })
      await expectRefused(scene, TOKENS.alice, status)
    }
  })

  it('a restart ends it, also one into offline mode', async () => {
    const scene = await shownToAlice()
    await loseHub(scene)
    await scene.restart({ cachePrivate: true })
    await expectRefused(scene, TOKENS.alice, 502)
    await scene.restart({ cachePrivate: true, offline: true })
    await expectRefused(scene, TOKENS.alice, 404)
  })
})

describe('the right of a caller ends at once, so that it does not outlast the Hub', () => {
  it.each([
    [
      'the Hub has refused the token for any request',
      (scene: Scene) => scene.world.revokeToken(TOKENS.alice),
      INFO,
    ],
    [
      'the Hub has refused the repo',
      (scene: Scene) => void scene.world.model('acme/secret').private([]),
      '/acme/secret/resolve/main/none.txt',
    ],
  ])('when %s', async (_what, revoke, other) => {
    const scene = await shownToAlice()
    revoke(scene)
    scene.clock.advance(ACCESS_TTL_MS)
    expect((await scene.ask(other, alice())).status).toBeGreaterThanOrEqual(401)
    await loseHub(scene)
    await expectRefused(scene, TOKENS.alice, 502)
  })

  it('when a write of the repo went through the mirror', async () => {
    const scene = await shownToAlice()
    scene.world.model('acme/secret').private(['alice'])
    const header = JSON.stringify({ key: 'header', value: { summary: 'change' } })
    const file = JSON.stringify({
      key: 'file',
      value: { path: 'config.json', encoding: 'base64', content: Buffer.from('{}').toString('base64') },
    })
    const written = await scene.ask('/api/models/acme/secret/commit/main', {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/x-ndjson' },
      body: `${header}\n${file}\n`,
    })
    expect(written.status).toBe(200)
    await loseHub(scene)
    await expectRefused(scene, TOKENS.alice, 502)
  })
})

it('a right that was proved while the repo was public is no right to the private one', async () => {
  const scene = await openScene({ config: { cachePrivate: true } })
  const target = '/acme/open/resolve/main/config.json'
  expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(200)
  expect((await scene.ask('/api/models/acme/open', { token: TOKENS.bob })).status).toBe(200)
  await scene.settled()
  scene.world.model('acme/open').makePrivate(['alice'])
  scene.clock.advance(ACCESS_TTL_MS)
  expect((await scene.ask(target)).status).toBe(401)
  await loseHub(scene)
  for (const asked of [target, '/api/models/acme/open'])
    expect([asked, (await scene.ask(asked, { token: TOKENS.bob })).status]).toEqual([asked, 502])
})

describe('the Hub counts as away', () => {
  it.each([500, 503])('when it answers %i', async (code) => {
    const scene = await shownToAlice()
    scene.clock.advance(ACCESS_TTL_MS)
    scene.hub.faults.add({ where: 'hub', status: { code }, times: 1_000 })
    for (const target of [SMALL, LARGE, INFO, TREE])
      expect([target, ...kindOf(await scene.ask(target, alice()))]).toEqual([target, 200, 'STALE'])
    for (const target of [SMALL, LARGE, INFO, TREE, ABSENT])
      expect((await scene.ask(target, { token: TOKENS.bob })).status).toBeGreaterThanOrEqual(500)
    scene.hub.faults.clear()
  })

  it('neither when the caller is out of quota there', async () => {
    const scene = await shownToAlice()
    scene.clock.advance(ACCESS_TTL_MS)
    scene.hub.faults.add({ where: 'hub', status: { code: 429 }, times: 1_000 })
    await expectRefused(scene, TOKENS.alice, 429)
    scene.hub.faults.clear()
  })

  it('nor when the caller is over its limit at the mirror', async () => {
    const scene = await shownToAlice({ clientsRateLimit: { max: 5, windowMs: HOUR_MS } })
    scene.clock.advance(ACCESS_TTL_MS)
    await expectRefused(scene, TOKENS.alice, 429)
  })

  it('nor when something else answers in its place: that may hide a refusal', async () => {
    const scene = await shownToAlice()
    scene.clock.advance(ACCESS_TTL_MS)
    scene.hub.faults.add({
      where: 'hub',
      edge: { code: 403, body: '<html>blocked</html>', headers: { 'content-type': 'text/html' } },
      times: 1_000,
    })
    await expectRefused(scene, TOKENS.alice, 502)
    scene.hub.faults.clear()
  })
})
