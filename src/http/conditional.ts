// If-None-Match and If-Range (RFC 9110 §13). It does not know where a validator comes from.

/**
 * Whether a conditional GET or HEAD is answered with 304: weak comparison (RFC 9110 §8.8.3.2), lists and `*`
 * understood. `etag` may be bare or written as in a header. Bare tags in the header are accepted, because clients
 * keep the Hub's etags without their quotes and some send them back so.
 */
export function isNotModified(condition: {
  readonly ifNoneMatch: string | undefined
  readonly etag: string
}): boolean {
  const { ifNoneMatch, etag } = condition
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  const current = opaqueTag(etag)
  for (const [tag] of ifNoneMatch.matchAll(/(?:W\/)?"[^"]*"|[^\s,"]+/g)) {
    if (opaqueTag(tag) === current) return true
  }
  return false
}

/**
 * Whether a Range may be answered by that range: without If-Range always, else only if it holds exactly our
 * strong etag (RFC 9110 §13.1.5). A date is never enough: the mirror does not know when a file was modified.
 */
export function rangeStillValid(ifRange: string | undefined, etag: string): boolean {
  if (ifRange === undefined) return true
  return !isWeak(etag) && ifRange.trim() === `"${opaqueTag(etag)}"`
}

function isWeak(etag: string): boolean {
  return etag.startsWith('W/"')
}

function opaqueTag(etag: string): string {
  return etag.replace(/^W\/(?=")/, '').replace(/^"(.*)"$/, '$1')
}
