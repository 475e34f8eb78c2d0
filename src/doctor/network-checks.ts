// Name, connection, TLS and proxy: whether a request from here reaches the endpoint at all.

import { lookup } from 'node:dns/promises'
import { connect, type PeerCertificate, rootCertificates } from 'node:tls'
import { addressOf, ask, isName, touch, type Way } from './ask.ts'
import type { Report } from './report.ts'

/**
 * Fills dns, tcp, tls and proxy. Resolves with the way that further requests can go, or undefined if there is none. A proxy
 * that passes nothing on is reported, and the further requests go without it.
 */
export async function checkNetwork(report: Report, way: Way, endpoint: URL): Promise<Way | undefined> {
  const { host, port } = addressOf(endpoint)
  const proxy = way.proxyOf(endpoint)
  const direct = { ...way, proxyOf: () => undefined }
  const swallowed = proxy === undefined ? undefined : await failureOf(() => ask(way, endpoint))
  const isProxied = proxy !== undefined && swallowed === undefined
  const variable = proxy?.variable ?? ''
  try {
    const addresses = await lookup(host, { all: true })
    report.found('dns-ok', { host, addresses: addresses.map(({ address }) => address).join(', ') })
  } catch (error) {
    if (!isProxied) {
      report.found('dns-failed', { host, error: codeOf(error) })
      return undefined
    }
    report.found('dns-proxy', { host, variable })
  }
  const closed = await failureOf(async () => {
    const ms = await touch(host, port)
    report.found('tcp-ok', { host, port, ms })
  })
  if (closed !== undefined && !isProxied) {
    report.found(codeOf(closed) === 'ECONNREFUSED' ? 'tcp-refused' : 'tcp-timeout', {
      host,
      port,
      error: codeOf(closed),
    })
    return undefined
  }
  if (closed !== undefined) report.found('tcp-proxy', { host, port, variable })
  if (endpoint.protocol === 'http:') report.found('tls-none')
  else if (closed !== undefined) report.found('tls-ok', { host })
  else if (!(await checkTls(report, way, endpoint))) return undefined
  if (proxy === undefined) report.found('proxy-none', { host })
  else if (isProxied) report.found('proxy-used', { variable })
  else report.found('proxy-swallows', { host, variable, error: codeOf(swallowed) })
  return isProxied ? way : direct
}

async function checkTls(report: Report, way: Way, endpoint: URL): Promise<boolean> {
  const { host, port } = addressOf(endpoint)
  // Only to read the certificate and what is wrong with it: nothing is sent over this connection.
  const { certificate, error } = await new Promise<{ certificate?: PeerCertificate; error?: Error }>(
    (resolve) => {
      const socket = connect({
        host,
        port,
        ca: [...rootCertificates, ...way.authorities],
        ...(isName(endpoint.hostname) && { servername: host }),
        rejectUnauthorized: false,
        timeout: 10_000,
      })
      socket.on('timeout', () => socket.destroy(new Error('timed out')))
      socket.on('error', (error) => resolve({ error }))
      socket.on('secureConnect', () => {
        const certificate = socket.getPeerCertificate(true)
        const error = socket.authorized ? undefined : socket.authorizationError
        socket.destroy()
        resolve({
          certificate,
          ...(error !== undefined && { error: error instanceof Error ? error : new Error(String(error)) }),
        })
      })
    },
  )
  if (error === undefined) {
    report.found('tls-ok', { host })
    return true
  }
  const code = codeOf(error)
  const now = new Date().toISOString()
  if (certificate === undefined) report.found('tls-plain', { host, port, error: code })
  else if (/EXPIRED|NOT_YET_VALID/.test(code)) report.found('tls-expired', { host, error: code, now })
  else if (/ALTNAME/.test(code)) report.found('tls-name', { host, error: code })
  else report.found('tls-unknown-ca', { host, issuer: issuerOf(certificate) })
  return false
}

/** The name of the authority at the end of the chain that the server sends. */
function issuerOf(certificate: PeerCertificate): string {
  const name = certificate.issuer?.CN ?? certificate.issuer?.O
  return Array.isArray(name) ? name.join(' ') : (name ?? 'unknown')
}

async function failureOf(act: () => Promise<unknown>): Promise<unknown> {
  try {
    await act()
    return undefined
  } catch (error) {
    return error ?? new Error('failed')
  }
}

/** The code of a system or TLS error, or its text. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // A name with several addresses fails with one error for each of them.
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0])
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message
}
