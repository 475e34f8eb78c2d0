// Which address a caller has, past the proxies that may say so, and which callers are served at all by the network they
// come from.

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { networks, plainAddress, withoutZone } from '../policy/patterns.ts'

export interface ClientLists {
  /** Empty is everybody. */
  readonly allow: readonly string[]
  /** Wins over `allow`. */
  readonly deny: readonly string[]
}

/** Load balancers ask these from wherever they are, and there is nothing to be had. */
const OPEN_ROUTES = new Set(['/healthz', '/readyz'])

/**
 * Whether a caller may ask for a route. `lists` may give others later: they are read at each use, and compiled once. What is no address, as a proxy
 * may forward, is nobody's.
 */
export function clientGate(
  lists: ClientLists,
): (address: string | undefined, route: string | undefined) => boolean {
  let { allow, deny } = lists
  let gate = compiledGate({ allow, deny })
  return (address, route) => {
    if (lists.allow !== allow || lists.deny !== deny) {
      ;({ allow, deny } = lists)
      gate = compiledGate({ allow, deny })
    }
    return gate === undefined || gate(address, route)
  }
}

function compiledGate({
  allow,
  deny,
}: ClientLists): ((address: string | undefined, route: string | undefined) => boolean) | undefined {
  if (allow.length === 0 && deny.length === 0) return undefined
  const denied = networks(deny)
  const allowed = networks(allow)
  return (address, route) => {
    if (route !== undefined && OPEN_ROUTES.has(route)) return true
    // A socket that is gone has none, and what is unknown may be denied.
    if (address === undefined || isIP(address) === 0 || denied.has(address)) return false
    return allow.length === 0 || allowed.has(address)
  }
}

/** Stands for the address of a caller of whom a trusted proxy does not clearly say one (RFC 7239 section 6). */
export const UNKNOWN_ADDRESS = 'unknown'

/** Whose request it is: an address in its one spelling, or UNKNOWN_ADDRESS. Undefined when the socket has gone. */
export type AddressReader = (request: Pick<IncomingMessage, 'headers' | 'socket'>) => string | undefined

/**
 * Reads whose request it is: the socket's, unless that is a proxy of `trustProxy`. Then it is the last entry of
 * X-Forwarded-For that is no such proxy, and nobody's where an entry that has to be believed is not one plain address.
 * A trusted proxy that sends no such field asks for itself.
 */
export function addressReader(trustProxy: readonly string[]): AddressReader {
  const trusted = networks(trustProxy)
  return ({ headers, socket }) => {
    const peer = peerAddress(socket)
    if (peer === undefined || trustProxy.length === 0) return peer
    const entries = forwardedFor(headers)
    let address = peer
    while (entries.length > 0 && trusted.has(address)) {
      const named = plainAddress(entries.pop() ?? '')
      if (named === undefined) return UNKNOWN_ADDRESS
      address = named
    }
    return address
  }
}

/** The address at the other end of a connection; undefined when it has gone. */
export function peerAddress({ remoteAddress }: Pick<Socket, 'remoteAddress'>): string | undefined {
  if (remoteAddress === undefined || isIP(remoteAddress) === 4) return remoteAddress
  return plainAddress(withoutZone(remoteAddress)) ?? UNKNOWN_ADDRESS
}

/** The entries of X-Forwarded-For, the nearest last; empty where there is no such field. */
export function forwardedFor(headers: IncomingHttpHeaders): string[] {
  const field = headers['x-forwarded-for']
  if (field === undefined) return []
  return (Array.isArray(field) ? field.join(',') : field).split(',').map((entry) => entry.trim())
}

/** By what requests of one address are counted: of IPv6 the /64, which is one customer. */
export function countingKey(address: string): string {
  if (isIP(address) !== 6) return address
  const [front = '', back] = address.split('::')
  const groups = front === '' ? [] : front.split(':')
  const behind = back === undefined || back === '' ? 0 : back.split(':').length
  const zeros = back === undefined ? 0 : 8 - groups.length - behind
  const all = [...groups, ...Array<string>(zeros).fill('0'), ...(back ?? '').split(':')]
  return `${all.slice(0, 4).join(':')}::/64`
}
