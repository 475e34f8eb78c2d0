// How much one caller may make the mirror fetch: requests count for their caller, only if the origin is needed, and no
// other caller pays for them.

import { expect, it } from 'vitest'
import { openCompany } from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const LARGE = '/acme/open/resolve/main/w.bin'
const SECRET = '/acme/secret/resolve/main/config.json'
const INFO = '/api/models/acme/open'
const GIT = '/acme/open/info/refs?service=git-upload-pack'
/** Longer than a test takes. */
const HOUR = 3_600_000

const limited = (max: number, windowMs = HOUR) => ({ clientsRateLimit: { max, windowMs } })
const from = (address: string) => ({ 'x-forwarded-for': address })

async function limitedScene(max: number, windowMs = HOUR): Promise<Scene> {
  return openScene({ config: { ...limited(max, windowMs), trustProxy: ['127.0.0.1'] } })
}

it.each([
  ['a file', SECRET, TOKENS.alice],
  ['a HEAD of a file', SECRET, TOKENS.alice],
  ['an API answer', '/api/models/acme/secret', TOKENS.alice],
  ['a page of the Hub', GIT, undefined],
])('the mirror asks the origin nothing more for a caller over its limit: %s', async (what, target, token) => {
  const scene = await limitedScene(2)
  const method = what.startsWith('a HEAD') ? 'HEAD' : 'GET'
  for (const each of ['/acme/open/resolve/main/none.json', '/acme/open/resolve/main/none2.json'])
    expect((await scene.ask(each, { token })).status).toBe(404)
  scene.hub.ledger.clear()
  const refused = await scene.ask(target, { token, method })
  expect([refused.status, refused.headers['x-error-code']]).toEqual([429, 'TooManyRequests'])
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(3_000)
  expect(refused.headers['x-error-message']).toContain('this mirror')
  expect(refused.headers['x-cache']).toBe('REFUSED')
  expect(refused.headers['cache-status']).toBe('hubmirror; detail="refused-here"')
  expect(scene.hub.ledger.requests()).toEqual([])
  // A caller is an address, whatever token it invents; another address is not limited.
  expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(429)
  expect((await scene.ask(target, { token, headers: from('10.0.0.7') })).status).toBe(200)
})

it('the IPv6 network of one customer counts as one caller', async () => {
  const scene = await limitedScene(1)
  const as = async (address: string) =>
    (await scene.ask(SECRET, { token: TOKENS.alice, headers: from(address) })).status
  expect(await as('2001:db8::1')).toBe(200)
  expect((await scene.ask('/api/models/acme/secret', { headers: from('2001:db8::2') })).status).toBe(429)
  expect(await as('2001:db8:0:1::1')).toBe(200)
})

it('requests that are served from the disk do not count, and callers over the limit get stored public files', async () => {
  const scene = await limitedScene(3)
  await scene.ask(CONFIG)
  await scene.ask(LARGE)
  await scene.settled()
  for (let round = 0; round < 10; round += 1) {
    expect((await scene.ask(CONFIG)).headers['x-cache']).toBe('HIT')
    expect((await scene.ask(LARGE, { method: 'HEAD' })).headers['x-cache']).toBe('HIT')
  }
  expect((await scene.ask(INFO)).status).toBe(200)
  scene.clock.advance(120_000)
  scene.hub.ledger.clear()
  for (const target of [CONFIG, LARGE]) {
    const stale = await scene.ask(target)
    expect([target, stale.status, stale.headers['x-cache']]).toEqual([target, 200, 'STALE'])
  }
  expect(scene.hub.ledger.requests()).toEqual([])
})

it('callers with a mirror token are counted by its name, from whichever address they come', async () => {
  const { scene, issue } = await openCompany({ config: { ...limited(1), trustProxy: ['127.0.0.1'] } })
  const [ci, other] = [await issue('ci'), await issue('other')]
  const as = async (token: string, address: string) =>
    (await scene.ask(`/acme/open/resolve/main/${address}`, { token, headers: from(address) })).status
  expect(await as(ci, '10.0.0.1')).toBe(404)
  expect(await as(ci, '10.0.0.2')).toBe(429)
  expect(await as(other, '10.0.0.3')).toBe(404)
})

it('a caller may continue when its window is over', async () => {
  const scene = await limitedScene(1, 1_000)
  expect((await scene.ask(SECRET, { token: TOKENS.alice })).status).toBe(200)
  const again = await eventually(
    () => scene.ask('/api/models/acme/secret', { token: TOKENS.alice }),
    ({ status }) => status === 200,
  )
  expect(again.status).toBe(200)
})

it('a request over the limit is an answer in the log and the metrics, not a failure', async () => {
  const scene = await limitedScene(1)
  for (const name of ['none', 'none2']) await scene.ask(`/acme/open/resolve/main/${name}.json`)
  const [line = ''] = await eventually(
    () => scene.mirror.logLines('none2.json'),
    (lines) => lines.length > 0,
  )
  expect(JSON.parse(line)).toMatchObject({
    level: 'info',
    outcome: 'refused',
    status: 429,
    originTrips: 0,
    err: { code: 'client_limited' },
  })
  const metrics = await scene.mirror.metrics()
  const of = (outcome: string) =>
    metricValue(metrics, `hubmirror_requests_total{route="file",outcome="${outcome}",status="429"}`)
  expect([of('refused'), of('error')]).toEqual([1, undefined])
})

it('a request over the limit counts as limited in the audit log, also if only the bytes were missing', async () => {
  const scene = await limitedScene(1)
  // The facts of the file are there, and the file is public.
  expect((await scene.ask(LARGE, { method: 'HEAD' })).status).toBe(200)
  await eventually(
    async () => (await scene.ask(LARGE, { method: 'HEAD' })).headers['x-cache'],
    (word) => word === 'HIT',
  )
  expect((await scene.ask(LARGE)).status).toBe(429)
  const lines = await eventually(
    async () => (await scene.mirror.auditText()).split('\n').filter((line) => line.includes('"GET"')),
    ({ length }) => length === 1,
  )
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ decision: 'limited', reason: 'quota', status: 429 })
})

it('a refused file over the limit counts as limited in the audit log, and without a limit no caller is limited', async () => {
  const scene = await limitedScene(1)
  await scene.ask('/acme/open/resolve/main/none.json')
  await scene.ask('/acme/open/resolve/main/none2.json')
  const lines = await eventually(
    async () => (await scene.mirror.auditText()).split('\n').filter((line) => line !== ''),
    (all) => all.length >= 2,
  )
  expect(JSON.parse(lines[1] ?? '')).toMatchObject({ decision: 'limited', reason: 'quota', status: 429 })
  const free = await openScene()
  for (let n = 0; n < 20; n += 1)
    expect((await free.ask(`/acme/open/resolve/main/none${n}.json`)).status).toBe(404)
})
