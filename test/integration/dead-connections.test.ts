// A connection to the Hub that was kept and has died meanwhile, as firewalls and load balancers let them: reads are sent
// once more on a new one, writes never.

import { describe, expect, it } from 'vitest'
import type { Damage, SeenRequest } from '../hub-simulator/faults.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const ENDS: readonly (readonly [string, Damage])[] = [
  ['a reset', { resetBeforeHeaders: true }],
  ['an end', { endBeforeHeaders: true }],
]
const PASSED = '/acme/open/raw/main/config.json'
const BATCH = JSON.stringify({ operation: 'download', objects: [{ oid: 'a'.repeat(64), size: 1 }] })
/** A question of git for the branches, in version 2 of its protocol. */
const LS_REFS = '0014command=ls-refs\n0001000csymrefs\n0000'
const isKept = (request: SeenRequest): boolean => request.isKept

/** A scene whose mirror has a kept connection to the Hub. */
async function withKept(): Promise<Scene> {
  const scene = await openScene()
  expect((await scene.ask(PASSED)).status).toBe(200)
  scene.hub.ledger.clear()
  return scene
}

describe.each(ENDS)('a kept connection that dies with %s', (_, damage) => {
  it.each([
    ['GET', PASSED],
    ['HEAD', '/api/telemetry/transformers/cli'],
    ['GET', '/api/models/acme/open'],
    ['GET', '/api/models/acme/open/tree/main'],
    ['HEAD', '/acme/open/resolve/main/config.json'],
    ['GET', '/acme/open/resolve/main/config.json'],
    ['POST', '/api/models/acme/open/paths-info/main', 'application/json', '{"paths":["config.json"]}'],
    ['POST', '/acme/open.git/info/lfs/objects/batch', 'application/vnd.git-lfs+json', BATCH],
    ['POST', '/acme/open.git/git-upload-pack', 'application/x-git-upload-pack-request', LS_REFS],
  ] as const)('does not fail %s %s', async (method, target, contentType?: string, body?: string) => {
    const scene = await withKept()
    const fault = scene.hub.faults.add({ where: 'hub', match: isKept, ...damage })
    const got = await scene.ask(target, {
      method,
      ...(body === undefined
        ? {}
        : { headers: { 'content-type': contentType ?? '', 'git-protocol': 'version=2' }, body }),
    })
    expect([got.status, fault.struck]).toEqual([200, 1])
    const asked = scene.hub.ledger.requests({ server: 'hub' })
    const lost = asked.find(({ status }) => status === 0)
    const same = asked.filter((entry) => entry.method === lost?.method && entry.url === lost.url)
    expect(same.map(({ status }) => status > 0)).toEqual([false, true])
    expect(same[1]?.headers.connection, 'that of a new connection').toBe('close')
    expect((await scene.ask('/readyz')).body.toString()).toContain('"origin":{"ok":true')
  })

  it('does not fail a read even if all kept connections are dead', async () => {
    const scene = await openScene()
    const many = Array.from({ length: 8 }, (_entry, index) => `${PASSED}?n=${index}`)
    scene.hub.faults.add({ where: 'hub', stallHeaders: true, times: many.length })
    const warm = many.map((target) => scene.ask(target))
    await scene.hub.faults.whenStalled(many.length)
    scene.hub.faults.release()
    await Promise.all(warm)
    const fault = scene.hub.faults.add({ where: 'hub', match: isKept, ...damage, times: 100 })
    const got = await Promise.all(many.map((target) => scene.ask(target)))
    expect(got.map(({ status }) => status)).toEqual(many.map(() => 200))
    expect(fault.struck).toBeGreaterThan(1)
  })

  it('lets the repeated request carry the token, and to the Hub only', async () => {
    const scene = await withKept()
    scene.hub.faults.add({ where: 'hub', match: isKept, ...damage })
    const got = await scene.ask('/api/models/acme/secret/auth-check', { token: TOKENS.alice })
    expect(got.status).toBe(200)
    const asked = scene.hub.ledger.requests()
    expect(asked.map((entry) => scene.hub.ledger.credential(entry))).toEqual([TOKENS.alice, TOKENS.alice])
  })

  it.each([
    ['POST', '/api/models/acme/open/settings', '{}'],
    ['PUT', '/api/models/acme/open/settings', '{}'],
    ['PATCH', '/api/models/acme/open/settings', '{}'],
    ['DELETE', '/api/models/acme/open/settings'],
    ['POST', '/acme/open.git/git-receive-pack', '0000'],
    ['POST', '/acme/open.git/info/lfs/objects/batch', BATCH.replace('download', 'upload')],
  ] as const)('fails a write, which is sent once (%s %s)', async (method, target, body?) => {
    const scene = await withKept()
    const fault = scene.hub.faults.add({ where: 'hub', match: isKept, ...damage, times: 100 })
    const got = await scene.ask(target, {
      method,
      token: TOKENS.alice,
      ...(body === undefined ? {} : { body }),
    })
    expect([got.status, got.headers['x-error-code'], fault.struck]).toEqual([502, 'OriginUnreachable', 1])
    expect(scene.hub.ledger.requests().length).toBe(1)
  })

  it('is the reason for one repetition, never for a second', async () => {
    const scene = await withKept()
    scene.hub.faults.add({ where: 'hub', ...damage, times: 100 })
    const got = await scene.ask(PASSED)
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
    expect(scene.hub.ledger.requests().length).toBe(2)
  })
})

it('a request whose answer has begun is not repeated', async () => {
  const scene = await withKept()
  scene.hub.faults.add({ where: 'hub', match: isKept, cutAfterBytes: 5, cutWith: 'rst' })
  const got = await scene.ask('/acme/open/raw/main/config.json')
  // A short body may have been gathered before it was passed on.
  expect(got.status === 502 || !got.whole, String(got.status)).toBe(true)
  expect(scene.hub.ledger.requests().length).toBe(1)
})
