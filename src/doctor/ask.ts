// One request of the doctor: bounded in time and bytes, redirects only as the caller says, through a proxy where the
// variables name one. It keeps what a check looks at, and never a token.

import {
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from 'node:http'
import { request as requestHttps } from 'node:https'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, rootCertificates } from 'node:tls'
import type { Proxy } from '../http/proxies.ts'

/** Enough for a slow mirror that asks the Hub first. */
export const TIMEOUT_MS = 20_000
/** More than any answer that the doctor reads. */
const MAX_BODY_BYTES = 4_000_000

export interface Seen {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  readonly bytes: number
  /** Whether the answer is longer than what the doctor reads: `text` is its beginning. */
  readonly isCut: boolean
  readonly url: URL
}

export interface Asking {
  readonly method?: 'GET' | 'HEAD'
  readonly headers?: Readonly<Record<string, string>>
  readonly token?: string | undefined
}

/** How requests leave this machine. */
export interface Way {
  readonly proxyOf: (url: URL) => Proxy | undefined
  /** The variable that names a proxy for the endpoint which cannot be used here, such as one for SOCKS. */
  readonly unusable?: string | undefined
  /** Authorities in PEM that the clients' variables name, beside those of Node. */
  readonly authorities: readonly string[]
}

/** What a proxy says to CONNECT if it does not connect. */
export class ProxyRefusal extends Error {
  readonly status: number
  /** The value of Proxy-Authenticate (RFC 9110 §11.7.1). */
  readonly challenge: string

  constructor(status: number, challenge: string) {
    super(`the proxy answers ${status}`)
    this.status = status
    this.challenge = challenge
  }
}

/** A redirect led to another host, and that gave no whole answer. */
export class ElsewhereFailed extends Error {
  readonly target: URL

  constructor(target: URL, cause: unknown) {
    super(codeOf(cause), { cause })
    this.target = target
  }
}

/** Sends one request and reads the answer, without following redirects. Rejects if there is none. */
export async function ask(way: Way, url: URL, asking: Asking = {}): Promise<Seen> {
  const { method = 'GET', token } = asking
  const headers: Record<string, string> = {
    host: url.host,
    accept: '*/*',
    'accept-encoding': 'identity',
    'user-agent': 'hubmirror-doctor',
    ...asking.headers,
  }
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`
  const proxy = way.proxyOf(url)
  if (url.protocol === 'http:') {
    const to = proxy?.url ?? url
    if (proxy?.authorization !== undefined) headers['proxy-authorization'] = proxy.authorization
    const path = proxy === undefined ? url.pathname + url.search : url.href
    return answerOf(requestTo(way, to, { method, path, headers }), url, method)
  }
  const socket = proxy === undefined ? undefined : await tunnel(way, proxy, url)
  const request = requestTo(way, url, {
    method,
    path: url.pathname + url.search,
    headers,
    ...(socket !== undefined && {
      createConnection: () => connectTls({ ...trustOf(way, url), socket, host: url.hostname }),
    }),
  })
  try {
    return await answerOf(request, url, method)
  } finally {
    // TLS over a tunnel does not close it, and this process would not end.
    socket?.destroy()
  }
}

/** A request to the server at `to`, with TLS where that says https. */
function requestTo(way: Way, to: URL, options: RequestOptions): ClientRequest {
  const all = { ...addressOf(to), agent: false, ...options }
  return to.protocol === 'https:' ? requestHttps({ ...trustOf(way, to), ...all }) : requestHttp(all)
}

/** Which certificates are trusted, and for which name. */
export function trustOf({ authorities }: Way, { hostname }: URL) {
  return {
    ca: [...rootCertificates, ...authorities],
    ...(isName(hostname) && { servername: hostname }),
  }
}

/**
 * Follows redirects to at most five further places. The token goes only to the first host. Rejects with ElsewhereFailed if
 * another host than the first gives no answer.
 */
export async function follow(way: Way, url: URL, asking: Asking = {}): Promise<Seen> {
  let seen = await ask(way, url, asking)
  for (let hop = 0; hop < 5 && isRedirect(seen); hop++) {
    const next = URL.canParse(seen.headers['location'] ?? '', seen.url.href)
      ? new URL(seen.headers['location'] ?? '', seen.url)
      : undefined
    if (next === undefined || !/^https?:$/.test(next.protocol)) return seen
    if (next.origin === url.origin) seen = await ask(way, next, asking)
    else {
      seen = await ask(way, next, { ...asking, token: undefined }).catch((error: unknown) => {
        throw new ElsewhereFailed(next, error)
      })
    }
  }
  return seen
}

/** Whether the answer is a redirect that names a place. */
export function isRedirect({ status, headers }: Seen): boolean {
  return [301, 302, 303, 307, 308].includes(status) && headers['location'] !== undefined
}

/** The URL of a path of the Hub below the endpoint. */
export function below(endpoint: URL, path: string): URL {
  return new URL(endpoint.href.replace(/\/+$/, '') + path)
}

/** Host and port, as Node wants them: without the brackets of IPv6. */
export function addressOf(url: URL): { readonly host: string; readonly port: number } {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port }
}

/** Whether this is a name: an address is not sent as SNI (RFC 6066 §3). */
function isName(host: string): boolean {
  return !/^\[|^[\d.]+$/.test(host)
}

function answerOf(request: ReturnType<typeof requestHttp>, url: URL, method: string): Promise<Seen> {
  return new Promise((resolve, reject) => {
    // For the whole exchange: a server that sends a byte now and then must not hold the doctor.
    const timer = setTimeout(() => request.destroy(timedOut()), TIMEOUT_MS)
    const fail = (error: Error): void => {
      clearTimeout(timer)
      reject(error)
    }
    request.on('error', fail)
    request.on('response', (response: IncomingMessage) => {
      const parts: Buffer[] = []
      let bytes = 0
      const done = (isCut = false): void => {
        clearTimeout(timer)
        request.destroy()
        resolve({
          status: response.statusCode ?? 0,
          headers: flat(response),
          text: Buffer.concat(parts).toString(),
          bytes,
          isCut,
          url,
        })
      }
      if (method === 'HEAD') return done()
      response.on('data', (part: Buffer) => {
        bytes += part.length
        parts.push(part)
        if (bytes > MAX_BODY_BYTES) done(true)
      })
      response.on('end', () => done())
      response.on('error', fail)
    })
    request.end()
  })
}

function flat(response: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]),
  )
}

/** A connection to the endpoint through the proxy (RFC 9110 §9.3.6). Rejects with a ProxyRefusal if the proxy answers no. */
export function tunnel(way: Way, proxy: Proxy, url: URL): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { host, port } = addressOf(url)
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`
    const request = requestTo(way, proxy.url, {
      method: 'CONNECT',
      path: authority,
      headers: {
        host: authority,
        ...(proxy.authorization !== undefined && { 'proxy-authorization': proxy.authorization }),
      },
    })
    const timer = setTimeout(() => request.destroy(timedOut()), TIMEOUT_MS)
    const refuse = ({ statusCode = 0, headers }: IncomingMessage): void =>
      reject(new ProxyRefusal(statusCode, [headers['proxy-authenticate'] ?? []].flat().join(', ')))
    request.on('error', reject)
    request.on('close', () => clearTimeout(timer))
    request.on('connect', (response, socket: Socket) => {
      clearTimeout(timer)
      if (response.statusCode !== undefined && response.statusCode < 300) return resolve(socket)
      socket.destroy()
      refuse(response)
    })
    request.on('response', (response) => {
      request.destroy()
      refuse(response)
    })
    request.end()
  })
}

function timedOut(): Error {
  return Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' })
}

/** Connects and closes again. Resolves with the time it took; rejects with why not. */
export function touch(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now()
    const socket = connect({ host, port, timeout: 5000 })
    socket.on('timeout', () => socket.destroy(timedOut()))
    socket.on('error', reject)
    socket.on('connect', () => {
      socket.destroy()
      resolve(Math.round(performance.now() - began))
    })
  })
}

/** The code of a system or TLS error, or its text. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // A name with several addresses fails with one error for each of them.
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0])
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message
}
