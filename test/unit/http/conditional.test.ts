import { describe, expect, it } from 'vitest'
import { etagOf, isNotModified, rangeStillValid, weakEtag } from '../../../src/http/conditional.ts'

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

describe('weakEtag', () => {
  it('is one validator for the same parts, and another one for others', () => {
    const all = [['ab', 'c'], ['a', 'bc'], ['abc'], ['abc', ''], ['', 'abc'], ['é'], [Buffer.from('abd')]]
    const tags = all.map((parts) => weakEtag(parts))
    expect(new Set(tags).size).toBe(all.length)
    for (const tag of tags) expect(tag).toMatch(/^W\/"[\w-]{27}"$/)
    expect(weakEtag([Buffer.from('ab'), 'c'])).toBe(tags[0])
  })
})

describe('etagOf', () => {
  it.each([
    [{ etag: '"abc"' }, '"abc"'],
    [{ etag: 'W/"2a-x+/="' }, 'W/"2a-x+/="'],
    [{ etag: '""' }, '""'],
    [{}, undefined],
    [{ etag: 'abc' }, undefined],
    [{ etag: '"a"b"' }, undefined],
    [{ etag: '"a b"' }, undefined],
    [{ etag: ['"a"', '"b"'] }, undefined],
    [{ etag: '*' }, undefined],
    [{ etag: `"${'x'.repeat(300)}"` }, undefined],
  ])('of %j is %s', (headers, expected) => {
    expect(etagOf(headers)).toBe(expected)
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
