// What is said of several runs of the same: the middle, and how far they lie apart. Pure.

/** The middle value; of an even number the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  if (sorted.length % 2 === 1) return upper
  return (upper + (sorted[sorted.length / 2 - 1] ?? Number.NaN)) / 2
}

/** Smallest and largest. NaN of none. */
export function spread(values: readonly number[]): readonly [number, number] {
  const sorted = ascending(values)
  return [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN]
}

/** The smallest value that at least `share` (0 to 1) of all do not exceed. NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = ascending(values)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] ?? Number.NaN
}

function ascending(values: readonly number[]): readonly number[] {
  return [...values].sort((left, right) => left - right)
}
