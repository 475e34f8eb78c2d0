// Later pages of the listing of a commit that are wrong or do not come, and a quota that ends while files are read ahead.

import { describe, expect, it } from 'vitest'
import type { Damage } from '../../hub-simulator/faults.ts'
import { eventually } from '../../support/eventually.ts'
import { openScene, type Scene, type SceneOptions } from '../../support/scene.ts'
import { names, snapshot, snapshotWorld, TREE } from '../../support/snapshot.ts'
import { metricValue } from '../../support/start-mirror.ts'

const BASE = '/datasets/acme/many/resolve/main'

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
