import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatContentRange,
  formatRange,
  formatUnsatisfied,
  parseContentRange,
  parseRange,
} from '../../../src/http/range.ts'

const BIG = '99999999999999999999'

describe('parseRange', () => {
  it.each([
    ['bytes=0-0', 10, [0, 1]],
    ['bytes=0-', 10, [0, 10]],
    ['bytes=2-5', 10, [2, 6]],
    ['bytes=9-9', 10, [9, 10]],
    ['bytes=9-10', 10, [9, 10]],
    ['bytes=5-100', 10, [5, 10]],
    [`bytes=5-${BIG}`, 10, [5, 10]],
    ['bytes=-1', 10, [9, 10]],
    ['bytes=-10', 10, [0, 10]],
    ['bytes=-500', 10, [0, 10]],
    [`bytes=-${BIG}`, 10, [0, 10]],
    ['BYTES=0-1', 10, [0, 2]],
    ['bytes= 0-1 ', 10, [0, 2]],
    ['bytes=007-008', 10, [7, 9]],
    ['bytes=10485760-', 12_000_000, [10_485_760, 12_000_000]],
    ['bytes=0-', Number.MAX_SAFE_INTEGER, [0, Number.MAX_SAFE_INTEGER]],
  ] as const)('reads %s of %d bytes', (header, sizeBytes, [start, end]) => {
    expect(parseRange(header, sizeBytes)).toEqual({ kind: 'range', range: { start, end } })
  })

  it.each([
    undefined,
    '',
    'bytes',
    'bytes=',
    'bytes=-',
    'bytes=5-3',
    `bytes=${BIG}1-${BIG}0`,
    'bytes=a-b',
    'bytes=1',
    'bytes=0x1-5',
    'bytes=+1-5',
    'bytes=1-5-7',
    'bytes=--1',
    'bytes=1.5-2',
    'bytes 0-1',
    'items=0-1',
    'bytes=0-1,3-4',
    'bytes=0-1,',
    `bytes=${'0-0,'.repeat(1000)}1-1`,
  ])('ignores %s', (header) => {
    expect(parseRange(header, 10)).toEqual({ kind: 'whole' })
  })

  it.each([
    ['bytes=10-', 10],
    ['bytes=10-20', 10],
    [`bytes=${BIG}-`, 10],
    [`bytes=${BIG}-${BIG}`, 10],
    ['bytes=-0', 10],
    ['bytes=-000', 10],
    ['bytes=0-', 0],
    ['bytes=0-0', 0],
    ['bytes=-0', 0],
  ])('cannot satisfy %s of %d bytes', (header, sizeBytes) => {
    expect(parseRange(header, sizeBytes)).toEqual({ kind: 'unsatisfiable' })
  })

  it('takes the suffix of an empty file for the whole, since no Content-Range can describe it', () => {
    expect(parseRange('bytes=-5', 0)).toEqual({ kind: 'whole' })
  })

  it('never returns a range outside of the file, whatever was asked', () => {
    const position = fc.oneof(
      fc.constant(''),
      fc.bigInt({ min: 0n, max: 10n ** 25n }).map(String),
      fc.nat(50).map(String),
    )
    fc.assert(
      fc.property(position, position, fc.nat(40), (first, last, sizeBytes) => {
        const answer = parseRange(`bytes=${first}-${last}`, sizeBytes)
        if (answer.kind !== 'range') return
        const { start, end } = answer.range
        expect(start).toBeGreaterThanOrEqual(0)
        expect(end).toBeGreaterThan(start)
        expect(end).toBeLessThanOrEqual(sizeBytes)
      }),
    )
  })
})

describe('Content-Range', () => {
  it('is read back as it was written', () => {
    const range = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 1e9 }), fc.nat())
    fc.assert(
      fc.property(range, ([start, length, more]) => {
        const end = start + length
        const text = formatContentRange({ start, end }, end + more)
        expect(parseContentRange(text)).toEqual({ range: { start, end }, sizeBytes: end + more })
        expect(parseRange(formatRange({ start, end }), end + more)).toEqual({
          kind: 'range',
          range: { start, end },
        })
      }),
    )
  })

  it('may have an unknown size, and gives the size if a range cannot be satisfied', () => {
    expect(parseContentRange('bytes 0-0/*')).toEqual({ range: { start: 0, end: 1 }, sizeBytes: undefined })
    expect(formatUnsatisfied(10)).toBe('bytes */10')
  })

  it.each([
    undefined,
    '',
    'bytes */10',
    'bytes 5-3/10',
    'bytes 0-10/10',
    'bytes 0-0/0',
    'bytes 0-9',
    'bytes=0-9/10',
    'bytes 0 - 9/10',
    ' bytes 0-9/10',
    'bytes -9/10',
    'bytes 0-9/10, bytes 0-9/10',
    'bytes 9007199254740991-9007199254740991/*',
    'bytes 0-99999999999999999999/*',
    'items 0-9/10',
  ])('refuses %s', (text) => {
    expect(parseContentRange(text)).toBeUndefined()
  })
})
