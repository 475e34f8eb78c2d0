// The datasets-server: `datasets` asks for it at the host of HF_ENDPOINT with `datasets-server.` before it. The mirror answers
// from what it has stored, or asks that host with the credential of the caller.

import { describe, expect, it } from 'vitest'
import { ASSET } from '../hub-simulator/datasets-server.ts'
import { lfs, World } from '../hub-simulator/repos.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'

const HOST = { host: 'datasets-server.mirror.example:8080' }
const PARQUET = '/parquet?dataset=acme/data'
const ASKED = '/parquet?dataset=acme%2Fdata'

function datasetsWorld(): World {
  const world = mirrorWorld()
  for (const id of ['acme/data', 'acme/hidden'])
    world
      .dataset(id)
      .commit(
        { 'default/train/0000.parquet': lfs({ sizeBytes: 1_000, seed: 9 }) },
        { branch: 'refs/convert/parquet' },
      )
  world.dataset('acme/hidden').commit({ 'README.md': 'x' })
  world.dataset('acme/hidden').private(['alice'])
  return world
}

/** A mirror that asks the simulated datasets-server, and knows that `acme/data` is public. */
async function open(options: SceneOptions = {}): Promise<Scene> {
  const world = datasetsWorld()
  const scene = await openScene({ world, ...options })
  await scene.restart({ datasetsServer: new URL(scene.hub.datasetsServerUrl) })
  await scene.ask('/api/datasets/acme/data')
  return scene
}

/** Closes the mirror and starts it again with the same datasets-server. */
const restart = (scene: Scene, config: Parameters<Scene['restart']>[0] = {}) =>
  scene.restart({ datasetsServer: new URL(scene.hub.datasetsServerUrl), ...config })

const asked = (scene: Scene) => scene.hub.ledger.requests({ server: 'datasets-server' })

describe('the datasets-server', () => {
  it('is asked once for what it says of a public dataset, then validated, then stood in for', async () => {
    const scene = await open()
    for (const target of [PARQUET, '//parquet?dataset=acme%2Fdata']) {
      const got = await scene.ask(target, { headers: HOST })
      expect([got.status, got.headers['x-revision']]).toEqual([200, mainOf(scene)])
      expect(JSON.parse(got.body.toString())).toEqual({
        parquet_files: [
          {
            dataset: 'acme/data',
            config: 'default',
            split: 'train',
            url: 'http://mirror.example:8080/datasets/acme/data/resolve/refs%2Fconvert%2Fparquet/default/train/0000.parquet',
            filename: '0000.parquet',
            size: 1_000,
          },
        ],
        pending: [],
        failed: [],
        partial: false,
      })
    }
    expect(asked(scene).map(({ url, status }) => [url, status])).toEqual([[ASKED, 200]])
    const info = await scene.ask('/info?dataset=acme/data', { headers: HOST })
    expect([info.status, info.body.toString().includes('dataset_info')]).toEqual([200, true])
    scene.clock.advance(10_000)
    const again = await scene.ask(PARQUET, { headers: HOST })
    expect([again.status, again.headers['x-cache'], again.headers['x-revision']]).toEqual([
      200,
      'REVALIDATED',
      mainOf(scene),
    ])
    expect(asked(scene).map(({ status }) => status)).toEqual([200, 200, 304])
    const etag = again.headers['etag'] ?? ''
    const known = await scene.ask(PARQUET, { headers: { ...HOST, 'if-none-match': etag } })
    expect(known.status).toBe(304)
    await scene.hub.stop()
    for (const [config, outcome] of [
      [{}, 'STALE'],
      [{ offline: true }, 'HIT'],
    ] as const) {
      await restart(scene, config)
      const away = await scene.ask(PARQUET, { headers: HOST })
      expect([away.status, away.headers['x-cache'], away.headers['x-revision']]).toEqual([
        200,
        outcome,
        mainOf(scene),
      ])
    }
  })

  it('decides for each caller about a private dataset, of which nothing is stored', async () => {
    const scene = await open()
    const target = '/parquet?dataset=acme/hidden'
    for (let round = 0; round < 2; round += 1) {
      const own = await scene.ask(target, { token: TOKENS.alice, headers: HOST })
      expect([own.status, own.headers['x-cache'], own.body.toString().includes('0000.parquet')]).toEqual([
        200,
        'BYPASS',
        true,
      ])
      for (const [token, status] of [
        [TOKENS.bob, 404],
        [undefined, 401],
      ] as const) {
        const got = await scene.ask(target, { token, headers: HOST })
        expect([got.status, got.body.toString().includes('0000.parquet')]).toEqual([status, false])
      }
    }
    await scene.hub.stop()
    for (const token of [TOKENS.alice, undefined])
      expect((await scene.ask(target, { token, headers: HOST })).status).toBeGreaterThan(400)
  })

  it('says nothing about rights at the Hub: what it refuses, the Hub may show', async () => {
    const scene = await open()
    const refused = {
      code: 401,
      headers: { 'x-error-code': 'ExternalUnauthenticatedError' },
      body: '{"error":"no"}',
    }
    scene.hub.faults.add({ where: 'datasets-server', status: refused })
    expect((await scene.ask(PARQUET, { headers: HOST })).status).toBe(401)
    scene.hub.ledger.clear()
    expect((await scene.ask('/api/datasets/acme/data')).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('that cannot be reached does not make the Hub count as away', async () => {
    const scene = await open()
    scene.hub.faults.add({ where: 'datasets-server', resetBeforeHeaders: true, times: 100 })
    expect((await scene.ask(PARQUET, { headers: HOST })).status).toBe(502)
    const fresh = await scene.ask('/api/models/acme/open')
    expect([fresh.status, fresh.headers['x-cache']]).toEqual([200, 'MISS'])
  })

  it('gets the token of the caller, and no other host does', async () => {
    const scene = await open()
    await scene.ask(PARQUET, { token: TOKENS.alice, headers: { ...HOST, cookie: 'a=b' } })
    const [sent] = asked(scene)
    expect([sent?.headers.authorization, sent?.headers.cookie]).toEqual([`Bearer ${TOKENS.alice}`, undefined])
    const redirectTo = `${scene.hub.cdnUrl}/elsewhere`
    scene.hub.faults.add({ where: 'datasets-server', redirectTo, times: 100 })
    const got = await scene.ask('/info?dataset=acme/data', { token: TOKENS.alice, headers: HOST })
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'RedirectRefused'])
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
  })

  it('is subject to the rules about the dataset, those about files included', async () => {
    for (const rule of ['{repo: acme/data}', "{repo: acme/data, file: '*.parquet'}"]) {
      const scene = await open({
        config: { policies: policiesOf(`- {name: no, action: deny, match: ${rule}}`) },
      })
      expect((await scene.ask(PARQUET, { headers: HOST })).status).toBe(403)
      expect(asked(scene)).toEqual([])
    }
  })

  it('is asked once for each of its answers about a dataset', async () => {
    const scene = await open()
    const about = '?dataset=acme/data&config=default&split=train'
    for (const target of [
      `/splits${about}`,
      `/size${about}`,
      `/is-valid${about}`,
      `/statistics${about}`,
      '/croissant-crumbs?dataset=acme/data&full=true',
    ]) {
      for (const outcome of ['MISS', 'HIT']) {
        const got = await scene.ask(target, { headers: HOST })
        expect([target, got.status, got.headers['x-cache']]).toEqual([target, 200, outcome])
      }
    }
    expect(asked(scene).length).toBe(5)
  })

  it('is asked for rows each time, whose images come through the mirror without a credential', async () => {
    const scene = await open({ config: { basePath: '/hub/face' } })
    const { datasetsServerUrl: base, url } = scene.hub
    for (const path of ['first-rows', 'rows', 'search', 'filter']) {
      const target = `/hub/face/${path}?split=train&dataset=acme/data&config=default`
      for (let time = 0; time < 2; time += 1) {
        const got = await scene.ask(target, { token: TOKENS.alice, headers: HOST })
        expect([path, got.status, got.headers['x-cache']]).toEqual([path, 200, 'BYPASS'])
        const { row } = JSON.parse(got.body.toString()).rows[0]
        // Data stays as it is.
        expect(row).toMatchObject({
          text: `${url}/acme/open`,
          link: `${base}/rows?dataset=acme/data`,
          xetHash: 'kept',
        })
        for (const { src } of [row.image, row.title])
          expect(src).toMatch(
            /^http:\/\/datasets-server\.mirror\.example:8080\/hub\/face\/cached-assets\/acme\/data\//,
          )
        const { pathname, search, host } = new URL(row.image.src)
        const headers = { host, authorization: `Bearer ${TOKENS.alice}` }
        for (const [question, status] of [
          [{ headers }, 200],
          [{ headers, method: 'HEAD' }, 200],
          [{ headers, method: 'POST' }, 405],
        ] as const) {
          const asset = await scene.ask(pathname + search, question)
          expect([question.method, asset.status]).toEqual([question.method, status])
          if (status !== 200) continue
          expect([asset.headers['content-type'], asset.headers['x-content-type-options']]).toEqual([
            'image/jpeg',
            'nosniff',
          ])
          if (question.method === undefined) expect(asset.body.equals(ASSET)).toBe(true)
        }
        const forged = await scene.ask(`${pathname}?Signature=x`, { headers })
        expect([forged.status, forged.headers['x-cache']]).toEqual([403, 'REFUSED'])
      }
    }
    const rows = scene.hub.ledger.requests({ server: 'datasets-server', url: /rows|search|filter/ })
    expect(rows.length).toBe(8)
    expect(rows.every(({ headers }) => headers.authorization === `Bearer ${TOKENS.alice}`)).toBe(true)
    const assets = scene.hub.ledger.requests({ server: 'datasets-server', url: /^\/cached-assets/ })
    expect(assets.length).toBe(24)
    expect(assets.filter(({ headers }) => headers.authorization ?? headers.cookie)).toEqual([])
  })

  it('shows rows of a private dataset to its members only, and assets as the rules say', async () => {
    const rule = '- {name: no, action: deny, match: {repo: acme/data}}'
    const scene = await open({ config: { policies: policiesOf(rule) } })
    const target = '/rows?dataset=acme/hidden'
    for (const [token, status] of [
      [TOKENS.alice, 200],
      [TOKENS.bob, 404],
      [undefined, 401],
      [TOKENS.alice, 200],
    ] as const)
      expect((await scene.ask(target, { token, headers: HOST })).status).toBe(status)
    scene.hub.ledger.clear()
    const asset = '/cached-assets/acme/data/--/x/--/default/train/0/image/image.jpg'
    for (const denied of ['/rows?dataset=acme/data', asset])
      expect((await scene.ask(denied, { headers: HOST })).status).toBe(403)
    await restart(scene, { offline: true })
    for (const away of [target, asset.replace('data', 'hidden')])
      expect((await scene.ask(away, { headers: HOST })).status).toBe(404)
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('leads an asset to no other host', async () => {
    const scene = await open()
    const redirectTo = `${scene.hub.cdnUrl}/elsewhere`
    scene.hub.faults.add({ where: 'datasets-server', redirectTo, times: 100 })
    const asset = '/assets/acme/data/--/x/--/default/train/0/image/image.jpg'
    const got = await scene.ask(asset, { headers: HOST })
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'RedirectRefused'])
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
  })

  it('is answered below a base path', async () => {
    const scene = await open({ config: { basePath: '/hub/face' } })
    const got = await scene.ask(`/hub/face${PARQUET}`, { headers: HOST })
    expect([
      got.status,
      got.body.toString().includes('"url":"http://mirror.example:8080/hub/face/datasets/'),
    ]).toEqual([200, true])
  })

  it('is not reached by another host or query, and a mirror that asks none says so', async () => {
    const scene = await open()
    for (const [target, headers] of [
      [PARQUET, {}],
      ['/parquet', HOST],
      ['/parquet?dataset=acme/data&dataset=acme/hidden', HOST],
      ['/parquet?dataset=acme/data&token=x', HOST],
      ['/parquet?dataset=../../x', HOST],
      ['/nothing?dataset=acme/data', HOST],
      ['/cached-assets/image.jpg', HOST],
    ] as const) {
      const got = await scene.ask(target, { headers })
      expect([target, got.status]).toEqual([target, 404])
    }
    expect(asked(scene)).toEqual([])
    // An origin that is an IP address has no such host.
    for (const datasetsServer of ['origin', undefined] as const) {
      await restart(scene, { datasetsServer })
      const got = await scene.ask(PARQUET, { headers: HOST })
      expect([got.status, got.headers['x-error-message']]).toEqual([
        404,
        expect.stringContaining('HUBMIRROR_DATASETS_SERVER'),
      ])
    }
  })
})

function mainOf(scene: Scene): string | undefined {
  return scene.world.find('datasets', 'acme/data')?.repo.resolve('main')?.id
}
