// With HUBMIRROR_CACHE_PRIVATE=on the bytes of restricted repos are stored. Still no caller gets one before the Hub has
// accepted that caller's own credential.

import { describe, expect, it } from 'vitest'
import { SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'
import { filesBelow } from '../support/start-mirror.ts'
import { smallBlobsIn } from '../support/stored-blobs.ts'

const SMALL = '/acme/secret/resolve/main/config.json'
const LARGE = '/acme/secret/resolve/main/w.bin'

describe('a stored file of a restricted repo', () => {
  it('is fetched once for all callers with access, each of which is checked with its own credential', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    scene.world.model('acme/secret').private(['alice', 'bob'])
    const bytes = scene.bytes('acme/secret', 'w.bin')
    for (const token of [TOKENS.alice, TOKENS.bob]) {
      const got = await scene.ask(LARGE, { token })
      expect([got.status, got.body.equals(bytes)]).toEqual([200, true])
      expect((await scene.ask(SMALL, { token })).body.toString()).toBe(SECRET_CONFIG)
      await scene.settled()
    }
    expect(scene.hub.ledger.bytes('cdn')).toBe(bytes.length)
    const asked = scene.hub.ledger.requests({ server: 'hub', url: /^\/acme\/secret/ })
    for (const token of [TOKENS.alice, TOKENS.bob]) {
      expect(asked.some((entry) => scene.hub.ledger.credential(entry) === token)).toBe(true)
    }
  })

  it.each([
    ['an anonymous caller', undefined, 401],
    ['another user', TOKENS.bob, 404],
    ['a bad token', TOKENS.invalid, 401],
  ])('is not sent to %s, cold or warm, with the Hub or without', async (_who, token, status) => {
    const scene = await openScene({ config: { cachePrivate: true } })
    const refused = async (expected: readonly number[]) => {
      for (const target of [SMALL, LARGE]) {
        for (const method of ['HEAD', 'GET']) {
          const got = await scene.ask(target, { method, token, headers: { range: 'bytes=0-9' } })
          expect(expected).toContain(got.status)
          expect(got.headers['etag']).toBeUndefined()
          expect(got.body.includes('secret')).toBe(false)
        }
      }
    }
    await refused([status])
    for (const target of [SMALL, LARGE]) {
      expect((await scene.ask(target, { token: TOKENS.alice })).status).toBe(200)
    }
    await scene.settled()
    await refused([status])
    await scene.hub.stop()
    scene.clock.advance(120_000)
    await refused([502])
    await scene.restart({ cachePrivate: true })
    await refused([502])
    await scene.restart({ cachePrivate: true, offline: true })
    await refused([404])
  })

  it('is refused to its reader as soon as the access TTL of the proof is over', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    expect((await scene.ask(LARGE, { token: TOKENS.alice })).status).toBe(200)
    await scene.settled()
    scene.world.model('acme/secret').private([])
    scene.clock.advance(60_000)
    const got = await scene.ask(LARGE, { token: TOKENS.alice })
    expect([got.status, got.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
  })

  it.each([
    ['another file of the repo', '/acme/secret/resolve/main/none.txt'],
    ['what the repo is', '/api/models/acme/secret'],
  ])('is refused to its reader from the moment that the Hub refuses %s', async (_what, other) => {
    const scene = await openScene({ config: { cachePrivate: true } })
    const pinned = LARGE.replace('main', scene.commit('acme/secret'))
    for (const revoke of [
      () => void scene.world.model('acme/secret').private([]),
      () => void scene.world.revokeToken(TOKENS.alice),
    ]) {
      scene.world.model('acme/secret').private(['alice'])
      scene.clock.advance(60_000)
      expect((await scene.ask(pinned, { token: TOKENS.alice })).status).toBe(200)
      await scene.settled()
      revoke()
      scene.clock.advance(1)
      const refusal = (await scene.ask(other, { token: TOKENS.alice })).status
      expect(refusal).toBeGreaterThanOrEqual(401)
      expect((await scene.ask(pinned, { token: TOKENS.alice })).status).toBe(refusal)
    }
  })

  it('of a repo that was public is refused to an anonymous caller as soon as the Hub has refused another', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    const pinned = `/acme/open/resolve/${scene.commit('acme/open')}/config.json`
    expect((await scene.ask(pinned)).status).toBe(200)
    await scene.settled()
    scene.world.model('acme/open').private([])
    scene.clock.advance(1)
    expect((await scene.ask('/api/models/acme/open')).status).toBe(401)
    expect((await scene.ask(pinned)).status).toBe(401)
  })

  it('is stored under its digest only: no name of the repo is on the disk', async () => {
    const scene = await openScene({ config: { cachePrivate: true } })
    await scene.ask(LARGE, { token: TOKENS.alice })
    await scene.ask(SMALL, { token: TOKENS.alice })
    await scene.mirror.close({ keepDir: true })
    const files = await filesBelow(scene.mirror.cacheDir)
    expect([...files.keys()].filter((path) => path.startsWith('blobs/')).length).toBe(1)
    expect((await smallBlobsIn(scene.mirror.cacheDir)).size).toBe(1)
    for (const [path, bytes] of files) expect(bytes.includes('acme/secret'), path).toBe(false)
  })
})
