// What a mirror does for a caller of whom a trusted proxy gives no clear address.

import { describe, expect, it } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { COMPANY_TOKEN, credentials, OPEN, openCompany, SECRET } from './company-world.ts'
import { eventually } from './eventually.ts'

/** One or two of each kind. */
export const UNCLEAR = ['unknown', '', '10.1.2.3:443', '[10.1.2.3]', 'nonsense']

/** More of the same kinds, and addresses that are no caller's. */
export const FURTHER_UNCLEAR = [
  '10.1.2.3,',
  '"10.1.2.3"',
  '10.1.2.3%eth0',
  '::ffff:10.1.2.3%1',
  'fe80::1%eth0',
  '[2001:db8::1]:80',
  '0.0.0.0',
  '::',
  '255.255.255.255',
]
const ALL = '[0.0.0.0/0, "::/0"]'

/** A mirror with these rules behind a trusted proxy; `from` asks as a caller with such an address. */
export async function behind(rules: string, config: Partial<Config> = {}) {
  const opened = await openCompany({ rules, config: { trustProxy: ['127.0.0.1'], ...config } })
  const { scene } = opened
  const from = (address: string, target: string, token?: string) =>
    scene.ask(target, { token, headers: { 'x-forwarded-for': address } })
  return { ...opened, from }
}

/** Declares the tests of a caller with each of these addresses. */
export function describeUnclear(addresses: readonly string[]): void {
  describe.each(addresses)('a caller whose address a trusted proxy gives as "%s"', (address) => {
    it('gets no Hub token, whatever the network of the rule, and a caller with a clear address does', async () => {
      const rules = `- {action: use-token, token: team, match: {repo: acme/*, caller: {network: ${ALL}}}}`
      const { scene, from } = await behind(rules)
      expect((await from(address, SECRET)).status).toBe(401)
      expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN}`)).toBe(false)
      expect((await from('10.1.2.3', SECRET)).status).toBe(200)
    })

    it('is allowed by no rule about networks', async () => {
      const rules = `- {action: allow, match: {caller: {network: ${ALL}}}}\n- {name: last, action: deny}`
      const { from } = await behind(rules)
      const refused = await from(address, OPEN)
      expect([refused.status, refused.headers['x-error-message']]).toEqual([
        403,
        expect.stringContaining('policy last'),
      ])
      expect((await from('10.1.2.3', OPEN)).status).toBe(200)
    })

    it('is denied by every rule about networks, with the reason', async () => {
      const { scene, from } = await behind(
        '- {name: guests, action: deny, match: {caller: {network: 192.0.2.0/24}}}',
      )
      const refused = await from(address, OPEN)
      expect([refused.status, refused.headers['x-error-message']]).toEqual([
        403,
        expect.stringMatching(/cannot determine the network .*policy guests/),
      ])
      expect(scene.hub.ledger.requests()).toEqual([])
      expect((await from('10.1.2.3', OPEN)).status).toBe(200)
    })

    it('leaves nothing on the disk if the rule of some network forbids that', async () => {
      const { scene, from } = await behind('- {action: no-store, match: {caller: {network: 192.0.2.0/24}}}')
      for (let round = 0; round < 2; round += 1) {
        const got = await from(address, OPEN)
        expect([got.status, got.headers['x-cache']]).toEqual([200, 'BYPASS'])
      }
      await from('10.1.2.3', OPEN)
      await scene.settled()
      expect((await from('10.1.2.3', OPEN)).headers['x-cache']).toMatch(/^(?:HIT|REVALIDATED)$/)
    })

    it('is not served if networks are listed, and is unknown in the audit log', async () => {
      for (const lists of [{ clientsAllow: ['0.0.0.0/0', '::/0'] }, { clientsDeny: ['192.0.2.1'] }]) {
        const { scene, from } = await behind('', lists)
        expect((await from(address, OPEN)).status).toBe(403)
        const audit = await eventually(
          () => scene.mirror.auditText(),
          (text) => text.includes('\n'),
        )
        expect(JSON.parse(audit.split('\n')[0] ?? '')).toMatchObject({
          decision: 'denied',
          reason: 'network',
          caller: { address: 'unknown' },
        })
      }
    })
  })
}
