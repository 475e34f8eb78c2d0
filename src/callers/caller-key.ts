// Callers as they are told from each other where they share something.

import { isIPv4, isIPv6 } from 'node:net'
import type { Caller } from './caller.ts'

/**
 * The name of a caller where shares are counted: the mirror token, or the address (of IPv6 the /64, which is one
 * customer). Not the Hub token: nobody here knows whether one is good, and whoever makes them up would be a new caller
 * with each. It holds no credential.
 */
export function callerKey(caller: Caller): string {
  return caller.kind === 'mirror-token' ? `token ${caller.name}` : networkOf(caller.address)
}

function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined && isIPv4(mapped)) return mapped
  const [bare = ''] = address.split('%')
  if (!isIPv6(bare)) return address
  // In the one spelling of RFC 5952; the first half may hold the gap.
  const [head = '', tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const gap = Array.from({ length: 8 - first.length - last.length }, () => '0')
  return `${[...first, ...gap, ...last].slice(0, 4).join(':')}::/64`
}
