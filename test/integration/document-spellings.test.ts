// One question, one stored answer: spellings of a request that mean the same share it, and nothing else in a request changes
// what is stored for others.

import { expect, it } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

const INFO = '/api/models/acme/open'

it('the spellings of a question cost one request to the Hub, which is the same for all', async () => {
  const scene = await openScene()
  await scene.ask(INFO)
  const commit = scene.commit('acme/open')
  for (const [asked, spellings] of [
    [
      `${INFO}/tree/main?recursive=true`,
      ['?recursive=true&expand=false', '?expand=False&recursive=True', '?recursive=tru%65'].map(
        (query) => `/${INFO}/tree/main/${query}`,
      ),
    ],
    [`${INFO}/tree/${commit}?recursive=true`, [`${INFO}/tree/${commit}?recursive=true&expand=false`]],
    [
      `${INFO}/tree/refs%2Fpr%2F1/nested/deeper`,
      [`${INFO}/tree/refs/pr/1/nested%2fdeeper?expand=false`, `${INFO}/tree/refs%2fpr%2f1/nested/deeper/`],
    ],
    [`${INFO}?blobs=true`, [`${INFO}/?securityStatus=False&blobs=True`]],
    [`${INFO}?expand=likes&expand=sha`, [`${INFO}?expand=sha&expand=likes&expand=sha`]],
    [`${INFO}/commits/main?p=0&limit=2`, [`${INFO}/commits/main?limit=2&p=0`]],
    [
      '/api/models?search=a%20b&limit=2',
      ['/api/models/?limit=2&search=a+b', '/api/models?limit=2&search=%61 b'],
    ],
    ['/api/collections?owner=acme&limit=1', ['/api/collections/?limit=1&owner=acme']],
  ] as const) {
    scene.hub.ledger.clear()
    const first = await scene.ask(asked)
    for (const spelling of spellings.map((text) => text.replace(' ', '%20'))) {
      const got = await scene.ask(spelling)
      expect([spelling, got.status, got.headers['x-cache']]).toEqual([spelling, 200, 'HIT'])
      expect(got.body.equals(first.body)).toBe(true)
    }
    expect(scene.hub.ledger.requests().map(({ url }) => url)).toEqual([asked])
  }
})

it('a parameter that changes nothing makes no other stored answer', async () => {
  const scene = await openScene()
  for (const target of [INFO, `${INFO}/treesize/main/`, '/api/papers/2601.00001', '/api/tasks']) {
    await scene.ask(target)
    for (const query of ['cursor=1', 'cursor=2', 'recursive=true']) {
      const got = await scene.ask(`${target}?${query}`)
      expect([target, query, got.status, got.headers['x-cache']]).toEqual([target, query, 200, 'BYPASS'])
    }
    expect((await scene.ask(target)).headers['x-cache']).toBe('HIT')
  }
})

it('no field of a request changes what is stored for others', async () => {
  const scene = await openScene()
  await scene.ask(INFO)
  const headers = {
    accept: 'text/html',
    'accept-language': 'xx',
    'accept-encoding': 'br',
    cookie: 'token=x',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'https',
    forwarded: 'host=evil.example',
    host: 'evil.example',
  }
  const targets = ['/api/models?limit=1', '/api/collections?owner=acme', `${INFO}/tree/main?limit=1`]
  for (const target of targets) {
    scene.hub.ledger.clear()
    const odd = await scene.ask(target, { headers })
    expect([target, odd.status, odd.headers['x-cache']]).toEqual([target, 200, 'MISS'])
    const [sent] = scene.hub.ledger.requests()
    for (const name of Object.keys(headers).filter((name) => !['accept-encoding', 'host'].includes(name)))
      expect([target, name, sent?.headers[name]]).toEqual([target, name, undefined])
    const plain = await scene.ask(target)
    expect([target, plain.status, plain.headers['x-cache']]).toEqual([target, 200, 'HIT'])
    expect(plain.body.toString() + (plain.headers['link'] ?? '')).not.toContain('evil.example')
    const right = await fetch(`${scene.hub.url}${target}`)
    if (target === targets[1]) expect(plain.body.toString()).toBe(await right.text())
  }
})

it('what depends on its caller, or on the moment, is asked for each time', async () => {
  const scene = await openScene()
  await scene.ask(INFO)
  for (const target of [
    '/api/whoami-v2',
    '/api/organizations/acme/avatar',
    '/api/users/alice/settings',
    '/api/spaces/zero-gpu/quota',
    '/api/spaces/acme/demo/runtime',
    `${INFO}/auth-check`,
    `${INFO}/discussions`,
    `${INFO}/likers`,
    '/api/datasets/acme/data/leaderboard',
  ]) {
    scene.hub.ledger.clear()
    for (let time = 0; time < 2; time += 1) await scene.ask(target, { token: TOKENS.alice })
    const asked = scene.hub.ledger.requests({ server: 'hub' }).filter(({ url }) => url === target)
    expect([target, asked.length]).toEqual([target, 2])
  }
})
