// Listings of commits that are wrong, that break off, or that describe what a caller may not have. What they say never becomes
// an answer that the Hub would not give, and never keeps a client from a file that it may have.

import { describe, expect, it } from 'vitest'
import type { Damage } from '../hub-simulator/faults.ts'
import { eventually } from '../support/eventually.ts'
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

describe('a later page of a listing', () => {
  const MANY = names(24)
  const LATER = /\/tree\/.*cursor=/
  const headers = { 'content-type': 'application/json; charset=utf-8' }

  /** A scene in which the mirror has read the first page, and only that. */
  async function begun(config: SceneOptions['config'] = {}): Promise<Scene> {
    const scene = await openScene({
      world: snapshotWorld(24),
      hub: { pageSize: 8 },
      config: { readAhead: 'off', ...config },
    })
    for (const path of MANY.slice(0, 3)) await scene.ask(`${BASE}/${path}`)
    await scene.settled()
    expect(scene.hub.ledger.requests({ url: TREE }).length).toBe(1)
    return scene
  }

  const pages = (scene: Scene): number => scene.hub.ledger.requests({ url: TREE }).length
  const DAMAGES: readonly (readonly [string, Damage])[] = [
    ['is refused with 500', { status: { code: 500, headers: {}, body: 'no' } }],
    ['is cut in its middle', { cutAfterBytes: 300 }],
    ['is no JSON', { status: { code: 200, headers, body: '[{"type":"file",' } }],
    ['is no list', { status: { code: 200, headers, body: '{"files":[]}' } }],
  ]

  it.each(DAMAGES)(
    'that %s is read again after a pause, and meanwhile its files are asked for',
    async (_what, damage) => {
      const scene = await begun()
      const fault = scene.hub.faults.add({ where: 'hub', match: LATER, times: 99, ...damage })
      await snapshot(scene, MANY.slice(0, 16), BASE)
      await scene.settled()
      expect(fault.struck).toBe(1)
      fault.remove()
      await snapshot(scene, MANY.slice(0, 20), BASE)
      expect(pages(scene), 'during the pause').toBe(2)
      scene.clock.advance(60_000)
      await snapshot(scene, MANY, BASE)
      await eventually(
        () => pages(scene),
        (count) => count >= 3,
      )
      expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(0)
    },
  )

  it.each([
    ['with the time to wait', { retryAfter: 100 }],
    ['with the bucket that is used up', { rateLimit: '"api";r=0;t=100' }],
    ['without a word', {}],
  ] as const)('that is refused with 429 %s costs no client its files', async (_what, rateLimit429) => {
    const scene = await begun()
    const fault = scene.hub.faults.add({ where: 'hub', match: LATER, times: 99, rateLimit429 })
    await snapshot(scene, MANY, BASE)
    expect(fault.struck).toBe(1)
  })

  it('that the Hub refuses because the repo has turned private ends what was listed before', async () => {
    const scene = await begun()
    scene.world.dataset('acme/many').makePrivate(['alice'])
    // Half of the first page is requested then: the mirror reads the next one.
    for (const path of MANY.slice(3, 7)) await scene.ask(`${BASE}/${path}`, { method: 'HEAD' })
    await eventually(
      () => pages(scene),
      (count) => count >= 2,
    )
    const refused = await eventually(
      () => scene.ask(`${BASE}/${MANY[7]}`, { method: 'HEAD' }),
      ({ status }) => status !== 200,
    )
    expect([refused.status, refused.headers['etag']]).toEqual([401, undefined])
  })

  it.each([
    ['of another commit', (url: string) => url.replace(/[0-9a-f]{40}/, 'f'.repeat(40))],
    ['that is this one', (url: string) => url.replace(/&cursor=[^&]*/, '')],
  ] as const)('is not read from a link %s', async (_what, change) => {
    const scene = await openScene({
      world: snapshotWorld(24),
      hub: { pageSize: 8 },
      config: { readAhead: 'off' },
    })
    const first = await fetch(`${scene.hub.url}/api/datasets/acme/many/tree/main?recursive=true&expand=false`)
    const link = first.headers.get('link') ?? ''
    const commit = scene.world.dataset('acme/many').resolve('main')?.id ?? ''
    scene.hub.faults.add({
      where: 'hub',
      match: TREE,
      times: 99,
      addHeaders: {
        Link: change(link.replace('<', '').replace('/tree/main', `/tree/${commit}`)).replace(/^/, '<'),
      },
    })
    await snapshot(scene, MANY, BASE)
    expect(pages(scene)).toBe(2)
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

describe('a quota that ends while files are read ahead', () => {
  it('is not asked for more, and every file is there once the window is over', async () => {
    const scene = await openScene({ world: snapshotWorld(200) })
    const fault = scene.hub.faults.add({
      where: 'hub',
      match: /resolve.*part-/,
      method: 'GET',
      skip: 40,
      times: 9999,
      rateLimit429: { rateLimit: '"resolvers";r=0;t=100' },
    })
    const base = BASE
    const all = names(200)
    const statuses: number[] = []
    for (const path of all.slice(0, 60)) {
      const got = await scene.ask(`${base}/${path}`)
      statuses.push(got.status)
      if (got.status === 200) expect(got.body.toString()).toBe(`content of ${path}\n`)
      else expect([got.status, got.headers['retry-after']]).toEqual([429, '100'])
    }
    await scene.settled()
    expect([statuses[0], statuses.at(-1)]).toEqual([200, 429])
    // Those that were on their way when the Hub refused the first.
    expect(fault.struck).toBeLessThanOrEqual(24)
    scene.hub.faults.clear()
    scene.clock.advance(100_000)
    for (const path of all)
      expect((await scene.ask(`${base}/${path}`)).body.toString()).toBe(`content of ${path}\n`)
  })

  it('is named to a client that waits for a file that is read ahead', async () => {
    const scene = await openScene({ world: snapshotWorld(60) })
    scene.hub.faults.add({
      where: 'hub',
      match: /resolve.*part-00040\.txt/,
      method: 'GET',
      times: 9,
      stallHeaders: true,
      rateLimit429: { rateLimit: '"resolvers";r=0;t=100' },
    })
    for (const path of names(20)) await scene.ask(`${BASE}/${path}`)
    await scene.hub.faults.whenStalled()
    const asked = scene.ask(`${BASE}/part-00040.txt`)
    await scene.ask(`${BASE}/part-00021.txt`)
    scene.hub.faults.release()
    const got = await asked
    expect([got.status, got.headers['retry-after']]).toEqual([429, '100'])
  })
})
