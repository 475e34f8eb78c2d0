import { expect, it } from 'vitest'
import { callerKey } from '../../../src/callers/caller-key.ts'

const of = (address: string) => callerKey({ kind: 'anonymous', address })

it.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:DB8:0:0:ffff::1', '2001:db8:0:0::/64'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['1:2:3::', '1:2:3:0::/64'],
  ['unknown', 'unknown'],
  ['', ''],
])('the key of %s is %s', (address, key) => {
  expect(of(address)).toBe(key)
})

it('the key is the name of a mirror token, whatever its address, and differs from every key of an address', () => {
  const token = { kind: 'mirror-token', name: 'ci', createdAt: 0 } as const
  expect(callerKey({ ...token, address: '192.0.2.7' })).toBe(callerKey({ ...token, address: '192.0.2.8' }))
  expect(callerKey({ ...token, address: '192.0.2.7' })).toBe('token ci')
})

it('the key does not depend on the Hub token', () => {
  expect(callerKey({ kind: 'hub-token', address: '192.0.2.7' })).toBe(of('192.0.2.7'))
})
