// The files of the mirror's own TLS: what stands in them, and in a sentence what is wrong with it. No message contains
// anything of a key. followed-tls.ts reads them again while the mirror runs.

import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { ConfigFaults } from './faults.ts'
import { readRegularFile } from './files.ts'
import type { Config } from './keys.ts'
import type { Provenance } from './load.ts'
import { envName } from './setting-names.ts'
import { codeOf } from './sources.ts'
import { TLS_SETTINGS } from './tls-settings.ts'

/** The files that the settings name. */
export interface TlsPaths {
  readonly tlsCert: string
  readonly tlsKey: string
  readonly tlsClientCa: string | undefined
}

/** What stands in the files. It is sent to the workers, so it consists of plain values. */
export interface TlsMaterial {
  /** PEM: the certificate of the mirror, then those that lead to its authority. */
  readonly cert: string
  /** PEM. A secret: it must not be printed. */
  readonly key: string
  /** PEM: the authorities of client certificates. */
  readonly clientCa: string | undefined
  /**
   * A secret of 48 bytes, by which every process of the mirror resumes the sessions of the others. It is new with every
   * change of a file, so that no session goes on by a client certificate whose authority was removed.
   */
  readonly ticketKeys: Uint8Array
  /** The time for which the certificate of the mirror is valid, epoch ms. */
  readonly validFrom: number
  readonly validTo: number
}

/** A fault of one of the files. */
export interface TlsFault {
  readonly name: keyof TlsPaths
  /** What was expected. */
  readonly cure: string
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g
const TICKET_KEYS_BYTES = 48

/** The files of a config; undefined if the mirror does not speak TLS itself. */
export function tlsPathsOf(config: Pick<Config, 'tlsCert' | 'tlsKey' | 'tlsClientCa'>): TlsPaths | undefined {
  const { tlsCert, tlsKey, tlsClientCa } = config
  return tlsCert === undefined || tlsKey === undefined ? undefined : { tlsCert, tlsKey, tlsClientCa }
}

/** Reads the files and checks that a server can use them together. Never throws. */
export function readTls(
  paths: TlsPaths,
  readFile: (path: string) => string = readRegularFile,
): { readonly material: TlsMaterial } | { readonly fault: TlsFault } {
  try {
    return { material: materialOf(paths, readFile) }
  } catch (error) {
    if (error instanceof Wrong) return { fault: { name: error.file, cure: error.message } }
    throw error
  }
}

/** Why clients refuse the certificate at this time; undefined if it is valid. */
export function validityNotice(
  { validFrom, validTo }: Pick<TlsMaterial, 'validFrom' | 'validTo'>,
  now: number,
): string | undefined {
  const place = `the certificate in ${envName(TLS_SETTINGS.tlsCert.key)}`
  if (now >= validTo) return `${place} expired on ${dateOf(validTo)}; clients refuse it`
  if (now < validFrom) return `${place} is not valid before ${dateOf(validFrom)}; clients refuse it`
  return undefined
}

/** Checks the files that a loaded config names. Throws ConfigFaults, with the place where the setting came from. */
export function checkTlsFiles(loaded: {
  readonly config: Config
  readonly provenance: ReadonlyMap<string, Provenance>
}): void {
  const paths = tlsPathsOf(loaded.config)
  const read = paths && readTls(paths)
  if (read !== undefined && 'fault' in read) {
    const { name, cure } = read.fault
    const { key } = TLS_SETTINGS[name]
    const { source = 'default', where = '', shown = '' } = loaded.provenance.get(key) ?? {}
    throw new ConfigFaults([{ key, source, where, value: shown, cure }])
  }
}

/** The fault of a file. */
class Wrong extends Error {
  readonly file: keyof TlsPaths

  constructor(file: keyof TlsPaths, cure: string) {
    super(cure)
    this.file = file
  }
}

function materialOf(paths: TlsPaths, readFile: (path: string) => string): TlsMaterial {
  const cert = textOf('tlsCert', paths.tlsCert, readFile)
  const certificates = certificatesIn('tlsCert', cert)
  const key = textOf('tlsKey', paths.tlsKey, readFile)
  const parsedKey = parseKey(key)
  const [own] = certificates
  if (own?.checkPrivateKey(parsedKey) !== true) {
    const place = certificates.findIndex((one) => one.checkPrivateKey(parsedKey))
    if (place > 0)
      throw new Wrong(
        'tlsCert',
        `expected the certificate of the mirror first in this file; it is number ${place + 1}`,
      )
    throw new Wrong(
      'tlsKey',
      'this key does not belong to the certificate; expected the key that it was issued for',
    )
  }
  const clientCa =
    paths.tlsClientCa === undefined ? undefined : textOf('tlsClientCa', paths.tlsClientCa, readFile)
  if (clientCa !== undefined) checkAuthorities(clientCa)
  try {
    createSecureContext({ cert, key, ca: clientCa, minVersion: 'TLSv1.2' })
  } catch (error) {
    throw new Wrong('tlsCert', `TLS cannot use this certificate with its key (${codeOf(error)})`)
  }
  return {
    cert,
    key,
    clientCa,
    ticketKeys: randomBytes(TICKET_KEYS_BYTES),
    validFrom: Date.parse(own.validFrom),
    validTo: Date.parse(own.validTo),
  }
}

function textOf(file: keyof TlsPaths, path: string, readFile: (path: string) => string): string {
  try {
    return readFile(path)
  } catch (error) {
    throw new Wrong(file, `expected a readable PEM file (${codeOf(error)})`)
  }
}

/** All certificates of a file, at least one. */
function certificatesIn(file: keyof TlsPaths, text: string): readonly X509Certificate[] {
  const found = text.match(CERTIFICATE) ?? []
  if (found.length === 0) throw new Wrong(file, 'expected PEM with a certificate; this file contains none')
  return found.map((pem, index) => {
    try {
      return new X509Certificate(pem)
    } catch {
      throw new Wrong(file, `expected PEM with certificates; number ${index + 1} in this file cannot be read`)
    }
  })
}

function checkAuthorities(text: string): void {
  for (const [index, certificate] of certificatesIn('tlsClientCa', text).entries()) {
    // A certificate that has signed itself is its own authority, whatever else it says.
    if (!certificate.ca && certificate.subject !== certificate.issuer)
      throw new Wrong(
        'tlsClientCa',
        `expected certificates of authorities; number ${index + 1} in this file may not issue certificates`,
      )
  }
}

function parseKey(text: string): KeyObject {
  if (!text.includes('PRIVATE KEY-----'))
    throw new Wrong('tlsKey', 'expected PEM with a private key; this file contains none')
  // Both forms of an encrypted key have this word in their head.
  if (text.includes('ENCRYPTED'))
    throw new Wrong(
      'tlsKey',
      'this key is encrypted, and nothing can ask for its passphrase; expected the key without one, as "openssl pkey -in FILE -out FILE" writes it',
    )
  try {
    return createPrivateKey(text)
  } catch {
    // The message of OpenSSL is not used: it may quote what it has read.
    throw new Wrong('tlsKey', 'expected PEM with a private key; this one cannot be read')
  }
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}
