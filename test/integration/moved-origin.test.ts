// An origin that redirects every request to another Hub: the mirror follows without a token, and with one reports it.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ask } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

const REQUESTS = [
  ['GET', '/acme/open/resolve/main/config.json'],
  ['HEAD', '/acme/open/resolve/main/w.bin'],
  ['GET', '/acme/open/resolve/main/w.bin'],
  ['GET', '/api/models/acme/open'],
  ['GET', '/api/models/acme/open/tree/main?recursive=true'],
  ['GET', '/api/organizations/acme/overview'],
  ['GET', '/acme/open/raw/main/config.json'],
] as const

/** A mirror of a place that leads to the Hub of the scene, which is at a host that redirects may lead to, or may not. */
async function open(status: number, redirectHosts: readonly string[]) {
  const scene = await openScene()
  const asked: (string | undefined)[] = []
  const old = createServer((request, response) => {
    asked.push(request.headers.authorization)
    request.resume()
    response.writeHead(status, { location: `${scene.hub.url}${request.url}` }).end()
  })
  await new Promise<void>((resolve) => old.listen(0, '127.0.0.4', resolve))
  onTestFinished(async () => {
    old.closeAllConnections()
    await new Promise((resolve) => old.close(resolve))
  })
  const origin = new URL(`http://127.0.0.4:${(old.address() as AddressInfo).port}`)
  const mirror = await scene.another({ config: { origin, redirectHosts } })
  return { hub: scene.hub, asked, mirror }
}

describe.each([301, 302, 307, 308])('an origin that has moved (%i)', (status) => {
  it('is followed without a token, for files and all other requests', async () => {
    const { hub, mirror } = await open(status, ['127.0.0.1', '127.0.0.2'])
    for (const [method, target] of REQUESTS) {
      const got = await ask(mirror.url, target, { method })
      expect([method, target, got.status, got.whole]).toEqual([method, target, 200, true])
    }
    const lines = mirror.logLines('the origin has moved')
    expect(lines.length).toBe(1)
    expect(lines[0]).toContain(hub.url)
    expect(lines[0]).toContain('HUBMIRROR_ORIGIN')
  })

  it('is followed for a read that is a POST only if it stays a POST', async () => {
    const { mirror } = await open(status, ['127.0.0.1', '127.0.0.2'])
    const got = await ask(mirror.url, '/api/models/acme/open/paths-info/main', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"paths":["config.json"]}',
    })
    const isMoved = status < 307
    expect([got.status, got.headers['x-error-code']]).toEqual(
      isMoved ? [502, 'OriginMoved'] : [200, undefined],
    )
  })
})

it('a request with a token is not redirected to the new address of an origin, and its answer names the cure', async () => {
  const { hub, asked, mirror } = await open(308, ['127.0.0.1', '127.0.0.2'])
  for (const [method, target] of [
    ['GET', '/acme/secret/resolve/main/config.json'],
    ['HEAD', '/acme/secret/resolve/main/config.json'],
    ['GET', '/api/models/acme/secret'],
    ['GET', '/api/organizations/acme/overview'],
    ['GET', '/api/whoami-v2'],
    ['POST', '/api/repos/create'],
  ] as const) {
    const got = await ask(mirror.url, target, {
      method,
      token: TOKENS.alice,
      ...(method === 'POST' ? { body: '{}' } : {}),
    })
    expect([target, got.status, got.headers['x-error-code']]).toEqual([target, 502, 'OriginMoved'])
    expect(got.headers['x-error-message']).toContain('HUBMIRROR_ORIGIN')
    expect(got.headers['x-error-message']).not.toContain('127.0.0.1')
  }
  expect(asked).toContain(`Bearer ${TOKENS.alice}`)
  expect(hub.ledger.requests().filter((entry) => entry.headers.authorization !== undefined)).toEqual([])
})

it('an origin that has moved to a host that is not allowed is reported with the cure, and that host gets no request', async () => {
  const { hub, mirror } = await open(308, ['127.0.0.2'])
  for (const [method, target] of REQUESTS) {
    const got = await ask(mirror.url, target, { method })
    expect([target, got.headers['x-error-code']]).toEqual([target, 'OriginMoved'])
  }
  expect(hub.ledger.requests()).toEqual([])
})

it('stored content is served even if the origin has moved', async () => {
  const scene = await openScene()
  const target = '/acme/open/resolve/main/config.json'
  expect((await scene.ask(target)).status).toBe(200)
  await scene.settled()
  scene.clock.advance(120_000)
  scene.hub.faults.add({
    where: 'hub',
    redirectTo: ({ url }) => `http://127.0.0.3:1${url}`,
    times: 1_000,
  })
  const got = await scene.ask(target)
  expect([got.status, got.headers['x-cache']]).toEqual([200, 'STALE'])
})
