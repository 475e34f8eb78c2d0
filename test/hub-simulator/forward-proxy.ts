// A forward proxy on loopback, as companies have them: plain http in absolute form, everything else by CONNECT, perhaps
// with a password. It leads every name to one place, so that tests need no DNS.

import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface ForwardProxyOptions {
  /** `host:port` that all names lead to. */
  readonly to: string
  /** The `user:password` that it demands. By default it demands none. */
  readonly login?: string
  /** What it answers to CONNECT instead of connecting: many proxies allow it for port 443 only. */
  readonly connectStatus?: number
  /** What it answers to a request in absolute form instead of passing it on, with a page. */
  readonly pageStatus?: number
  /** It takes connections, and never says a word. */
  readonly isSilent?: boolean
}

/** What it was asked. */
export interface Proxied {
  readonly method: string
  /** The request target: an absolute URL, or `host:port` of CONNECT. */
  readonly target: string
  readonly host: string | undefined
  /** `user:password` as it came. */
  readonly login: string | undefined
}

/** A proxy that runs. The caller must close it, which cuts open connections. */
export interface ForwardProxy {
  /** `127.0.0.1:port` */
  readonly address: string
  readonly asked: readonly Proxied[]
  close(): Promise<void>
}

export async function startForwardProxy(options: ForwardProxyOptions): Promise<ForwardProxy> {
  const asked: Proxied[] = []
  const sockets = new Set<Socket>()
  const [host = '', port = ''] = options.to.split(':')

  /** Notes a request; whether it may go on. */
  const admit = ({ method = '', url = '', headers }: IncomingMessage): boolean => {
    const [, pair] = /^Basic (.*)$/.exec(headers['proxy-authorization'] ?? '') ?? []
    const login = pair === undefined ? undefined : Buffer.from(pair, 'base64').toString()
    asked.push({ method, target: url, host: headers.host, login })
    return options.login === undefined || options.login === login
  }

  const server = createServer((request, response) => {
    if (options.isSilent) return
    if (!admit(request)) {
      response.writeHead(407, { 'proxy-authenticate': 'Basic realm="proxy"' }).end('Who are you?')
      return
    }
    if (options.pageStatus !== undefined) {
      response
        .writeHead(options.pageStatus, { 'content-type': 'text/html' })
        .end('<h1>Blocked by the filter</h1>')
      return
    }
    const { pathname, search } = new URL(request.url ?? '')
    const { 'proxy-authorization': _login, ...headers } = request.headers
    const outgoing = httpRequest(
      { host, port, method: request.method, path: pathname + search, headers, agent: false },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      },
    )
    outgoing.on('error', () => response.destroy())
    response.once('close', () => outgoing.destroy())
    request.pipe(outgoing)
  })
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => undefined)
    if (options.isSilent) return
    const status = admit(request) ? options.connectStatus : 407
    if (status !== undefined) {
      const challenge = status === 407 ? 'proxy-authenticate: Basic realm="proxy"\r\n' : ''
      socket.end(`HTTP/1.1 ${status} No\r\n${challenge}content-length: 0\r\n\r\n`)
      return
    }
    const further = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.pipe(further).pipe(socket)
    })
    further.on('error', () => socket.destroy())
    socket.once('close', () => further.destroy())
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
