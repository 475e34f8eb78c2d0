// What people read when the Hub cannot be reached: each cause in words of its own, the same to the client, in /readyz and
// in the log, with the cure, and without internal names.

import { type AddressInfo, createServer } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { ask } from '../support/ask.ts'
import { GOOD_CERTIFICATE } from '../support/certificates.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { startTlsFront } from '../support/tls-front.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const PASSED = '/acme/open/raw/main/config.json'
const INFO = '/api/models/acme/open'

/** Each makes the Hub of a scene unreachable in a way of its own; what it gives back are settings of the mirror. */
const CAUSES: Record<
  string,
  readonly [text: RegExp, code: string, make: (scene: Scene) => Promise<Partial<Config>>]
> = {
  'a name that is not found': [
    /cannot find the address of .*\(DNS\).*DNS servers/,
    'OriginUnreachable',
    // No resolver is asked for a label of this length.
    async () => ({ origin: new URL(`http://${'a'.repeat(64)}.localhost`) }),
  ],
  'a refused connection': [
    /was refused the connection to 127\.0\.0\.1:\d+.*HUBMIRROR_ORIGIN/,
    'OriginUnreachable',
    async ({ hub }) => {
      await hub.stop()
      return {}
    },
  ],
  'an authority nobody knows': [
    /does not trust the authority.*NODE_EXTRA_CA_CERTS/,
    'OriginUnreachable',
    async ({ hub }) => ({ origin: new URL((await tlsFront(hub.url, GOOD_CERTIFICATE)).url) }),
  ],
  'a port without TLS': [
    /cannot agree on TLS/,
    'OriginUnreachable',
    async () => {
      const url = await speaker('HTTP/1.1 400 Bad Request\r\n\r\n')
      return { origin: new URL(url.replace('http:', 'https:')) }
    },
  ],
  'a connection that is lost': [
    /lost its connection to/,
    'OriginUnreachable',
    async ({ hub }) => {
      hub.faults.add({ where: 'hub', resetBeforeHeaders: true, times: 1_000 })
      return {}
    },
  ],
  'no answer': [
    /got no answer from .* in time.*HUBMIRROR_ORIGIN_TIMEOUT/,
    'OriginTimeout',
    async ({ hub }) => {
      hub.faults.add({ where: 'hub', stallHeaders: true, times: 1_000 })
      return { originTimeoutMs: 150 }
    },
  ],
  'something that is not HTTP': [
    /is not HTTP/,
    'OriginUnreachable',
    async () => ({ origin: new URL(await speaker('220 mail.example ESMTP\r\n')) }),
  ],
}

async function tlsFront(url: string, certificate: string): Promise<{ readonly url: string }> {
  const front = await startTlsFront(url, certificate)
  onTestFinished(() => front.close())
  return front
}

/** A server that sends the same answer to every request. */
async function speaker(text: string): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', () => socket.end(text))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise((resolve) => server.close(() => resolve())))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

it.each(Object.entries(CAUSES))('%s has a message of its own', async (cause, [text, code, make]) => {
  const scene = await openScene()
  const config = await make(scene)
  const mirror = await scene.another({ config })
  const texts: string[] = []
  for (const target of [PASSED, CONFIG, INFO]) {
    const got = await ask(mirror.url, target)
    expect([target, got.headers['x-error-code']]).toEqual([target, code])
    const message = got.headers['x-error-message'] ?? ''
    expect(message).toMatch(text)
    expect(JSON.parse(got.body.toString())).toEqual({ error: message })
    texts.push(message)
  }
  expect(new Set(texts).size).toBe(1)
  const ready = await ask(mirror.url, '/readyz')
  expect(ready.status).toBe(200)
  expect(JSON.parse(ready.body.toString())).toMatchObject({
    checks: { origin: { ok: false, detail: texts[0] } },
  })
  const lines = mirror.logLines('the origin is unreachable')
  expect(lines.length).toBe(1)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'warn',
    msg: `the origin is unreachable: ${texts[0]}`,
  })
  // Of all causes only this one is meant.
  const fitting = Object.entries(CAUSES).filter(([, [other]]) => other.test(texts[0] ?? ''))
  expect(fitting.map(([name]) => name)).toEqual([cause])
})

it('the log has one line when the Hub can be reached again', async () => {
  const scene = await openScene()
  await scene.hub.stop()
  for (let turn = 0; turn < 3; turn += 1) await scene.ask(CONFIG)
  await scene.hub.start()
  scene.clock.advance(6_000)
  for (let turn = 0; turn < 3; turn += 1) expect((await scene.ask(`${CONFIG}?${turn}`)).status).toBe(200)
  expect(scene.mirror.logLines('the origin is unreachable').length).toBe(1)
  expect(scene.mirror.logLines('the origin is reachable again').length).toBe(1)
})

it('a failure at a storage host does not name that host to the client', async () => {
  const scene = await openScene()
  scene.hub.faults.add({ where: 'cdn', resetBeforeHeaders: true, times: 1_000 })
  scene.hub.faults.add({ where: 'hub', match: /\/raw\//, redirectTo: `${scene.hub.cdnUrl}/secret-place` })
  const got = await scene.ask(PASSED)
  expect(got.headers['x-error-code']).toBe('OriginUnreachable')
  expect(got.headers['x-error-message']).toMatch(/lost its connection to a storage host of the Hub/)
  expect(got.body.toString()).not.toContain('127.0.0.2')
  expect((await scene.ask('/readyz')).body.toString()).toContain('"origin":{"ok":true')
})
