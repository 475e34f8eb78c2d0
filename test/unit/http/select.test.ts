import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Conditions, type Selection, select } from '../../../src/http/select.ts'
import { anyText } from './any-text.ts'

const FILE = { etag: '"abc"', sizeBytes: 100 }
const NONE: Conditions = { range: undefined, ifRange: undefined, ifNoneMatch: undefined }
const WHOLE: Selection = { kind: 'whole' }
const NOT_MODIFIED: Selection = { kind: 'not-modified' }
const UNSATISFIABLE: Selection = { kind: 'unsatisfiable' }
const range = (start: number, end: number): Selection => ({ kind: 'range', range: { start, end } })

describe('select', () => {
  it.each<[string, Partial<Conditions>, Selection, Selection]>([
    // What is sent, the answer to GET, the answer to HEAD.
    ['nothing', {}, WHOLE, WHOLE],
    ['If-None-Match of this etag', { ifNoneMatch: '"abc"' }, NOT_MODIFIED, NOT_MODIFIED],
    ['If-None-Match of the weak etag', { ifNoneMatch: 'W/"abc"' }, NOT_MODIFIED, NOT_MODIFIED],
    ['If-None-Match of any etag', { ifNoneMatch: '*' }, NOT_MODIFIED, NOT_MODIFIED],
    ['If-None-Match of another etag', { ifNoneMatch: '"x"' }, WHOLE, WHOLE],
    ['Range', { range: 'bytes=10-19' }, range(10, 20), WHOLE],
    ['Range past the end', { range: 'bytes=100-' }, UNSATISFIABLE, WHOLE],
    ['Range of an unknown unit', { range: 'lines=1-2' }, WHOLE, WHOLE],
    ['several ranges', { range: 'bytes=0-1,4-5' }, WHOLE, WHOLE],
    ['If-Range alone', { ifRange: '"abc"' }, WHOLE, WHOLE],
    ['If-Range of this etag', { range: 'bytes=10-19', ifRange: '"abc"' }, range(10, 20), WHOLE],
    ['If-Range of another etag', { range: 'bytes=10-19', ifRange: '"x"' }, WHOLE, WHOLE],
    ['If-Range of the weak etag', { range: 'bytes=10-19', ifRange: 'W/"abc"' }, WHOLE, WHOLE],
    ['If-Range of a date', { range: 'bytes=10-19', ifRange: 'Sat, 21 Nov 2026 10:00:00 GMT' }, WHOLE, WHOLE],
    ['If-Range of another etag, past the end', { range: 'bytes=100-', ifRange: '"x"' }, WHOLE, WHOLE],
    [
      'If-None-Match of this etag, with a Range',
      { range: 'bytes=10-19', ifNoneMatch: '"abc"' },
      NOT_MODIFIED,
      NOT_MODIFIED,
    ],
    [
      'If-None-Match of this etag, with a Range past the end',
      { range: 'bytes=100-', ifNoneMatch: '"abc"' },
      NOT_MODIFIED,
      NOT_MODIFIED,
    ],
    [
      'If-None-Match of another etag, with a Range',
      { range: 'bytes=10-19', ifNoneMatch: '"x"' },
      range(10, 20),
      WHOLE,
    ],
    ['all three', { range: 'bytes=-1', ifRange: '"abc"', ifNoneMatch: '"x", "y"' }, range(99, 100), WHOLE],
  ])('for %s', (_fields, conditions, get, head) => {
    expect(select('GET', { ...NONE, ...conditions }, FILE)).toEqual(get)
    expect(select('HEAD', { ...NONE, ...conditions }, FILE)).toEqual(head)
  })

  it('sends no range of a representation with a weak etag to a client that sends If-Range', () => {
    const conditions = { ...NONE, range: 'bytes=10-19', ifRange: 'W/"abc"' }
    expect(select('GET', conditions, { etag: 'W/"abc"', sizeBytes: 100 })).toEqual(WHOLE)
  })

  const field = fc.option(
    fc.oneof(
      anyText({ maxLength: 20 }),
      fc.constantFrom('"abc"', 'W/"abc"', '"x"', '*'),
      fc.tuple(fc.nat(120), fc.nat(120)).map(([first, last]) => `bytes=${first}-${last}`),
      fc.nat(120).map((length) => `bytes=-${length}`),
    ),
    { nil: undefined },
  )
  const conditions = fc.record({ range: field, ifRange: field, ifNoneMatch: field })

  it('sends a range only within the representation, to a GET with Range, and none to a HEAD', () => {
    fc.assert(
      fc.property(conditions, fc.nat(110), (given, sizeBytes) => {
        const file = { etag: '"abc"', sizeBytes }
        const selected = select('GET', given, file)
        if (selected.kind === 'range') {
          expect(given.range).toBeDefined()
          expect(selected.range.start).toBeGreaterThanOrEqual(0)
          expect(selected.range.end).toBeGreaterThan(selected.range.start)
          expect(selected.range.end).toBeLessThanOrEqual(sizeBytes)
        }
        const isUnmodified = selected.kind === 'not-modified'
        expect(select('HEAD', given, file)).toEqual(isUnmodified ? NOT_MODIFIED : WHOLE)
      }),
    )
  })

  it('lets If-Range only make a range the whole, and If-None-Match only make anything a 304', () => {
    fc.assert(
      fc.property(conditions, (given) => {
        const withAll = select('GET', given, FILE)
        const withoutIfRange = select('GET', { ...given, ifRange: undefined }, FILE)
        const withoutIfNoneMatch = select('GET', { ...given, ifNoneMatch: undefined }, FILE)
        if (withAll.kind !== 'whole') expect(withAll).toEqual(withoutIfRange)
        if (withAll.kind !== 'not-modified') expect(withAll).toEqual(withoutIfNoneMatch)
      }),
    )
  })
})
