// Small files of a commit that are fetched before a client requests them.

import { describe, expect, it } from 'vitest'
import { lfs, type World } from '../hub-simulator/repos.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { names } from '../support/snapshot.ts'
import { metricValue } from '../support/start-mirror.ts'

const COUNT = 200
const BODY = /part-\d+\.txt/

function manyWorld(): World {
  const world = mirrorWorld()
  const texts = Object.fromEntries(names(COUNT).map((name) => [name, `content of ${name}\n`]))
  const others = {
    'part-00015.bin': 'another ending\n',
    'part-00016.txt': lfs({ sizeBytes: 2_000_000, seed: 77 }),
  }
  world.dataset('acme/many').commit({ ...texts, ...others })
  world.dataset('acme/closed').private(['alice']).commit(texts)
  return world
}

/** Lists a commit and GETs some of its files, one after the other. */
async function begin(
  scene: Scene,
  count: number,
  options: { repo?: string; token?: string } = {},
): Promise<string> {
  const { repo = 'acme/many', token } = options
  const info = await scene.ask(`/api/datasets/${repo}/revision/main`, { token })
  const { sha } = JSON.parse(info.body.toString()) as { sha: string }
  await scene.ask(`/api/datasets/${repo}/tree/${sha}?recursive=true&expand=false`, { token })
  const base = `/datasets/${repo}/resolve/${sha}`
  for (const path of names(count)) {
    if (path === 'part-00016.txt') continue
    expect((await scene.ask(`${base}/${path}`, { token })).status).toBe(200)
  }
  return base
}

function fetched(scene: Scene): string[] {
  const paths = scene.hub.ledger
    .requests({ method: 'GET', url: /resolve/ })
    .filter(({ status }) => status === 200)
    .map(({ url }) => /part-\d+\.\w+/.exec(url)?.[0] ?? url)
  return [...paths].sort()
}

async function filesAhead(scene: Scene): Promise<number> {
  return metricValue(await scene.mirror.metrics(), 'hubmirror_read_ahead_files_total') ?? 0
}

describe('a client that takes a snapshot', () => {
  it('finds small files that follow in the listing fetched before, each once', async () => {
    const scene = await openScene({ world: manyWorld() })
    const base = await begin(scene, 10)
    await eventually(
      () => filesAhead(scene),
      (count) => count >= 90,
    )
    await scene.settled()
    const ahead = fetched(scene)
    expect(ahead).toEqual([...new Set(ahead)])
    expect(ahead).toContain('part-00050.txt')
    expect(ahead, 'no large file and no other ending').not.toContain('part-00015.bin')
    expect(ahead.length, 'bounded').toBeLessThanOrEqual(10 + 96)
    const stored = await scene.ask(`${base}/part-00050.txt`)
    expect([stored.status, stored.headers['x-cache'], stored.body.toString()]).toEqual([
      200,
      'HIT',
      'content of part-00050.txt\n',
    ])
    const used = metricValue(await scene.mirror.metrics(), 'hubmirror_read_ahead_used_files_total')
    expect(used).toBeGreaterThan(0)
    for (const path of names(COUNT)) expect((await scene.ask(`${base}/${path}`)).status).toBe(200)
    await scene.settled()
    const all = fetched(scene).filter((path) => BODY.test(path))
    expect(all).toEqual([...new Set(all)])
  })

  it('joins the download of a file that is on its way', async () => {
    const scene = await openScene({ world: manyWorld() })
    scene.hub.faults.add({
      where: 'hub',
      match: /resolve.*part-00040\.txt/,
      method: 'GET',
      stallHeaders: true,
    })
    const base = await begin(scene, 10)
    await scene.hub.faults.whenStalled()
    const asked = scene.ask(`${base}/part-00040.txt`)
    await scene.ask(`${base}/part-00041.txt`)
    scene.hub.faults.release()
    expect((await asked).body.toString()).toBe('content of part-00040.txt\n')
    await scene.settled()
    expect(fetched(scene).filter((path) => path === 'part-00040.txt').length).toBe(1)
  })
})

describe('nothing is fetched ahead', () => {
  it.each([
    ['by a client that has requested few files', 6, {}],
    ['where the setting is off', 20, { readAhead: 'off' }],
    ['for a caller with a limit of its own', 20, { clientsRateLimit: { max: 1000, windowMs: 60_000 } }],
    ['for a caller about whom rules decide', 20, { policies: policiesOf('- name: all\n  action: allow\n') }],
  ] as const)('%s', async (_what, count, config) => {
    const scene = await openScene({ world: manyWorld(), config: config as object })
    await begin(scene, count)
    await scene.settled()
    expect(fetched(scene).length).toBe(count > 16 ? count - 1 : count)
    expect(await filesAhead(scene)).toBe(0)
  })

  it('of a private repo', async () => {
    const scene = await openScene({ world: manyWorld() })
    await begin(scene, 20, { repo: 'acme/closed', token: TOKENS.alice })
    await scene.settled()
    expect(await filesAhead(scene)).toBe(0)
  })

  it('with the credential of a caller, so nothing of a repo that has turned private meanwhile', async () => {
    const scene = await openScene({ world: manyWorld() })
    await begin(scene, 3)
    const repo = scene.world.dataset('acme/many')
    repo.makePrivate(['alice'])
    const secrets = Object.fromEntries(names(COUNT).map((name) => [name, `secret ${name}\n`]))
    const base = `/datasets/acme/many/resolve/${repo.commit(secrets)}`
    scene.clock.advance(1)
    const token = TOKENS.alice
    await scene.ask(`/api${base.replace('resolve', 'tree')}?recursive=true&expand=false`, { token })
    scene.hub.ledger.clear()
    for (const path of names(12)) expect((await scene.ask(`${base}/${path}`, { token })).status).toBe(200)
    await scene.settled()
    const members = scene.hub.ledger.requests({ method: 'GET', url: /part-/ })
    const others = members.filter(({ url }) => !names(12).some((name) => url.includes(name)))
    expect(others.map((entry) => scene.hub.ledger.credential(entry))).toEqual(others.map(() => undefined))
    expect((await scene.ask(`${base}/part-00030.txt`)).status).toBe(401)
    expect(await filesAhead(scene)).toBe(0)
  })

  it('in the last tenth of the quota, also when that begins meanwhile', async () => {
    const scene = await openScene({ world: manyWorld() })
    scene.hub.faults.add({
      where: 'hub',
      match: /resolve/,
      skip: 30,
      times: 9999,
      addHeaders: { RateLimit: '"resolvers";r=300;t=200' },
    })
    await begin(scene, 10)
    await scene.settled()
    await eventually(
      () => scene.hub.ledger.requests({ url: /resolve/ }),
      (seen) => seen.every(({ done }) => done),
    )
    // Those that were on their way when the Hub reported it.
    expect(fetched(scene).length).toBeLessThanOrEqual(30 + 24)
  })

  it('once the Hub has refused the repo', async () => {
    const scene = await openScene({ world: manyWorld() })
    const base = await begin(scene, 7)
    scene.world.dataset('acme/many').makePrivate(['alice'])
    expect((await scene.ask(`${base}/part-00008.txt`)).status).toBe(401)
    await scene.settled()
    const before = scene.hub.ledger.requests({ url: /resolve/ }).length
    expect((await scene.ask(`${base}/part-00009.txt`)).status).toBe(401)
    await scene.settled()
    expect(scene.hub.ledger.requests({ url: /resolve/ }).length - before).toBeLessThanOrEqual(2)
  })
})
