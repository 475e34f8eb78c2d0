// Rules and renamed repos: both names count, and neither costs the Hub an additional request.

import { describe, expect, it } from 'vitest'
import { openCompany } from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const under = (rules: string): Promise<Scene> => openScene({ config: { policies: policiesOf(rules) } })

/** The requests to Hub and CDN since the ledger was cleared. */
const asked = (scene: Scene): readonly string[] =>
  scene.hub.ledger.requests().map(({ method, url }) => `${method} ${url}`)

describe('a repo that was renamed', () => {
  it('is denied by its new name when it is requested by the old one', async () => {
    const scene = await under('- {action: deny, match: {repo: acme/new}}')
    for (const target of [
      '/acme/old/resolve/main/config.json',
      '/acme/old/resolve/main/w.bin',
      '/api/models/acme/old',
      '/api/models/acme/old/tree/main',
    ]) {
      for (const method of ['HEAD', 'GET']) {
        expect([target, (await scene.ask(target, { method })).status]).toEqual([target, 403])
      }
    }
    // Once it is known, not even the way there is asked for.
    scene.hub.ledger.clear()
    await scene.ask('/acme/old/resolve/main/config.json')
    expect(asked(scene)).toEqual([])
  })

  it('is denied by its new name also after a restart, with the Hub unreachable and the bytes stored under the old one', async () => {
    const scene = await openScene()
    for (const path of ['config.json', 'w.bin']) await scene.ask(`/acme/old/resolve/main/${path}`)
    await scene.settled()
    await scene.restart({ offline: true })
    expect((await scene.ask('/acme/old/resolve/main/w.bin')).status, 'stored').toBe(200)
    await scene.restart({ offline: true, policies: policiesOf('- {action: deny, match: {repo: acme/new}}') })
    expect((await scene.ask('/acme/old/resolve/main/w.bin')).status).toBe(403)
  })

  it('that no rule is about is served under its old name', async () => {
    const scene = await under('- {action: deny, match: {repo: other/*}}')
    for (let round = 0; round < 2; round += 1) {
      const got = await scene.ask('/acme/old/resolve/main/w.bin')
      expect(got.body.equals(scene.bytes('acme/new', 'w.bin'))).toBe(true)
      expect((await scene.ask('/api/models/acme/old/tree/main')).status).toBe(200)
      await scene.settled()
    }
  })

  it('is denied by the name that the Hub uses when it is requested by an old short one', async () => {
    const scene = await under('- {action: deny, match: {repo: legacy-community/*}}')
    for (const target of [
      '/legacy/resolve/main/w.bin',
      '/api/models/legacy',
      '/legacy/raw/main/config.json',
    ]) {
      expect([target, (await scene.ask(target)).status]).toEqual([target, 403])
    }
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
    const open = await under('- {action: allow, match: {repo: legacy-community/*}}\n- {action: deny}')
    expect((await open.ask('/legacy/resolve/main/w.bin')).status).toBe(200)
    const short = await under('- {action: deny, match: {repo: legacy}}')
    expect((await short.ask('/legacy/resolve/main/w.bin')).status).toBe(403)
  })

  it('is not denied forever by a name that it no longer has', async () => {
    const scene = await under('- {action: deny, match: {repo: acme/new}}')
    const target = '/acme/old/resolve/main/config.json'
    expect((await scene.ask(target)).status).toBe(403)
    // No request by the old name is under way any more.
    await eventually(
      () => scene.hub.ledger.requests({ url: /^\/api\/models\/acme\/new/, status: 200 }).length,
      (count) => count === 1,
    )
    scene.world.model('acme/new').renamedTo('acme/old')
    expect((await scene.ask(target)).status, 'believed').toBe(403)
    scene.clock.advance(60_000)
    expect((await scene.ask(target)).status).toBe(200)
  })

  it('causes one request for both of its names', async () => {
    const scene = await under('- {action: deny, match: {access: gated}}')
    expect((await scene.ask('/acme/old/resolve/main/w.bin', { method: 'HEAD' })).status).toBe(200)
    await scene.settled()
    const infos = asked(scene).filter((line) => /^GET \/api\/models\/acme\/(?:old|new)\?/.test(line))
    const [before, now] = ['GET /api/models/acme/old', 'GET /api/models/acme/new']
    // Once for the rules and once to see whether it may be stored, by the old name each time.
    expect(infos.map((line) => line.split('?')[0])).toEqual([before, now, before, now])
  })
})

describe('a repo that is renamed between the request for its file and the bytes', () => {
  const TARGET = '/acme/open/resolve/main/config.json'

  /** Holds the first request for the bytes until the test releases it, and renames the repo then. */
  function renameAtBytes(scene: Scene): () => void {
    const { fault, open } = heldFault()
    scene.hub.faults.add({
      where: 'hub',
      method: 'GET',
      match: /^\/acme\/open\/resolve\//,
      onRequest: async () => {
        await fault
        scene.world.model('acme/open').renamedTo('acme/moved')
      },
    })
    return open
  }

  const joined = (scene: Scene, count: number) =>
    eventually(
      async () => metricValue(await scene.mirror.metrics(), 'hubmirror_flights_joined_total'),
      (value) => value === count,
    )

  it('is served to all callers that wait for the same download', async () => {
    const scene = await under('- {action: deny, match: {repo: other/*}}')
    const go = renameAtBytes(scene)
    const bytes = scene.bytes('acme/open', 'config.json')
    const asking = Array.from({ length: 4 }, () => scene.ask(TARGET))
    await joined(scene, 3)
    go()
    for (const got of await Promise.all(asking)) {
      expect([got.status, got.headers['x-error-message']]).toEqual([200, undefined])
      expect(got.body.equals(bytes)).toBe(true)
    }
  })

  it('is decided for each of them under its new name', async () => {
    const { scene, issue } = await openCompany({
      rules: '- {name: not-ci, action: deny, match: {repo: acme/moved, caller: {mirrorToken: ci}}}',
    })
    const [ci, other] = [await issue('ci'), await issue('other')]
    const narrow = await issue('narrow', { repos: ['acme/open'] })
    const go = renameAtBytes(scene)
    // The caller that starts the download is denied in the end, which must not affect the others.
    const asking = [scene.ask(TARGET, { token: ci })]
    await eventually(
      () => scene.hub.ledger.requests({ method: 'GET', url: /\/acme\/open\/resolve\// }).length,
      (count) => count === 1,
    )
    for (const token of [undefined, other, narrow, ci]) asking.push(scene.ask(TARGET, { token }))
    await joined(scene, 4)
    go()
    const statuses = (await Promise.all(asking)).map(({ status, headers }) => [
      status,
      headers['x-error-code'],
    ])
    const [denied, served] = [
      [403, 'GatedRepo'],
      [200, undefined],
    ]
    expect(statuses).toEqual([denied, served, served, denied, denied])
  })

  it('is served to callers without rules and scope, even if a caller out of scope has started the download', async () => {
    const { scene, issue } = await openCompany({ rules: '' })
    const narrow = await issue('narrow', { repos: ['acme/open'] })
    const go = renameAtBytes(scene)
    const asking = [scene.ask(TARGET, { token: narrow })]
    await eventually(
      () => scene.hub.ledger.requests({ method: 'GET', url: /\/acme\/open\/resolve\// }).length,
      (count) => count === 1,
    )
    for (const token of [undefined, TOKENS.bob, await issue('wide')])
      asking.push(scene.ask(TARGET, { token }))
    await joined(scene, 3)
    go()
    expect((await Promise.all(asking)).map(({ status }) => status)).toEqual([403, 200, 200, 200])
  })

  it('is served to a caller whose bytes pass through', async () => {
    const scene = await under('- {action: no-store, match: {repo: acme/*}}')
    renameAtBytes(scene)()
    const bytes = scene.bytes('acme/open', 'config.json')
    const got = await scene.ask(TARGET)
    expect([got.status, got.headers['x-cache'], got.body.equals(bytes)]).toEqual([200, 'BYPASS', true])
  })
})

function heldFault(): { readonly fault: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined
  const fault = new Promise<void>((resolve) => (open = resolve))
  return { fault, open: () => open() }
}
