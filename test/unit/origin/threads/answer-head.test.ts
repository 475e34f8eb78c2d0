import { describe, expect, it } from 'vitest'
import { getHead, readAnswerHead } from '../../../../src/origin/threads/answer-head.ts'

const head = (...lines: string[]): string => ['HTTP/1.1 200 OK', ...lines].join('\r\n')

describe('the head of an answer', () => {
  it('is read with its fields in lower case, and repeated fields as a list', () => {
    const text = head('Content-Length: 12', 'ETag:"a"', 'X-Two: 1', 'x-two:  2 ')
    expect(readAnswerHead(text)).toEqual({
      status: 200,
      headers: { 'content-length': '12', etag: '"a"', 'x-two': ['1', '2'] },
      bodyBytes: 12,
      isKept: true,
    })
  })

  it.each([
    ['206', 'HTTP/1.1 206 Partial Content', 206],
    ['302', 'HTTP/1.1 302 Found', 302],
    ['503 without a reason', 'HTTP/1.1 503', 503],
  ])('with status %s is read', (_, line, status) => {
    expect(readAnswerHead(`${line}\r\nContent-Length: 0`)?.status).toBe(status)
  })

  it.each([
    ['close', ['Connection: close']],
    ['Close among others', ['Connection: x, Close']],
    ['close in a second field', ['Connection: x', 'Connection: close']],
  ])('with Connection %s ends the connection', (_, lines) => {
    expect(readAnswerHead(head('Content-Length: 1', ...lines))?.isKept).toBe(false)
  })

  it.each([
    ['no length', head('ETag: "a"')],
    ['two lengths', head('Content-Length: 1', 'Content-Length: 1')],
    ['a length that is no number', head('Content-Length: 1x')],
    ['a negative length', head('Content-Length: -1')],
    ['a length beyond all numbers', head(`Content-Length: ${'9'.repeat(20)}`)],
    ['a transfer coding', head('Content-Length: 1', 'Transfer-Encoding: chunked')],
    ['a content coding', head('Content-Length: 1', 'Content-Encoding: gzip')],
    ['a folded line', head('Content-Length: 1', 'X: a', ' b')],
    ['a space before the colon', head('Content-Length : 1')],
    ['a control character in a value', head('Content-Length: 1', 'X: a\u0000b')],
    ['a bare line feed', 'HTTP/1.1 200 OK\nContent-Length: 1'],
    ['an interim status', 'HTTP/1.1 100 Continue\r\nContent-Length: 1'],
    ['a status without a body', 'HTTP/1.1 204 No Content\r\nContent-Length: 1'],
    ['an old version', 'HTTP/1.0 200 OK\r\nContent-Length: 1'],
    ['no HTTP', '220 mail.example ESMTP'],
    ['nothing', ''],
  ])('with %s is left to a complete parser', (_, text) => {
    expect(readAnswerHead(text)).toBeUndefined()
  })
})

describe('the head of a request', () => {
  const url = new URL('https://cdn.example:8443/a%20b?c=d#e')

  it('has the path, the query and the host of the URL', () => {
    expect(getHead(url, { range: 'bytes=0-1' })).toBe(
      'GET /a%20b?c=d HTTP/1.1\r\nhost: cdn.example:8443\r\nconnection: keep-alive\r\nrange: bytes=0-1\r\n\r\n',
    )
  })

  it.each([
    ['a line break in a value', { 'user-agent': 'a\r\nx: y' }],
    ['a line break in a name', { 'a\r\nb': 'c' }],
    ['a character beyond Latin-1', { 'user-agent': '\u{1f917}' }],
  ])('is not written with %s', (_, headers) => {
    expect(getHead(url, headers)).toBeUndefined()
  })
})
