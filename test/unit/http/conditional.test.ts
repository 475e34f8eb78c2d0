import { describe, expect, it } from 'vitest'
import { isNotModified, rangeStillValid } from '../../../src/http/conditional.ts'

describe('isNotModified', () => {
  it.each([
    ['"abc"', 'abc', true],
    ['"abc"', '"abc"', true],
    ['W/"abc"', 'abc', true],
    ['"abc"', 'W/"abc"', true],
    ['"x", W/"abc" ,"y"', 'abc', true],
    ['"x","y"', 'abc', false],
    ['*', 'abc', true],
    [' * ', 'abc', true],
    ['"*"', 'abc', false],
    ['abc', 'abc', true],
    ['x, abc', 'abc', true],
    ['"a,bc"', 'bc', false],
    ['"a,bc"', 'a,bc', true],
    ['"abcd"', 'abc', false],
    ['"ABC"', 'abc', false],
    ['', 'abc', false],
    [undefined, 'abc', false],
  ])('If-None-Match %s against %s: %s', (ifNoneMatch, etag, expected) => {
    expect(isNotModified({ ifNoneMatch, etag })).toBe(expected)
  })
})

describe('rangeStillValid', () => {
  it.each([
    [undefined, 'abc', true],
    ['"abc"', 'abc', true],
    ['"abc"', '"abc"', true],
    ['W/"abc"', 'abc', false],
    ['"abc"', 'W/"abc"', false],
    ['W/"abc"', 'W/"abc"', false],
    ['"abd"', 'abc', false],
    ['abc', 'abc', false],
    ['"abc", "abd"', 'abc', false],
    ['Sat, 21 Nov 2026 10:00:00 GMT', 'abc', false],
    ['', 'abc', false],
  ])('If-Range %s against %s: %s', (ifRange, etag, expected) => {
    expect(rangeStillValid(ifRange, etag)).toBe(expected)
  })
})
