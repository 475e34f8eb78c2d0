// Turns an outcome into the values of Cache-Status (RFC 9211) and X-Cache. It does not know how an outcome comes about.

import type { Outcome } from '../telemetry/observer.ts'

/** What may be said besides the outcome. All of it is optional. */
export interface CacheStatusDetail {
  /** Status of the origin's answer, where it was asked. */
  readonly fwdStatus?: number
  /** Remaining freshness; negative for what is served stale. */
  readonly ttlSeconds?: number
  /** Whether the answer is being stored, if not what the outcome implies. */
  readonly stored?: boolean
  /** One or two words for debugging. They must name no repo and no path. */
  readonly detail?: string
}

interface Words {
  readonly xCache: string
  /** `hit`, or why the origin was asked: the two exclude each other (RFC 9211 §2.2). */
  readonly status: string
  readonly stored: boolean
  readonly collapsed: boolean
  readonly detail?: string
}

const WORDS = {
  hit: { xCache: 'HIT', status: 'hit', stored: false, collapsed: false },
  revalidated: { xCache: 'REVALIDATED', status: 'fwd=stale', stored: false, collapsed: false },
  stale: { xCache: 'STALE', status: 'hit', stored: false, collapsed: false, detail: 'origin-away' },
  miss: { xCache: 'MISS', status: 'fwd=uri-miss', stored: true, collapsed: false },
  'partial-hit': { xCache: 'PARTIAL', status: 'fwd=partial', stored: true, collapsed: false },
  coalesced: { xCache: 'COALESCED', status: 'fwd=uri-miss', stored: false, collapsed: true },
  bypass: { xCache: 'BYPASS', status: 'fwd=bypass', stored: false, collapsed: false },
  refused: { xCache: 'REFUSED', status: 'fwd=uri-miss', stored: false, collapsed: false },
  // Neither the mirror's failures nor its own pages say anything about a cache.
  error: undefined,
  own: undefined,
} as const satisfies Record<Outcome, Words | undefined>

/** The Cache-Status value; `undefined` where the header is not sent. Always header-safe. */
export function cacheStatus(outcome: Outcome, detail: CacheStatusDetail = {}): string | undefined {
  const words: Words | undefined = WORDS[outcome]
  if (words === undefined) return undefined
  // The Hub was not asked, which `fwd` would say.
  if (outcome === 'refused' && detail.fwdStatus === undefined) return 'hubmirror; detail="refused-here"'
  const text = detail.detail ?? words.detail
  // Params of a forwarded request have no meaning on a hit (RFC 9211 §2.3).
  const isForwarded = words.status !== 'hit'
  const params = ['hubmirror', words.status]
  if (isForwarded && detail.fwdStatus !== undefined) params.push(`fwd-status=${Math.trunc(detail.fwdStatus)}`)
  if (detail.ttlSeconds !== undefined) params.push(`ttl=${Math.trunc(detail.ttlSeconds)}`)
  if (isForwarded && (detail.stored ?? words.stored)) params.push('stored')
  if (isForwarded && words.collapsed) params.push('collapsed')
  if (text !== undefined) params.push(`detail="${structuredString(text)}"`)
  return params.join('; ')
}

/** The inside of a structured-field string: printable ASCII, quotes and backslashes escaped (RFC 8941 §3.3.3). */
function structuredString(text: string): string {
  return text
    .slice(0, 200)
    .replace(/[^\x20-\x7e]/g, '?')
    .replace(/["\\]/g, '\\$&')
}

/** The X-Cache word; `undefined` where the header is not sent. */
export function xCache(outcome: Outcome): string | undefined {
  return WORDS[outcome]?.xCache
}
