// Parses the Range header of a request. It does not know which file is meant.

/** A part of a body, half-open. */
export interface Slice {
  readonly start: number
  readonly end: number
}

/** The range in a Range header; undefined, which means the whole file, if the header has no range or several. */
export function parseRange(
  header: string | undefined,
  sizeBytes: number,
): Slice | 'unsatisfiable' | undefined {
  // `bytes=0-99`, `bytes=5-`, `bytes=-7`; not `bytes=0-1,4-5`.
  const match = header === undefined ? null : /^bytes=(\d*)-(\d*)$/.exec(header)
  if (match === null) return undefined
  const [, first = '', last = ''] = match
  if (first === '') {
    if (last === '') return undefined
    const suffix = Number(last)
    if (suffix === 0 || sizeBytes === 0) return 'unsatisfiable'
    return { start: Math.max(0, sizeBytes - suffix), end: sizeBytes }
  }
  const start = Number(first)
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes)
  if (last !== '' && Number(last) < start) return undefined
  return start >= sizeBytes ? 'unsatisfiable' : { start, end }
}
