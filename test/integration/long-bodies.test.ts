// Large files from a CDN that speaks TLS: they are received on other threads, and everything that holds elsewhere holds
// there.

import { Worker } from 'node:worker_threads'
import { expect, it, onTestFinished, vi } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { readProxies } from '../../src/http/proxies.ts'
import { BodyThreads } from '../../src/origin/threads/body-threads.ts'
import type { Damage } from '../hub-simulator/faults.ts'
import { type ForwardProxy, startForwardProxy } from '../hub-simulator/forward-proxy.ts'
import { bytesOf, lfs } from '../hub-simulator/repos.ts'
import { open } from '../support/ask.ts'
import { GOOD_CERTIFICATE } from '../support/certificates.ts'
import { freePort } from '../support/free-port.ts'
import { openScene } from '../support/scene.ts'
import { startTlsFront } from '../support/tls-front.ts'

const MIB = 1024 * 1024
const SIZE = 20 * MIB + 12_345
const TARGET = '/acme/large/resolve/main/model.bin'

/** A scene whose CDN speaks TLS, and the requests that threads were given. */
async function openTlsScene(
  sizeBytes = SIZE,
  settings: Partial<Config> | ((cdn: URL) => Promise<Partial<Config>>) = {},
) {
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  const cdnPort = await freePort()
  const front = await startTlsFront(`http://127.0.0.1:${cdnPort}`, GOOD_CERTIFICATE)
  onTestFinished(() => front.close())
  const config = typeof settings === 'function' ? await settings(new URL(front.url)) : settings
  const scene = await openScene({
    config: { redirectHosts: ['127.0.0.1'], ...config },
    hub: { cdnHost: '127.0.0.1', cdnPort, cdnUrl: front.url },
    busy: true,
  })
  scene.world.model('acme/large').commit({ 'model.bin': lfs({ sizeBytes, seed: 5 }) })
  const fetched: { readonly url: URL; readonly headers: Readonly<Record<string, string>> }[] = []
  const fetch = Reflect.get(BodyThreads.prototype, 'fetch') as BodyThreads['fetch']
  const spy = vi.spyOn(BodyThreads.prototype, 'fetch').mockImplementation(function (
    this: BodyThreads,
    url,
    headers,
    signal,
  ) {
    fetched.push({ url, headers })
    return fetch.call(this, url, headers, signal)
  })
  onTestFinished(() => {
    spy.mockRestore()
  })
  return { ...scene, fetched, right: bytesOf(scene.world.model('acme/large'), 'main', 'model.bin') }
}

it('a large file arrives over several connections, is right, and is stored', async () => {
  const scene = await openTlsScene()
  const reply = await scene.ask(TARGET)
  expect(reply.body.equals(scene.right)).toBe(true)
  expect(scene.fetched.length).toBeGreaterThan(1)
  await scene.settled()
  expect((await scene.ask(TARGET)).headers['x-cache']).toBe('HIT')
})

it('no credential reaches a thread, and none the CDN', async () => {
  const scene = await openTlsScene()
  const token = `hf_${'member'.padEnd(34, '0')}`
  scene.world.addUser('someone', { token })
  const reply = await scene.ask(TARGET, { token })
  expect(reply.body.equals(scene.right)).toBe(true)
  expect(scene.fetched.length).toBeGreaterThan(0)
  expect(JSON.stringify(scene.fetched.map(({ headers }) => headers))).not.toContain(token)
  expect(scene.fetched.every(({ headers }) => headers['authorization'] === undefined)).toBe(true)
})

it('where a proxy leads to the CDN, the file is received on the main thread', async () => {
  let asked: ForwardProxy['asked'] = []
  const scene = await openTlsScene(SIZE, async (cdn) => {
    const proxy = await startForwardProxy({ to: cdn.host })
    onTestFinished(() => proxy.close())
    asked = proxy.asked
    const { proxies } = readProxies({ https_proxy: `http://${proxy.address}` }, 'http')
    return { proxies }
  })
  expect((await scene.ask(TARGET)).body.equals(scene.right)).toBe(true)
  expect(scene.fetched).toEqual([])
  expect(asked.map(({ method }) => method)).toContain('CONNECT')
})

it('a small file is received on the main thread', async () => {
  const scene = await openTlsScene(2 * MIB)
  expect((await scene.ask(TARGET)).body.equals(scene.right)).toBe(true)
  expect(scene.fetched).toEqual([])
})

it.each<[string, Damage]>([
  ['resets a connection before its answer', { resetBeforeHeaders: true }],
  ['ends a connection before its answer', { endBeforeHeaders: true }],
  ['cuts a body', { cutAfterBytes: 3 * MIB }],
  ['resets a connection within a body', { cutAfterBytes: 3 * MIB, cutWith: 'rst' }],
  ['is overloaded', { status: { code: 503 } }],
  ['refuses a signed URL', { expireSignedUrls: true }],
  ['names no length', { noContentLength: true }],
  ['encodes a body', { gzipAlways: true }],
  ['sends the whole in place of a range', { ignoreRange: true }],
  ['sends another range', { wrongRange: true }],
  ['sends more than it announced', { extraBytes: 100 }],
  ['is silent within a body', { stallAfterBytes: 3 * MIB }],
])('the file is right although the CDN %s', async (_, damage) => {
  const scene = await openTlsScene(SIZE, { originTimeoutMs: 2_000 })
  scene.hub.faults.add({ where: 'cdn', method: 'GET', ...damage })
  const reply = await scene.ask(TARGET)
  expect(reply.body.equals(scene.right)).toBe(true)
  expect(scene.fetched.length).toBeGreaterThan(0)
  await scene.settled()
  expect((await scene.ask(TARGET)).headers['x-cache']).toBe('HIT')
})

it('a wrong byte breaks the answer, and is not stored', async () => {
  const scene = await openTlsScene()
  scene.hub.faults.add({ where: 'cdn', method: 'GET', corruptAt: 10 * MIB, times: 100 })
  expect((await scene.ask(TARGET)).whole).toBe(false)
  await scene.settled()
  scene.hub.faults.clear()
  const reply = await scene.ask(TARGET)
  expect(reply.headers['x-cache']).toBe('MISS')
  expect(reply.body.equals(scene.right)).toBe(true)
})

it('threads that die in the middle cost nothing but a new request', async () => {
  const scene = await openTlsScene()
  const workers = new Set<Worker>()
  const post = Reflect.get(Worker.prototype, 'postMessage') as Worker['postMessage']
  const spy = vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(function (this: Worker, ...args) {
    if ((args[0] as { readonly kind: string }).kind === 'fetch') workers.add(this)
    post.apply(this, args)
  })
  onTestFinished(() => {
    spy.mockRestore()
  })
  scene.hub.faults.add({ where: 'cdn', method: 'GET', stallAfterBytes: 3 * MIB, times: 2 })
  const asked = scene.ask(TARGET)
  await scene.hub.faults.whenStalled(2)
  const doomed = [...workers]
  for (const worker of doomed) await worker.terminate()
  const reply = await asked
  expect(reply.body.equals(scene.right)).toBe(true)
  expect(doomed.length).toBeGreaterThan(0)
  expect(workers.size).toBeGreaterThan(doomed.length)
})

it('the transfer ends when its last client has left, and goes on where it ended', async () => {
  const scene = await openTlsScene(SIZE, { pullAbandoned: 'stop', pullConnections: 1 })
  const { faults, ledger } = scene.hub
  faults.add({ where: 'cdn', method: 'GET', stallAfterBytes: 8 * MIB })
  const first = await open(scene.mirror.url, TARGET)
  await faults.whenStalled(1)
  first.destroy()
  await scene.settled()
  faults.release()
  const before = ledger.requests({ server: 'cdn', method: 'GET' }).length
  expect((await scene.ask(TARGET)).body.equals(scene.right)).toBe(true)
  const ranges = ledger.requests({ server: 'cdn', method: 'GET' }).slice(before)
  expect(ranges.map(({ headers }) => headers.range)).toEqual([
    expect.stringMatching(new RegExp(`^bytes=[1-9]\\d*-${SIZE - 1}$`)),
  ])
})

it('the mirror can be closed while a body is silent', async () => {
  const scene = await openTlsScene()
  scene.hub.faults.add({ where: 'cdn', method: 'GET', stallAfterBytes: MIB, times: 100 })
  const asked = scene.ask(TARGET).catch(() => undefined)
  await scene.hub.faults.whenStalled(1)
  await scene.mirror.close({ busy: true })
  await asked
})
