// Where a redirect may lead, and whether the credential goes along. Pure. No other file decides either.

import { MirrorError } from '../errors.ts'

export interface RedirectPolicy {
  /** The configured origin; the only place a credential may go. */
  readonly base: URL
  /** Names, addresses or `*.suffix`, any port. */
  readonly allowedHosts: readonly string[]
}

/** The message of redirect_refused for a request with a body, which no setting lets the mirror send to another host. */
export const BODY_REDIRECT =
  'The Hub or its storage redirected a request with a body to another address. This mirror does not follow that: send it to the Hub directly (unset HF_ENDPOINT), or contact the operator.'

/** More hops than any honest Hub needs: renamed, resolve-cache and CDN, with some to spare. */
export const MAX_HOPS = 5

/** Whether a token may be sent to `url`: scheme, host and port must be the origin's own. */
export function mayCarryCredential(policy: RedirectPolicy, url: URL): boolean {
  return url.origin === policy.base.origin
}

/**
 * Where `location` leads from `from`. Throws redirect_refused for a host that is not allowed, for user-info in the
 * address, for a scheme that is not http(s), and for a step down from https to http.
 */
export function redirectTarget(policy: RedirectPolicy, from: URL, location: string): URL {
  let url: URL
  try {
    url = new URL(location, from)
  } catch (error) {
    throw new MirrorError('origin_bad_answer', { cause: error, detail: { reason: 'unreadable Location' } })
  }
  const detail = { host: url.host.slice(0, 255) }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new MirrorError('redirect_refused', { detail })
  if (url.username !== '' || url.password !== '') throw new MirrorError('redirect_refused', { detail })
  if (url.origin === policy.base.origin) return url
  // A plain-text hop behind a TLS origin would show the bytes, and the signed query, to the network.
  if (policy.base.protocol === 'https:' && url.protocol === 'http:') {
    throw new MirrorError('redirect_refused', { detail })
  }
  if (!isAllowedHost(policy.allowedHosts, url.hostname)) throw new MirrorError('redirect_refused', { detail })
  return url
}

/** `*.hf.co` matches `a.hf.co` and `a.b.hf.co`, not `hf.co` and not `evilhf.co`; other patterns match exactly. */
export function isAllowedHost(patterns: readonly string[], hostname: string): boolean {
  const name = hostname.toLowerCase().replace(/\.$/, '')
  return patterns.some((entry) => {
    const pattern = entry.toLowerCase()
    if (pattern.startsWith('*.')) return name.length > pattern.length - 1 && name.endsWith(pattern.slice(1))
    // URL spells IPv6 addresses with brackets; operators may write either.
    return name === pattern || name === `[${pattern}]`
  })
}
