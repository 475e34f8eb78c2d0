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
  it('keeps what clients decide by', () => {
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

describe('what may be concluded', () => {
  it('calls a file absent only from a commit that is named', () => {
    expect(isAbsence(refusal(404, { 'x-error-code': 'EntryNotFound', 'x-repo-commit': SHA }))).toBe(true)
    expect(isAbsence(refusal(404, { 'x-error-code': 'EntryNotFound' }))).toBe(false)
    expect(isAbsence(refusal(404, { 'x-repo-commit': SHA }))).toBe(false)
    expect(isAbsence(refusal(403, { 'x-error-code': 'EntryNotFound', 'x-repo-commit': SHA }))).toBe(false)
  })

  it.each([
    [401, undefined, true],
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
  ])('takes %d %s for a denied repo: %s', (status, code, expected) => {
    expect(deniesRepo(refusal(status, { 'x-error-code': code }))).toBe(expected)
  })

  it('takes a 403 that says why for a denied repo, and a wordless one for a proxy on the way', () => {
    expect(deniesRepo(refusal(403, { 'x-error-message': 'Access to this resource is disabled.' }))).toBe(true)
    expect(deniesRepo(refusal(403, {}))).toBe(false)
  })

  it('knows a bad token from header or body', () => {
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

  it('tells Python over http what a bare 401 means', () => {
    const bare = { 'x-error-message': 'Invalid username or password.' }
    expect(code(refusal(401, bare))).toBe('RepoNotFound')
    expect(code(refusal(401, bare), false)).toBeUndefined()
    expect(code(refusal(401, { 'x-error-message': BAD_TOKEN }))).toBeUndefined()
    expect(code(refusal(401, {}, BAD_TOKEN))).toBeUndefined()
    expect(code(refusal(401, { 'x-error-code': 'GatedRepo' }))).toBe('GatedRepo')
    expect(code(refusal(403))).toBeUndefined()
    expect(code(refusal(404))).toBeUndefined()
  })

  it('keeps the words of the Hub', () => {
    const headers = {
      'x-error-code': 'EntryNotFound',
      'x-error-message': 'Entry not found',
      'x-repo-commit': SHA,
    }
    expect(refusalHeaders(refusal(404, headers), { anonymous: false })).toMatchObject(headers)
  })

  it('challenges an anonymous caller whom the Hub did not challenge', () => {
    const challenge = (read: Refusal, anonymous: boolean): string | undefined =>
      refusalHeaders(read, { anonymous })['www-authenticate']
    expect(challenge(refusal(401), true)).toBe('Bearer realm="Authentication required"')
    expect(challenge(refusal(401), false)).toBeUndefined()
    expect(challenge(refusal(403), true)).toBeUndefined()
    expect(challenge(refusal(401, { 'www-authenticate': 'Basic realm="x"' }), true)).toBe('Basic realm="x"')
  })

  it('lets no cache in front keep it, and no page of it act as ours', () => {
    expect(refusalHeaders(refusal(401), { anonymous: true })).toMatchObject({
      'cache-control': 'private, no-store',
      vary: 'Authorization, Accept',
      'content-security-policy': "default-src 'none'; sandbox",
    })
  })
})
