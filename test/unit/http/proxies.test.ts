// Which proxy leads where, by the environment.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readProxies } from '../../../src/http/proxies.ts'

/** The proxy for a URL, as `host variable`, or what is wrong. */
function wayTo(url: string, env: Record<string, string>, scheme: 'http' | 'https' = 'http'): string {
  const { proxies, faults } = readProxies(env, scheme)
  if (faults.length > 0) return faults.map(({ variable }) => `fault ${variable}`).join()
  const proxy = proxies.of(new URL(url))
  return proxy === undefined ? 'direct' : `${proxy.url.origin} ${proxy.variable}`
}
const HTTPS = 'https://hub.example/x'
const HTTP = 'http://hub.example/x'

describe('a proxy', () => {
  it.each([
    [HTTPS, {}, 'direct'],
    [HTTPS, { HTTPS_PROXY: 'http://p:3128' }, 'http://p:3128 HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'p:3128' }, 'http://p:3128 HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'p' }, 'http://p HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: ' http://p:3128/ ' }, 'http://p:3128 HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: '[::1]:3128' }, 'http://[::1]:3128 HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: '10.0.0.1:3128' }, 'http://10.0.0.1:3128 HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'https://p' }, 'https://p HTTPS_PROXY'],
    [HTTPS, { https_proxy: 'low:1', HTTPS_PROXY: 'up:1' }, 'http://low:1 https_proxy'],
    [HTTPS, { https_proxy: '', HTTPS_PROXY: 'up:1' }, 'http://up:1 HTTPS_PROXY'],
    [HTTPS, { HTTP_PROXY: 'p:1' }, 'direct'],
    [HTTP, { HTTPS_PROXY: 'p:1' }, 'direct'],
    [HTTP, { HTTP_PROXY: 'p:1' }, 'http://p:1 HTTP_PROXY'],
    [HTTP, { http_proxy: 'p:1' }, 'http://p:1 http_proxy'],
    [HTTP, { ALL_PROXY: 'p:1' }, 'http://p:1 ALL_PROXY'],
    [HTTPS, { all_proxy: 'p:1' }, 'http://p:1 all_proxy'],
    [HTTPS, { ALL_PROXY: 'a:1', HTTPS_PROXY: 's:1' }, 'http://s:1 HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'http://' }, 'fault HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'p:port' }, 'fault HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'p:99999' }, 'fault HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'http://p:1/path' }, 'fault HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'http://u:pass#word@p:1' }, 'fault HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'http://u:pass/word@p:1' }, 'fault HTTPS_PROXY'],
    [HTTPS, { HTTPS_PROXY: 'socks5://p:1080' }, 'fault HTTPS_PROXY'],
    [HTTP, { ALL_PROXY: 'socks5h://p:1080' }, 'fault ALL_PROXY'],
    [HTTPS, { ALL_PROXY: 'socks5h://p:1080', https_proxy: 'p:1' }, 'fault ALL_PROXY'],
  ])('for %s with %j: %s', (url, env, way) => {
    expect(wayTo(url, env)).toBe(way)
  })

  it('of a scheme that is not used may be wrong', () => {
    const env = { HTTPS_PROXY: 'p:1', ALL_PROXY: 'socks5://p:1080', HTTP_PROXY: 'http://' }
    expect(wayTo(HTTPS, env, 'https')).toBe('http://p:1 HTTPS_PROXY')
  })

  it.each([
    ['http://user:pass@p:1', 'user:pass'],
    ['user:pass@p:1', 'user:pass'],
    ['http://user@p:1', 'user:'],
    ['http://:pass@p:1', ':pass'],
    ['http://us%40er:p%3Aa%2Fs%23s@p:1', 'us@er:p:a/s#s'],
    ['http://user:p@ss@p:1', 'user:p@ss'],
    ['http://user:100%@p:1', 'user:100%'],
    ['http://üser:pässword@p:1', 'üser:pässword'],
    ['http://p:1', undefined],
  ])('%s is asked as %s', (value, login) => {
    const { proxies } = readProxies({ HTTPS_PROXY: value }, 'https')
    const proxy = proxies.of(new URL(HTTPS))
    const [, pair] = /^Basic (.+)$/.exec(proxy?.authorization ?? '') ?? []
    expect(pair === undefined ? undefined : Buffer.from(pair, 'base64').toString()).toBe(login)
    expect(proxy?.url.href).toBe('http://p:1/')
  })

  it('that is wrong is reported by its variable, and never by its value', () => {
    for (const value of ['http://user:s3cret#x@p:1', 'socks5://user:s3cret@p', 'http://user:s3cret@:1']) {
      const { faults } = readProxies({ https_proxy: value }, 'https')
      expect(faults.map(({ variable }) => variable)).toEqual(['https_proxy'])
      expect(JSON.stringify(faults)).not.toContain('s3cret')
    }
  })
})

describe('NO_PROXY', () => {
  const isDirect = (noProxy: string, url: string): boolean =>
    wayTo(url, { HTTP_PROXY: 'p:1', HTTPS_PROXY: 'p:1', NO_PROXY: noProxy }) === 'direct'

  it.each([
    ['hub.example', HTTPS, true],
    ['.hub.example', HTTPS, true],
    ['*.hub.example', HTTPS, true],
    ['example', HTTPS, true],
    ['.example', HTTPS, true],
    ['HUB.Example', HTTPS, true],
    ['hub.example.', HTTPS, true],
    ['ub.example', HTTPS, false],
    ['a.hub.example', HTTPS, false],
    ['*', HTTPS, true],
    ['other, *', HTTPS, true],
    ['a,b c\thub.example', HTTPS, true],
    ['', HTTPS, false],
    [',', HTTPS, false],
    ['hub.example:443', HTTPS, true],
    ['hub.example:8443', HTTPS, false],
    ['hub.example:8443', 'https://hub.example:8443/', true],
    ['hub.example:80', HTTP, true],
    ['hub.example:443', HTTP, false],
    ['.example:443', HTTPS, true],
    ['10.0.0.0/8', 'http://10.1.2.3/', true],
    ['10.0.0.0/8', 'http://11.1.2.3/', false],
    ['10.0.0.0/8', 'http://10.example/', false],
    ['10.1.2.3', 'http://10.1.2.3:8080/', true],
    ['10.1.2.3:8080', 'http://10.1.2.3:8080/', true],
    ['10.1.2.3:8080', 'http://10.1.2.3/', false],
    ['2.3', 'http://10.1.2.3/', false],
    ['0.0.0.0/0', 'http://10.1.2.3/', true],
    ['0.0.0.0/0', HTTPS, false],
    ['fd00::/8', 'http://[fd12::1]/', true],
    ['[fd00::]/8', 'http://[fd12::1]/', true],
    ['fd00::/8', 'http://[fe12::1]/', false],
    ['::1', 'http://[::1]:8080/', true],
    ['0:0:0:0:0:0:0:1', 'http://[::1]:8080/', true],
    ['[::1]', 'http://[::1]:8080/', true],
    ['[::1]:8080', 'http://[::1]:8080/', true],
    ['[::1]:8081', 'http://[::1]:8080/', false],
    ['::/0', 'http://10.1.2.3/', false],
    ['bücher.example', 'https://xn--bcher-kva.example/', true],
  ])('%j leads to %s directly: %s', (noProxy, url, is) => {
    expect(isDirect(noProxy, url)).toBe(is)
  })

  it('in lower case wins over upper case', () => {
    const env = { HTTPS_PROXY: 'p:1', no_proxy: 'other.example', NO_PROXY: 'hub.example' }
    expect(wayTo(HTTPS, env)).toBe('http://p:1 HTTPS_PROXY')
  })

  it.each(['10.0.0.0/99', 'fd00::/129', 'a/b', 'host:port', 'http://hub.example', 'x@y'])(
    '%s is reported as an entry that matches nothing',
    (entry) => {
      const { notices, proxies } = readProxies(
        { HTTPS_PROXY: 'p:1', no_proxy: `${entry},hub.example` },
        'https',
      )
      expect(notices).toEqual([expect.stringContaining(`no_proxy has an entry`)])
      expect(notices[0]).toContain(JSON.stringify(entry))
      expect(proxies.of(new URL(HTTPS))).toBeUndefined()
    },
  )

  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,6}$/)
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))

  it('names a host and all below it, and no other', () => {
    fc.assert(
      fc.property(name, name, fc.constantFrom('', '.', '*.'), (host, other, prefix) => {
        expect(isDirect(prefix + host, `https://${host}/`)).toBe(true)
        expect(isDirect(prefix + host, `https://below.${host}/`)).toBe(true)
        expect(isDirect(prefix + host, `https://not${host}/`)).toBe(false)
        const isBelow = other === host || other.endsWith(`.${host}`)
        expect(isDirect(prefix + host, `https://${other}/`)).toBe(isBelow)
      }),
    )
  })

  it('names a network bit by bit', () => {
    const address = fc.integer({ min: 0, max: 0xff_ff_ff_ff })
    const text = (bits: number): string =>
      [24, 16, 8, 0].map((shift) => Math.floor(bits / 2 ** shift) % 256).join('.')
    fc.assert(
      fc.property(address, address, fc.integer({ min: 0, max: 32 }), (network, host, prefix) => {
        const unit = 2 ** (32 - prefix)
        const isWithin = Math.floor(network / unit) === Math.floor(host / unit)
        expect(isDirect(`${text(network)}/${prefix}`, `http://${text(host)}/`)).toBe(isWithin)
      }),
    )
  })

  it('never makes the reader throw, whatever the environment holds', () => {
    const value = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.webUrl(), fc.ipV6(), fc.domain())
    fc.assert(
      fc.property(value, value, value, value, (http, https, all, no) => {
        const env = { HTTP_PROXY: http, https_proxy: https, ALL_PROXY: all, NO_PROXY: no }
        const { proxies, faults } = readProxies(env, 'http')
        const proxy = proxies.of(new URL(HTTPS))
        expect([undefined, 'http:', 'https:']).toContain(proxy?.url.protocol)
        expect(new Set(faults.map(({ variable }) => variable)).size).toBe(faults.length)
      }),
    )
  })
})
