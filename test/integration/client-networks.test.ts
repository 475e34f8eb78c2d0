// Restricting clients by network, and which statements of a proxy about its clients the mirror trusts.

import { get } from 'node:http'
import { expect, it } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

/** The client that asks for the metrics when the mirror is closed. */
const SELF = '127.0.0.1'
const OPEN = '/acme/open/resolve/main/config.json'

const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })

/** A mirror before which a proxy of the same machine is trusted, and how it answers for addresses that one names. */
async function behindProxy(config: Partial<Config>) {
  const scene = await openScene({ config: { trustProxy: ['127.0.0.1'], ...config } })
  return { scene, status: async (address: string) => (await scene.ask(OPEN, from(address))).status }
}

it('the mirror serves every network by default', async () => {
  const { status } = await behindProxy({})
  expect([await status('203.0.113.9'), await status('2001:db8::1')]).toEqual([200, 200])
})

it('the mirror serves only the networks that are allowed', async () => {
  const { status } = await behindProxy({ clientsAllow: [SELF, '10.0.0.0/8', '2001:db8::/32'] })
  expect([await status('10.9.9.9'), await status('2001:db8::1')]).toEqual([200, 200])
  expect([await status('11.9.9.9'), await status('2001:db9::1')]).toEqual([403, 403])
})

it('the mirror serves every network except those that are denied, and a denial wins', async () => {
  const { status, scene } = await behindProxy({ clientsDeny: ['10.1.0.0/16'] })
  expect([await status('10.2.0.1'), await status('10.1.0.1')]).toEqual([200, 403])
  await scene.restart({ clientsAllow: [SELF, '10.0.0.0/8'], clientsDeny: ['10.1.0.0/16'] })
  expect([await status('10.2.0.1'), await status('10.1.0.1'), await status('11.0.0.1')]).toEqual([
    200, 403, 403,
  ])
})

it('an IPv4-mapped IPv6 address counts as the IPv4 address', async () => {
  const { status, scene } = await behindProxy({
    clientsAllow: [SELF, '10.0.0.0/8'],
    clientsDeny: ['10.1.0.0/16'],
  })
  expect([await status('::ffff:10.2.0.1'), await status('::ffff:a02:1')]).toEqual([200, 200])
  expect([
    await status('::ffff:10.1.0.1'),
    await status('::ffff:a01:1'),
    await status('::FFFF:a01:1'),
  ]).toEqual([403, 403, 403])
  await scene.restart({ clientsDeny: ['::ffff:10.1.0.1'] })
  expect([await status('10.1.0.1'), await status('10.1.0.2')]).toEqual([403, 200])
})

it('forwarding headers of an untrusted address are ignored', async () => {
  const scene = await openScene({ config: { clientsAllow: [SELF], clientsDeny: ['10.0.0.0/8'] } })
  expect((await scene.ask(OPEN, from('10.0.0.1'))).status).toBe(200)
  expect(await askFrom('127.0.0.2', scene.mirror.url, SELF)).toBe(403)
})

/** The status for a request that leaves from an address of this machine, and says it is from another one. */
function askFrom(localAddress: string, base: string, claimed: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const { headers } = from(claimed)
    get(`${base}${OPEN}`, { localAddress, headers, agent: false }, (message) => {
      message.resume()
      resolve(message.statusCode)
    }).once('error', reject)
  })
}

it.each(['unknown', '10.0.0.1:80', '10.0.0.1, nonsense', '10.0.0', '10.0.0.1/8', '<script>', '_hidden'])(
  'a request is refused if a trusted proxy forwards %s, which is no address',
  async (garbage) => {
    const { status, scene } = await behindProxy({ clientsDeny: ['192.0.2.1'] })
    expect(await status(garbage)).toBe(403)
    expect(scene.hub.ledger.requests()).toEqual([])
  },
)

it('a refused client gets the reason, costs the Hub nothing, and is logged', async () => {
  const { scene } = await behindProxy({ clientsDeny: ['10.0.0.0/8'] })
  const denied = from('10.0.0.1')
  const targets = [
    OPEN,
    '/api/models/acme/open',
    '/acme/open',
    '/metrics',
    '/-/x',
    '/%2e%2e/x',
    '//api/models',
  ]
  for (const target of targets) {
    const got = await scene.ask(target, { ...denied, token: TOKENS.alice })
    expect([target, got.status]).toEqual([target, 403])
    expect(got.headers['x-error-message']).toContain('does not serve clients of your network')
  }
  expect((await scene.ask(OPEN, denied)).headers['x-error-code']).toBe('GatedRepo')
  expect((await scene.ask('/metrics', denied)).headers['x-error-code']).toBe('ClientNotAllowed')
  expect((await scene.ask(OPEN, { ...denied, method: 'HEAD' })).status).toBe(403)
  expect((await scene.ask(OPEN, { ...denied, method: 'PUT', body: 'x' })).status).toBe(403)
  expect((await scene.ask('/healthz', denied)).status).toBe(200)
  expect((await scene.ask('/readyz', denied)).status).toBe(200)
  expect(scene.hub.ledger.requests()).toEqual([])
  const lines = await eventually(
    async () => (await scene.mirror.auditText()).split('\n').filter((line) => line !== ''),
    (all) => all.length >= targets.length + 4,
  )
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    decision: 'denied',
    reason: 'network',
    route: 'file',
    repo: 'models/acme/open',
    path: 'config.json',
    status: 403,
    caller: { address: '10.0.0.1' },
  })
})

it('refused clients are counted', async () => {
  const { status, scene } = await behindProxy({ clientsDeny: ['10.0.0.0/8'] })
  expect(await status('10.0.0.1')).toBe(403)
  const text = await scene.mirror.metrics()
  expect(metricValue(text, 'hubmirror_access_decisions_total{result="denied"}')).toBe(1)
})
