import { describe, expect, it } from 'vitest'
import { freshness } from '../../../src/http/freshness.ts'

describe('freshness', () => {
  it.each([
    [1000, 1000, 10, 'fresh'],
    [1000, 1009, 10, 'fresh'],
    [1000, 1010, 10, 'stale'],
    [1000, 1000, 0, 'stale'],
    [0, 1_700_000_000_000, Number.POSITIVE_INFINITY, 'fresh'],
    [0, 1_700_000_000_000, 10_000, 'stale'],
    [Number.NaN, 1000, 10, 'stale'],
  ] as const)(
    'of something stored at %d, now %d, trusted for %d ms: %s',
    (storedAt, now, ttlMs, expected) => {
      expect(freshness(storedAt, now, ttlMs)).toBe(expected)
    },
  )

  it('is not given to a time in the future, after the clock stepped back', () => {
    expect(freshness(2000, 1000, 10_000)).toBe('stale')
    expect(freshness(1001, 1000, Number.POSITIVE_INFINITY)).toBe('stale')
  })
})
