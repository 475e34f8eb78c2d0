// Range, Content-Range and the half-open interval used everywhere inside (RFC 9110 §14).
// It does not know whose bytes they are; the inclusive ends of the wire stop here.

/** Bytes from `start` up to, not including, `end`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** What to answer: 200 with everything, 206 with the range, or 416. */
export type RangeRequest =
  | { readonly kind: 'whole' }
  | { readonly kind: 'range'; readonly range: ByteRange }
  | { readonly kind: 'unsatisfiable' }

const WHOLE: RangeRequest = { kind: 'whole' }
const UNSATISFIABLE: RangeRequest = { kind: 'unsatisfiable' }

/**
 * What a Range header asks of a body of this size. Anything not understood is ignored, as RFC 9110 §14.2 wants:
 * an unknown unit, a malformed range, and several ranges, which no client sends for files. A last position past
 * the end is clamped: hf_transfer and HfFileSystem rely on it. A returned range is never empty and lies in
 * [0, sizeBytes). Of an empty body a suffix is the whole, any other range unsatisfiable (§14.1.2).
 */
export function parseRange(header: string | undefined, sizeBytes: number): RangeRequest {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? '')
  if (match === null) return WHOLE
  const [, first = '', last = ''] = match
  if (first === '') return last === '' ? WHOLE : suffix(last, sizeBytes)
  // BigInt, because a position of twenty digits must neither lose its order nor become a number that overflows.
  const start = BigInt(first)
  if (last !== '' && BigInt(last) < start) return WHOLE
  if (start >= BigInt(sizeBytes)) return UNSATISFIABLE
  const end = last === '' ? sizeBytes : smaller(BigInt(last) + 1n, sizeBytes)
  return { kind: 'range', range: { start: Number(start), end } }
}

function suffix(digits: string, sizeBytes: number): RangeRequest {
  const length = smaller(BigInt(digits), Number.MAX_SAFE_INTEGER)
  if (length === 0) return UNSATISFIABLE
  if (sizeBytes === 0) return WHOLE
  return { kind: 'range', range: { start: Math.max(0, sizeBytes - length), end: sizeBytes } }
}

function smaller(big: bigint, limit: number): number {
  return big > BigInt(limit) ? limit : Number(big)
}

/** The Content-Range of a 206. */
export function formatContentRange(range: ByteRange, sizeBytes: number): string {
  return `bytes ${range.start}-${range.end - 1}/${sizeBytes}`
}

/** The Content-Range that a 416 must carry, so that a client can learn the size. */
export function formatUnsatisfied(sizeBytes: number): string {
  return `bytes */${sizeBytes}`
}

/** The Range header that asks for exactly these bytes. */
export function formatRange(range: ByteRange): string {
  return `bytes=${range.start}-${range.end - 1}`
}

/**
 * Reads the Content-Range of a 206. Strict, because a wrong one writes bytes to the wrong place: the ends must be
 * in order and inside the size, all safe integers. `sizeBytes` is `undefined` for `*`.
 */
export function parseContentRange(
  text: string | undefined,
): { readonly range: ByteRange; readonly sizeBytes: number | undefined } | undefined {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(text ?? '')
  if (match === null) return undefined
  const start = Number(match[1])
  const end = Number(match[2]) + 1
  const sizeBytes = match[3] === '*' ? undefined : Number(match[3])
  if (!Number.isSafeInteger(end) || start >= end) return undefined
  if (sizeBytes !== undefined && (!Number.isSafeInteger(sizeBytes) || end > sizeBytes)) return undefined
  return { range: { start, end }, sizeBytes }
}
