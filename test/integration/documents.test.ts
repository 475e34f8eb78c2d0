// Answers of the API: as the Hub gave them, but leading back to the mirror and never into Xet.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import type { Reply } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'
import { filesBelow } from '../support/start-mirror.ts'

const json = (reply: Reply) => JSON.parse(reply.body.toString()) as Record<string, unknown>
const list = (reply: Reply) => JSON.parse(reply.body.toString()) as Record<string, unknown>[]
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const JSON_TYPE = { 'content-type': 'application/json' }

describe('a document', () => {
  it.each([
    '/api/models/acme/open',
    '/api/models/acme/open?blobs=true',
    '/api/models/acme/open/revision/main',
    '/api/models/acme/open/revision/refs%2Fpr%2F1',
    '/api/models/acme/open/tree/main?recursive=true',
    '/api/models/acme/open/tree/main?recursive=true&expand=true',
    '/api/models/acme/open/tree/main/nested%2Fdeeper',
    '/api/models/acme/open/refs?include_prs=1',
    '/api/models/acme/open/commits/main',
    '/api/models?search=open&full=true',
    '/api/datasets/acme/data',
    '/api/spaces/acme/demo/tree/main',
  ])('%s says what the Hub says, without Xet and without the address of the Hub', async (target) => {
    const scene = await openScene()
    const direct = await (await fetch(scene.hub.url + target)).text()
    const got = await scene.ask(target)
    expect(got.status).toBe(200)
    expect(got.headers['content-type']).toBe('application/json; charset=utf-8')
    expect(got.headers['content-length']).toBe(String(got.body.length))
    expect(got.body.toString()).not.toMatch(/xetHash|"xetEnabled":true/)
    expect(got.body.toString()).not.toContain(scene.hub.url)
    const cleared: unknown = JSON.parse(direct, (key, value: unknown) =>
      key === 'xetHash' ? undefined : key === 'xetEnabled' ? false : value,
    )
    expect(JSON.parse(got.body.toString())).toEqual(cleared)
    for (const name of ['set-cookie', 'ratelimit', 'x-hf-warning']) {
      expect(got.headers[name]).toBeUndefined()
    }
    expect(got.headers['vary']).toBe('Authorization, Accept')
  })

  it('comes from a simulated Hub that does offer Xet, so that its absence above means something', async () => {
    const scene = await openScene()
    const direct = await fetch(`${scene.hub.url}/api/models/acme/open/tree/main?recursive=true`)
    expect(await direct.text()).toContain('xetHash')
    const info = await fetch(`${scene.hub.url}/api/models/acme/open`)
    expect(await info.text()).toContain('"xetEnabled":true')
  })

  it('has the same header fields for HEAD as for GET', async () => {
    const scene = await openScene()
    const head = await scene.ask('/api/models/acme/open', { method: 'HEAD' })
    const get = await scene.ask('/api/models/acme/open')
    expect([head.status, head.body.length]).toEqual([200, 0])
    for (const name of ['content-type', 'content-length', 'etag', 'vary', 'cache-control'])
      expect([name, head.headers[name]]).toEqual([name, get.headers[name] ?? 'present'])
  })

  it('of paths is answered to a form and to JSON', async () => {
    const scene = await openScene()
    const target = '/api/models/acme/open/paths-info/main'
    const form = await scene.ask(target, {
      method: 'POST',
      headers: FORM,
      body: 'paths=w.bin&paths=config.json&paths=none.txt&expand=true',
    })
    expect(list(form).map(({ path }) => path)).toEqual(['w.bin', 'config.json'])
    expect(form.body.toString()).not.toContain('xetHash')
    expect(form.body.toString()).toContain('lastCommit')
    const asJson = await scene.ask(target, {
      method: 'POST',
      headers: JSON_TYPE,
      body: JSON.stringify({ paths: ['nested', 'empty.txt'] }),
    })
    expect(list(asJson).map(({ path }) => path)).toEqual(['nested', 'empty.txt'])
    expect(scene.hub.ledger.requests({ method: 'POST' }).length).toBe(2)
  })

  it('requested by an old name is answered under that name, and the mirror follows the redirect itself', async () => {
    const scene = await openScene()
    for (const [target, id] of [
      ['/api/models/legacy', 'legacy-community/legacy'],
      ['/api/models/acme/old', 'acme/new'],
      ['/api/models/acme/old/revision/main', 'acme/new'],
    ] as const) {
      const got = await scene.ask(target)
      expect([got.status, json(got)['id'], got.headers['location']]).toEqual([200, id, undefined])
    }
    const asked = await scene.ask('/api/models/legacy/paths-info/main', {
      method: 'POST',
      headers: FORM,
      body: 'paths=w.bin',
    })
    expect(list(asked).map(({ path }) => path)).toEqual(['w.bin'])
    const tree = await scene.ask('/api/models/legacy/tree/main')
    expect(list(tree).length).toBe(2)
  })

  it('of a restricted repo is sent only to callers with access', async () => {
    const scene = await openScene()
    for (const route of ['', '/tree/main', '/revision/main', '/refs', '/commits/main']) {
      const own = await scene.ask(`/api/models/acme/secret${route}`, { token: TOKENS.alice })
      expect([own.status, own.headers['x-cache']]).toEqual([200, 'BYPASS'])
      const other = await scene.ask(`/api/models/acme/secret${route}`, { token: TOKENS.bob })
      expect([other.status, other.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
      const anonymous = await scene.ask(`/api/models/acme/secret${route}`)
      expect([anonymous.status, anonymous.headers['x-error-code']]).toEqual([401, 'RepoNotFound'])
      expect(anonymous.headers['x-error-message']).toMatch(/^Invalid username or password\. No token arrived/)
      expect(json(anonymous)).toEqual({ error: anonymous.headers['x-error-message'] })
    }
  })

  it('that is refused keeps code, message and body', async () => {
    const scene = await openScene()
    for (const [target, code, message] of [
      ['/api/models/acme/open/revision/nowhere', 'RevisionNotFound', 'Invalid rev id: nowhere'],
      ['/api/models/acme/open/tree/main/nothing', 'EntryNotFound', 'Entry not found'],
      ['/api/models/acme/open/tree/nowhere', 'RevisionNotFound', 'Invalid rev id: nowhere'],
    ] as const) {
      const got = await scene.ask(target)
      expect([got.status, got.headers['x-error-code'], got.headers['x-error-message']]).toEqual([
        404,
        code,
        message,
      ])
      expect(json(got)).toEqual({ error: message })
    }
    const bad = await scene.ask('/api/models/acme/open/paths-info/main', {
      method: 'POST',
      headers: JSON_TYPE,
      body: '{"paths":',
    })
    expect([bad.status, json(bad)]).toEqual([400, { error: 'Invalid request body' }])
  })

  it('requested with a bad token is refused as by the Hub, without a code about repos', async () => {
    const scene = await openScene()
    const got = await scene.ask('/api/models/acme/open', { token: TOKENS.invalid })
    expect([got.status, got.headers['x-error-code'], got.headers['x-error-message']]).toEqual([
      401,
      undefined,
      'Invalid credentials in Authorization header',
    ])
  })

  it('for the tree of a commit is not requested again', async () => {
    const scene = await openScene()
    const commit = scene.commit('acme/open')
    await scene.ask('/api/models/acme/open')
    const target = `/api/models/acme/open/tree/${commit}?recursive=true`
    const first = await scene.ask(target)
    scene.hub.ledger.clear()
    const again = await scene.ask(target)
    expect([again.headers['x-cache'], again.body.toString()]).toEqual(['HIT', first.body.toString()])
    expect(scene.hub.ledger.requests()).toEqual([])
    expect((await scene.ask(`/api/models/acme/open/tree/main?recursive=true`)).headers['x-cache']).not.toBe(
      'HIT',
    )
  })

  it('names the commit of a branch, so that the next file costs no question about the branch', async () => {
    const scene = await openScene()
    const info = await scene.ask('/api/models/acme/open/revision/main')
    const commit = json(info)['sha']
    expect(commit).toBe(scene.commit('acme/open'))
    await scene.ask(`/acme/open/resolve/${String(commit)}/config.json`)
    await scene.settled()
    scene.hub.ledger.clear()
    const got = await scene.ask('/acme/open/resolve/main/config.json')
    expect([got.status, got.headers['x-cache']]).toEqual([200, 'HIT'])
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

describe('a listing of many pages', () => {
  it('leads from page to page through the mirror, under the name that the client uses', async () => {
    const scene = await openScene()
    const names = Array.from({ length: 1100 }, (_, index) => `part-${String(index).padStart(4, '0')}.txt`)
    scene.world
      .model('acme/many')
      .commit(
        Object.fromEntries(names.map((name, index) => [name, index % 100 === 0 ? lfs(name) : `${name}\n`])),
      )
    const { port } = new URL(scene.mirror.url)
    const host = `mirror.example:${port}`
    const seen: unknown[] = []
    let target: string | undefined = '/api/models/acme/many/tree/main?recursive=true&expand=false'
    let pages = 0
    while (target !== undefined) {
      const page: Reply = await scene.ask(target, { headers: { host } })
      expect(page.status).toBe(200)
      seen.push(...list(page).map(({ path }) => path))
      pages += 1
      const link = page.headers['link']
      const next: string | undefined = /^<([^>]+)>; rel="next"$/.exec(link ?? '')?.[1]
      if (link !== undefined) expect(new URL(next ?? '').host).toBe(host)
      target = next === undefined ? undefined : new URL(next).pathname + new URL(next).search
    }
    expect(pages).toBe(2)
    expect(seen).toEqual(names)
  })

  it('leads to the next page also if a gateway has added a Link field of its own', async () => {
    const scene = await openScene({ hub: { pageSize: 1 } })
    const addHeaders = { link: '<https://cdn.example/page.css>; rel=preload' }
    scene.hub.faults.add({ where: 'hub', addHeaders, times: 1_000 })
    for (const target of ['/api/models/acme/open/tree/main', '/api/models?limit=1']) {
      const { headers } = await scene.ask(target)
      expect(headers['link']).toContain(`<${scene.mirror.url}${target.replace(/\?.*/, '')}?`)
      expect(headers['link']).toContain('; rel="next"')
    }
  })

  it('is the list of repos or of commits, too', async () => {
    const scene = await openScene({ hub: { pageSize: 1 } })
    const commits = await scene.ask('/api/models/acme/open/commits/main?limit=1')
    expect(commits.headers['link']).toContain(`<${scene.mirror.url}/api/models/acme/open/commits/main?`)
    expect(commits.headers['x-total-count']).toBe('2')
    const models = await scene.ask('/api/models?limit=1')
    expect(models.headers['link']).toContain(`<${scene.mirror.url}/api/models?`)
    expect(models.headers['link']).toContain('rel="next"')
  })
})

describe('a request for Xet', () => {
  it.each(['/api/models/acme/open/xet-read-token/main', '/api/datasets/acme/data/xet-read-token/main'])(
    '%s is answered with the reason and the remedy',
    async (target) => {
      const scene = await openScene()
      const got = await scene.ask(target, { token: TOKENS.alice })
      expect([got.status, got.headers['x-error-code']]).toEqual([404, 'XetDisabled'])
      expect(got.headers['x-error-message']).toContain('HF_HUB_DISABLE_XET=1')
      expect(json(got)['error']).toBe(got.headers['x-error-message'])
      expect(scene.hub.ledger.requests()).toEqual([])
    },
  )
})

it.each([
  ['a token', `token=${TOKENS.alice}`],
  ['a token under a common name', `cursor=${TOKENS.alice}`],
  ['what no client sends', 'x=1'],
])('a request with %s in its query is answered, and not stored', async (_what, query) => {
  const scene = await openScene()
  const plain = '/api/models/acme/open'
  await scene.ask(plain)
  for (const target of [`${plain}?${query}`, `${plain}/tree/main?recursive=true&${query}`]) {
    const got = await scene.ask(target)
    expect([got.status, got.headers['x-cache']]).toEqual([200, 'BYPASS'])
  }
  await scene.mirror.close({ keepDir: true })
  for (const [path, bytes] of await filesBelow(scene.mirror.cacheDir)) {
    expect(bytes.includes(query), path).toBe(false)
  }
})

it.each([203, 206, 300])('an answer of status %i is passed on, neither stored nor used', async (code) => {
  const scene = await openScene()
  const plain = '/api/models/acme/open'
  const body = JSON.stringify({ id: 'acme/open', private: false, gated: false })
  const headers = { 'content-type': 'application/json' }
  const answer = { where: 'hub', match: /^\/api\//, status: { code, headers, body } } as const
  scene.hub.faults.add(answer)
  const got = await scene.ask(plain)
  expect([got.status, got.body.toString(), got.headers['x-cache']]).toEqual([code, body, 'BYPASS'])
  // Once the repo is known to be open, too.
  const honest = await scene.ask(plain)
  scene.clock.advance(10_000)
  scene.hub.faults.add(answer)
  expect((await scene.ask(plain)).headers['x-cache']).toBe('BYPASS')
  scene.hub.faults.add({ where: 'hub', resetBeforeHeaders: true, times: 99 })
  const stale = await scene.ask(plain)
  expect([stale.status, stale.headers['x-cache']]).toEqual([200, 'STALE'])
  expect(stale.body).toEqual(honest.body)
})

it.each([
  '%65xpand=resourceGroup',
  'expand%5B]=resourceGroup',
  'expand',
  'expand=false&expand=resourceGroup',
])(
  'fields that were requested by name with a token are not stored, however that is spelled: %s',
  async (query) => {
    const scene = await openScene()
    await scene.ask('/api/models/acme/open')
    const body = JSON.stringify({ id: 'acme/open', sha: 'a'.repeat(40), resourceGroup: 'secret-team' })
    const target = `/api/models/acme/open?${query}`
    const fault = scene.hub.faults.add({ where: 'hub', match: /xpand/, status: { code: 200, body } })
    expect((await scene.ask(target, { token: TOKENS.alice })).body.toString()).toContain('secret-team')
    fault.remove()
    await scene.hub.stop()
    expect((await scene.ask(target)).body.toString()).not.toContain('secret-team')
  },
)

it('fields that were requested by name with a token are not shown to anonymous callers', async () => {
  const scene = await openScene()
  const told = '/api/models/acme/open?expand=sha&expand=resourceGroup'
  const open = '/api/models/acme/open?expand=sha&expand=likes'
  await scene.ask('/api/models/acme/open')
  const body = JSON.stringify({
    id: 'acme/open',
    sha: 'a'.repeat(40),
    likes: 7,
    resourceGroup: 'secret-team',
  })
  const fault = scene.hub.faults.add({
    where: 'hub',
    match: /expand=/,
    status: { code: 200, body },
    times: 2,
  })
  for (const target of [told, open])
    expect((await scene.ask(target, { token: TOKENS.alice })).body.toString()).toContain('secret-team')
  fault.remove()
  await scene.hub.stop()
  expect((await scene.ask(told)).status).toBe(502)
  // An earlier answer to a request without a token says this much.
  const answer = await scene.ask(open)
  expect(answer.status).toBe(200)
  expect(answer.body.toString()).not.toContain('secret-team')
  expect(JSON.parse(answer.body.toString())).toMatchObject({ id: 'acme/open', likes: expect.any(Number) })
})
