// Says why the origin could not be reached, for the client, for /readyz and for the log, with a cure for the operator. The
// text names no host but that of the configured origin. What else is known (a proxy, a CDN, the code) is in `detail`,
// which only the log shows. Neither holds a credential.

import { errors } from 'undici'
import { MirrorError } from '../../errors.ts'
import type { Proxy } from '../../http/proxies.ts'

/** A forward proxy could not be reached, or refuses to connect. */
export class ProxyFailed extends Error {
  readonly proxy: Proxy
  /** The proxy's answer; undefined if the proxy could not be reached. */
  readonly status: number | undefined

  constructor(proxy: Proxy, { status, cause }: { readonly status?: number; readonly cause?: unknown }) {
    super(
      status === undefined ? 'the proxy cannot be reached' : `the proxy answered ${status}`,
      cause === undefined ? undefined : { cause },
    )
    this.name = 'ProxyFailed'
    this.proxy = proxy
    this.status = status
  }
}

/** The message about a failure. `{to}` stands for the server that the mirror wanted to reach. */
interface Words {
  readonly is: 'origin_unreachable' | 'origin_timeout'
  /** What has happened. */
  readonly what: string
  /** What the operator can do. */
  readonly cure: string
}

const UNKNOWN_CA: Words = {
  is: 'origin_unreachable',
  what: 'does not trust the authority that issued the certificate of {to}',
  cure: 'set NODE_EXTRA_CA_CERTS to a file with the certificate of that authority and restart the mirror',
}
const NAME: Words = {
  is: 'origin_unreachable',
  what: 'cannot find the address of {to} (DNS)',
  cure: 'check the name and the DNS servers of the mirror',
}
const NO_ROUTE: Words = {
  is: 'origin_unreachable',
  what: 'has no network route to {to}',
  cure: 'check the network and the firewall, or set HTTPS_PROXY to a proxy',
}
const CLOSED: Words = {
  is: 'origin_unreachable',
  what: 'lost its connection to {to} before an answer',
  cure: 'check firewalls and proxies in between',
}
const CONNECT_TIMEOUT: Words = {
  is: 'origin_timeout',
  what: 'got no connection to {to} in time',
  cure: 'check the firewall, or set HTTPS_PROXY to a proxy',
}
const NO_ANSWER: Words = {
  is: 'origin_timeout',
  what: 'got no answer from {to} in time',
  cure: 'check the network, or raise HUBMIRROR_ORIGIN_TIMEOUT',
}
const NOT_HTTP: Words = {
  is: 'origin_unreachable',
  what: 'got a response from {to} that is not HTTP',
  cure: 'check HUBMIRROR_ORIGIN, and proxies in between',
}
const NO_TLS: Words = {
  is: 'origin_unreachable',
  what: 'cannot agree on TLS with {to}',
  cure: 'check that the port speaks https, and proxies in between',
}
const OTHER: Words = {
  is: 'origin_unreachable',
  what: 'cannot reach {to}',
  cure: 'see the log line for the cause',
}

/** By the codes of Node, OpenSSL and undici. */
const BY_CODE: ReadonlyMap<string, Words> = new Map([
  ...[
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'UNABLE_TO_GET_ISSUER_CERT',
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'SELF_SIGNED_CERT_IN_CHAIN',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'CERT_UNTRUSTED',
  ].map((code) => [code, UNKNOWN_CA] as const),
  [
    'CERT_HAS_EXPIRED',
    {
      is: 'origin_unreachable',
      what: 'received a certificate of {to} that has expired',
      cure: 'have it renewed, or correct the clock of the mirror',
    },
  ],
  [
    'CERT_NOT_YET_VALID',
    {
      is: 'origin_unreachable',
      what: 'received a certificate of {to} that is not valid yet',
      cure: 'correct the clock of the mirror',
    },
  ],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    {
      is: 'origin_unreachable',
      what: 'received a certificate for another name than {to}',
      cure: 'check HUBMIRROR_ORIGIN, DNS, and proxies in between',
    },
  ],
  ...['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA', 'EAI_NONAME'].map((code) => [code, NAME] as const),
  [
    'ECONNREFUSED',
    {
      is: 'origin_unreachable',
      what: 'was refused the connection to {to}',
      cure: 'check that HUBMIRROR_ORIGIN names the right port, and the firewall',
    },
  ],
  ...['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'EADDRNOTAVAIL', 'EACCES', 'EPERM'].map(
    (code) => [code, NO_ROUTE] as const,
  ),
  ...['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'ECONNABORTED'].map((code) => [code, CLOSED] as const),
  ...['UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT'].map((code) => [code, CONNECT_TIMEOUT] as const),
])

/**
 * The error for a failed request: origin_unreachable or origin_timeout with the cause in words, or overloaded if this
 * process has no file descriptors left. A MirrorError is returned unchanged. `host` is that of the configured origin,
 * and `url` is the requested one.
 */
export function originFailure(error: unknown, url: Pick<URL, 'host'>, host: string): MirrorError {
  if (error instanceof MirrorError) return error
  const code = failureCode(error)
  const detail = { host: url.host, reason: code.slice(0, 60) }
  if (code === 'EMFILE' || code === 'ENFILE') return new MirrorError('overloaded', { detail })
  if (error instanceof ProxyFailed) {
    const words = proxyWords(error, code)
    return failureOf(words, 'its proxy', { ...detail, proxy: error.proxy.url.host })
  }
  return failureOf(wordsFor(code), url.host === host ? host : 'a storage host of the Hub', detail)
}

function failureOf(
  { is, what, cure }: Words,
  to: string,
  detail: Readonly<Record<string, string>>,
): MirrorError {
  const message = `The mirror ${what.replace('{to}', to)}, and can serve only stored content. Its operator can ${cure}.`
  return new MirrorError(is, { message, detail })
}

function proxyWords({ status, proxy }: ProxyFailed, code: string): Words {
  const { variable } = proxy
  if (status === undefined) {
    const { is, what } = wordsFor(code)
    return { is, what, cure: `check ${variable}` }
  }
  if (status === 407) {
    return {
      is: 'origin_unreachable',
      what:
        proxy.authorization === undefined
          ? 'was asked by {to} for a user name and password (407)'
          : 'was refused by {to} because its user name or password is wrong (407)',
      cure: `correct them in ${variable}, with special characters percent-encoded`,
    }
  }
  return {
    is: status === 504 ? 'origin_timeout' : 'origin_unreachable',
    what: `got no connection to the Hub from {to}, which answered ${status}`,
    cure: 'allow the mirror in the proxy, or list the hosts to reach directly in NO_PROXY',
  }
}

function wordsFor(code: string): Words {
  const known = BY_CODE.get(code)
  if (known !== undefined) return known
  if (code.endsWith('_TIMEOUT')) return NO_ANSWER
  if (code.startsWith('HPE_')) return NOT_HTTP
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code === 'EPROTO') return NO_TLS
  return OTHER
}

/** Whether a failed request, or a body that broke off, has timed out. */
export function isTimeout(error: unknown): boolean {
  const code = failureCode(error)
  return code.endsWith('_TIMEOUT') || code === 'ETIMEDOUT'
}

/** The code of an error, or of what it wraps. */
function failureCode(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  if ('code' in error && typeof error.code === 'string') return error.code
  // Undici gives it a code in some cases only.
  if (error instanceof errors.HTTPParserError) return 'HPE_UNKNOWN'
  if (error instanceof ProxyFailed && error.status !== undefined) return `PROXY_${error.status}`
  return error.cause === undefined ? 'unknown' : failureCode(error.cause)
}
