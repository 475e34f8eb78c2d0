// Proxy, name, connection and TLS: whether a request from here reaches the endpoint at all.

import { lookup } from 'node:dns/promises'
import type { Socket } from 'node:net'
import { connect, type PeerCertificate } from 'node:tls'
import type { Proxy } from '../http/proxies.ts'
import {
  addressOf,
  ask,
  below,
  codeOf,
  ProxyRefusal,
  type Seen,
  TIMEOUT_MS,
  touch,
  trustOf,
  tunnel,
  type Way,
} from './ask.ts'
import type { Report } from './report.ts'

/** What a proxy can demand with 407. Clients send only the first. */
const LOGINS = ['Basic', 'Digest', 'NTLM', 'Negotiate']

/**
 * Fills proxy, dns, tcp and tls. Resolves with the way that further requests can go, or undefined if there is none. A proxy
 * that passes nothing on is reported, and the further requests go without it.
 */
export async function checkNetwork(report: Report, way: Way, endpoint: URL): Promise<Way | undefined> {
  const { host, port } = addressOf(endpoint)
  const proxy = way.proxyOf(endpoint)
  const variable = proxy?.variable ?? ''
  const through = proxy && (await checkProxy(report, way, endpoint, proxy))
  if (way.unusable !== undefined) report.found('proxy-unchecked', { host, variable: way.unusable })
  else if (proxy === undefined) report.found('proxy-none', { host })
  try {
    const addresses = await lookup(host, { all: true })
    report.found('dns-ok', { host, addresses: addresses.map(({ address }) => address).join(', ') })
  } catch (error) {
    if (proxy === undefined) report.found('dns-failed', { host, error: codeOf(error) })
    else report.found('dns-proxy', { host, variable })
    if (through === undefined) return undefined
  }
  try {
    const ms = await touch(host, port)
    report.found('tcp-ok', { host, port, ms })
  } catch (error) {
    const values = { host, port, error: codeOf(error), variable }
    if (proxy !== undefined) report.found('tcp-proxy', values)
    else report.found(codeOf(error) === 'ECONNREFUSED' ? 'tcp-refused' : 'tcp-timeout', values)
    if (through === undefined) return undefined
  }
  if (endpoint.protocol === 'http:') report.found('tls-none')
  else if (!reportTls(report, endpoint, through ?? (await readTls(way, endpoint)))) return undefined
  return through === undefined ? directly(way) : way
}

function directly(way: Way): Way {
  return { ...way, proxyOf: () => undefined }
}

/**
 * Fills proxy. Resolves with what TLS says through the proxy, without an error if the endpoint has no TLS; undefined if the proxy
 * passes no requests on.
 */
async function checkProxy(report: Report, way: Way, endpoint: URL, proxy: Proxy): Promise<Tls | undefined> {
  const { host, port } = addressOf(endpoint)
  const at = addressOf(proxy.url)
  const { variable } = proxy
  const values = { host, port, variable, proxy: `${at.host}:${at.port}` }
  const login = (challenge: string): void => {
    const schemes = LOGINS.filter((one) => challenge.toLowerCase().includes(one.toLowerCase()))
    const given =
      proxy.authorization === undefined ? `${variable} has none` : `that of ${variable} is refused`
    const demand = schemes.length === 0 ? 'of no known kind' : schemes.join(', ')
    report.found('proxy-login', { ...values, schemes: demand, given })
  }
  try {
    await touch(at.host, at.port)
  } catch (error) {
    report.found('proxy-down', { ...values, error: codeOf(error) })
    return undefined
  }
  const own: Tls = proxy.url.protocol === 'https:' ? await readTls(way, proxy.url) : {}
  if (own.error !== undefined) {
    report.found('proxy-tls', { ...values, error: codeOf(own.error) })
    return undefined
  }
  try {
    const through: Tls =
      endpoint.protocol === 'https:' ? await readTls(way, endpoint, await tunnel(way, proxy, endpoint)) : {}
    const finding = await proxyTlsFault(way, endpoint, through)
    if (finding !== undefined) {
      report.found(finding.id, { ...values, ...finding.values })
      return undefined
    }
    // What is wrong with the certificate of the endpoint itself is the check tls. Nothing is sent then.
    const seen = through.error === undefined ? await ask(way, below(endpoint, '/api/whoami-v2')) : undefined
    if (seen?.status === 407) login(seen.headers['proxy-authenticate'] ?? '')
    else if (seen !== undefined && (await isOfProxy(way, endpoint, seen)))
      report.found('proxy-refuses', { ...values, status: seen.status })
    else {
      report.found('proxy-used', values)
      return through
    }
  } catch (error) {
    if (!(error instanceof ProxyRefusal)) report.found('proxy-swallows', { ...values, error: codeOf(error) })
    else if (error.status === 407) login(error.challenge)
    else report.found('proxy-refuses', { ...values, status: error.status })
  }
  return undefined
}

/** Whether an answer that came through the proxy is not from the server at the endpoint. That server is asked without it. */
async function isOfProxy(way: Way, endpoint: URL, seen: Seen): Promise<boolean> {
  if (isHub(seen)) return false
  const { host, port } = addressOf(endpoint)
  try {
    await touch(host, port)
    return isHub(await ask(directly(way), below(endpoint, '/api/whoami-v2')))
  } catch {
    const isJson = /json/i.test(seen.headers['content-type'] ?? '')
    return !isJson && (seen.status === 403 || seen.status >= 500)
  }
}

/** What every Hub and every mirror of one says to whoami without a token. */
function isHub({ status, headers }: Seen): boolean {
  return (status === 200 || status === 401) && /json/i.test(headers['content-type'] ?? '')
}

interface Tls {
  readonly certificate?: PeerCertificate
  /** Why the certificate is not trusted, or why there is none. */
  readonly error?: unknown
}

/** What the proxy does to TLS, if it is not the certificate of the endpoint itself that is wrong. */
async function proxyTlsFault(way: Way, endpoint: URL, through: Tls) {
  if (through.error === undefined) return undefined
  const direct = await readTls(way, endpoint)
  const { certificate, error } = through
  const isSame =
    certificate !== undefined && certificate.fingerprint256 === direct.certificate?.fingerprint256
  if (isSame) return undefined
  if (certificate !== undefined && kindOf(codeOf(error)) === 'tls-unknown-ca') {
    const other =
      direct.certificate === undefined ? '' : 'Without the proxy comes another one: the proxy opens TLS.'
    return { id: 'proxy-ca', values: { issuer: issuerOf(certificate), other } } as const
  }
  // The check tls says what is wrong with a certificate, and that a server does not speak TLS with or without the proxy.
  const isOfEndpoint =
    certificate === undefined ? codeOf(direct.error) === codeOf(error) : direct.certificate === undefined
  return isOfEndpoint ? undefined : ({ id: 'proxy-swallows', values: { error: codeOf(error) } } as const)
}

/** Only reads the certificate and what is wrong with it: nothing is sent over this connection. */
function readTls(way: Way, endpoint: URL, through?: Socket): Promise<Tls> {
  const { host, port } = addressOf(endpoint)
  return new Promise((resolve) => {
    const socket = connect({
      ...(through === undefined ? { host, port } : { socket: through, host }),
      ...trustOf(way, endpoint),
      rejectUnauthorized: false,
    })
    const timer = setTimeout(() => socket.destroy(new Error('timed out')), TIMEOUT_MS / 2)
    const done = (tls: Tls): void => {
      clearTimeout(timer)
      socket.destroy()
      through?.destroy()
      resolve(tls)
    }
    socket.on('error', (error) => done({ error }))
    socket.on('close', () => done({ error: new Error('ECONNRESET') }))
    socket.on('secureConnect', () => {
      const certificate = socket.getPeerCertificate(true)
      done({ certificate, ...(!socket.authorized && { error: socket.authorizationError }) })
    })
  })
}

/** Fills tls. Returns whether requests can go on. */
function reportTls(report: Report, endpoint: URL, { certificate, error }: Tls): boolean {
  const { host, port } = addressOf(endpoint)
  if (error === undefined) {
    report.found('tls-ok', { host })
    return true
  }
  const code = codeOf(error)
  if (certificate === undefined) report.found('tls-plain', { host, port, error: code })
  else {
    const now = new Date().toISOString()
    report.found(kindOf(code), { host, error: code, now, issuer: issuerOf(certificate) })
  }
  return false
}

function kindOf(code: string): 'tls-expired' | 'tls-name' | 'tls-unknown-ca' {
  if (/EXPIRED|NOT_YET_VALID/.test(code)) return 'tls-expired'
  return /ALTNAME/.test(code) ? 'tls-name' : 'tls-unknown-ca'
}

/** The name of the authority at the end of the chain that the server sends. */
function issuerOf(certificate: PeerCertificate): string {
  const name = certificate.issuer?.CN ?? certificate.issuer?.O
  return Array.isArray(name) ? name.join(' ') : (name ?? 'unknown')
}
