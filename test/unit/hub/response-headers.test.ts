import { describe, expect, it } from 'vitest'
import { passableHeaders } from '../../../src/hub/response-headers.ts'

describe('passableHeaders', () => {
  it('passes the fields that clients of the Hub read', () => {
    const headers = {
      'content-type': 'application/json',
      etag: '"a"',
      'x-repo-commit': 'c',
      'x-error-code': 'EntryNotFound',
      'x-total-count': '3',
      'www-authenticate': ['Basic realm="a"', 'Bearer realm="b"'],
    }
    expect(passableHeaders(headers)).toEqual(headers)
  })

  it.each([
    'set-cookie',
    'ratelimit',
    'ratelimit-policy',
    'x-hf-warning',
    'x-xet-hash',
    'x-xet-access-token',
    'x-amz-request-id',
    'x-amz-cf-id',
    'x-cache',
    'via',
    'strict-transport-security',
    'content-encoding',
    'transfer-encoding',
    'connection',
    'keep-alive',
    'link',
    'location',
    'cache-control',
    'authorization',
    'x-never-heard-of',
  ])('drops %s', (name) => {
    expect(passableHeaders({ [name]: 'x', etag: '"a"' })).toEqual({ etag: '"a"' })
  })

  it('adds the fields that the caller names, but no hop-by-hop field', () => {
    const headers = { 'x-xet-hash': 'x', 'transfer-encoding': 'chunked' }
    expect(passableHeaders(headers, ['x-xet-hash', 'transfer-encoding'])).toEqual({ 'x-xet-hash': 'x' })
  })

  it('drops what Connection names', () => {
    expect(passableHeaders({ connection: 'close, ETag', etag: '"a"', date: 'd' })).toEqual({ date: 'd' })
  })

  it('drops a time to wait that no client can read', () => {
    expect(passableHeaders({ 'retry-after': 'soon' })).toEqual({})
    expect(passableHeaders({ 'retry-after': ['soon', '7'] })).toEqual({ 'retry-after': ['7'] })
    expect(passableHeaders({ 'retry-after': '7' })).toEqual({ 'retry-after': '7' })
  })

  it('drops values that cannot be written', () => {
    const headers = {
      'x-error-message': 'a\r\nSet-Cookie: x',
      etag: '"\u{100}"',
      'content-type': ['a\n', 'text/plain'],
    }
    expect(passableHeaders(headers)).toEqual({ 'content-type': ['text/plain'] })
    expect(passableHeaders({ 'x-error-message': 'caf\xe9\t' })).toEqual({ 'x-error-message': 'caf\xe9\t' })
  })

  it('reads own properties only', () => {
    expect(passableHeaders(Object.create({ etag: '"a"' }))).toEqual({})
    expect(passableHeaders({}, ['constructor', '__proto__'])).toEqual({})
  })
})
