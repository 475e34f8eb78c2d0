// What the mirror stores of the API: it is given again without a question for a short time, validated after that, and
// served while the Hub is away, always within the caller's rights.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import type { Question, Reply } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

const TTL_MS = 10_000
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const JSON_TYPE = { 'content-type': 'application/json' }
const INFO = '/api/models/acme/open'

type Asked = readonly [string, (Question | undefined)?]

/** Documents of public repos. `COMMIT` stands for the commit of `acme/open`. */
const DOCUMENTS: readonly Asked[] = [
  [INFO],
  [`${INFO}?blobs=true`],
  [`${INFO}?expand=sha&expand=safetensors`],
  [`${INFO}?expand[]=likes&securityStatus=true`],
  [`${INFO}/revision/main`],
  [`${INFO}/revision/COMMIT`],
  [`${INFO}/revision/refs%2Fpr%2F1?blobs=true`],
  [`${INFO}/tree/main?recursive=true&expand=true`],
  [`${INFO}/tree/main/nested%2Fdeeper?recursive=false&expand=false`],
  [`${INFO}/tree/main/none`],
  [`${INFO}/paths-info/main`, { method: 'POST', headers: FORM, body: 'paths=w.bin&expand=true' }],
  [`${INFO}/paths-info/main`, { method: 'POST', headers: JSON_TYPE, body: '{"paths":["w.bin"]}' }],
  [`${INFO}/refs?include_prs=1`],
  [`${INFO}/commits/main`],
  [`${INFO}/treesize/main/`],
  [`${INFO}/treesize/main/nested`],
  [`${INFO}/safetensors-metadata/model.safetensors.index.json`],
  ['/api/datasets/acme/data'],
  ['/api/datasets/acme/data/parquet'],
  ['/api/datasets/acme/data/parquet/default'],
  ['/api/datasets/acme/data/parquet/default/train'],
  ['/api/datasets/acme/data/croissant'],
  ['/api/spaces/acme/demo'],
  ['/api/spaces/acme/demo/tree/main'],
  ['/api/kernels/acme/fast'],
  ['/api/kernels/acme/fast/tree/main?recursive=true'],
  ['/v2/acme/gguf/manifests/Q4_K_M'],
]
/** The same of a commit, which never change. */
const OF_COMMITS: readonly Asked[] = [
  [`${INFO}/tree/COMMIT?recursive=true`],
  [`${INFO}/treesize/COMMIT/`],
  [`${INFO}/paths-info/COMMIT`, { method: 'POST', headers: FORM, body: 'paths=w.bin&expand=false' }],
]
/** Documents about no repo. */
const LISTS: readonly Asked[] = [
  ['/api/models?search=open&limit=5'],
  ['/api/models?author=acme&full=true&expand[]=sha'],
  ['/api/datasets?sort=downloads&direction=-1'],
  ['/api/spaces'],
  ['/api/collections?owner=acme'],
  ['/api/collections/acme/best-of-1234567890'],
  ['/api/papers/2601.00001'],
  ['/api/papers/search?q=mirrors&limit=2'],
  ['/api/daily_papers?date=2026-01-01'],
  ['/api/models-tags-by-type?type=library'],
  ['/api/organizations/acme/overview'],
  ['/api/organizations/acme/members'],
  ['/api/organizations/acme/followers'],
  ['/api/users/alice/overview'],
  ['/api/users/alice/followers'],
  ['/api/users/alice/following'],
  ['/api/users/alice/likes'],
  ['/api/spaces/hardware'],
  ['/api/spaces/templates'],
  ['/api/spaces/semantic-search?q=chat'],
  ['/api/tasks'],
]
/** Lists of repos, of which the mirror makes its own while the Hub is away. */
const isRepoList = (target: string) => /^\/api\/(?:models|datasets|spaces)(?:\?|$)/.test(target)
const REPOS = [
  INFO,
  '/api/models/acme/gguf',
  '/api/datasets/acme/data',
  '/api/spaces/acme/demo',
  '/api/kernels/acme/fast',
]

/** A mirror that knows which repos are public. */
async function openStored(config: Parameters<typeof openScene>[0] = {}): Promise<Scene> {
  const scene = await openScene(config)
  scene.world.model('acme/gguf').commit({ 'model-Q4_K_M.gguf': lfs('weights') })
  scene.world.kernel('acme/fast').commit({ 'build.toml': '[general]\n' })
  const data = scene.world.dataset('acme/data')
  const files = { 'default/train/0000.parquet': lfs({ sizeBytes: 1_000, seed: 9 }) }
  data.commit(files, { branch: 'refs/convert/parquet' })
  for (const target of REPOS) expect((await scene.ask(target)).status).toBe(200)
  return scene
}

const named = (scene: Scene, asked: readonly Asked[]): readonly Asked[] =>
  asked.map(([target, question]) => [target.replace('COMMIT', scene.commit('acme/open')), question])

describe('a stored document', () => {
  it('is given again for a short time, validated then, and served while the Hub is away', async () => {
    const scene = await openStored()
    const all = named(scene, [...DOCUMENTS, ...OF_COMMITS, ...LISTS])
    const isFixed = (target: string) =>
      target.includes(scene.commit('acme/open')) && !target.includes('/revision/')
    const right = new Map<Asked, readonly [number, string]>()
    // The mirror has another port after a restart.
    const textOf = ({ body }: Reply) => body.toString().replaceAll(scene.mirror.url, '')
    for (const asked of all) {
      const got = await scene.ask(...asked)
      right.set(asked, [got.status, textOf(got)])
      expect([asked, got.status]).toEqual([asked, asked[0].endsWith('/none') ? 404 : 200])
    }
    const answersAs = async (word: (target: string) => string, isAway = false) => {
      for (const asked of all) {
        const got = await scene.ask(...asked)
        expect([asked, got.headers['x-cache']]).toEqual([asked, word(asked[0])])
        const [status, body] = right.get(asked) ?? []
        expect([asked, got.status]).toEqual([asked, status])
        if (!isAway || !isRepoList(asked[0])) expect([asked, textOf(got)]).toEqual([asked, body])
      }
    }
    scene.clock.advance(TTL_MS - 1)
    scene.hub.ledger.clear()
    await answersAs(() => 'HIT')
    expect(scene.hub.ledger.requests()).toEqual([])
    const { headers } = await scene.ask(`${INFO}/refs?include_prs=1`)
    expect(headers['age']).toBe('9')
    scene.clock.advance(1)
    await answersAs((target) =>
      isFixed(target) ? 'HIT' : target.endsWith('/none') ? 'REFUSED' : 'REVALIDATED',
    )
    const asked = scene.hub.ledger.requests({ method: 'GET' })
    expect(asked.filter(({ status }) => status !== 304 && status !== 404)).toEqual([])
    await scene.hub.stop()
    await scene.restart()
    await answersAs(() => 'STALE', true)
    await scene.restart({ offline: true })
    await answersAs(() => 'HIT', true)
  })

  it('is never given to a caller without the right', async () => {
    const scene = await openStored()
    const all = named(scene, [...DOCUMENTS, ...OF_COMMITS]).filter(([target]) =>
      target.includes('/acme/open'),
    )
    for (const asked of all) await scene.ask(...asked)
    scene.world.model('acme/open').private(['alice'])
    // The right of all callers ends with the first refusal, at the latest with the TTL of what is known of rights.
    scene.clock.advance(60_000)
    for (const away of [false, true]) {
      if (away) await scene.hub.stop()
      for (const [target, question] of all) {
        for (const token of [undefined, TOKENS.bob]) {
          const got = await scene.ask(target, { ...question, token })
          expect([target, got.status]).not.toEqual([target, 200])
          expect(got.body.toString()).not.toContain('w.bin')
        }
      }
      if (away) await scene.restart({ offline: true })
    }
    expect((await scene.ask(INFO, { token: TOKENS.bob })).status).toBe(404)
  })

  it('is not kept where a rule says so, and is asked for each time', async () => {
    const scene = await openStored({
      config: { policies: policiesOf('- {action: no-store, match: {repo: acme/open}}') },
    })
    for (const [target, question] of named(scene, [...DOCUMENTS, ...OF_COMMITS])) {
      if (!target.includes('/acme/open')) continue
      for (let time = 0; time < 2; time += 1) {
        const got = await scene.ask(target, question)
        expect([target, got.headers['x-cache']]).not.toEqual([target, 'HIT'])
      }
    }
  })

  it('is asked for again at once when the branch is known to have moved, and after a write through the mirror', async () => {
    const scene = await openScene()
    const repo = scene.world.model('alice/notes')
    repo.commit({ 'one.txt': '1' })
    const api = '/api/models/alice/notes'
    const has = async (path: string) => (await scene.ask(`${api}/tree/main`)).body.toString().includes(path)
    await scene.ask(`${api}/revision/main`)
    expect(await has('one.txt')).toBe(true)
    repo.commit({ 'two.txt': '2' })
    expect(await has('two.txt')).toBe(false)
    scene.clock.advance(1_000)
    await scene.ask(`${api}/revision/main?blobs=true`)
    expect(await has('two.txt')).toBe(true)
    scene.clock.advance(1_000)
    expect(await has('two.txt')).toBe(true)
    const lines = [
      { key: 'header', value: { summary: 'x', description: '' } },
      { key: 'file', value: { path: 'three.txt', content: 'Mw==', encoding: 'base64' } },
    ]
    const committed = await scene.ask(`${api}/commit/main`, {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => JSON.stringify(line)).join('\n'),
    })
    expect([committed.status, await has('three.txt')]).toEqual([200, true])
  })

  it('is asked for each time where a branch is never trusted', async () => {
    const scene = await openStored({ config: { refTtlMs: 0 } })
    for (const [target, question] of [...DOCUMENTS, ...LISTS]) {
      await scene.ask(target, question)
      expect([target, (await scene.ask(target, question)).headers['x-cache']]).not.toEqual([target, 'HIT'])
    }
  })
})

describe('a list', () => {
  it('is stored as the Hub shows it without a credential, and callers with one are always answered by the Hub', async () => {
    const scene = await openScene()
    for (const target of ['/api/models?author=acme', '/api/collections']) {
      const own = await scene.ask(target, { token: TOKENS.alice })
      expect([own.headers['x-cache'], /acme\/secret|drafts/.test(own.body.toString())]).toEqual([
        'BYPASS',
        true,
      ])
      for (const token of [undefined, TOKENS.bob, undefined]) {
        const got = await scene.ask(target, { token })
        expect([target, got.status, /acme\/secret|drafts/.test(got.body.toString())]).toEqual([
          target,
          200,
          false,
        ])
      }
      expect((await scene.ask(target)).headers['x-cache']).toBe('HIT')
      expect((await scene.ask(target, { token: TOKENS.alice })).body.equals(own.body)).toBe(true)
      expect((await scene.ask(target, { token: TOKENS.invalid })).status).toBe(401)
    }
    await scene.hub.stop()
    for (const target of ['/api/models?author=acme', '/api/collections']) {
      const away = await scene.ask(target, { token: TOKENS.alice })
      expect([away.headers['x-cache'], /acme\/secret|drafts/.test(away.body.toString())]).toEqual([
        'STALE',
        false,
      ])
    }
  })

  it('of an account is stored as anonymous callers see it, and not as one with a token does', async () => {
    const scene = await openScene()
    for (const target of ['/api/organizations/acme/overview', '/api/users/alice/overview']) {
      const own = await scene.ask(target, { token: TOKENS.bob })
      expect([own.headers['x-cache'], own.body.toString().includes('isFollowing')]).toEqual(['BYPASS', true])
      for (const outcome of ['MISS', 'HIT']) {
        const got = await scene.ask(target)
        expect([got.headers['x-cache'], got.body.toString().includes('isFollowing')]).toEqual([
          outcome,
          false,
        ])
      }
    }
    scene.clock.advance(TTL_MS)
    await scene.hub.stop()
    for (const token of [undefined, TOKENS.alice]) {
      const away = await scene.ask('/api/users/alice/overview', { token })
      expect([away.headers['x-cache'], away.body.toString().includes('isFollowing')]).toEqual([
        'STALE',
        false,
      ])
    }
  })

  it('that nobody but its owner may see is neither stored nor given to others', async () => {
    const scene = await openScene()
    const target = '/api/collections/alice/drafts-1234567890'
    expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    expect((await scene.ask(target)).status).toBe(404)
    await scene.hub.stop()
    for (const token of [undefined, TOKENS.alice, TOKENS.bob])
      expect((await scene.ask(target, { token })).status).toBe(502)
  })

  it('that the Hub does not show any more is not served while the Hub is away', async () => {
    const scene = await openScene()
    const target = '/api/collections/acme/best-of-1234567890'
    await scene.ask(target)
    scene.clock.advance(TTL_MS)
    const gone = {
      code: 404,
      headers: { 'x-error-message': 'Collection not found' },
      body: '{"error":"gone"}',
    }
    scene.hub.faults.add({ where: 'hub', match: /collections/, status: gone })
    expect((await scene.ask(target)).status).toBe(404)
    await scene.hub.stop()
    expect((await scene.ask(target)).status).toBe(502)
  })

  it('keeps the URLs that people have collected, and leads to its next page through the mirror', async () => {
    const scene = await openScene()
    const got = await scene.ask('/api/collections/acme/best-of-1234567890')
    expect(got.body.toString()).toContain(`"url":"${scene.hub.url}/collections/`)
    const addHeaders = { link: `<${scene.hub.url}/api/collections?cursor=x>; rel="next"` }
    scene.hub.faults.add({ where: 'hub', addHeaders })
    const page = await scene.ask('/api/collections')
    expect(page.headers['link']).toBe(`<${scene.mirror.url}/api/collections?cursor=x>; rel="next"`)
  })

  it('is not stored for a query that no client sends, or that may hold a token', async () => {
    const scene = await openScene()
    for (const query of ['x=1', `search=${TOKENS.bob}`]) {
      for (let time = 0; time < 2; time += 1)
        expect((await scene.ask(`/api/models?${query}`)).headers['x-cache']).toBe('BYPASS')
    }
  })

  it('is not fresh after a write of any caller through the mirror', async () => {
    const scene = await openScene()
    const target = '/api/models?author=alice'
    await scene.ask(target)
    const body = JSON.stringify({ name: 'mine', type: 'model' })
    const made = { method: 'POST', token: TOKENS.alice, headers: JSON_TYPE, body }
    expect((await scene.ask('/api/repos/create', made)).status).toBe(200)
    expect((await scene.ask(target)).body.toString()).toContain('alice/mine')
  })
})

describe('a document that differs from what is stored', () => {
  it('is the same each time, for each name by which clients know the mirror', async () => {
    const scene = await openScene()
    const names = Array.from({ length: 900 }, (_, index) => `data/part-${index}.bin`)
    scene.world.model('acme/many').commit(Object.fromEntries(names.map((name) => [name, lfs(name)])))
    const commit = scene.commit('acme/many')
    await scene.ask('/api/models/acme/many')
    const targets = [
      `/api/models/acme/many/tree/${commit}?recursive=true`,
      '/api/models/acme/many',
      '/api/datasets/acme/data/parquet',
    ]
    for (const target of targets) {
      const bodies = new Map<string, string>()
      for (const host of ['one.example', 'two.example', 'one.example', 'two.example']) {
        const all = await Promise.all([1, 2, 3].map(() => scene.ask(target, { headers: { host } })))
        for (const { status, headers, body } of all) {
          expect([status, headers['content-length']]).toEqual([200, String(body.length)])
          const text = body.toString()
          expect(text).not.toMatch(/xetHash|"xetEnabled":true/)
          expect(text).not.toContain(scene.hub.url)
          expect(bodies.get(host) ?? text).toBe(text)
          bodies.set(host, text)
        }
      }
    }
  })
})
