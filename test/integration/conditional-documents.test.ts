// Conditional requests for answers of the API (RFC 9110 §13): those of clients to the mirror, and those of the mirror to the
// Hub for what it has stored.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

const INFO = '/api/models/acme/open'
const TREE = '/api/models/acme/open/tree/main?recursive=true'
const MANIFEST = '/v2/acme/gguf/manifests/Q4_K_M'

const withEtag = (etag: string) => ({ headers: { 'if-none-match': etag } })
const etagOf = async (scene: Scene, target: string, host?: string): Promise<string> => {
  const { headers } = await scene.ask(target, host === undefined ? {} : { headers: { host } })
  return headers['etag'] ?? ''
}

function withGguf(scene: Scene): Scene {
  scene.world.model('acme/gguf').commit({ 'model-Q4_K_M.gguf': lfs('weights') })
  return scene
}

/** The statuses of the Hub's answers to requests for the target. */
const statuses = (scene: Scene, target: string) =>
  scene.hub.ledger.requests({ url: target }).map(({ status }) => status)

describe('a client that has a document already', () => {
  it('is answered 304, with the fields of the 200 that are about no body', async () => {
    const scene = withGguf(await openScene())
    for (const target of [
      INFO,
      `${INFO}?expand=sha`,
      `${INFO}/revision/main`,
      TREE,
      `${INFO}/tree/${scene.commit('acme/open')}`,
      `${INFO}/refs`,
      `${INFO}/commits/main`,
      '/api/models?search=open',
      '/api/datasets/acme/data/tree/main',
      MANIFEST,
    ]) {
      const whole = await scene.ask(target)
      const { etag = '' } = whole.headers
      expect([target, whole.status, etag]).toEqual([target, 200, expect.stringMatching(/^W\/"[\w-]{27}"$/)])
      const opaque = etag.slice(2)
      for (const given of [etag, opaque, `"other", ${etag}`, '*']) {
        for (const method of ['GET', 'HEAD']) {
          const got = await scene.ask(target, { method, ...withEtag(given) })
          expect([target, given, got.status, got.body.length]).toEqual([target, given, 304, 0])
          for (const name of ['etag', 'cache-control', 'vary', 'x-repo-commit', 'x-total-count', 'link'])
            expect([name, got.headers[name]]).toEqual([name, whole.headers[name]])
          expect([got.headers['content-type'], got.headers['content-length']]).toEqual([undefined, undefined])
          expect([got.headers['date'], got.headers['x-request-id']]).not.toContain(undefined)
        }
      }
      for (const given of ['"other"', 'W/"other"', '']) {
        const got = await scene.ask(target, withEtag(given))
        expect([target, got.status, got.body.equals(whole.body)]).toEqual([target, 200, true])
      }
    }
  })

  it('has another validator for each name of the mirror that stands in the document, and the same one otherwise', async () => {
    const scene = await openScene()
    const paged = '/api/models?limit=1'
    for (const [target, isNamed] of [
      [paged, true],
      [`${INFO}/refs`, false],
      [TREE, false],
    ] as const) {
      const [one, other] = [
        await etagOf(scene, target, 'one.example'),
        await etagOf(scene, target, 'two.example'),
      ]
      expect([target, one === other]).toEqual([target, !isNamed])
    }
    // A URL within the body.
    const body = JSON.stringify({ id: 'acme/open', private: true, url: `${scene.hub.url}/acme/open` })
    scene.hub.faults.add({ where: 'hub', match: /acme\/open$/, status: { code: 200, body }, times: 3 })
    const one = await etagOf(scene, INFO, 'one.example')
    expect(await etagOf(scene, INFO, 'two.example')).not.toBe(one)
    expect(await etagOf(scene, INFO, 'one.example')).toBe(one)
  })

  it('gets the new document when it has changed', async () => {
    const scene = await openScene()
    const etag = await etagOf(scene, TREE)
    scene.world.model('acme/open').commit({ 'new.txt': 'new\n' })
    scene.clock.advance(60_000)
    const got = await scene.ask(TREE, withEtag(etag))
    expect([got.status, got.body.toString().includes('new.txt')]).toEqual([200, true])
    expect(got.headers['etag']).not.toBe(etag)
  })

  it('is answered 304 also while the Hub cannot be reached, and by a mirror that is offline', async () => {
    const scene = withGguf(await openScene())
    const targets = [INFO, TREE, MANIFEST]
    const etags = []
    for (const target of targets) etags.push(await etagOf(scene, target))
    await scene.hub.stop()
    for (const how of ['STALE', 'HIT']) {
      await scene.restart({ offline: how === 'HIT' })
      for (const [index, target] of targets.entries()) {
        const got = await scene.ask(target, withEtag(etags[index] ?? ''))
        expect([target, got.status, got.headers['x-cache']]).toEqual([target, 304, how])
      }
    }
  })

  it('is refused like any other without the right, whatever validator it names', async () => {
    const scene = await openScene({
      config: { policies: policiesOf('- {action: deny, match: {repo: acme/data}}') },
    })
    const secret = '/api/models/acme/secret/tree/main'
    const own = await scene.ask(secret, { token: TOKENS.alice })
    const { etag = '' } = own.headers
    expect(own.status).toBe(200)
    for (const method of ['GET', 'HEAD']) {
      const given = { method, headers: { 'if-none-match': `${etag}, *` } }
      expect((await scene.ask(secret, { ...given, token: TOKENS.alice })).status).toBe(304)
      expect((await scene.ask(secret, { ...given, token: TOKENS.bob })).status).toBe(404)
      expect((await scene.ask(secret, given)).status).toBe(401)
      expect((await scene.ask('/api/models/acme/none', given)).status).toBe(401)
      expect((await scene.ask(`${INFO}/tree/main/none`, given)).status).toBe(404)
      expect((await scene.ask('/api/datasets/acme/data', given)).status).toBe(403)
    }
  })

  it('is answered in full if it asks by POST', async () => {
    const scene = await openScene()
    const headers = { 'content-type': 'application/json', 'if-none-match': '*' }
    const got = await scene.ask(`${INFO}/paths-info/main`, {
      method: 'POST',
      headers,
      body: '{"paths":["w.bin"]}',
    })
    expect([got.status, got.headers['etag'], got.body.toString().includes('w.bin')]).toEqual([
      200,
      undefined,
      true,
    ])
    const [sent] = scene.hub.ledger.requests({ method: 'POST' })
    expect(sent?.headers['if-none-match']).toBeUndefined()
  })
})

describe('a stored document', () => {
  it('is not sent again by the Hub when it is unchanged, also after a restart', async () => {
    const scene = withGguf(await openScene())
    for (const target of [INFO, TREE, `${INFO}/refs`, MANIFEST]) {
      const first = await scene.ask(target)
      for (const restarts of [false, true]) {
        if (restarts) {
          await scene.restart()
          // It is not known any more that the repo is public.
          await scene.ask(INFO)
        }
        scene.clock.advance(11_000)
        scene.hub.ledger.clear()
        const again = await scene.ask(target)
        expect([target, again.status, again.headers['x-cache']]).toEqual([target, 200, 'REVALIDATED'])
        expect(again.body.equals(first.body)).toBe(true)
        expect(again.headers['etag']).toBe(first.headers['etag'])
        expect(statuses(scene, target)).toEqual([304])
      }
    }
  })

  it('that is unchanged teaches the same: the repo is public, and the branch is where it was', async () => {
    const scene = await openScene()
    const target = `${INFO}/revision/main`
    await scene.ask(target)
    await scene.ask('/acme/open/resolve/main/config.json')
    await scene.settled()
    scene.clock.advance(61_000)
    await scene.ask(target)
    expect(statuses(scene, target)).toEqual([200, 304])
    scene.hub.ledger.clear()
    expect((await scene.ask('/acme/open/resolve/main/config.json')).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('is asked for with the credential of each caller, and the Hub decides about the right', async () => {
    const scene = await openScene()
    await scene.ask(INFO)
    await scene.ask(TREE)
    const repo = scene.world.model('acme/open')
    repo.private(['alice'])
    scene.clock.advance(61_000)
    scene.hub.ledger.clear()
    const asked = [await scene.ask(TREE, { token: TOKENS.bob }), await scene.ask(TREE)]
    expect(asked.map(({ status }) => status)).toEqual([404, 401])
    const own = await scene.ask(TREE, { token: TOKENS.alice })
    expect([own.status, own.headers['x-cache']]).toEqual([200, 'BYPASS'])
    expect(own.body.toString()).toContain('config.json')
    expect(scene.hub.ledger.requests({ url: TREE }).map(({ status }) => status)).toEqual([404, 401, 304])
  })

  it('is replaced when it has changed, and the new one is validated from then on', async () => {
    const scene = await openScene()
    await scene.ask(INFO)
    await scene.ask(TREE)
    scene.world.model('acme/open').commit({ 'new.txt': 'new\n' })
    scene.clock.advance(11_000)
    expect((await scene.ask(TREE)).body.toString()).toContain('new.txt')
    scene.clock.advance(11_000)
    const again = await scene.ask(TREE)
    expect([again.headers['x-cache'], again.body.toString().includes('new.txt')]).toEqual([
      'REVALIDATED',
      true,
    ])
    expect(statuses(scene, TREE)).toEqual([200, 200, 304])
  })

  it('is compared with what the Hub sends where the Hub sends no validator', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', dropHeader: 'etag', times: 1_000 })
    const first = await scene.ask(INFO)
    expect(first.headers['etag']).toMatch(/^W\//)
    scene.clock.advance(11_000)
    const again = await scene.ask(INFO)
    expect([again.headers['x-cache'], again.headers['etag']]).toEqual(['REVALIDATED', first.headers['etag']])
    expect(statuses(scene, INFO)).toEqual([200, 200])
  })

  it('of the Hub that answers 304 although nothing was said to be stored is not made up', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', match: /acme\/open/, status: { code: 304 } })
    const got = await scene.ask(INFO)
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginBadAnswer'])
    await eventually(
      async () => (await scene.ask(INFO)).status,
      (status) => status === 200,
    )
  })
})
