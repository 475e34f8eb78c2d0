// How requests reach a host: directly, or through a forward proxy. Knows nothing about what is requested.

import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Socket } from 'node:net'
import { Agent, buildConnector, type Dispatcher, Pool } from 'undici'
import type { Proxies, Proxy } from '../../http/proxies.ts'
import { ProxyFailed } from '../failures/unreachable.ts'
import { KEEP_IDLE_MS } from './keep-idle.ts'
import { noteErrors, RepeatingDispatcher } from './repeat.ts'

/** Longest wait for a connection, of which there may be three: to the proxy, through it, and TLS. */
export const CONNECT_TIMEOUT_MS = 5_000

export interface DispatcherOptions {
  readonly proxies: Proxies
  /** Connections to one host at a time; a read that is sent again takes one beside them. */
  readonly connections: number
  /** How long the other side may stay silent, before the headers of an answer or within its body. */
  readonly timeoutMs: number
}

/**
 * Creates the dispatcher for all requests to the origin: one pool for each host. Plain http goes to a proxy in absolute form,
 * https by CONNECT (RFC 9112 §3.2.2, §3.2.3). A read that fails with a reused connection is sent once more (see
 * `RepeatingDispatcher`). The caller must destroy the dispatcher.
 *
 * Requests reject with what Node or undici says, or with ProxyFailed.
 */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  return new RepeatingDispatcher(createAgent(options), createAgent(options))
}

function createAgent({ proxies, connections, timeoutMs }: DispatcherOptions): Agent {
  const connectMs = Math.min(CONNECT_TIMEOUT_MS, timeoutMs)
  const direct = buildConnector({ timeout: connectMs, allowH2: false })
  return new Agent({
    connections,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: KEEP_IDLE_MS,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    factory: (origin, poolOptions: Pool.Options) => {
      const url = new URL(origin)
      const proxy = proxies.of(url)
      if (proxy === undefined) return new Pool(origin, { ...poolOptions, connect: noteErrors(direct) })
      if (url.protocol === 'https:') {
        const connect = noteErrors(tunnelling(proxy, direct, connectMs))
        return new Pool(origin, { ...poolOptions, connect })
      }
      const connect = noteErrors(blaming(proxy, direct))
      return new Pool(proxy.url.origin, { ...poolOptions, connect }).compose(absoluteForm(url, proxy))
    },
  })
}

/** Reports a failure to connect to the proxy as ProxyFailed. */
function blaming(proxy: Proxy, connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect(options, (...result) => {
      if (result[0] === null) callback(...result)
      else callback(new ProxyFailed(proxy, { cause: result[0] }), null)
    })
}

/** Opens a tunnel for each connection, and TLS within it. */
function tunnelling(
  proxy: Proxy,
  connect: buildConnector.connector,
  timeoutMs: number,
): buildConnector.connector {
  return (options, callback) => {
    const { hostname, port } = options
    const name = hostname.includes(':') ? `[${hostname}]` : hostname
    openTunnel(proxy, `${name}:${port || 443}`, timeoutMs).then(
      (httpSocket) => connect({ ...options, httpSocket }, callback),
      (error: Error) => callback(error, null),
    )
  }
}

/** Resolves with a connection to `authority` (host:port). Rejects with ProxyFailed. */
function openTunnel(proxy: Proxy, authority: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { protocol, hostname, port } = proxy.url
    const isTls = protocol === 'https:'
    const request = (isTls ? httpsRequest : httpRequest)({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port || (isTls ? 443 : 80),
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, connection: 'keep-alive', ...credentialOf(proxy) },
      agent: false,
    })
    const timer = setTimeout(() => {
      request.destroy(Object.assign(new Error('the proxy did not answer in time'), { code: 'ETIMEDOUT' }))
    }, timeoutMs)
    request.once('close', () => clearTimeout(timer))
    request.once('connect', ({ statusCode = 0 }, socket: Socket, head: Buffer) => {
      clearTimeout(timer)
      if (statusCode >= 200 && statusCode < 300) {
        if (head.length > 0) socket.unshift(head)
        resolve(socket)
        return
      }
      socket.on('error', () => undefined).destroy()
      reject(new ProxyFailed(proxy, { status: statusCode }))
    })
    request.once('error', (cause) => reject(new ProxyFailed(proxy, { cause })))
    request.end()
  })
}

/** Sends the absolute URL and the proxy's credential. A 407 comes from the proxy, and fails the request. */
function absoluteForm({ origin, host }: URL, proxy: Proxy): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    const asked = {
      ...options,
      origin: proxy.url.origin,
      path: `${origin}${options.path}`,
      headers: { ...(options.headers as Record<string, string>), host, ...credentialOf(proxy) },
    }
    return dispatch(asked, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
      onResponseStart(controller, status, headers, message) {
        if (status === 407) controller.abort(new ProxyFailed(proxy, { status }))
        else handler.onResponseStart?.(controller, status, headers, message)
      },
      onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
    })
  }
}

function credentialOf({ authorization }: Proxy): { readonly 'proxy-authorization'?: string } {
  return authorization === undefined ? {} : { 'proxy-authorization': authorization }
}
