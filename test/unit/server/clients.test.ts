// Whose a request is, past the proxies that are trusted, and by what its caller is counted.

import { describe, expect, it } from 'vitest'
import { addressReader, countingKey, UNKNOWN_ADDRESS } from '../../../src/server/clients.ts'

const TRUSTED = ['127.0.0.1', '10.0.0.0/8', '2001:db8:1::/48']

function read(remoteAddress: string | undefined, field?: string, trustProxy: readonly string[] = TRUSTED) {
  const socket = { remoteAddress } as Parameters<ReturnType<typeof addressReader>>[0]['socket']
  const headers = field === undefined ? {} : { 'x-forwarded-for': field }
  return addressReader(trustProxy)({ headers, socket })
}

describe('the address of a caller', () => {
  it.each([
    // [socket, field, address]
    ['192.0.2.1', undefined, '192.0.2.1'],
    ['192.0.2.1', '198.51.100.1', '192.0.2.1'],
    ['127.0.0.1', undefined, '127.0.0.1'],
    ['127.0.0.1', '198.51.100.1', '198.51.100.1'],
    ['::ffff:127.0.0.1', '198.51.100.1', '198.51.100.1'],
    ['127.0.0.1', '203.0.113.9, 198.51.100.1', '198.51.100.1'],
    ['127.0.0.1', '203.0.113.9, 198.51.100.1, 10.0.0.7', '198.51.100.1'],
    ['127.0.0.1', '203.0.113.9,198.51.100.1 ,\t10.0.0.7,10.0.0.8', '198.51.100.1'],
    // Trusted proxies only: the farthest.
    ['127.0.0.1', '10.0.0.7', '10.0.0.7'],
    ['127.0.0.1', '10.0.0.9, 10.0.0.7', '10.0.0.9'],
    // What is not reached is not read.
    ['127.0.0.1', 'nonsense, 198.51.100.1', '198.51.100.1'],
    ['127.0.0.1', ', 198.51.100.1', '198.51.100.1'],
    // One spelling.
    ['::ffff:192.0.2.1', undefined, '192.0.2.1'],
    ['::ffff:c000:201', undefined, '192.0.2.1'],
    ['127.0.0.1', '::ffff:192.0.2.1', '192.0.2.1'],
    ['127.0.0.1', '::FFFF:C000:201', '192.0.2.1'],
    ['127.0.0.1', '2001:DB8:0:0::1', '2001:db8::1'],
    ['2001:db8:1::9', '2001:db8::1', '2001:db8::1'],
    // A zone is the system's word for an interface of its own.
    ['fe80::1%eth0', undefined, 'fe80::1'],
  ])('of %s that says %s is %s', (remote, field, address) => {
    expect(read(remote, field)).toBe(address)
  })

  it.each([
    '',
    ' ',
    ',',
    '198.51.100.1,',
    '198.51.100.1, , 10.0.0.7',
    'unknown',
    '198.51.100.1, unknown',
    '198.51.100.1:80',
    '[2001:db8::1]',
    '[2001:db8::1]:80',
    '"198.51.100.1"',
    'for=198.51.100.1',
    '198.51.100.1;by=x',
    '198.51.100.1 203.0.113.1',
    '198.51.100',
    '198.51.100.1/32',
    '0198.51.100.1',
    '198.51.100.01',
    '0xc6336401',
    '3325256705',
    '198.51.100.1%eth0',
    'fe80::1%eth0',
    '2001:db8::1%1',
    '::ffff:198.51.100.1%1',
    '0.0.0.0',
    '0.1.2.3',
    '255.255.255.255',
    '224.0.0.1',
    '::',
    '::ffff:0.0.0.0',
    'ff02::1',
    'localhost',
    '_hidden',
    '１９８.51.100.1',
    '\u0000198.51.100.1',
  ])('is unknown if a trusted proxy forwards "%s"', (field) => {
    expect(read('127.0.0.1', field)).toBe(UNKNOWN_ADDRESS)
    expect(read('192.0.2.1', field)).toBe('192.0.2.1')
    expect(read('127.0.0.1', field, [])).toBe('127.0.0.1')
  })

  it('is undefined when the socket has closed', () => {
    expect(read(undefined, '198.51.100.1')).toBeUndefined()
  })
})

describe('callers are counted', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    [UNKNOWN_ADDRESS, UNKNOWN_ADDRESS],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['2001:db8::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1', 'fe80:0:0:0::/64'],
    ['2001::4:5:6:7', '2001:0:0:0::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
    ['::2:3:4:5:6:7:8', '0:2:3:4::/64'],
  ])('%s by %s', (address, key) => {
    expect(countingKey(address)).toBe(key)
  })
})
