// What a mirror answers that cannot ask the Hub: everything that is implied by what it has stored, in whatever words it
// is asked, and nothing else. The right answers are those of the Hub itself.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import type { Reply } from '../support/ask.ts'
import { ask } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { describeImplied, json, OPEN_REPOS, takeSnapshot } from '../support/implied-answers.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

// test/long/further/offline.test.ts has the same after a snapshot by huggingface_hub 0.
describeImplied('2')

describe('a composed listing', () => {
  const many = async () => {
    const scene = await openScene()
    const files = Array.from({ length: 2100 }, (_, index) => [
      `part-${String(index).padStart(4, '0')}.txt`,
      index % 700 === 0 ? lfs(`${index}`) : `${index}\n`,
    ])
    scene.world.model('acme/many').commit(Object.fromEntries(files))
    return { scene, id: scene.commit('acme/many'), api: '/api/models/acme/many' }
  }
  const pagesFrom = async (scene: Scene, first: string, limit = 10): Promise<Reply[]> => {
    const pages: Reply[] = []
    let target: string | undefined = first
    while (target !== undefined && pages.length < limit) {
      const page: Reply = await scene.ask(target)
      pages.push(page)
      const next: string | undefined = /^<([^>]+)>; rel="next"$/.exec(page.headers['link'] ?? '')?.[1]
      target = next === undefined ? undefined : new URL(next).pathname + new URL(next).search
    }
    return pages
  }
  const pathsOf = (pages: readonly Reply[]) =>
    pages.flatMap((page) => (json(page) as { path: string }[]).map(({ path }) => path))

  it('has the pages of the Hub, and each leads to the next', async () => {
    const { scene, id, api } = await many()
    const stored = await pagesFrom(scene, `${api}/tree/${id}?recursive=true&expand=false`)
    await scene.ask(`${api}/revision/main`)
    await scene.restart({ offline: true })
    for (const query of ['?recursive=True', '', '?recursive=1&limit=900']) {
      const pages = await pagesFrom(scene, `${api}/tree/main${query}`)
      expect(pages.map(({ status }) => status)).toEqual([200, 200, 200])
      expect(pathsOf(pages)).toEqual(pathsOf(stored))
    }
    const absent = await scene.ask(`/acme/many/resolve/${id}/none.txt`, { method: 'HEAD' })
    expect([absent.status, absent.headers['x-repo-commit']]).toEqual([404, id])
  })

  it('is not sent if one of its pages is missing', async () => {
    const { scene, id, api } = await many()
    await pagesFrom(scene, `${api}/tree/${id}?recursive=true&expand=false`, 2)
    const first = `${api}/tree/${id}?recursive=true&expand=false`
    await eventually(
      async () => (await scene.ask(first)).headers['x-cache'],
      (word) => word === 'HIT',
    )
    await scene.settled()
    await scene.restart({ offline: true })
    for (const target of [
      `${api}/tree/${id}?recursive=1`,
      `${api}/revision/${id}`,
      `/acme/many/resolve/${id}/none.txt`,
      `/acme/many/resolve/${id}/part-0001.txt`,
    ]) {
      const got = await scene.ask(target)
      expect([target, got.status, got.headers['x-error-code']]).toEqual([target, 404, 'OfflineAndUnknown'])
      expect(got.headers['x-repo-commit']).toBeUndefined()
    }
  })

  it('ends when the branch has moved, and never asks the Hub about a page of the mirror', async () => {
    const { scene, id, api } = await many()
    await pagesFrom(scene, `${api}/tree/${id}?recursive=true&expand=false`)
    await scene.ask(`${api}/revision/main`)
    await scene.settled()
    await scene.hub.stop()
    const [first] = await pagesFrom(scene, `${api}/tree/main?recursive=True`, 1)
    const next = /^<[^>]*(\/api[^>]+)>/.exec(first?.headers['link'] ?? '')?.[1] ?? ''
    expect((await scene.ask(next)).status).toBe(200)
    await scene.hub.start()
    scene.world.model('acme/many').commit({ 'more.txt': 'more' })
    scene.clock.advance(60_000)
    expect((await scene.ask(`${api}/revision/main`)).headers['x-cache']).toBe('MISS')
    scene.hub.ledger.clear()
    const gone = await scene.ask(next)
    expect([gone.status, gone.headers['x-error-code']]).toEqual([400, 'BadUrl'])
    // A cursor that names the commit opens no listing under another name.
    const forged = await scene.ask(`${api}/tree/v9?recursive=true&cursor=hubmirror.${id}.0`)
    expect(forged.status).toBe(400)
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

it('a commit of which only the tree was requested is described by it', async () => {
  const scene = await openScene()
  const id = scene.commit('acme/open', 'v1')
  const right = json(await ask(scene.hub.url, `/api/models/acme/open/revision/${id}?blobs=true`)) as Record<
    string,
    unknown
  >
  await scene.ask(`/api/models/acme/open/tree/${id}?recursive=true&expand=false`)
  await scene.ask(`/acme/open/resolve/${id}/config.json`)
  await scene.settled()
  await scene.restart({ offline: true })
  const got = json(await scene.ask(`/api/models/acme/open/revision/${id}?blobs=true`)) as Record<
    string,
    unknown
  >
  for (const [field, value] of Object.entries(got)) expect([field, value]).toEqual([field, right[field]])
  expect(Object.keys(got)).toEqual(expect.arrayContaining(['id', 'sha', 'siblings', 'private']))
  const some = await scene.ask(`/api/models/acme/open/revision/${id}?expand=sha&expand=gated`)
  expect(json(some)).toEqual({ id: 'acme/open', sha: id, gated: false })
  const downloads = await scene.ask(`/api/models/acme/open/revision/${id}?expand=downloadsAllTime`)
  expect([downloads.status, downloads.headers['x-error-code']]).toEqual([404, 'OfflineAndUnknown'])
  // A commit that was never seen may not exist.
  const other = await scene.ask(`/api/models/acme/open/revision/${'0'.repeat(40)}?expand=sha`)
  expect(other.status).toBe(404)
})

it('the list of refs has those that the Hub has listed, and those that were seen since', async () => {
  const scene = await openScene()
  const api = '/api/models/acme/open'
  const { hub } = scene
  const right = json(await ask(hub.url, `${api}/refs?include_prs=1`)) as Record<string, { name: string }[]>
  await scene.ask(`${api}/revision/main`)
  await scene.ask(`${api}/revision/v1`)
  await scene.ask('/acme/open/resolve/dev/config.json')
  await scene.ask('/acme/open/resolve/refs%2Fpr%2F1/config.json')
  await scene.settled()
  await scene.restart({ offline: true })
  const seen = json(await scene.ask(`${api}/refs?include_prs=1`)) as typeof right
  const sorted = (refs: typeof right) =>
    Object.fromEntries(
      Object.entries(refs).map(([kind, list]) => [kind, list.toSorted((a, b) => (a.name < b.name ? -1 : 1))]),
    )
  expect(sorted(seen)).toEqual(sorted(right))
  const { pullRequests: _ignored, ...others } = seen
  expect(json(await scene.ask(`${api}/refs`))).toEqual(others)

  await scene.restart({ offline: false })
  await scene.ask(`${api}/refs?include_prs=1`)
  const moved = scene.world.model('acme/open').commit({ 'config.json': '{"v":3}' })
  scene.clock.advance(60_000)
  await scene.ask(`${api}/revision/main`)
  await scene.settled()
  await scene.restart({ offline: true })
  const later = json(await scene.ask(`${api}/refs`)) as { branches: { name: string; targetCommit: string }[] }
  expect(later.branches.find(({ name }) => name === 'main')?.targetCommit).toBe(moved)
})

describe('the mirror composes no answer', () => {
  const QUESTIONS = [
    '/api/models/acme/open',
    '/api/models/acme/open/tree/main?recursive=True',
    '/api/models/acme/open/refs',
    '/acme/open/resolve/main/none.txt',
  ]
  const OPEN = OPEN_REPOS[0]

  it('about a repo that is no longer public', async () => {
    const scene = await openScene()
    await takeSnapshot(scene, OPEN, '2')
    scene.world.model('acme/open').makePrivate([])
    scene.clock.advance(60_000)
    expect((await scene.ask('/acme/open/resolve/main/config.json')).status).toBe(401)
    await scene.hub.stop()
    scene.clock.advance(5_000)
    for (const target of QUESTIONS) expect((await scene.ask(target)).status).toBe(502)
    await scene.restart({ offline: true })
    for (const target of QUESTIONS) {
      const got = await scene.ask(target)
      expect([got.status, got.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
    }
  })

  it('about content that a rule keeps off the disk', async () => {
    const scene = await openScene()
    await takeSnapshot(scene, OPEN, '2')
    const policies = policiesOf('- {action: no-store, match: {repo: acme/open}}')
    await scene.restart({ offline: true, policies })
    for (const target of QUESTIONS) expect([target, (await scene.ask(target)).status]).toEqual([target, 404])
    for (const target of QUESTIONS)
      expect((await scene.ask(target)).headers['x-error-code']).not.toBe('EntryNotFound')
  })

  it('for a caller that a rule denies it to', async () => {
    const scene = await openScene()
    await takeSnapshot(scene, OPEN, '2')
    const policies = policiesOf('- {action: deny, match: {repo: acme/open, file: "none.*"}}')
    await scene.restart({ offline: true, policies })
    const denied = await scene.ask('/acme/open/resolve/main/none.txt')
    expect([denied.status, denied.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
    expect((await scene.ask('/acme/open/resolve/main/nothing.txt')).headers['x-error-code']).toBe(
      'EntryNotFound',
    )
  })
})

describe('a mirror that cannot ask the Hub', () => {
  it('says of a file that is in the repo and not in the store that the store lacks it', async () => {
    const scene = await openScene()
    await scene.ask('/api/models/acme/open')
    await scene.settled()
    await scene.restart({ offline: true })
    for (const method of ['HEAD', 'GET']) {
      const got = await scene.ask('/acme/open/resolve/main/config.json', { method })
      expect([got.status, got.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
      expect(got.headers['x-error-message']).toContain('has not stored this file')
      expect(got.headers['x-repo-commit'], 'clients would note that it is absent').toBeUndefined()
    }
    const other = await scene.ask('/acme/open/resolve/other/config.json')
    expect(other.headers['x-error-message']).toContain('no such revision')
  })

  it.each([429, 500, 503])('composes answers when the Hub says %i', async (code) => {
    const scene = await openScene()
    await takeSnapshot(scene, ['models', 'acme/open'], '2')
    scene.clock.advance(60_000)
    scene.hub.faults.add({ where: 'hub', status: { code }, times: 1_000 })
    for (const target of ['/api/models/acme/open', '/acme/open/resolve/main/none.txt']) {
      const got = await scene.ask(target)
      expect([target, got.headers['x-cache']]).toEqual([target, 'STALE'])
      expect(got.headers['cache-status']).toContain(code === 429 ? 'origin-quota' : 'origin-away')
    }
    scene.hub.faults.clear()
  })

  it('answers 502, which clients try again, for ten seconds, and then 424', async () => {
    const scene = await openScene()
    const targets = ['/acme/open/resolve/main/config.json', '/api/models/acme/open', '/api/models']
    const statuses = async () => {
      const replies: Reply[] = []
      for (const target of targets) replies.push(await scene.ask(target))
      for (const { headers } of replies) {
        expect(headers['x-error-code']).toBe('OriginUnreachable')
        expect(headers['retry-after']).toBeUndefined()
      }
      return replies.map(({ status }) => status)
    }
    await scene.hub.stop()
    expect(await statuses()).toEqual([502, 502, 502])
    scene.clock.advance(9_000)
    expect(await statuses()).toEqual([502, 502, 502])
    scene.clock.advance(1_000)
    expect(await statuses()).toEqual([424, 424, 424])
    await scene.hub.start()
    // Of this nothing is stored.
    expect((await scene.ask('/api/whoami-v2', { token: TOKENS.alice })).status).toBe(200)
    await scene.hub.stop()
    expect(await statuses()).toEqual([502, 502, 502])
  })
})
