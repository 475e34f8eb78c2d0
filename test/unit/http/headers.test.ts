import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bearerToken,
  headerText,
  headerValue,
  isHeaderSafe,
  listValue,
  withoutHopByHop,
} from '../../../src/http/headers.ts'
import { anyText } from './any-text.ts'

describe('headerValue', () => {
  it('ignores a field that came twice with different values', () => {
    expect(headerValue({ etag: '"a"' }, 'etag')).toBe('"a"')
    expect(headerValue({ etag: ['"a"', '"a"'] }, 'etag')).toBe('"a"')
    expect(headerValue({ etag: ['"a"', '"b"'] }, 'etag')).toBeUndefined()
    expect(headerValue({ etag: [] }, 'etag')).toBeUndefined()
  })

  it('reads own properties only, of objects without prototype too', () => {
    expect(headerValue({}, 'constructor')).toBeUndefined()
    expect(headerValue(Object.assign(Object.create(null), { etag: 'x' }), 'etag')).toBe('x')
  })
})

describe('listValue', () => {
  it('joins several fields into one list', () => {
    expect(listValue({ link: '<a>; rel="next"' }, 'link')).toBe('<a>; rel="next"')
    expect(listValue({ link: ['<b>; rel=preload', '<a>; rel="next"'] }, 'link')).toBe(
      '<b>; rel=preload, <a>; rel="next"',
    )
    expect(listValue({}, 'constructor')).toBeUndefined()
  })
})

describe('withoutHopByHop', () => {
  it('drops the fields of one connection, and everything named in Connection', () => {
    const headers = {
      connection: 'close, X-Secret , etag',
      'keep-alive': 'timeout=5',
      'transfer-encoding': 'chunked',
      te: 'trailers',
      'x-secret': '1',
      etag: '"a"',
      link: ['a', 'b'],
      'content-type': 'text/plain',
      gone: undefined,
    }
    expect(withoutHopByHop(headers)).toEqual({ link: ['a', 'b'], 'content-type': 'text/plain' })
  })

  it('keeps a field called __proto__ a field', () => {
    const copy = withoutHopByHop(JSON.parse('{"__proto__":"x","a":"b"}'))
    expect(Object.getPrototypeOf(copy)).toBe(Object.prototype)
    expect(Object.entries(copy)).toContainEqual(['__proto__', 'x'])
  })
})

describe('bearerToken', () => {
  it.each([
    ['Bearer hf_abc', 'hf_abc'],
    ['bearer hf_abc', 'hf_abc'],
    ['BEARER  hf_abc ', 'hf_abc'],
    ['Bearer a.b-c_d~e+f/g==', 'a.b-c_d~e+f/g=='],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    ['Bearerhf_abc', undefined],
    ['Bearer a b', undefined],
    ['Bearer a,b', undefined],
    ['Bearer hf_é', undefined],
    ['Basic dXNlcjp0b2tlbg==', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j holds %j', (header, token) => {
    expect(bearerToken(header)).toBe(token)
  })
})

describe('headerText', () => {
  it('makes any text safe to send, bounded', () => {
    fc.assert(
      fc.property(anyText(), fc.nat(50), (text, maxLength) => {
        const safe = headerText(text, maxLength)
        expect(safe.length).toBeLessThanOrEqual(maxLength)
        expect(isHeaderSafe(safe)).toBe(true)
        expect(() => new Headers({ x: safe })).not.toThrow()
      }),
    )
  })

  it('keeps what is safe and readable', () => {
    expect(headerText('Access to model a/b is restricted (é).', 100)).toBe(
      'Access to model a/b is restricted (é).',
    )
    expect(headerText(' one\r\nSet-Cookie: x=1 ', 100)).toBe('one Set-Cookie: x=1')
    expect(headerText('a🤗b', 100)).toBe('a?b')
  })
})

describe('isHeaderSafe', () => {
  it.each(['a\nb', 'a\rb', 'a\0', '\x7f', '\u{100}', 'a\n'])('refuses %j', (value) => {
    expect(isHeaderSafe(value)).toBe(false)
  })
})
