// Large answers of the API: the same for every caller, stored, served again, and never in memory twice.

import { describe, expect, it } from 'vitest'
import type { Reply } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const FILES = 2_500
const INFO = '/api/models/acme/many?blobs=true'

async function withMany(options: Parameters<typeof openScene>[0] = {}): Promise<Scene> {
  const scene = await openScene(options)
  const names = Array.from({ length: FILES }, (_, index) => `data/part-${index}.txt`)
  scene.world.model('acme/many').commit(Object.fromEntries(names.map((name) => [name, name])))
  return scene
}

function names(reply: Reply): unknown[] {
  const info = JSON.parse(reply.body.toString()) as { siblings: { rfilename: string }[] }
  return info.siblings.map(({ rfilename }) => rfilename)
}

describe('a large document', () => {
  it('arrives whole, has the address by which the caller knows the mirror, and is stored', async () => {
    const scene = await withMany()
    const first = await scene.ask(INFO)
    expect([first.status, first.headers['content-length']]).toEqual([200, String(first.body.length)])
    expect(first.body.length).toBeGreaterThan(200_000)
    expect(names(first).length).toBe(FILES)
    expect(first.body.toString()).not.toContain('"xetEnabled":true')
    for (const how of ['HIT', 'REVALIDATED']) {
      if (how === 'REVALIDATED') scene.clock.advance(10_000)
      const again = await scene.ask(INFO)
      expect([again.headers['x-cache'], again.body.equals(first.body)]).toEqual([how, true])
    }
    await scene.restart()
    scene.hub.faults.add({ where: 'hub', resetBeforeHeaders: true, times: 1_000 })
    const stale = await scene.ask(INFO)
    expect([stale.status, stale.headers['x-cache'], stale.body.equals(first.body)]).toEqual([
      200,
      'STALE',
      true,
    ])
    const head = await scene.ask(INFO, { method: 'HEAD' })
    expect([head.status, head.body.length]).toEqual([200, 0])
  })

  it('is sent to each of many callers that request it at the same time', async () => {
    const scene = await withMany()
    const replies = await Promise.all(Array.from({ length: 12 }, () => scene.ask(INFO)))
    for (const reply of replies) {
      expect([reply.status, reply.body.equals(replies[0]!.body)]).toEqual([200, true])
    }
    expect(scene.hub.ledger.requests({ url: INFO }).length).toBeLessThanOrEqual(12)
  })

  it('of a restricted repo is requested with each credential, however many callers request it at the same time', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', match: /acme\/secret/, stallHeaders: true, times: 3 })
    const target = '/api/models/acme/secret?blobs=true'
    const asked = [TOKENS.alice, TOKENS.bob, undefined].map((token) =>
      scene.ask(target, token === undefined ? {} : { token }),
    )
    await scene.hub.faults.whenStalled(3)
    scene.hub.faults.release()
    const replies = await Promise.all(asked)
    expect(replies.map(({ status }) => status)).toEqual([200, 404, 401])
    const seen = scene.hub.ledger.requests({ url: target }).map(({ headers }) => headers.authorization)
    expect(new Set(seen)).toEqual(new Set([`Bearer ${TOKENS.alice}`, `Bearer ${TOKENS.bob}`, undefined]))
  })

  it('does not keep others waiting while its client reads nothing', async () => {
    const scene = await withMany({ busy: true })
    await scene.ask(INFO)
    const { open } = await import('../support/ask.ts')
    const slow = await Promise.all(Array.from({ length: 6 }, () => open(scene.mirror.url, INFO)))
    const reply = await scene.ask(INFO)
    expect([reply.status, names(reply).length]).toEqual([200, FILES])
    for (const response of slow) response.destroy()
  })

  it('keeps every number, repeated key and escape that the mirror need not change', async () => {
    const scene = await openScene()
    const kept =
      '"private":false,"gated":false,"size":9007199254740993,"f":1.0,"n":-0,"a":1,"a":2,"e":"\\u00e9"'
    const headers = { 'content-type': 'application/json' }
    const body = `{"id":"acme/open","xetHash":"x",${kept},"xetEnabled":true}`
    scene.hub.faults.add({ where: 'hub', match: /blobs/, status: { code: 200, headers, body } })
    const got = await scene.ask('/api/models/acme/open?blobs=true')
    expect([got.status, got.body.toString()]).toEqual([200, `{"id":"acme/open",${kept},"xetEnabled":false}`])
  })
})

describe('an answer that is encoded although identity was requested', () => {
  it.each([
    '/api/models/acme/open',
    '/api/models/acme/open/tree/main?recursive=true',
    '/api/models?search=open',
    '/api/models/acme/open/refs',
  ])('reaches the client as plain JSON: %s', async (target) => {
    const scene = await openScene()
    const plain = await scene.ask(target)
    scene.hub.faults.add({ where: 'hub', gzipAlways: true, times: 1_000 })
    const got = await scene.ask(target)
    expect([got.status, got.headers['content-encoding'], got.body.equals(plain.body)]).toEqual([
      200,
      undefined,
      true,
    ])
  })

  it('proves that a repo is public, so that its files are stored', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', match: /^\/api\/models/, gzipAlways: true, times: 1_000 })
    for (let round = 0; round < 2; round += 1) await scene.ask('/acme/open/resolve/main/config.json')
    await scene.settled()
    const got = await scene.ask('/acme/open/resolve/main/config.json')
    expect([got.status, got.headers['x-cache']]).toEqual([200, 'HIT'])
  })

  it('is refused with the words of the Hub if it is a refusal', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', gzipAlways: true, times: 1_000 })
    const got = await scene.ask('/api/models/acme/none')
    expect([got.status, got.headers['x-error-code'], got.headers['content-encoding']]).toEqual([
      401,
      'RepoNotFound',
      undefined,
    ])
    expect(JSON.parse(got.body.toString())).toHaveProperty('error')
  })
})
