// Lists of repos from a mirror that cannot ask the Hub: the public repos that it has stored, by what the Hub has said of them.
// The Hub's own lists of the same repos are the right answers.

import { describe, expect, it } from 'vitest'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { changeTokenFile, mirrorTokensPath } from '../../src/callers/token-file.ts'
import { tokenHash } from '../../src/callers/token-list.ts'
import { lfs, type World } from '../hub-simulator/repos.ts'
import { ask, type Reply } from '../support/ask.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

type Item = Readonly<Record<string, unknown>>

const CONFIG = '{"model_type":"bert","architectures":["Bert"]}\n'
const itemsOf = ({ body }: Reply): Item[] => JSON.parse(body.toString()) as Item[]
const idsOf = (items: readonly Item[]): string[] => items.map(({ id }) => String(id))

/** Some repos of each type, with figures by which they can be distinguished and sorted. */
function listWorld(): World {
  const world = mirrorWorld()
  for (const [index, name] of ['one', 'two', 'three', 'four', 'five'].entries())
    world
      .model(`lists/bert-${name}`)
      .licensed(index % 2 === 0 ? 'mit' : 'apache-2.0')
      .liked({ downloads: (index * 37) % 11, likes: 5 - index })
      .commit({ ...(index < 3 && { 'config.json': CONFIG }), 'w.bin': lfs(`weights of ${name}`) })
  world.model('lists/bert-hidden').private(['alice']).commit({ 'config.json': CONFIG })
  world.dataset('lists/rows').licensed('mit').commit({ 'a.csv': 'a\n1\n' })
  return world
}

/** The infos of all repos have been requested, also of those that only Alice may see. */
async function storedScene(): Promise<Scene> {
  const scene = await openScene({ world: listWorld(), config: { cachePrivate: true } })
  for (const type of ['models', 'datasets', 'spaces'] as const)
    for (const { id, isPrivate, gate } of scene.world.list(type)) {
      const token = isPrivate || gate !== false ? TOKENS.alice : undefined
      const reply = await scene.ask(`/api/${type}/${id}`, { token })
      expect([id, reply.status]).toEqual([id, 200])
    }
  await scene.settled()
  return scene
}

/** All pages of a list, by the links that lead from one to the next. */
async function pagesOf(asking: (target: string) => Promise<Reply>, first: string): Promise<Reply[]> {
  const pages: Reply[] = []
  for (let target: string | undefined = first; target !== undefined && pages.length < 20; ) {
    const page = await asking(target)
    pages.push(page)
    const next: string | undefined = /^<([^>]+)>; rel="next"$/.exec(page.headers['link'] ?? '')?.[1]
    target = next === undefined ? undefined : new URL(next).pathname + new URL(next).search
  }
  return pages
}

const LISTS = [
  '/api/models',
  '/api/datasets',
  '/api/spaces',
  ...[
    'limit=1000',
    'search=bert',
    'search=BERT-T',
    'search=bert&search=two',
    'author=lists',
    'author=lists&search=f',
    'filter=transformers',
    'filter=transformers&filter=license%3Amit',
    'filter=no-such-tag',
    'pipeline_tag=no-such-task&limit=20',
    'sort=downloads&direction=-1&author=lists',
    'sort=downloads&author=lists',
    'sort=likes&direction=1&author=lists',
    'sort=likes&direction=-1&limit=2&author=lists',
    'sort=likes&limit=1&author=lists',
    'full=True&author=lists',
    'full=true&cardData=true&config=true&author=lists',
    'gated=False&author=lists',
    'author=lists&limit=500&expand=pipeline_tag&expand=private&expand=gated&expand=downloads&expand=likes&expand=lastModified',
  ].map((query) => `/api/models?${query}`),
  '/api/datasets?filter=license%3Amit&full=true',
  '/api/spaces?search=demo',
]

it('a list is as the Hub would send it of what is stored, offline and while the Hub is away', async () => {
  const scene = await storedScene()
  const right = new Map<string, Item[]>()
  for (const list of LISTS) {
    const pages = await pagesOf((target) => ask(scene.hub.url, target), list)
    // The Hub lists gated repos, whose files are not public.
    const isOpen = ({ gated = false }: Item) => gated === false
    right.set(list, pages.flatMap(itemsOf).filter(isOpen))
  }
  await scene.restart({ offline: true })
  scene.hub.ledger.clear()
  for (const how of ['HIT', 'STALE']) {
    if (how === 'STALE') {
      await scene.hub.stop()
      await scene.restart({ offline: false })
    }
    for (const [index, list] of LISTS.entries()) {
      const token = index % 2 === 0 ? undefined : TOKENS.bob
      const pages = await pagesOf((target) => scene.ask(target, { token }), list)
      for (const { status, headers } of pages) {
        expect([list, status, headers['x-cache']]).toEqual([list, 200, how])
        expect(headers['x-hf-warning']).toContain('only repos that the mirror has stored')
      }
      const got = pages.flatMap(itemsOf)
      const due = right.get(list) ?? []
      expect([list, ...idsOf(got).toSorted()]).toEqual([list, ...idsOf(due).toSorted()])
      if (list.includes('sort=')) expect([list, ...idsOf(got)]).toEqual([list, ...idsOf(due)])
      const fields = list.includes('expand=')
        ? ['_id', 'id', 'downloads', 'likes', 'private', 'gated', 'lastModified']
        : ['_id', 'id', 'tags', 'sha', 'likes', 'private', ...(list.includes('full=') ? ['siblings'] : [])]
      for (const item of got) {
        const same = due.find(({ id }) => id === item['id']) ?? {}
        for (const [field, value] of Object.entries(item))
          expect([list, field, value]).toEqual([list, field, same[field]])
        expect([list, ...Object.keys(item)]).toEqual(expect.arrayContaining(fields))
        expect('siblings' in item).toBe(list.includes('full='))
      }
      const limit = Number(/limit=(\d)\b/.exec(list)?.[1] ?? Number.POSITIVE_INFINITY)
      for (const page of pages) expect(itemsOf(page).length).toBeLessThanOrEqual(limit)
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  }
})

it('a repo of which only a file was requested is listed, with what follows from its being public', async () => {
  const scene = await openScene({ world: listWorld() })
  await scene.ask('/lists/bert-one/resolve/main/config.json')
  await scene.settled()
  await scene.hub.stop()
  const [item, ...others] = itemsOf(await scene.ask('/api/models?full=true'))
  expect(others).toEqual([])
  expect(item).toMatchObject({
    id: 'lists/bert-one',
    modelId: 'lists/bert-one',
    author: 'lists',
    private: false,
    gated: false,
    sha: scene.commit('lists/bert-one'),
  })
  // What is not known of it does not match.
  expect(itemsOf(await scene.ask('/api/models?filter=transformers'))).toEqual([])
  await scene.hub.start()
  scene.clock.advance(60_000)
  await scene.ask('/lists/bert-two/resolve/main/config.json')
  await scene.settled()
  await scene.hub.stop()
  expect(idsOf(itemsOf(await scene.ask('/api/models')))).toEqual(['lists/bert-one', 'lists/bert-two'])
})

describe('the mirror lists no repo', () => {
  it('that is restricted, or has turned so', async () => {
    const scene = await storedScene()
    scene.world.model('lists/bert-two').private(['alice'])
    scene.world.model('lists/bert-three').gated('manual', [])
    scene.clock.advance(60_000)
    await scene.ask('/api/models/lists/bert-two')
    await scene.ask('/lists/bert-three/resolve/main/config.json')
    await scene.settled()
    const open = ['lists/bert-five', 'lists/bert-four', 'lists/bert-one']
    const list = async () =>
      idsOf(itemsOf(await scene.ask('/api/models?author=lists', { token: TOKENS.alice })))
    await scene.hub.stop()
    expect(await list()).toEqual(open)
    await scene.restart({ offline: true })
    expect(await list()).toEqual(open)
    expect(idsOf(itemsOf(await scene.ask('/api/models?author=acme')))).toEqual(
      expect.not.arrayContaining(['acme/secret', 'acme/gated']),
    )
  })

  it('that a rule denies to the caller, or keeps off the disk', async () => {
    const scene = await storedScene()
    const policies = policiesOf(`
- {action: deny, match: {repo: lists/bert-one}}
- {action: no-store, match: {repo: lists/bert-two}}
- {action: deny, match: {licence: apache-2.0}}`)
    await scene.restart({ offline: true, policies })
    const list = async () => idsOf(itemsOf(await scene.ask('/api/models?author=lists')))
    expect(await list()).toEqual(['lists/bert-five', 'lists/bert-three'])
    await scene.restart({ offline: false, policies })
    await scene.hub.stop()
    // Before it is known that the Hub is away, rules would have to ask it about each repo.
    await scene.ask('/api/models/lists/bert-five')
    expect(await list()).toEqual(['lists/bert-five', 'lists/bert-three'])
  })

  it('outside the scope of a mirror token', async () => {
    const scene = await storedScene()
    await scene.restart({ offline: true })
    const token = createMirrorToken()
    const issued = { name: 'ci', sha256: tokenHash(token), createdAt: 0, repos: ['lists/bert-f*'] }
    await changeTokenFile(mirrorTokensPath(scene.mirror.config), () => [issued])
    const listed = await scene.ask('/api/models', { token })
    expect(idsOf(itemsOf(listed))).toEqual(['lists/bert-five', 'lists/bert-four'])
  })
})

describe('a list that cannot be composed is refused', () => {
  it.each([
    'apps=vllm',
    'inference=warm',
    'inference_provider=all',
    'sort=likes30d',
    'skip=20',
    'limit=none',
    'cursor=eyJwb3NpdGlvbiI6Mn0',
  ])('if it is asked by %s', async (query) => {
    const scene = await openScene({ world: listWorld() })
    await scene.ask('/api/models/lists/bert-one')
    await scene.settled()
    await scene.hub.stop()
    expect((await scene.ask(`/api/models?${query}`)).status).toBe(502)
    await scene.restart({ offline: true })
    const got = await scene.ask(`/api/models?${query}`)
    expect([got.status, got.headers['x-error-code']]).toEqual([404, 'OfflineAndAbsent'])
    expect(got.headers['x-error-message']).toContain('cannot answer another parameter')
  })

  it.each([429, 500, 503])('if the Hub can be reached, and says %i', async (code) => {
    const scene = await openScene({ world: listWorld() })
    await scene.ask('/api/models/lists/bert-one')
    await scene.settled()
    scene.hub.faults.add({ where: 'hub', status: { code }, times: 1_000 })
    const got = await scene.ask('/api/models')
    expect(got.status).toBe(code)
    scene.hub.faults.clear()
  })

  it('if nothing of this type is stored', async () => {
    const scene = await openScene({ world: listWorld() })
    await scene.ask('/api/models/lists/bert-one')
    await scene.settled()
    await scene.restart({ offline: true })
    expect((await scene.ask('/api/models')).status).toBe(200)
    for (const list of ['/api/datasets', '/api/spaces?search=demo'])
      expect((await scene.ask(list)).status).toBe(404)
  })
})

it('the Hub never gets a cursor of the mirror, and a page whose place is gone is refused', async () => {
  const scene = await storedScene()
  await scene.hub.stop()
  const [first] = await pagesOf((target) => scene.ask(target), '/api/models?author=lists&limit=2')
  expect(idsOf(itemsOf(first!))).toEqual(['lists/bert-five', 'lists/bert-four'])
  await scene.hub.start()
  scene.hub.ledger.clear()
  const next = /(\/api[^>]+)>/.exec(first?.headers['link'] ?? '')?.[1] ?? ''
  const second = await scene.ask(next)
  expect(idsOf(itemsOf(second))).toEqual(['lists/bert-one', 'lists/bert-three'])
  for (const cursor of ['hubmirror.list.lists/none', 'hubmirror.list.lists/bert-hidden']) {
    const gone = await scene.ask(`/api/models?cursor=${encodeURIComponent(cursor)}`)
    expect([gone.status, gone.headers['x-error-code']]).toEqual([400, 'BadUrl'])
  }
  expect(scene.hub.ledger.requests()).toEqual([])
})
