import { expect, it } from 'vitest'
import { isRetryAfter, retryAfterMs } from '../../../src/http/retry-after.ts'

const NOW = Date.UTC(2030, 0, 1)

it.each([
  ['0', 0],
  ['77', 77_000],
  ['9999999999', 9_999_999_999_000],
  ['Tue, 01 Jan 2030 00:00:30 GMT', 30_000],
  ['Mon, 31 Dec 2029 23:59:00 GMT', 0],
])('%j means %d ms', (text, ms) => {
  expect(retryAfterMs(text, NOW)).toBe(ms)
  expect(isRetryAfter(text)).toBe(true)
})

it.each([
  '',
  'soon',
  '-1',
  '1.5',
  '1e9',
  '0x10',
  '12345678901',
  '5, 5',
  'Tue, 01 Jan 2030',
  'Tue, 99 Jan 2030 00:00:30 GMT',
  'Tue, 01 Jan 2030 00:00:30 +0100',
  'Tuesday, 01-Jan-30 00:00:30 GMT',
])('%j means nothing', (text) => {
  expect(retryAfterMs(text, NOW)).toBeUndefined()
  expect(isRetryAfter(text)).toBe(false)
})
