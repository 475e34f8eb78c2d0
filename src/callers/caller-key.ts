// The key by which callers are distinguished where they share something.

import { isIPv4, isIPv6 } from 'node:net'
import type { Caller } from './caller.ts'

/**
 * The key of a caller for shares and limits: its mirror token, or its address. For IPv6 the key is the /64, which belongs
 * to one customer. A Hub token is not used: the mirror cannot tell whether it is valid, and a client that invents tokens
 * would become a new caller with each. The key contains no credential.
 */
export function callerKey(caller: Caller): string {
  return caller.kind === 'mirror-token' ? `token ${caller.name}` : networkOf(caller.address)
}

function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined && isIPv4(mapped)) return mapped
  const [bare = ''] = address.split('%')
  if (!isIPv6(bare)) return address
  // The spelling of RFC 5952. The gap (`::`) may be in the first half.
  const [head = '', tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const gap = Array.from({ length: 8 - first.length - last.length }, () => '0')
  return `${[...first, ...gap, ...last].slice(0, 4).join(':')}::/64`
}
