// Statistics over several runs of the same work: the median and the spread. Pure.

/** The median. NaN for an empty list. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  if (sorted.length % 2 === 1) return upper
  return (upper + (sorted[sorted.length / 2 - 1] ?? Number.NaN)) / 2
}

/** Smallest and largest value. NaN for an empty list. */
export function spread(values: readonly number[]): readonly [number, number] {
  const sorted = ascending(values)
  return [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN]
}

/** The percentile: the smallest value that at least `share` (0 to 1) of all values don't exceed. NaN for an empty list. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = ascending(values)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] ?? Number.NaN
}

function ascending(values: readonly number[]): readonly number[] {
  return [...values].sort((left, right) => left - right)
}
