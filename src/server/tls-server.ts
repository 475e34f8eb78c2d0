// The mirror's own TLS before the HTTP server: handshakes, their limits, and what is said to clients that speak something
// else. It hands on connections that are secure; the HTTP server reads and writes them like any other. The same code runs in
// a worker. It reads no file.

import { constants } from 'node:crypto'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Logger } from 'pino'
import type { Observer, TlsFailure } from '../telemetry/observer.ts'
import { peerAddress } from './clients.ts'
import { aroundClosingAll, interceptConnections, underlyingSocket } from './node-http.ts'

/** What a handshake needs. It may be sent to another process, so it consists of plain values. */
export interface TlsKeys {
  /** PEM: the certificate, then those that lead to its authority. */
  readonly cert: string
  /** PEM. A secret: it must not be printed. */
  readonly key: string
  /** PEM: the authorities of client certificates. Without it, clients need none. */
  readonly clientCa: string | undefined
  /** 48 secret bytes, the same in every process of the mirror. Other bytes end all sessions. */
  readonly ticketKeys: Uint8Array
}

/** Where failed handshakes are reported. */
export interface TlsReporters {
  readonly observer: Pick<Observer, 'tlsFailed'>
  readonly logger: Logger
}

/** A connection in its handshake takes a descriptor. A client far away needs some 2 s; Node's own limit is 120 s. */
const HANDSHAKE_MS = 10_000
/** One log line for each kind of failure in this time: a client may try again and again. */
const QUIET_MS = 60_000

/** What an operator can do about a failure. Clients that leave are not worth a line: probes of the port do so. */
const HINTS: Readonly<Record<Exclude<TlsFailure, 'left'>, string>> = {
  'plain-http':
    'a client speaks plain HTTP to this port, which speaks HTTPS; its HF_ENDPOINT must begin with https://',
  'old-version': 'a client speaks TLS before 1.2, which is refused',
  timeout: 'a client has not finished its TLS handshake in time',
  'client-certificate': 'a client has no certificate that an authority in HUBMIRROR_TLS_CLIENT_CA has issued',
  'own-certificate':
    'a client refuses the certificate of the mirror; it may not know its authority, or the file may lack a certificate in between',
  other: 'a TLS handshake with a client has failed',
}

/**
 * Makes `server` speak TLS: each new connection passes its handshake first. `keys` is called for each of them, and a new
 * object counts from then on; connections that are open stay as they are. To be called when all other code that handles
 * connections of `server` is in place.
 */
export function speakTls(
  server: Server,
  keys: () => TlsKeys,
  reporters: TlsReporters,
  handshakeMs = HANDSHAKE_MS,
): void {
  let used = keys()
  const tls = createServer({ ...optionsOf(used), handshakeTimeout: handshakeMs })
  const report = createReport(reporters)
  // Connections whose handshake has not ended. Node's HTTP does not know them yet.
  const handshaking = new Set<Socket>()
  const handOn = interceptConnections(server, (socket) => {
    const next = keys()
    if (next !== used) {
      used = next
      tls.setSecureContext(optionsOf(used))
    }
    // As for the connections of Node's own server for HTTPS: a client that ends its side in the handshake has left.
    socket.allowHalfOpen = false
    handshaking.add(socket)
    socket.once('close', () => handshaking.delete(socket))
    tls.emit('connection', socket)
  })
  tls.on('secureConnection', (secure) => {
    const socket = underlyingSocket(secure)
    if (socket !== undefined) handshaking.delete(socket)
    handOn(secure)
  })
  tls.on('tlsClientError', (error: NodeJS.ErrnoException, secure) => {
    const socket = underlyingSocket(secure)
    const reason = reasonOf(error, secure)
    report(reason, { code: error.code, address: socket && peerAddress(socket) })
    if (reason === 'plain-http') socket?.write(PLAIN_HTTP)
    // After a time limit Node leaves that to its caller.
    secure.destroy()
  })
  aroundClosingAll(server, (closeAll) => {
    for (const socket of handshaking) socket.destroy()
    closeAll()
  })
}

function optionsOf({ cert, key, clientCa, ticketKeys }: TlsKeys): TlsOptions {
  return {
    cert,
    key,
    ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
    minVersion: 'TLSv1.2',
    // A client that speaks HTTP/2 only is refused in its handshake (RFC 7301 §3.2).
    ALPNProtocols: ['http/1.1'],
    // A client of TLS 1.2 could otherwise make the server repeat the costly part of the handshake.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    ticketKeys: Buffer.from(ticketKeys),
    // OpenSSL needs a name for sessions of clients with certificates. It must be the same in every process.
    sessionIdContext: 'hubmirror',
  }
}

/** The answer to plain HTTP. OpenSSL recognises it by its first bytes, and hands over nothing that could be read. */
const PLAIN_HTTP = answerToPlainHttp()

function answerToPlainHttp(): string {
  const reason = 'This port speaks HTTPS. Set HF_ENDPOINT to the same address with https://'
  const body = JSON.stringify({ error: reason })
  const fields = [
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    `X-Error-Message: ${reason}`,
    'Connection: close',
  ]
  return `HTTP/1.1 400 ${reason}\r\n${fields.join('\r\n')}\r\n\r\n${body}`
}

const REASONS: ReadonlyMap<string, TlsFailure> = new Map([
  ['ERR_SSL_HTTP_REQUEST', 'plain-http'],
  ['ERR_SSL_HTTPS_PROXY_REQUEST', 'plain-http'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'old-version'],
  ['ERR_SSL_VERSION_TOO_LOW', 'old-version'],
  ['ERR_TLS_HANDSHAKE_TIMEOUT', 'timeout'],
  ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', 'client-certificate'],
  // Alerts of a client that does not accept the certificate of the mirror.
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'own-certificate'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'own-certificate'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'own-certificate'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'own-certificate'],
  ['ECONNRESET', 'left'],
  ['EPIPE', 'left'],
  ['ERR_SSL_UNEXPECTED_EOF_WHILE_READING', 'left'],
])

function reasonOf(error: NodeJS.ErrnoException, { authorizationError }: TLSSocket): TlsFailure {
  // Node ends a connection by a certificate that does not count as if the client had left.
  if (isSet(authorizationError)) return 'client-certificate'
  return REASONS.get(error.code ?? '') ?? 'other'
}

/** Node's type says that this is always an error. It is null until a certificate was refused. */
function isSet(authorizationError: unknown): boolean {
  return authorizationError !== null && authorizationError !== undefined
}

/** Counts every failure, and logs the first of each kind once in a while. Nothing that a client has sent is logged. */
function createReport({ observer, logger }: TlsReporters) {
  const quietUntil = new Map<TlsFailure, number>()
  return (
    reason: TlsFailure,
    about: { readonly code: string | undefined; readonly address: string | undefined },
  ) => {
    observer.tlsFailed(reason)
    const now = performance.now()
    if (reason === 'left' || now < (quietUntil.get(reason) ?? 0)) return
    quietUntil.set(reason, now + QUIET_MS)
    logger.warn({ reason, ...about }, HINTS[reason])
  }
}
