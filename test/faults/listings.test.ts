// Listings of commits that are wrong, that break off, or that describe what a caller may not have. What they say never becomes
// an answer that the Hub would not give, and never keeps a client from a file that it may have.

import { describe, expect, it } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'
import { names, snapshot, snapshotWorld, TREE } from '../support/snapshot.ts'
import { metricValue } from '../support/start-mirror.ts'

const FILES = names(10)
const BASE = '/datasets/acme/many/resolve/main'

describe('a listing that is wrong', () => {
  /** Scene whose listing is changed on its way. Three files were requested, so the listing is known. */
  async function lied(
    change: (items: Record<string, unknown>[]) => unknown[],
    { world = snapshotWorld(10), config = {} }: Pick<SceneOptions, 'world' | 'config'> = {},
  ): Promise<Scene> {
    const scene = await openScene({ world, config })
    const real = await fetch(`${scene.hub.url}/api/datasets/acme/many/tree/main?recursive=true`)
    const items = (await real.json()) as Record<string, unknown>[]
    scene.hub.faults.add({
      where: 'hub',
      match: TREE,
      times: 99,
      status: {
        code: 200,
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: JSON.stringify(change(items)),
      },
    })
    for (const path of FILES.slice(0, 3)) await scene.ask(`${BASE}/${path}`)
    await scene.settled()
    return scene
  }

  const victim = FILES[7] ?? ''
  const about = (item: Record<string, unknown>, change: Record<string, unknown>) =>
    item['path'] === victim ? { ...item, ...change } : item

  const LIES: readonly (readonly [string, (items: Record<string, unknown>[]) => unknown[]])[] = [
    ['of a file', (items) => items.map((item) => about(item, { size: 3 }))],
    ['of the digest', (items) => items.map((item) => about(item, { oid: 'a'.repeat(40) }))],
    [
      'of the kind of file',
      (items) =>
        items.map((item) =>
          about(item, { lfs: { oid: 'b'.repeat(64), size: item['size'], pointerSize: 130 } }),
        ),
    ],
    ['of a whole other commit', (items) => items.map((item) => ({ ...item, oid: 'c'.repeat(40), size: 21 }))],
    [
      'that gives one file the digest of another that is stored',
      (items) => items.map((item) => about(item, { oid: items[0]?.['oid'], size: items[0]?.['size'] })),
    ],
  ]

  it.each(LIES)('%s gives a GET the right bytes, and stores nothing wrong', async (_what, change) => {
    const scene = await lied(change)
    const got = await scene.ask(`${BASE}/${victim}`)
    expect([got.status, got.body.toString(), got.headers['content-length']]).toEqual([
      200,
      `content of ${victim}\n`,
      String(got.body.length),
    ])
    await snapshot(scene, FILES, BASE)
    await scene.settled()
    await scene.hub.stop()
    for (const path of FILES)
      expect((await scene.ask(`${BASE}/${path}`)).body.toString()).toBe(`content of ${path}\n`)
  })

  it('of the size is not confirmed by an answer that states no size', async () => {
    const scene = await lied((items) => items.map((item) => about(item, { size: Number(item['size']) + 1 })))
    scene.hub.faults.add({
      where: 'hub',
      match: new RegExp(victim),
      method: 'GET',
      noContentLength: true,
      times: 99,
    })
    for (const _attempt of [1, 2, 3]) {
      const got = await scene.ask(`${BASE}/${victim}`)
      expect([got.status, got.body.toString()]).toEqual([200, `content of ${victim}\n`])
      const head = await scene.ask(`${BASE}/${victim}`, { method: 'HEAD' })
      expect(head.headers['content-length']).toBe(String(got.body.length))
    }
  })

  // The third GET of the scene has shown that this one is wrong.
  it.each(LIES.filter(([what]) => !what.includes('commit')))(
    '%s fails the GET of a client that has its facts from a HEAD, once',
    async (_what, change) => {
      const scene = await lied(change)
      const head = await scene.ask(`${BASE}/${victim}`, { method: 'HEAD' })
      const got = await scene.ask(`${BASE}/${victim}`)
      expect([head.status, got.status, got.headers['x-error-code']]).toEqual([200, 502, 'IntegrityMismatch'])
      await snapshot(scene, FILES, BASE)
    },
  )

  it('of a file that is not there is answered with the refusal of the Hub, and then distrusted', async () => {
    const scene = await lied((items) => [
      ...items,
      { type: 'file', path: 'ghost.txt', oid: 'd'.repeat(40), size: 9 },
      { type: 'file', path: 'phantom.txt', oid: 'e'.repeat(40), size: 9 },
    ])
    const got = await scene.ask(`${BASE}/ghost.txt`)
    expect([got.status, got.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
    const head = await scene.ask(`${BASE}/phantom.txt`, { method: 'HEAD' })
    expect([head.status, head.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(1)
  })

  it('of the commit before, whose files are stored, gives a GET the files of the commit', async () => {
    const scene = await openScene({ world: snapshotWorld(10) })
    await snapshot(scene, FILES, BASE)
    const old = await (await fetch(`${scene.hub.url}/api/datasets/acme/many/tree/main?recursive=true`)).text()
    const texts = Object.fromEntries(FILES.map((name) => [name, `second ${name}\n`]))
    scene.world.dataset('acme/many').commit(texts)
    // No HEAD binds a client to the commit before.
    scene.clock.advance(120_000)
    const headers = { 'content-type': 'application/json; charset=utf-8' }
    scene.hub.faults.add({ where: 'hub', match: TREE, times: 99, status: { code: 200, headers, body: old } })
    for (const path of FILES) {
      const got = await scene.ask(`${BASE}/${path}`)
      expect([path, got.status, got.body.toString()]).toEqual([path, 200, `second ${path}\n`])
    }
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(1)
  })

  it('that leaves files out has the Hub asked about these, and is used for the others', async () => {
    const scene = await lied((items) => items.slice(0, 6))
    scene.hub.ledger.clear()
    for (const path of FILES) {
      const head = await scene.ask(`${BASE}/${path}`, { method: 'HEAD' })
      expect([path, head.status, head.headers['content-length']]).toEqual([path, 200, '26'])
    }
    const about = (path: string) =>
      scene.hub.ledger.requests({ method: 'HEAD', url: new RegExp(path) }).length
    expect(FILES.map((path) => about(path) > 0)).toEqual(FILES.map((_path, index) => index >= 6))
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(0)
  })

  it('of the size does not lead a GET past a rule about sizes', async () => {
    const world = snapshotWorld(10)
    world.dataset('acme/many').commit({ [victim]: 'a file that is too large\n'.repeat(20) })
    const policies = policiesOf('- name: small-only\n  match: { size: ">100B" }\n  action: deny\n')
    const scene = await lied((items) => items.map((item) => about(item, { size: 3 })), {
      world,
      config: { policies },
    })
    for (const method of ['GET', 'HEAD']) {
      const got = await scene.ask(`${BASE}/${victim}`, { method })
      expect([got.status, got.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
    }
  })

  it.each([
    ['is cut in its middle', { cutAfterBytes: 300 }],
    ['is no JSON', { status: { code: 200, headers: {}, body: '[{"type":"file",' } }],
    ['is refused', { status: { code: 500, headers: {}, body: 'no' } }],
  ] as const)('that %s is not used, and every file is asked for', async (_what, damage) => {
    const scene = await openScene({ world: snapshotWorld(10) })
    scene.hub.faults.add({ where: 'hub', match: TREE, times: 99, ...damage })
    await snapshot(scene, FILES, BASE)
    expect(scene.hub.ledger.requests({ url: TREE }).length).toBe(1)
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listed_files_total')).toBe(0)
  })
})

describe('a file that a listing describes', () => {
  const [, , , fourth = '', fifth = ''] = FILES

  /** A scene whose mirror knows the listing. The next HEAD costs the Hub nothing. */
  async function listed(config: SceneOptions['config'] = {}, token?: string): Promise<Scene> {
    const scene = await openScene({ world: snapshotWorld(10), config })
    for (const path of FILES.slice(0, 3)) await scene.ask(`${BASE}/${path}`, { token })
    await scene.settled()
    scene.hub.ledger.clear()
    expect((await scene.ask(`${BASE}/${fourth}`, { method: 'HEAD', token })).status).toBe(200)
    expect(scene.hub.ledger.requests()).toEqual([])
    return scene
  }

  it.each([undefined, TOKENS.bob])(
    'is not described to a caller without the right once the repo no longer counts as public (%s)',
    async (token) => {
      const scene = await listed()
      scene.world.dataset('acme/many').makePrivate(['alice'])
      scene.clock.advance(60_000)
      const head = await scene.ask(`${BASE}/${fifth}`, { method: 'HEAD', token })
      expect([head.status, head.headers['etag'], head.headers['x-repo-commit']]).toEqual([
        token === undefined ? 401 : 404,
        undefined,
        undefined,
      ])
      const owner = await scene.ask(`${BASE}/${fifth}`, { method: 'HEAD', token: TOKENS.alice })
      expect(owner.status).toBe(200)
    },
  )

  it('is refused to the GET behind its HEAD when the repo turns private between them', async () => {
    const scene = await listed()
    scene.world.dataset('acme/many').makePrivate(['alice'])
    const got = await scene.ask(`${BASE}/${fourth}`)
    expect([got.status, got.headers['etag'], got.body.toString().includes('content of')]).toEqual([
      401,
      undefined,
      false,
    ])
  })

  it('is not described to a caller whom a rule refuses it', async () => {
    const rules = `- name: no-five\n  match: { file: '${fifth}' }\n  action: deny\n`
    const scene = await listed({ policies: policiesOf(rules) })
    const head = await scene.ask(`${BASE}/${fifth}`, { method: 'HEAD' })
    expect([head.status, head.headers['etag']]).toEqual([403, undefined])
  })
})
