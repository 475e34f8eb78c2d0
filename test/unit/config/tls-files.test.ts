import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ConfigFaults } from '../../../src/config/faults.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { checkTlsFiles, readTls, validityNotice } from '../../../src/config/tls-files.ts'
import {
  EXPIRED_CERTIFICATE,
  GOOD_CERTIFICATE,
  OTHER_CERTIFICATE,
  SERVER_KEY,
  TEST_CA,
} from '../../support/certificates.ts'
import {
  CLIENT_CERTIFICATE,
  ENCRYPTED_KEY,
  SECOND_CA,
  SECOND_CERTIFICATE,
  SECOND_KEY,
} from '../../support/tls-certificates.ts'

/** A key of 512 bits, and its certificate. */
const SMALL = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBHjCByQIUam6gNmgBdlSK4OanjCtOPEfN44AwDQYJKoZIhvcNAQELBQAwEDEO
MAwGA1UEAwwFc21hbGwwIBcNMjYxMjAyMDEzMjE0WhgPMjEyMDAxMDQwMTMyMTRa
MBAxDjAMBgNVBAMMBXNtYWxsMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKLedSp3
Xf0ANA922wh2d84X0GfWE5aAHdEZlshq/HzRkXTwb2ULsZLeFeMOUr/j/T2E5ySG
OagHL3gHSGzyc1sCAwEAATANBgkqhkiG9w0BAQsFAANBAIdxzTwoXnkWzhKQuHEP
oruFqSEXBSYePUlElq4ucqbNF7JvDDpKn6eHVIPBS7ExjcR6UEswd/OuZ+b/w8Rn
BbI=
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEAot51Kndd/QA0D3bb
CHZ3zhfQZ9YTloAd0RmWyGr8fNGRdPBvZQuxkt4V4w5Sv+P9PYTnJIY5qAcveAdI
bPJzWwIDAQABAkAKm0ouFc/9JgI975OcHXr35P0hhgOIjZdjgrMbIjyHNFQXe8JM
U4wyvVKbemj9oAjNWdvUxTE7hr7SMLsyz6XBAiEAzx+faKZlj7RbUOt8Dg0LOV1Y
A67LotyvZuCWT57beqkCIQDJTWhuoIwwXg9I4LerJP1T/M6G7lmKCQFFDniQ8ehk
YwIhAM0tPUN0ulz9xAvICo78uuarohmb2RvPU24tApmC+1ZpAiBH6jyV0QtkOCYz
vfw/yx4phBZwQ/R/CMqIViwidBm2ywIgbQL6JZN4GfysMv5yyia2e5AVOng6QzSd
OSskrAaPVvI=
-----END PRIVATE KEY-----
`,
}

const PATHS = { tlsCert: '/tls/cert.pem', tlsKey: '/tls/key.pem', tlsClientCa: undefined }
const WITH_CA = { ...PATHS, tlsClientCa: '/tls/ca.pem' }

/** Reads with these texts in the files; an absent one cannot be read. */
function read(texts: { readonly cert?: string; readonly key?: string; readonly ca?: string }) {
  const files: Record<string, string | undefined> = {
    '/tls/cert.pem': texts.cert,
    '/tls/key.pem': texts.key,
    '/tls/ca.pem': texts.ca,
  }
  return readTls(texts.ca === undefined ? PATHS : WITH_CA, (path) => {
    const text = files[path]
    if (text === undefined) throw Object.assign(new Error('no'), { code: 'EACCES' })
    return text
  })
}

describe('the files of TLS', () => {
  it.each([
    ['a certificate and its key', { cert: GOOD_CERTIFICATE, key: SERVER_KEY }],
    ['a chain', { cert: GOOD_CERTIFICATE + TEST_CA, key: SERVER_KEY }],
    ['both in one file', { cert: SERVER_KEY + GOOD_CERTIFICATE, key: SERVER_KEY + GOOD_CERTIFICATE }],
    ['authorities of clients', { cert: GOOD_CERTIFICATE, key: SERVER_KEY, ca: SECOND_CA + TEST_CA }],
  ])('may hold %s', (_, texts) => {
    expect(read(texts)).toEqual({
      material: {
        cert: texts.cert,
        key: texts.key,
        clientCa: 'ca' in texts ? texts.ca : undefined,
        ticketKeys: expect.objectContaining({ length: 48 }) as unknown,
        validFrom: Date.parse('2020-01-01T00:00:00Z'),
        validTo: Date.parse('2120-01-01T00:00:00Z'),
      },
    })
  })

  it.each([
    ['no certificate', { key: SERVER_KEY }, 'tlsCert', 'expected a readable PEM file (EACCES)'],
    ['no key', { cert: GOOD_CERTIFICATE }, 'tlsKey', 'expected a readable PEM file (EACCES)'],
    ['a key in place of the certificate', { cert: SERVER_KEY, key: SERVER_KEY }, 'tlsCert', 'contains none'],
    [
      'a certificate in place of the key',
      { cert: GOOD_CERTIFICATE, key: GOOD_CERTIFICATE },
      'tlsKey',
      'contains none',
    ],
    [
      'half a certificate',
      { cert: GOOD_CERTIFICATE.slice(0, 300), key: SERVER_KEY },
      'tlsCert',
      'contains none',
    ],
    [
      'a certificate that was damaged',
      { cert: GOOD_CERTIFICATE.replace('MIIB', 'AAAA'), key: SERVER_KEY },
      'tlsCert',
      'number 1 in this file cannot be read',
    ],
    [
      'a key that was damaged',
      { cert: GOOD_CERTIFICATE, key: SERVER_KEY.replace('MIGH', 'AAAA') },
      'tlsKey',
      'this one cannot be read',
    ],
    ['a key with a passphrase', { cert: SECOND_CERTIFICATE, key: ENCRYPTED_KEY }, 'tlsKey', 'is encrypted'],
    [
      'the key of another certificate',
      { cert: GOOD_CERTIFICATE, key: SECOND_KEY },
      'tlsKey',
      'does not belong to the certificate',
    ],
    [
      'a chain in the wrong order',
      { cert: TEST_CA + GOOD_CERTIFICATE, key: SERVER_KEY },
      'tlsCert',
      'first in this file; it is number 2',
    ],
    [
      'no authority of clients',
      { cert: GOOD_CERTIFICATE, key: SERVER_KEY, ca: 'nothing' },
      'tlsClientCa',
      'contains none',
    ],
    [
      'the certificate of a client as an authority',
      { cert: GOOD_CERTIFICATE, key: SERVER_KEY, ca: SECOND_CA + CLIENT_CERTIFICATE },
      'tlsClientCa',
      'number 2 in this file may not issue certificates',
    ],
  ])('cannot be used with %s', (_, texts, name, cure) => {
    const found = read(texts)
    expect(found).toEqual({ fault: { name, cure: expect.stringContaining(cure) as unknown } })
    expect(JSON.stringify(found)).not.toContain('BEGIN')
  })

  it('cannot be used with a key that the rules of TLS find too small', () => {
    const { cert, key } = SMALL
    expect(read({ cert, key })).toEqual({
      fault: {
        name: 'tlsCert',
        cure: 'TLS cannot use this certificate with its key (ERR_SSL_EE_KEY_TOO_SMALL)',
      },
    })
  })

  it('have other ticket keys each time they are read', () => {
    const [one, other] = [1, 2].map(() => read({ cert: GOOD_CERTIFICATE, key: SERVER_KEY }))
    expect(one).not.toEqual(other)
  })
})

describe('the certificate', () => {
  const validity = (cert: string) => {
    const found = read({ cert, key: SERVER_KEY })
    if ('fault' in found) throw new Error(found.fault.cure)
    return (at: string) => validityNotice(found.material, Date.parse(at))
  }

  it('is remarked upon before and after it is valid', () => {
    const notice = validity(EXPIRED_CERTIFICATE)
    expect(notice('2019-12-31T23:59:59Z')).toContain('is not valid before 2020-01-01T00:00:00Z')
    expect(notice('2020-01-01T00:00:00Z')).toBeUndefined()
    expect(notice('2021-01-01T00:00:00Z')).toBe(
      'the certificate in HUBMIRROR_TLS_CERT expired on 2021-01-01T00:00:00Z; clients refuse it',
    )
    expect(validity(OTHER_CERTIFICATE)('2026-01-01T00:00:00Z')).toBeUndefined()
  })
})

describe('the settings of TLS', () => {
  const load = (env: Readonly<Record<string, string>>) => loadConfig({ flags: {}, env })
  const faultsOf = (work: () => unknown): readonly (readonly [string, string])[] => {
    try {
      work()
    } catch (error) {
      if (!(error instanceof ConfigFaults)) throw error
      return error.faults.map(({ key, cure }) => [key, cure])
    }
    return []
  }

  it('count together only, and say which one is missing', () => {
    const [cert, key, ca] = ['HUBMIRROR_TLS_CERT', 'HUBMIRROR_TLS_KEY', 'HUBMIRROR_TLS_CLIENT_CA'] as const
    expect(faultsOf(() => load({ [cert]: '/c' }))).toEqual([
      ['tls.cert', expect.stringContaining('set HUBMIRROR_TLS_KEY')],
    ])
    expect(faultsOf(() => load({ [key]: '/k' }))).toEqual([
      ['tls.key', expect.stringContaining('set HUBMIRROR_TLS_CERT')],
    ])
    expect(faultsOf(() => load({ [ca]: '/a' }))).toEqual([
      ['tls.clientCa', expect.stringContaining('set HUBMIRROR_TLS_CERT and HUBMIRROR_TLS_KEY')],
    ])
    expect(faultsOf(() => load({ [cert]: '/c', [key]: '/k', [ca]: '/a' }))).toEqual([])
  })

  it('are paths, and content in their place is never printed', () => {
    const error = (() => {
      try {
        return load({ HUBMIRROR_TLS_CERT: '/c', HUBMIRROR_TLS_KEY: SERVER_KEY })
      } catch (thrown) {
        return thrown
      }
    })()
    expect(String(error)).toContain('expected the path of a file, and not its content')
    expect(String(error)).not.toContain('MIGH')
  })

  it('are refused with the place of the setting whose file is wrong', () => {
    const folder = mkdtempSync(join(tmpdir(), 'hubmirror-tls-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    writeFileSync(cert, GOOD_CERTIFICATE)
    const loaded = load({ HUBMIRROR_TLS_CERT: cert, HUBMIRROR_TLS_KEY: key })
    expect(() => checkTlsFiles(loaded)).toThrow(
      `tls.key = "${key}" (environment HUBMIRROR_TLS_KEY)\n    expected a readable PEM file (ENOENT)`,
    )
    writeFileSync(key, '')
    expect(() => checkTlsFiles(loaded)).toThrow('it is empty')
    writeFileSync(key, SERVER_KEY)
    expect(() => checkTlsFiles(loaded)).not.toThrow()
    expect(() => checkTlsFiles(load({}))).not.toThrow()
  })
})
