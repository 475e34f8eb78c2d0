import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { isRetryableStatus, retryDelayMs } from '../../../../src/origin/failures/retry.ts'

it.each([408, 500, 502, 503, 504])('a request is repeated after %d', (status) => {
  expect(isRetryableStatus(status)).toBe(true)
})

it.each([200, 206, 304, 400, 401, 403, 404, 416, 425, 429, 501, 505])(
  'a request is not repeated after %d',
  (status) => {
    expect(isRetryableStatus(status)).toBe(false)
  },
)

it.each([
  [1, 250],
  [2, 500],
  [3, 1000],
  [5, 4000],
  [50, 4000],
])('the wait before retry %d is at most %d ms, and less by chance', (attempt, mostMs) => {
  expect(retryDelayMs(attempt, () => 1)).toBe(mostMs)
  expect(retryDelayMs(attempt, () => 0.5)).toBe(mostMs / 2)
  expect(retryDelayMs(attempt, () => 0)).toBe(0)
})

it.each([
  ['0', 0],
  ['2', 2000],
  ['9999', 4000],
  ['86400', 0],
  ['-1', 0],
  ['1.5', 0],
  ['Wed, 21 Oct 2026 07:28:00 GMT', 0],
  ['', 0],
])('Retry-After %j is a floor of %d ms', (header, floorMs) => {
  expect(retryDelayMs(1, () => 0, header)).toBe(floorMs)
})

it('the wait is never longer than a client waits, nor negative', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.option(fc.string(), { nil: undefined }),
      (attempt, random, header) => {
        const delayMs = retryDelayMs(attempt, () => random, header)
        expect(delayMs).toBeGreaterThanOrEqual(0)
        expect(delayMs).toBeLessThanOrEqual(4000)
      },
    ),
  )
})
