// Large files from a CDN that speaks TLS: they are received on other threads, and everything that holds elsewhere holds
// there.

import { expect, it, onTestFinished, vi } from 'vitest'
import { readProxies } from '../../src/http/proxies.ts'
import { DiskPartial } from '../../src/store/partials/partial.ts'
import { type ForwardProxy, startForwardProxy } from '../hub-simulator/forward-proxy.ts'
import { DAMAGES, describeDamages, MIB, openTlsScene, SIZE, TARGET } from '../support/long-bodies.ts'

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

// test/long/further/long-bodies.test.ts has the others.
describeDamages(DAMAGES)

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

it('the mirror can be closed while a body is silent', async () => {
  const scene = await openTlsScene()
  scene.hub.faults.add({ where: 'cdn', method: 'GET', stallAfterBytes: MIB, times: 100 })
  const asked = scene.ask(TARGET).catch(() => undefined)
  await scene.hub.faults.whenStalled(1)
  await scene.mirror.close({ busy: true })
  await asked
})
