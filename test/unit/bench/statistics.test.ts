import { expect, it } from 'vitest'
import { median, quantile, spread } from '../../bench/statistics.ts'

it('the median is the one in the middle, whatever the order', () => {
  expect(median([30, 1, 2])).toBe(2)
})

it('the median of an even number is the mean of the two in the middle', () => {
  expect(median([4, 1, 100, 2])).toBe(3)
})

it('the spread is from the smallest to the largest, by value and not by digits', () => {
  expect(spread([9, 10, 100])).toEqual([9, 100])
})

it('a quantile is a value that occurred, and that so many do not exceed', () => {
  const values = Array.from({ length: 200 }, (_, index) => 200 - index)
  expect(quantile(values, 0.5)).toBe(100)
  expect(quantile(values, 0.99)).toBe(198)
  expect(quantile(values, 1)).toBe(200)
  expect(quantile([7], 0.01)).toBe(7)
})

it('there is no figure for no values, and the values stay unchanged', () => {
  const values = [3, 1, 2]
  median(values)
  expect(values).toEqual([3, 1, 2])
  expect([median([]), quantile([], 0.5), ...spread([])]).toEqual([
    Number.NaN,
    Number.NaN,
    Number.NaN,
    Number.NaN,
  ])
})
