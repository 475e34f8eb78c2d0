import fc from 'fast-check'
import { expect, it } from 'vitest'
import { compileGlob } from '../../../src/hub/glob.ts'

const matches = (pattern: string, text: string) => compileGlob(pattern)?.(text)

it.each([
  ['*.bin', 'model.BIN', true],
  ['*.bin', 'a/model.bin', false],
  ['acme/*', 'acme/', true],
  ['**', 'a/b/c', true],
  ['a/**', 'a', true],
  ['a/**', 'a/b/c', true],
  ['a/**', 'ab', false],
  ['**/b', 'b', true],
  ['a/**/b', 'a/b', true],
  ['a/**/b', 'a/x/y/b', true],
  ['a/**/b', 'a/xb', false],
  ['a**b', 'a/b', false],
  ['{a/**,b}/c', 'a/x/c', true],
  ['{a,b{1,2}}.{bin,}', 'b2.bin', true],
  ['{a,b{1,2}}.{bin,}', 'a.', true],
  ['{a,b{1,2}}', 'b', false],
  ['?.x', '\u{1F917}.x', true],
  ['?', '/', false],
  ['[a-cx]', 'B', true],
  ['[^a]', 'a', false],
  ['[!a]', 'b', true],
  ['[!a]', '/', false],
  ['[]a]', ']', true],
  ['a+(b).c', 'a+(b)xc', false],
])('the pattern %s matches %s: %s', (pattern, text, expected) => {
  expect(matches(pattern, text)).toBe(expected)
})

it.each(['[a', 'a]', '[]', '{a,b', 'a}', '{a,{b}'])('%s is no pattern', (pattern) => {
  expect(compileGlob(pattern)).toBeUndefined()
})

it('a pattern matches what the regular expression for it would match', () => {
  const pieces = new Map([
    ['*', '[^/]*'],
    ['?', '[^/]'],
    ['a', 'a'],
    ['b', 'b'],
    ['-', '-'],
    ['[ab]', '[ab]'],
    ['{a,b?}', '(?:a|b[^/])'],
    ['/**/', '/(?:.*/)?'],
  ])
  const piece = fc.constantFrom(...pieces.keys())
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '-', '/'), maxLength: 12 })
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 6 }), text, (parts, asked) => {
      // Two stars beside each other, or at the front, are another thing.
      const pattern = `-${parts.join('-')}-`
      const regex = new RegExp(`^-${parts.map((part) => pieces.get(part)).join('-')}-$`)
      expect([pattern, matches(pattern, `-${asked}-`)]).toEqual([pattern, regex.test(`-${asked}-`)])
    }),
    { numRuns: 2_000 },
  )
})

it('matching ends soon with a text that was made to have many readings', () => {
  expect(matches(`${'*-'.repeat(60)}x`, '-'.repeat(2_000))).toBe(false)
  expect(matches(`${'**/a/'.repeat(30)}x`, 'a/'.repeat(1_000))).toBe(false)
  expect(matches(`${'{*-,**/}'.repeat(20)}x`, '-'.repeat(2_000))).toBe(false)
})
