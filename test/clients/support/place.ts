// Where the mirrors of a run of test/clients stand, and what clients must know to reach one there. HUBMIRROR_CLIENTS_PLACE names
// the place. Without it mirrors stand at the root of `localhost`, without TLS.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { GOOD_CERTIFICATE, SERVER_KEY, TEST_CA } from '../../support/certificates.ts'

/** The proxies of docs/deploy.md. */
type Front = 'nginx' | 'HAProxy' | 'Caddy'

interface Place {
  /** Settings of the mirror. */
  readonly settings: Readonly<Record<string, string>>
  /** What follows the address in the URL that clients get. */
  readonly path: string
  /** What stands before the mirror, and speaks TLS. */
  readonly front?: Front
  /** The variables by which clients trust the certificate of the mirror, or of what stands before it. */
  readonly trust: Readonly<Record<string, string>>
}

const PREFIX = '/hugging-face'

const PLACES = {
  root: () => ({ settings: {}, path: '', trust: {} }),
  prefix: () => below(PREFIX),
  'prefix-slash': () => below(`${PREFIX}/`),
  ipv6: () => ({ settings: { HUBMIRROR_HOST: '::1' }, path: '', trust: {} }),
  'own-tls': () => {
    const file = folder()
    const settings = {
      HUBMIRROR_TLS_CERT: file('tls.crt', GOOD_CERTIFICATE),
      HUBMIRROR_TLS_KEY: file('tls.key', SERVER_KEY),
    }
    return { settings, path: '', trust: trustIn(file) }
  },
  nginx: () => behind('nginx'),
  haproxy: () => behind('HAProxy'),
  caddy: () => behind('Caddy'),
} satisfies Record<string, () => Place>

const NAME = process.env['HUBMIRROR_CLIENTS_PLACE'] ?? 'root'

/** The place of this run. */
export const PLACE: Place = placeOf(NAME)
export const isAtRoot = NAME === 'root'

/** Whether clients must trust the authority of the tests there. */
export const needsTrust = Object.keys(PLACE.trust).length > 0

/** Whether a suite is left out of this run for `reason`, because its mirrors do not stand at the root. It is said on the terminal. */
export function isLeftOut(title: string, reason: string): boolean {
  if (!isAtRoot) console.warn(`LEFT OUT at ${NAME}: ${title}: ${reason}`)
  return !isAtRoot
}

function placeOf(name: string): Place {
  const names = Object.keys(PLACES)
  if (!names.includes(name)) throw new Error(`HUBMIRROR_CLIENTS_PLACE must be one of ${names.join(', ')}`)
  return PLACES[name as keyof typeof PLACES]()
}

function below(path: string): Place {
  return { settings: { HUBMIRROR_BASE_PATH: PREFIX }, path, trust: {} }
}

function behind(front: Front): Place {
  return { settings: { HUBMIRROR_TRUST_PROXY: '127.0.0.1' }, path: '', front, trust: trustIn(folder()) }
}

/** Writes a file into a folder that is removed when this process ends, and returns its path. */
type WriteFile = (name: string, text: string) => string

function folder(): WriteFile {
  const path = mkdtempSync(join(tmpdir(), 'hubmirror-place-'))
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return (name, text) => {
    const file = join(path, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text, { mode: 0o600 })
    return file
  }
}

function trustIn(file: WriteFile): Record<string, string> {
  const ca = file('ca.pem', TEST_CA)
  return {
    // Of OpenSSL, and of what is written in Go.
    SSL_CERT_FILE: ca,
    REQUESTS_CA_BUNDLE: ca,
    CURL_CA_BUNDLE: ca,
    GIT_SSL_CAINFO: ca,
    NODE_EXTRA_CA_CERTS: ca,
    WGETRC: file('wgetrc', `ca_certificate = ${ca}\n`),
    // Of aria2.
    XDG_CONFIG_HOME: dirname(dirname(file('config/aria2/aria2.conf', `ca-certificate=${ca}\n`))),
  }
}
