// Random numbers that can be repeated: a generator that starts from a printed number. It does not know what is drawn.

export interface Chance {
  readonly seed: number
  /** A number from 0 up to, not including, 1. */
  next(): number
  /** A whole number from `from` up to, not including, `end`. */
  below(end: number, from?: number): number
  /** One of the list, which has at least one. */
  oneOf<T>(list: readonly T[]): T
}

/** Starts from `HUBMIRROR_TEST_SEED` if that is set, otherwise with a new seed; prints the number that repeats the run. */
export function chance(what: string): Chance {
  const given = Number(process.env['HUBMIRROR_TEST_SEED'])
  const seed = Number.isSafeInteger(given) && given > 0 ? given : Math.ceil(Math.random() * 2 ** 31)
  console.info(`${what}: HUBMIRROR_TEST_SEED=${seed}`)
  // mulberry32
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (end: number, from = 0): number => from + Math.floor(next() * (end - from))
  return {
    seed,
    next,
    below,
    oneOf: <T>(list: readonly T[]): T => {
      const drawn = list[below(list.length)]
      if (drawn === undefined) throw new Error('nothing to draw from')
      return drawn
    },
  }
}
