// The address of a caller behind trusted proxies, and which networks are served.

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { networks, plainAddress, withoutZone } from '../policy/patterns.ts'

export interface ClientLists {
  /** Empty: all callers. */
  readonly allow: readonly string[]
  /** Wins over `allow`. */
  readonly deny: readonly string[]
}

/** Load balancers request these from any network, and they reveal nothing. */
const OPEN_ROUTES = new Set(['/healthz', '/readyz'])

/**
 * Returns a function that says whether a caller may request a route. `lists` is read at each use, since its content may
 * change, and compiled once per change. A value that is no address, as a proxy may forward, matches no network.
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
    // A closed socket has no address. An unknown address might be a denied one.
    if (address === undefined || isIP(address) === 0 || denied.has(address)) return false
    return allow.length === 0 || allowed.has(address)
  }
}

/** Stands for the address of a caller for whom a trusted proxy names none clearly (RFC 7239 section 6). */
export const UNKNOWN_ADDRESS = 'unknown'

/**
 * Returns the caller's address in its canonical spelling, or UNKNOWN_ADDRESS. Returns undefined when the socket has
 * closed.
 */
export type AddressReader = (request: Pick<IncomingMessage, 'headers' | 'socket'>) => string | undefined

/**
 * Returns a reader of the caller's address: that of the socket, unless it is a proxy of `trustProxy`. Then it is the
 * last entry of X-Forwarded-For that is no such proxy, or UNKNOWN_ADDRESS if an entry on the way there is not one plain
 * address. A trusted proxy that sends no such field is the caller itself.
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

/** The address at the other end of a connection; undefined when the connection has closed. */
export function peerAddress({ remoteAddress }: Pick<Socket, 'remoteAddress'>): string | undefined {
  if (remoteAddress === undefined || isIP(remoteAddress) === 4) return remoteAddress
  return plainAddress(withoutZone(remoteAddress)) ?? UNKNOWN_ADDRESS
}

/** The entries of X-Forwarded-For, the nearest proxy last; empty if there is no such field. */
export function forwardedFor(headers: IncomingHttpHeaders): string[] {
  const field = headers['x-forwarded-for']
  if (field === undefined) return []
  return (Array.isArray(field) ? field.join(',') : field).split(',').map((entry) => entry.trim())
}

/** The key by which requests of an address are counted: for IPv6 its /64, which is one customer. */
export function countingKey(address: string): string {
  if (isIP(address) !== 6) return address
  const [front = '', back] = address.split('::')
  const groups = front === '' ? [] : front.split(':')
  const behind = back === undefined || back === '' ? 0 : back.split(':').length
  const zeros = back === undefined ? 0 : 8 - groups.length - behind
  const all = [...groups, ...Array<string>(zeros).fill('0'), ...(back ?? '').split(':')]
  return `${all.slice(0, 4).join(':')}::/64`
}
