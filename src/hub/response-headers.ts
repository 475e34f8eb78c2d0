// Which header fields of the origin a client may see when an answer is passed on. This is an allow list: a field that
// is not named here is dropped.

import { connectionNames, type HeaderBag, HOP_BY_HOP, isHeaderSafe } from '../http/headers.ts'
import { isRetryAfter } from '../http/retry-after.ts'

// Left out on purpose: Set-Cookie (`token=;` would log out or be replayed), RateLimit* (the mirror's own quota),
// X-HF-Warning (about the mirror's own call), X-Xet-* (clients would leave plain HTTP), Cache-Control, Vary and
// Strict-Transport-Security (ours to say), Content-Encoding (the mirror asks for none), Link and Location (they
// point elsewhere until rewritten, see rewrite.ts).
const PASSABLE = new Set([
  'content-type',
  'content-length',
  'content-range',
  'content-disposition',
  'accept-ranges',
  'etag',
  'last-modified',
  'date',
  'x-repo-commit',
  'x-linked-etag',
  'x-linked-size',
  'x-error-code',
  'x-error-message',
  'x-request-id',
  'x-total-count',
  'x-revision',
  'retry-after',
  'allow',
  'www-authenticate',
  'lfs-authenticate',
  'access-control-allow-origin',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-expose-headers',
  'access-control-max-age',
])

/**
 * The headers that may be passed on: those of the list above and of `extra` (lower case), but nothing that is
 * hop-by-hop or named in Connection, no value Node would refuse to write, and no time to wait that clients
 * cannot read. Link and Location are never among them unless named in `extra`: set them from `rewriteLink` and
 * `rewriteLocation`. Content-Length is right only if the body is passed on unchanged.
 */
export function passableHeaders(
  headers: HeaderBag,
  extra: readonly string[] = [],
): Record<string, string | string[]> {
  const named = connectionNames(headers)
  const kept: [string, string | string[]][] = []
  for (const name of [...PASSABLE, ...extra]) {
    if (HOP_BY_HOP.has(name) || named.has(name) || !Object.hasOwn(headers, name)) continue
    const value = headers[name]
    const isGood = name === 'retry-after' ? isRetryAfter : isHeaderSafe
    if (Array.isArray(value)) {
      const safe = value.filter(isGood)
      if (safe.length > 0) kept.push([name, safe])
    } else if (value !== undefined && isGood(value)) {
      kept.push([name, value])
    }
  }
  return Object.fromEntries(kept)
}
