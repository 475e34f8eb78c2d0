// More of large files that are received on other threads. The first tests are in test/integration/long-bodies.test.ts.

import { Worker } from 'node:worker_threads'
import { expect, it, onTestFinished, vi } from 'vitest'
import { open } from '../../support/ask.ts'
import {
  describeDamages,
  FURTHER_DAMAGES,
  MIB,
  openTlsScene,
  SIZE,
  TARGET,
} from '../../support/long-bodies.ts'
import { metricValue } from '../../support/start-mirror.ts'

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
  // What is left may be in pieces that are too short for a thread, so it need not be another thread that requests them.
  expect(scene.fetched.length).toBeGreaterThan(2)
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

describeDamages(FURTHER_DAMAGES)
