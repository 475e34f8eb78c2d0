// The limits of the HTTP server that faces clients. They are the same in every process that does.

import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { NOT_A_PROXY } from '../hub/route.ts'
import { aroundClosingIdle, sparing } from './node-http.ts'
import { answersOf, type Shutdown } from './shutdown.ts'

/** Clients of the Hub do not pipeline, and each request in flight costs descriptors and memory. */
export const MAX_IN_FLIGHT_PER_SOCKET = 16
export const MAX_HEADER_BYTES = 16 * 1024

/**
 * Longer than the idle timeout of load balancers in front of the mirror, which would otherwise reuse a dead connection.
 */
export const KEEP_ALIVE_MS = 75_000

/** Detects a client that has vanished while nothing is sent to it: a stream of events may be silent for long. */
export const TCP_KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: 60_000 } as const

/** The options of Node's server. */
const HTTP_OPTIONS = {
  // `checkRequest` refuses these, with a message.
  requireHostHeader: false,
  keepAliveTimeout: KEEP_ALIVE_MS,
  ...TCP_KEEP_ALIVE,
  headersTimeout: 15_000,
  // The time for a whole request is not limited, since uploads may be long. The head has its own limit.
  requestTimeout: 0,
  connectionsCheckingInterval: 5_000,
} as const

/** A client may stall its download for any time. */
const CONNECTION_TIMEOUT_MS = 0

/** Makes Node's server with these limits. Once `shutdown` has begun, its responses end their connections. */
export function openServer(
  listener?: RequestListener,
  maxHeaderBytes = MAX_HEADER_BYTES,
  shutdown?: Shutdown,
): Server {
  const answers = shutdown === undefined ? {} : { ServerResponse: answersOf(shutdown) }
  const server = createServer({ ...HTTP_OPTIONS, ...answers, maxHeaderSize: maxHeaderBytes }, listener)
  // Node would hide all fields after the first thousand from us and still frame the body by them. Their bytes are
  // limited.
  server.maxHeadersCount = 0
  spareUnreadResponses(server)
  server.on('connect', refuseTunnel)
  return server.setTimeout(CONNECTION_TIMEOUT_MS)
}

/**
 * Answers a client that takes the mirror for a forward proxy; Node would end its connection without a word. Python
 * shows the reason phrase to its user. The connection is closed as soon as the answer is sent: the server's time limits
 * do not apply to it any more, so that a client which never closes it would hold it.
 */
function refuseTunnel(_request: IncomingMessage, socket: Duplex): void {
  socket.on('error', () => undefined)
  const reason = `${NOT_A_PROXY}, and not HTTPS_PROXY`
  const body = JSON.stringify({ error: `${reason}.` })
  const fields = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n`
  const head = `HTTP/1.1 405 ${reason}\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE\r\n${fields}\r\n`
  socket.end(head + body, () => socket.destroy())
}

/** Node treats a connection as idle, and closes it, even if the client has not yet read the last response. */
function spareUnreadResponses(server: Server): void {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  aroundClosingIdle(server, (closeIdle) => {
    const busy = [...sockets].filter(({ writableLength }) => writableLength > 0)
    sparing(busy, closeIdle)
  })
}

/** Listeners of the mirror and of Node. */
const LISTENERS_PER_ANSWER = 4

/** Counts the requests in flight per connection. */
export class InFlight {
  readonly #counts = new WeakMap<Socket, number>()

  /** Counts a request until its response has closed. Returns the count for its connection, this request included. */
  register(socket: Socket, response: ServerResponse): number {
    const count = this.#of(socket) + 1
    this.#counts.set(socket, count)
    response.once('close', () => this.#counts.set(socket, this.#of(socket) - 1))
    // Each response under way adds listeners to its socket, and Node warns from the eleventh on.
    if (count === 1) socket.setMaxListeners(MAX_IN_FLIGHT_PER_SOCKET * LISTENERS_PER_ANSWER)
    return count
  }

  #of(socket: Socket): number {
    return this.#counts.get(socket) ?? 0
  }
}
