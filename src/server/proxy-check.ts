// Warns when a trusted proxy seems not to name its callers, once per sign, with the remedy. Rules for networks do not
// depend on this; clients.ts decides by itself.

import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { Logger } from 'pino'
import { networks, plainAddress } from '../policy/patterns.ts'
import { forwardedFor, peerAddress } from './clients.ts'

const CURE =
  'Let the proxy overwrite X-Forwarded-For with the address of its client: docs/deploy.md, "Behind a proxy"'

const SIGNS = {
  absent:
    'a trusted proxy sent no X-Forwarded-For: all its clients count as the proxy itself, and a client that sends the field can choose its address',
  unclear:
    'a trusted proxy sent an X-Forwarded-For whose last entry is not a plain address: rules by network cannot match such clients, and they share one rate limit',
  differs:
    'a trusted proxy sent an X-Real-IP that is not in X-Forwarded-For: the client may have chosen the address that rules by network use',
} as const
type Sign = keyof typeof SIGNS

/** Load balancers and Prometheus request these themselves, not for a caller. */
const OWN_QUESTIONS = new Set(['/healthz', '/readyz', '/metrics'])

/**
 * Returns a function that examines requests and warns once of each sign; it never throws. Returns undefined if no proxy
 * is trusted, since then the fields are ignored.
 */
export function createProxyCheck(
  trustProxy: readonly string[],
  logger: Pick<Logger, 'warn'>,
): ((request: Pick<IncomingMessage, 'headers' | 'socket'>, route: string | undefined) => void) | undefined {
  if (trustProxy.length === 0) return undefined
  const trusted = networks(trustProxy)
  const reported = new Set<Sign>()
  return (request, route) => {
    if (reported.size === Object.keys(SIGNS).length || OWN_QUESTIONS.has(route ?? '')) return
    const proxy = peerAddress(request.socket)
    if (proxy === undefined || !trusted.has(proxy)) return
    const sign = signIn(request)
    if (sign === undefined || reported.has(sign)) return
    reported.add(sign)
    logger.warn({ proxy, setting: 'HUBMIRROR_TRUST_PROXY', cure: CURE }, SIGNS[sign])
  }
}

function signIn({ headers }: Pick<IncomingMessage, 'headers'>): Sign | undefined {
  const entries = forwardedFor(headers)
  if (entries.length === 0) return 'absent'
  if (plainAddress(entries.at(-1) ?? '') === undefined) return 'unclear'
  const { 'x-real-ip': real } = headers
  if (typeof real !== 'string' || isIP(real) === 0) return undefined
  const address = plainAddress(real)
  return entries.some((entry) => plainAddress(entry) === address) ? undefined : 'differs'
}
