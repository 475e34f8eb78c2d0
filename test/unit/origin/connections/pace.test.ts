// Who is too slow: by time and bytes alone.

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { CONTENDED_FLOOR, DEFAULT_FLOOR, type Floor, Pace } from '../../../../src/origin/connections/pace.ts'

const FLOOR: Floor = { bytesPerSecond: 1000, graceMs: 10_000 }

/** How long a peer lasts that sends so many bytes each so many milliseconds, up to an hour. */
function lasts(bytes: number, eachMs: number, floor: Floor): number {
  const pace = new Pace()
  for (let ms = 0; ms < 3_600_000; ms += eachMs) {
    if (pace.creditMs(floor) <= eachMs) return ms + pace.creditMs(floor)
    pace.record(eachMs, bytes, floor)
  }
  return Number.POSITIVE_INFINITY
}

it.each([
  ['nothing at all', 0, 1_000, 10_000],
  ['a byte now and then', 1, 9_000, 10_001],
  ['a burst that earns no more than the grace', 1_000_000_000, 9_000, Number.POSITIVE_INFINITY],
  ['bursts that are too far apart', 1_000_000_000, 10_000, 10_000],
  ['half of the floor', 500, 1_000, 19_000],
  ['the floor', 1_000, 1_000, Number.POSITIVE_INFINITY],
])('a transfer of %s is ended at the right time', (_, bytes, eachMs, expected) => {
  expect(Math.round(lasts(bytes, eachMs, FLOOR))).toBe(expected)
})

it('a transfer that moves some MiB each 45 s is ended while others wait, and not otherwise', () => {
  const step = 4 * 1024 * 1024
  expect(lasts(step, 45_000, CONTENDED_FLOOR)).toBe(15_000)
  expect(lasts(step, 45_000, DEFAULT_FLOOR)).toBe(Number.POSITIVE_INFINITY)
})

it('a transfer above the floor is never ended, and one below it always is', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5_000 }),
      fc.double({ min: 0, max: 2, noNaN: true }),
      (eachMs, times) => {
        const bytes = (times * FLOOR.bytesPerSecond * eachMs) / 1000
        // Rounding may take what the floor gives exactly.
        fc.pre(Math.abs(times - 1) > 0.01)
        const ms = lasts(bytes, eachMs, FLOOR)
        expect(Number.isFinite(ms)).toBe(times < 1)
      },
    ),
  )
})

it('a transfer has less credit as soon as less is allowed', () => {
  const pace = new Pace()
  pace.record(0, 1_000_000, DEFAULT_FLOOR)
  pace.record(20_000, 0, DEFAULT_FLOOR)
  expect(pace.creditMs(DEFAULT_FLOOR)).toBe(100_000)
  expect(pace.creditMs(CONTENDED_FLOOR)).toBe(15_000)
})
