// What of a representation a GET or HEAD is answered with: preconditions first, then the range (RFC 9110 §13.2.2).
// Pure: it opens no body, and does not know where the representation comes from.

import { isNotModified, rangeStillValid } from './conditional.ts'
import { type ByteRange, parseRange } from './range.ts'

/** The request fields that select what is sent, as they came. Undefined: the field is absent. */
export interface Conditions {
  readonly range: string | undefined
  readonly ifRange: string | undefined
  readonly ifNoneMatch: string | undefined
}

/** The state of a representation that conditions are compared with. */
export interface Validators {
  /** Bare, or as it stands in an ETag field. */
  readonly etag: string
  readonly sizeBytes: number
}

export type Selection =
  /** 304, no body: the client has this representation. */
  | { readonly kind: 'not-modified' }
  /** 200, all of it; to a HEAD its header fields alone. */
  | { readonly kind: 'whole' }
  /** 206, these bytes. Never empty, and within the representation. */
  | { readonly kind: 'range'; readonly range: ByteRange }
  /** 416: the representation has none of these bytes. */
  | { readonly kind: 'unsatisfiable' }

/**
 * Selects what to send, in the order of RFC 9110 §13.2.2:
 *
 * 1. If-None-Match, by weak comparison.
 * 2. Range, if the method is GET and If-Range is absent or holds exactly our strong etag. Otherwise Range is ignored, as is
 *    one that cannot be understood, one of several ranges, and every Range of a HEAD (§14.2).
 *
 * If-Match and dates are not evaluated: no client sends them for files, and the mirror does not know when a file was modified.
 */
export function select(
  method: 'GET' | 'HEAD',
  { range, ifRange, ifNoneMatch }: Conditions,
  { etag, sizeBytes }: Validators,
): Selection {
  if (isNotModified({ ifNoneMatch, etag })) return { kind: 'not-modified' }
  if (method === 'HEAD' || !rangeStillValid(ifRange, etag)) return { kind: 'whole' }
  return parseRange(range, sizeBytes)
}
