// Large files from a CDN that speaks TLS: they are received on other threads, and everything that holds elsewhere holds
// there.

import { Worker } from 'node:worker_threads'
import { expect, it, onTestFinished, vi } from 'vitest'
import { readProxies } from '../../src/http/proxies.ts'
import { DiskPartial } from '../../src/store/partials/partial.ts'
import { type ForwardProxy, startForwardProxy } from '../hub-simulator/forward-proxy.ts'
import { open } from '../support/ask.ts'
import { DAMAGES, describeDamages, MIB, openTlsScene, SIZE, TARGET } from '../support/long-bodies.ts'
import { metricValue } from '../support/start-mirror.ts'

it('a large file arrives over several connections, is right, and is stored', async () => {
  const scene = await openTlsScene()
  const reply = await scene.ask(TARGET)
  expect(reply.body.equals(scene.right)).toBe(true)
  expect(scene.fetched.length).toBeGreaterThan(1)
  await scene.settled()
  expect((await scene.ask(TARGET)).headers['x-cache']).toBe('HIT')
})

it('no byte of a large file comes to the main thread before it is stored', async () => {
  const scene = await openTlsScene()
  const write = vi.spyOn(DiskPartial.prototype, 'write')
  const landed = vi.spyOn(DiskPartial.prototype, 'landed')
  onTestFinished(() => {
    write.mockRestore()
    landed.mockRestore()
  })
  expect((await scene.ask(TARGET)).body.equals(scene.right)).toBe(true)
  expect(write).not.toHaveBeenCalled()
  expect(landed.mock.calls.reduce((sum, [, length]) => sum + length, 0)).toBe(SIZE)
})

it('a reader far ahead takes over what a slow thread has not written, and the file is right', async () => {
  const scene = await openTlsScene(SIZE, { pullConnections: 1 })
  scene.hub.faults.add({ where: 'cdn', method: 'GET', stallAfterBytes: 6 * MIB, times: 1 })
  const first = scene.ask(TARGET)
  await scene.hub.faults.whenStalled(1)
  const range = `bytes=${12 * MIB}-${13 * MIB - 1}`
  const part = await scene.ask(TARGET, { headers: { range } })
  expect(part.body.equals(scene.right.subarray(12 * MIB, 13 * MIB))).toBe(true)
  scene.hub.faults.release()
  expect((await first).body.equals(scene.right)).toBe(true)
  await scene.settled()
  const reply = await scene.ask(TARGET)
  expect(reply.headers['x-cache']).toBe('HIT')
  expect(reply.body.equals(scene.right)).toBe(true)
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

// test/long/long-bodies.test.ts has the others.
describeDamages(DAMAGES)

it('a CDN that announces a range and sends none of it is asked a few times, and then given up', async () => {
  const scene = await openTlsScene(SIZE, { pullConnections: 1 })
  const fault = scene.hub.faults.add({ where: 'cdn', method: 'GET', contentLength: 0, times: 50 })
  const headers = { range: `bytes=${MIB}-${9 * MIB}` }
  expect((await scene.ask(TARGET, { headers })).status).toBe(502)
  expect(scene.fetched).toHaveLength(fault.struck)
  expect(fault.struck).toBeLessThan(10)
  const { body } = await scene.ask('/metrics')
  const retries = 'hubmirror_origin_retries_total{reason="short-body"}'
  expect(metricValue(body.toString(), retries)).toBeGreaterThan(0)
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
  // With more connections, those that are not stalled take the rest of the file in pieces that are too short for a thread.
  const scene = await openTlsScene(SIZE, { pullConnections: 2 })
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
  // What the client has got is stored.
  let received = 0
  for await (const chunk of first) {
    received += (chunk as Buffer).length
    if (received >= 4 * MIB) break
  }
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
