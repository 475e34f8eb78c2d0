// Errors of Node, OpenSSL and undici → the sentence for users.

import { errors } from 'undici'
import { describe, expect, it } from 'vitest'
import type { Proxy } from '../../../../src/http/proxies.ts'
import { originFailure, ProxyFailed } from '../../../../src/origin/failures/unreachable.ts'

const HUB = new URL('https://hub.example/x?Signature=abc')
const coded = (code: string): Error => Object.assign(new Error('10.0.0.7 secret'), { code })
const proxy: Proxy = {
  url: new URL('http://proxy.internal:3128'),
  authorization: 'Basic c2VjcmV0',
  variable: 'https_proxy',
}
const told = (error: unknown) => originFailure(error, HUB, HUB.host)

describe('a network error', () => {
  it.each([
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', /NODE_EXTRA_CA_CERTS/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /NODE_EXTRA_CA_CERTS/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /NODE_EXTRA_CA_CERTS/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /NODE_EXTRA_CA_CERTS/],
    ['CERT_HAS_EXPIRED', /has expired/],
    ['CERT_NOT_YET_VALID', /not valid yet.*clock/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /another name/],
    ['ENOTFOUND', /DNS/],
    ['EAI_AGAIN', /DNS/],
    ['ECONNREFUSED', /refused the connection/],
    ['EHOSTUNREACH', /no network route/],
    ['ENETUNREACH', /no network route/],
    ['ECONNRESET', /lost its connection/],
    ['UND_ERR_SOCKET', /lost its connection/],
    ['EPIPE', /lost its connection/],
    ['UND_ERR_CONNECT_TIMEOUT', /no connection .* in time/],
    ['ETIMEDOUT', /no connection .* in time/],
    ['UND_ERR_HEADERS_TIMEOUT', /no answer .* in time/],
    ['UND_ERR_BODY_TIMEOUT', /no answer .* in time/],
    ['HPE_INVALID_HEADER_TOKEN', /not HTTP/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /TLS/],
    ['EPROTO', /TLS/],
    ['SOMETHING_NEW', /cannot reach/],
  ])('%s has its message', (code, text) => {
    const { message, detail, code: own } = told(coded(code))
    expect(message).toMatch(text)
    expect(message).toContain('hub.example')
    expect(message).not.toMatch(/10\.0\.0\.7|secret|Signature/)
    expect(own).toBe(/in time/.test(message) ? 'origin_timeout' : 'origin_unreachable')
    expect(detail).toEqual({ host: 'hub.example', reason: code })
  })

  it('of the parser without a code means that the answer is not HTTP', () => {
    expect(told(new errors.HTTPParserError('what?')).message).toMatch(/not HTTP/)
  })

  it.each(['EMFILE', 'ENFILE'])('%s is a shortage of this process, at the proxy too', (code) => {
    expect(told(coded(code)).code).toBe('overloaded')
    expect(told(new ProxyFailed(proxy, { cause: coded(code) })).code).toBe('overloaded')
  })

  it.each([undefined, 'text', null, new Error('no code'), { code: 'ECONNREFUSED' }])(
    'that is no Error (%s) has a message too',
    (thrown) => {
      expect(told(thrown)).toMatchObject({ code: 'origin_unreachable', detail: { reason: 'unknown' } })
    },
  )

  it('of another host does not name it, except in the log', () => {
    const url = new URL('https://10.0.0.7:9000/bucket?Signature=abc')
    const { message, detail } = originFailure(coded('ECONNREFUSED'), url, HUB.host)
    expect(message).toContain('a storage host of the Hub')
    expect(message).not.toMatch(/10\.0\.0\.7|hub\.example/)
    expect(detail['host']).toBe('10.0.0.7:9000')
  })
})

describe('a proxy', () => {
  it.each([
    [407, /password is wrong \(407\).*https_proxy/, 'origin_unreachable'],
    [403, /answered 403.*NO_PROXY/, 'origin_unreachable'],
    [502, /answered 502/, 'origin_unreachable'],
    [504, /answered 504/, 'origin_timeout'],
  ])('that answers %i is named by its variable at most', (status, text, code) => {
    const failure = told(new ProxyFailed(proxy, { status }))
    expect(failure.message).toMatch(text)
    expect(failure.message).not.toContain('proxy.internal')
    expect(failure.code).toBe(code)
    expect(failure.detail).toEqual({
      host: 'hub.example',
      reason: `PROXY_${status}`,
      proxy: 'proxy.internal:3128',
    })
    expect(JSON.stringify(failure.detail)).not.toContain('c2VjcmV0')
  })

  it('that cannot be reached is reported with the reason', () => {
    for (const [code, text] of [
      ['ENOTFOUND', /address of its proxy \(DNS\).*check https_proxy/],
      ['CERT_HAS_EXPIRED', /certificate of its proxy that has expired/],
      ['ETIMEDOUT', /no connection to its proxy in time/],
    ] as const) {
      expect(told(new ProxyFailed(proxy, { cause: coded(code) })).message).toMatch(text)
    }
  })
})
