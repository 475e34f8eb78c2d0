// If-None-Match, If-Range and ETag (RFC 9110 §8.8.3, §13). It does not know what a validator stands for.

import { createHash } from 'node:crypto'
import { type HeaderBag, headerValue } from './headers.ts'

/** Longer ones are no digests, versions or counters. They would only take space in a store. */
const MAX_ETAG_CHARS = 200
/** 162 bits of a digest. */
const TAG_CHARS = 27

/** A weak validator for what these parts determine together, such as bytes and their type. */
export function weakEtag(parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256')
  // The lengths tell where one part ends.
  for (const part of parts) hash.update(`${Buffer.byteLength(part)} `).update(part)
  return `W/"${hash.digest('base64url').slice(0, TAG_CHARS)}"`
}

/** The ETag of a response, to be sent back in If-None-Match. Undefined if there is none, or what is there is none. */
export function etagOf(headers: HeaderBag): string | undefined {
  const etag = headerValue(headers, 'etag')
  const isEtag = etag !== undefined && etag.length <= MAX_ETAG_CHARS && /^(?:W\/)?"[!#-~]*"$/.test(etag)
  return isEtag ? etag : undefined
}

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
