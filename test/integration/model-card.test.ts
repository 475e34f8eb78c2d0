// The model card of a gated repo is public: that one file must not open the others.

import { describe, expect, it } from 'vitest'
import { GATED_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'
import { filesBelow } from '../support/start-mirror.ts'

const CARD = '/acme/gated/resolve/main/README.md'
const CONFIG = '/acme/gated/resolve/main/config.json'
const LARGE = '/acme/gated/resolve/main/w.bin'

describe('the card of a gated model', () => {
  it.each([
    ['an anonymous caller', undefined],
    ['another user', TOKENS.bob],
    ['a member', TOKENS.alice],
  ])('read by %s, does not open the files behind the gate', async (_who, token) => {
    const scene = await openScene()
    for (const method of ['HEAD', 'GET']) {
      expect((await scene.ask(CARD, { method, token })).status).toBe(200)
    }
    for (const target of [CONFIG, LARGE, CARD]) {
      expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    }
    await scene.settled()
    for (const target of [CONFIG, LARGE]) {
      expect((await scene.ask(target)).status).toBe(401)
      expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(403)
    }
    await scene.mirror.close({ keepDir: true })
    const files = await filesBelow(scene.mirror.cacheDir)
    expect([...files.keys()].filter((path) => /^(?:blobs|facts.files)\//.test(path))).toEqual([])
    for (const bytes of files.values()) expect(bytes.includes(GATED_CONFIG.trim())).toBe(false)
  })

  it('is sent to every caller, as by the Hub', async () => {
    const scene = await openScene()
    for (const token of [undefined, TOKENS.bob, TOKENS.alice]) {
      const got = await scene.ask(CARD, { token })
      expect([got.status, got.body.toString()]).toEqual([200, '# card\n'])
    }
  })
})

it('an origin without repo info proves a repo public by its files, but not by a card', async () => {
  const scene = await openScene()
  scene.hub.faults.add({
    where: 'hub',
    match: /^\/api\/models\/acme\/[a-z]+\?expand/,
    status: { code: 404, body: 'no such route' },
    times: Number.POSITIVE_INFINITY,
  })
  for (const target of [CARD, CONFIG.replace('gated', 'open')]) {
    await scene.ask(target)
    await scene.settled()
    await scene.ask(target)
  }
  expect((await scene.ask(CONFIG.replace('gated', 'open'))).headers['x-cache']).toBe('HIT')
  expect((await scene.ask(CARD)).headers['x-cache']).toBe('BYPASS')
  expect((await scene.ask(CONFIG)).status).toBe(401)
})

it.each([
  ['out of quota', { rateLimit429: {} }],
  ['in trouble', { status: { code: 503 } }],
  ['cut off', { resetBeforeHeaders: true }],
] as const)(
  'files prove nothing about a repo if the Hub is %s when asked about the repo',
  async (_how, damage) => {
    const scene = await openScene()
    scene.hub.faults.add({
      where: 'hub',
      match: /^\/api\/models\/acme\//,
      times: Number.POSITIVE_INFINITY,
      ...damage,
    })
    // A large file: a small one comes from the API of the Hub, which may be resting then.
    const target = CONFIG.replace('gated', 'open').replace('config.json', 'w.bin')
    for (let visit = 0; visit < 3; visit += 1) {
      const got = await scene.ask(target)
      expect([got.status, got.headers['x-cache']]).toEqual([200, 'BYPASS'])
    }
    scene.hub.faults.clear()
    // After a 429 the mirror rests.
    scene.clock.advance(300_000)
    expect((await scene.ask(target)).headers['x-cache']).toBe('MISS')
  },
)
