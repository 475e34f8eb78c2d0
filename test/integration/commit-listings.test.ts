// Files that the listing of their commit describes: what they cost at the Hub, and who may have them.

import { describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'
import { answered, names, snapshot, snapshotWorld, TREE, WORKERS } from '../support/snapshot.ts'
import { metricValue } from '../support/start-mirror.ts'

/** What is fetched ahead of requests is tested in read-ahead.test.ts. */
const ALONE = { readAhead: 'off' } as const

describe('a snapshot of many small files that are not stored', () => {
  const COUNT = 60

  it.each([undefined, TOKENS.alice])('costs at most five requests beside its files (%s)', async (token) => {
    const scene = await openScene({ world: snapshotWorld(COUNT), config: ALONE })
    await snapshot(scene, names(COUNT), '/datasets/acme/many/resolve/main', { token })
    const all = answered(scene)
    expect(
      all.length,
      all.filter((line) => line.startsWith('HEAD') || !line.includes('part-')).join('\n'),
    ).toBeLessThanOrEqual(COUNT + 5)
    expect(scene.hub.ledger.requests({ url: TREE }).length).toBe(1)
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, 'hubmirror_listed_files_total')).toBeGreaterThan(COUNT)
    expect(metricValue(metrics, 'hubmirror_listings_distrusted_total')).toBe(0)
  })

  it('costs one request a file when the client has listed the commit', async () => {
    const scene = await openScene({ world: snapshotWorld(COUNT), config: ALONE })
    const info = JSON.parse((await scene.ask('/api/datasets/acme/many/revision/main')).body.toString()) as {
      sha: string
    }
    await scene.ask(`/api/datasets/acme/many/tree/${info.sha}?recursive=true&expand=false`)
    scene.hub.ledger.clear()
    await snapshot(scene, names(COUNT), `/datasets/acme/many/resolve/${info.sha}`)
    expect(answered(scene).length).toBe(COUNT)
    // The first file shows that the Hub redirects to the pinned address. Those on their way do not know it yet.
    const redirects = scene.hub.ledger.requests({ status: 307 }).length
    expect(redirects).toBeLessThanOrEqual(WORKERS)
    expect(scene.hub.ledger.requests({ method: 'HEAD' })).toEqual([])
  })

  it.each(['/revision/main?blobs=true', '/revision/main?blobs=True&securityStatus=true', '?blobs=true'])(
    'costs one request a file, and none for a listing, when the client has requested the info %s',
    async (info) => {
      const scene = await openScene({ world: snapshotWorld(COUNT), config: ALONE })
      const api = '/api/datasets/acme/many'
      const { sha } = JSON.parse((await scene.ask(`${api}${info}`)).body.toString()) as { sha: string }
      await scene.settled()
      const base = `/datasets/acme/many/resolve/${sha}`
      scene.hub.ledger.clear()
      for (const path of names(COUNT)) {
        const head = await scene.ask(`${base}/${path}`, { method: 'HEAD' })
        expect([path, head.status, head.headers['x-cache']]).toEqual([path, 200, 'HIT'])
      }
      expect(scene.hub.ledger.requests()).toEqual([])
      await snapshot(scene, names(COUNT), base)
      expect(scene.hub.ledger.requests({ url: TREE })).toEqual([])
      expect(scene.hub.ledger.requests({ method: 'HEAD' })).toEqual([])
      expect(answered(scene).length).toBe(COUNT)
      expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(0)
    },
  )

  it('asks for the listing when the info of the client has the names of files only', async () => {
    const scene = await openScene({ world: snapshotWorld(COUNT), config: ALONE })
    await scene.ask('/api/datasets/acme/many/revision/main')
    await snapshot(scene, names(COUNT), '/datasets/acme/many/resolve/main')
    expect(scene.hub.ledger.requests({ url: TREE }).length).toBe(1)
  })

  it('reads further pages of the listing as far as files are requested', async () => {
    const scene = await openScene({ world: snapshotWorld(COUNT), hub: { pageSize: 20 }, config: ALONE })
    await snapshot(scene, names(30), '/datasets/acme/many/resolve/main')
    const pages = scene.hub.ledger.requests({ url: TREE }).length
    expect(pages).toBeGreaterThan(1)
    expect(pages).toBeLessThan(5)
    await snapshot(scene, names(COUNT), '/datasets/acme/many/resolve/main')
    expect(answered(scene).length).toBeLessThanOrEqual(COUNT + 6 + 5 + 2 * WORKERS)
  })

  it('costs LFS files one redirect and one body each', async () => {
    const scene = await openScene({ world: snapshotWorld(1) })
    const sha = scene.commit('acme/large')
    await scene.ask('/api/models/acme/large/revision/main')
    await scene.ask(`/api/models/acme/large/tree/${sha}?recursive=true&expand=false`)
    scene.hub.ledger.clear()
    await snapshot(scene, names(12), `/acme/large/resolve/${sha}`)
    const { ledger } = scene.hub
    expect([ledger.requests({ server: 'hub' }).length, ledger.requests({ server: 'cdn' }).length]).toEqual([
      12, 12,
    ])
    expect(ledger.requests({ method: 'HEAD' })).toEqual([])
  })
})

it('HEADs of files that are not stored cost nothing for a client that has asked for a few', async () => {
  const scene = await openScene({ world: snapshotWorld(40) })
  const [first = '', second = '', third = '', ...rest] = names(40)
  for (const path of [first, second, third])
    await scene.ask(`/datasets/acme/many/resolve/main/${path}`, { method: 'HEAD' })
  scene.hub.ledger.clear()
  for (const path of rest) {
    const head = await scene.ask(`/datasets/acme/many/resolve/main/${path}`, { method: 'HEAD' })
    expect([head.status, head.headers['x-cache']]).toEqual([200, 'HIT'])
  }
  expect(scene.hub.ledger.requests()).toEqual([])
})

it('a file that the listing does not name is asked for, and its absence is answered as the Hub says it', async () => {
  const scene = await openScene({ world: snapshotWorld(10) })
  await snapshot(scene, names(10), '/datasets/acme/many/resolve/main')
  const absent = await scene.ask('/datasets/acme/many/resolve/main/data.py', { method: 'HEAD' })
  expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
})

it('each request of a client for some of the paths of a commit describes these files', async () => {
  const scene = await openScene({ world: snapshotWorld(60), config: ALONE })
  const info = await scene.ask('/api/datasets/acme/many/revision/main')
  const { sha: commit } = JSON.parse(info.body.toString()) as { sha: string }
  const files = names(60)
  for (let from = 0; from < files.length; from += 20) {
    const paths = files.slice(from, from + 20)
    await scene.ask(`/api/datasets/acme/many/paths-info/${commit}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ paths }),
    })
  }
  await scene.settled()
  scene.hub.ledger.clear()
  for (const path of files) {
    const head = await scene.ask(`/datasets/acme/many/resolve/${commit}/${path}`, { method: 'HEAD' })
    expect(head.status).toBe(200)
  }
  expect(scene.hub.ledger.requests()).toEqual([])
})

describe('a repo that is no longer public', () => {
  it('refuses what its listing would describe, once the Hub has refused', async () => {
    const scene = await openScene({ world: snapshotWorld(10) })
    const base = '/datasets/acme/many/resolve/main'
    const [first = '', second = '', third = '', fourth = '', fifth = ''] = names(10)
    for (const path of [first, second, third]) await scene.ask(`${base}/${path}`)
    scene.world.dataset('acme/many').makePrivate(['alice'])
    const got = await scene.ask(`${base}/${fourth}`)
    expect(got.status).toBe(401)
    for (const token of [undefined, TOKENS.bob]) {
      const head = await scene.ask(`${base}/${fifth}`, { method: 'HEAD', token })
      expect([head.status, head.headers['etag']]).toEqual([token === undefined ? 401 : 404, undefined])
    }
    const owner = await scene.ask(`${base}/${fifth}`, { method: 'HEAD', token: TOKENS.alice })
    expect(owner.status).toBe(200)
  })

  it('does not list what only its owner may read', async () => {
    const scene = await openScene()
    const sha = scene.commit('acme/secret')
    await scene.ask(`/api/models/acme/secret/tree/${sha}?recursive=true`, { token: TOKENS.alice })
    for (const path of ['a', 'b', 'c', 'config.json']) {
      const head = await scene.ask(`/acme/secret/resolve/${sha}/${path}`, {
        method: 'HEAD',
        token: TOKENS.bob,
      })
      expect(head.status).toBe(404)
    }
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listed_files_total')).toBe(0)
  })

  it('keeps the listing of a gated repo unread', async () => {
    const scene = await openScene()
    const sha = scene.commit('acme/gated')
    for (const path of ['a', 'b', 'c', 'config.json'])
      await scene.ask(`/acme/gated/resolve/${sha}/${path}`, { method: 'HEAD', token: TOKENS.alice })
    expect(scene.hub.ledger.requests({ url: TREE })).toEqual([])
  })
})

it('the listing is left alone in the last tenth of the quota', async () => {
  const scene = await openScene({ world: snapshotWorld(10) })
  scene.hub.faults.add({
    where: 'hub',
    match: /^\/api\/datasets/,
    times: 99,
    addHeaders: { RateLimit: '"api";r=50;t=200' },
  })
  await snapshot(scene, names(10), '/datasets/acme/many/resolve/main')
  expect(scene.hub.ledger.requests({ url: TREE })).toEqual([])
})

it('a listing that the mirror has read is there without the Hub', async () => {
  const scene = await openScene({ world: snapshotWorld(10) })
  await snapshot(scene, names(10), '/datasets/acme/many/resolve/main')
  await scene.hub.stop()
  const listed = await eventually(
    () => scene.ask('/api/datasets/acme/many/tree/main?recursive=true&expand=false'),
    ({ status }) => status === 200,
  )
  expect((JSON.parse(listed.body.toString()) as unknown[]).length).toBe(10)
})
