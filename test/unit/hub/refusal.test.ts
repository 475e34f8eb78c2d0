import { describe, expect, it } from 'vitest'
import type { HeaderBag } from '../../../src/http/headers.ts'
import {
  deniesRepo,
  isAbsence,
  isBadToken,
  type Refusal,
  readRefusal,
  refusalHeaders,
} from '../../../src/hub/refusal.ts'
import { commit } from './repo.ts'

const SHA = commit('c')
const BAD_TOKEN = 'Invalid credentials in Authorization header'

function refusal(status: number, headers: HeaderBag = {}, body = ''): Refusal {
  return readRefusal(status, headers, Buffer.from(body))
}

describe('readRefusal', () => {
  it('keeps the fields by which clients decide', () => {
    const headers = {
      'x-error-code': 'GatedRepo',
      'x-error-message': 'Access to model u/r is restricted.',
      'x-repo-commit': SHA,
      'content-type': 'text/plain',
      'www-authenticate': 'Bearer realm="x"',
      'retry-after': '3',
      'set-cookie': 'token=;',
    }
    expect(refusal(403, headers, 'no')).toEqual({
      status: 403,
      code: 'GatedRepo',
      message: 'Access to model u/r is restricted.',
      commit: SHA,
      body: Buffer.from('no'),
      contentType: 'text/plain',
      wwwAuthenticate: 'Bearer realm="x"',
      retryAfter: '3',
    })
  })

  it('counts what is malformed as absent, and bounds the message', () => {
    const read = refusal(404, {
      'x-error-code': 'Entry NotFound',
      'x-error-message': `a\r\nb${'x'.repeat(5000)}`,
      'x-repo-commit': 'main',
      'content-type': 'text/plain\r\nx',
      'retry-after': ['1', '2'],
    })
    expect(read).toEqual({
      status: 404,
      code: undefined,
      message: `a b${'x'.repeat(997)}`,
      commit: undefined,
      body: Buffer.alloc(0),
      contentType: undefined,
    })
  })
})

describe('what a refusal proves', () => {
  it('is that a file is absent only if a commit is named', () => {
    expect(isAbsence(refusal(404, { 'x-error-code': 'EntryNotFound', 'x-repo-commit': SHA }))).toBe(true)
    expect(isAbsence(refusal(404, { 'x-error-code': 'EntryNotFound' }))).toBe(false)
    expect(isAbsence(refusal(404, { 'x-repo-commit': SHA }))).toBe(false)
    expect(isAbsence(refusal(403, { 'x-error-code': 'EntryNotFound', 'x-repo-commit': SHA }))).toBe(false)
  })

  it.each([
    [401, undefined, false],
    [401, 'GatedRepo', true],
    [403, undefined, false],
    [403, 'GatedRepo', true],
    [404, 'RepoNotFound', true],
    [404, 'RevisionNotFound', false],
    [404, 'EntryNotFound', false],
    [404, undefined, false],
    [400, undefined, false],
    [429, undefined, false],
    [500, 'RepoNotFound', false],
  ])('for %d %s is that the repo is denied: %s', (status, code, expected) => {
    expect(deniesRepo(refusal(status, { 'x-error-code': code }))).toBe(expected)
  })

  // The Hub on each of its routes, with what a gateway on the way leaves of it, and Hubs of other makes.
  it.each([
    ['in its fields', 403, { 'x-error-message': 'Access to this resource is disabled.' }, ''],
    ['by its challenge', 401, { 'www-authenticate': 'Bearer realm="Authentication required"' }, ''],
    ['by its challenge to git', 401, { 'www-authenticate': 'Basic realm="Authentication required"' }, ''],
    ['by its name', 401, { 'x-powered-by': 'huggingface-moon' }, ''],
    ['by its count', 403, { ratelimit: '"resolvers";r=2999;t=172' }, ''],
    ['in JSON', 401, { 'content-type': 'application/json' }, '{"error":"Invalid username or password."}'],
    ['in JSON of another make', 403, {}, '{"errors":[{"status":403,"message":"Forbidden"}]}'],
    ['in text', 401, { 'content-type': 'text/plain; charset=utf-8' }, 'Invalid username or password.'],
    ['in text alone', 404, {}, 'Repository not found'],
    ['of a gate, in text', 403, { 'content-type': 'text/plain' }, 'Access to model u/r is restricted and'],
  ])('is that the Hub sent it: %s', (_, status, headers, body) => {
    const read = refusal(status, headers, body)
    expect([read.isForeign, deniesRepo(read)]).toEqual([undefined, true])
    expect(read.body.toString()).toBe(body)
  })

  it.each([
    [401, {}, ''],
    [401, { 'www-authenticate': 'Basic realm="proxy"', 'content-type': 'text/html' }, '<html>'],
    [401, { 'www-authenticate': 'Negotiate' }, ''],
    [
      403,
      { 'content-type': 'text/html', server: 'cloudflare', 'x-request-id': 'r' },
      '<title>Repository not found',
    ],
    [403, { 'content-type': 'application/xml' }, '<Error><Code>AccessDenied</Code></Error>'],
    [403, { 'content-type': 'application/json' }, '{"message":"Forbidden"}'],
    [403, { 'content-type': 'application/json' }, '{"error":'],
    [403, { ratelimit: 'limit=100, remaining=99' }, ''],
    [404, { 'content-type': 'text/plain' }, 'default backend - 404'],
    [404, { 'content-type': 'text/html' }, 'Repository not found'],
    [407, { 'x-error-code': 'RepoNotFound', 'proxy-authenticate': 'Basic' }, '{"error":"x"}'],
    [451, { 'content-type': 'text/html' }, '<html>'],
  ])('for %d with %o and %j is that an intermediary sent it', (status, headers, body) => {
    const read = refusal(status, headers, body)
    expect([read.isForeign, deniesRepo(read), isAbsence(read)]).toEqual([true, false, false])
  })

  it.each([
    [404, 'Entry not found', 'EntryNotFound'],
    [404, 'Invalid rev id: x', 'RevisionNotFound'],
    [404, 'Repository not found', 'RepoNotFound'],
    [401, 'Access to dataset u/r is restricted. Please log in.', 'GatedRepo'],
    [403, 'Entry not found', undefined],
  ])('for %d and %j is which code a gateway has dropped: %s', (status, words, code) => {
    for (const body of [words, JSON.stringify({ error: words })]) {
      expect(refusal(status, {}, body).code).toBe(code)
    }
    expect(refusal(status, { 'x-error-code': 'Other' }, words).code).toBe('Other')
  })

  it('does not include the page of a 429, and includes whose quota it is', () => {
    const read = refusal(429, { 'content-type': 'text/html', 'retry-after': '9' }, '<html>slow down')
    expect(read).toMatchObject({ isForeign: true, retryAfter: '9', contentType: undefined })
    expect(read.body.length).toBe(0)
    expect(read.message).toMatch(/between this mirror and the Hub/)
  })

  it('includes a date compared with that of the answer, whatever the clocks say', () => {
    const date = 'Tue, 01 Jan 2030 00:00:00 GMT'
    const after = 'Tue, 01 Jan 2030 00:00:40 GMT'
    expect(refusal(503, { 'retry-after': after, date }).retryAfter).toBe('40')
    expect(refusal(503, { 'retry-after': after, date, age: '15' }).retryAfter).toBe('25')
    expect(refusal(503, { 'retry-after': after }).retryAfter).toBe(after)
  })

  it('is a denied repo for a 403 with a reason, and a proxy in between for one without', () => {
    expect(deniesRepo(refusal(403, { 'x-error-message': 'Access to this resource is disabled.' }))).toBe(true)
    expect(deniesRepo(refusal(403, {}))).toBe(false)
  })

  it('is a bad token, by header or body', () => {
    expect(isBadToken(refusal(401, { 'x-error-message': BAD_TOKEN }))).toBe(true)
    expect(isBadToken(refusal(401, {}, `{"error":"${BAD_TOKEN}"}`))).toBe(true)
    expect(isBadToken(refusal(401, { 'x-error-message': 'Invalid username or password.' }))).toBe(false)
    expect(isBadToken(refusal(403, { 'x-error-message': BAD_TOKEN }))).toBe(false)
  })
})

describe('refusalHeaders', () => {
  const code = (read: Refusal, aboutRepo?: boolean): string | undefined => {
    const context = aboutRepo === undefined ? { anonymous: true } : { anonymous: true, aboutRepo }
    return refusalHeaders(read, context)['x-error-code']
  }

  it('explain a bare 401 to Python over http', () => {
    const bare = { 'x-error-message': 'Invalid username or password.' }
    expect(code(refusal(401, bare))).toBe('RepoNotFound')
    expect(code(refusal(401, bare), false)).toBeUndefined()
    expect(code(refusal(401, { 'x-error-message': BAD_TOKEN }))).toBeUndefined()
    expect(code(refusal(401, {}, BAD_TOKEN))).toBeUndefined()
    expect(code(refusal(401, { 'x-error-code': 'GatedRepo' }))).toBe('GatedRepo')
    expect(code(refusal(403))).toBeUndefined()
    expect(code(refusal(404))).toBeUndefined()
  })

  it('keep the words of the Hub', () => {
    const headers = {
      'x-error-code': 'EntryNotFound',
      'x-error-message': 'Entry not found',
      'x-repo-commit': SHA,
    }
    expect(refusalHeaders(refusal(404, headers), { anonymous: false })).toMatchObject(headers)
  })

  it('challenge an anonymous caller that the Hub did not challenge', () => {
    const challenge = (read: Refusal, anonymous: boolean): string | undefined =>
      refusalHeaders(read, { anonymous })['www-authenticate']
    expect(challenge(refusal(401), true)).toBe('Bearer realm="Authentication required"')
    expect(challenge(refusal(401), false)).toBeUndefined()
    expect(challenge(refusal(403), true)).toBeUndefined()
    expect(challenge(refusal(401, { 'www-authenticate': 'Basic realm="x"' }), true)).toBe('Basic realm="x"')
  })

  it('keep a refusal out of caches in front, and let no page of it act as ours', () => {
    expect(refusalHeaders(refusal(401), { anonymous: true })).toMatchObject({
      'cache-control': 'private, no-store',
      vary: 'Authorization, Accept',
      'content-security-policy': "default-src 'none'; sandbox",
    })
  })
})
