// The HTTP server of a worker. It reads requests from the connections that it is given, answers from the cache, and
// forwards all others. It does not know how either is done.

import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CachedRoute } from '../../fast-path/cached-route.ts'
import { readEarly } from '../../fast-path/early-read.ts'
import { InFlight, MAX_HEADER_BYTES, MAX_IN_FLIGHT_PER_SOCKET, openServer } from '../../server/limits.ts'
import { startTimeouts } from '../../server/node-http.ts'
import { readBeforeClosing, Shutdown } from '../../server/shutdown.ts'
import { speakTls, type TlsKeys, type TlsReporters } from '../../server/tls-server.ts'

/** A request and the response to it. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly address: string
  /** Requests in flight on the connection, this one included. */
  readonly inFlight: number
  /** The client sends its body after a 100 (Continue) only. */
  readonly awaitsContinue: boolean
}

export interface WorkerServer {
  /** Serves a connection. */
  take(socket: Socket): void
  /** Serves on; from now on every answer ends its connection. */
  leave(): void
  /** The same, and ends idle connections. Resolves when the last connection has ended. */
  close(): Promise<void>
  /** Ends all connections at once. */
  cut(): void
}

/** How often idle connections are ended while the server closes. */
const SWEEP_MS = 250

export function createWorkerServer(deps: {
  /** Answers from the cache. */
  readonly cachedRoute: CachedRoute
  readonly forward: (exchange: Exchange) => void
  /** Where clients speak TLS: what handshakes that begin now use. */
  readonly tls?: { readonly keys: () => TlsKeys; readonly reporters: TlsReporters } | undefined
}): WorkerServer {
  const shutdown = new Shutdown()
  const server = openServer(undefined, MAX_HEADER_BYTES, shutdown)
  const sockets = new Set<Socket>()
  let whenEmpty: (() => void) | undefined
  const inFlight = new InFlight()

  const handOn = (request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean): void => {
    const { socket } = request
    const count = inFlight.register(socket, response)
    const { remoteAddress: address } = socket
    // The first request beyond the limit is forwarded, and the main process ends the connection for it. Others that arrived
    // with it are dropped.
    if (socket.destroyed || address === undefined || count > MAX_IN_FLIGHT_PER_SOCKET + 1) return
    deps.forward({ request, response, address, inFlight: count, awaitsContinue })
  }

  server.on('request', (request, response) =>
    deps.cachedRoute.serve(request, response, () => handOn(request, response, false)),
  )
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
    handOn(request, response, true),
  )
  server.on('clientError', refuse)
  readEarly(server, (head, socket) => !shutdown.hasBegun && deps.cachedRoute.write(head, socket))
  readBeforeClosing(server)
  if (deps.tls !== undefined) speakTls(server, deps.tls.keys, deps.tls.reporters)
  startTimeouts(server)

  return {
    take(socket) {
      // As for a connection that the server has accepted itself.
      socket.allowHalfOpen = true
      sockets.add(socket)
      socket.once('close', () => {
        sockets.delete(socket)
        if (sockets.size === 0) whenEmpty?.()
      })
      server.emit('connection', socket)
    },
    leave: () => shutdown.begin(),
    async close() {
      shutdown.begin()
      const empty = new Promise<void>((resolve) => {
        whenEmpty = resolve
      })
      server.closeIdleConnections()
      // Connections of downloads that end later become idle then.
      const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
      if (sockets.size > 0) await empty
      clearInterval(sweep)
    },
    cut() {
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** Answers what Node cannot parse, or waited for too long, with the same words as the server of a single process. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const [status, message] =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? [408, 'Client Timeout']
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? [431, 'Exceeded maximum allowed HTTP header size']
        : [400, 'Client Error']
  const label = STATUS_CODES[status] ?? ''
  const body = JSON.stringify({ error: label, message, statusCode: status })
  if (socket.writable) {
    socket.write(
      `HTTP/1.1 ${status} ${label}\r\nContent-Length: ${body.length}\r\nContent-Type: application/json\r\n\r\n${body}`,
    )
  }
  socket.destroy(error)
}
