// Which callers are served at all, by the network they come from. It reads no header: which address a caller has, and
// which proxy may say so, is decided before.

import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyAddress from '@fastify/proxy-addr'
import { networks } from '../policy/patterns.ts'

export interface ClientLists {
  /** Empty is everybody. */
  readonly allow: readonly string[]
  /** Wins over `allow`. */
  readonly deny: readonly string[]
}

/** Load balancers ask these from wherever they are, and there is nothing to be had. */
const OPEN_ROUTES = new Set(['/healthz', '/readyz'])

/**
 * Whether a caller may ask for a route, compiled once; undefined where everybody may. What is no address, as a proxy
 * may forward, is nobody's.
 */
export function clientGate({
  allow,
  deny,
}: ClientLists): ((address: string | undefined, route: string | undefined) => boolean) | undefined {
  if (allow.length === 0 && deny.length === 0) return undefined
  const denied = networks(deny)
  const allowed = networks(allow)
  return (address, route) => {
    if (route !== undefined && OPEN_ROUTES.has(route)) return true
    // A socket that is gone has none.
    if (address === undefined || isIP(address) === 0 || denied.has(address)) return false
    return allow.length === 0 || allowed.has(address)
  }
}

/** Whose request it is, by the proxies that may say so: the same that Fastify calls its ip. */
export function addressReader(
  trustProxy: readonly string[],
): (request: Pick<IncomingMessage, 'headers' | 'socket'>) => string | undefined {
  if (trustProxy.length === 0) return ({ socket }) => socket.remoteAddress
  const isTrusted = proxyAddress.compile([...trustProxy])
  return (request) => proxyAddress(request as IncomingMessage, isTrusted)
}
