// The limits of the HTTP server that faces clients: the same in every process that does.

import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { answersOf, type Leaving } from './leaving.ts'
import { aroundClosingIdle, sparing } from './node-http.ts'

/** Nobody who speaks the Hub's protocol pipelines; each request in flight costs descriptors and memory. */
export const MAX_IN_FLIGHT_PER_SOCKET = 16
export const MAX_HEADER_BYTES = 16 * 1024

/** Longer than the idle time of the load balancers that may stand before us, else they reuse a dead connection. */
export const KEEP_ALIVE_MS = 75_000

/** A client that vanished is found out though nothing is sent to it: a stream of events may be silent for long. */
export const TCP_KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: 60_000 } as const

/** What Node's server is made with. */
const HTTP_OPTIONS = {
  // Refused by checkRequest, which says so.
  requireHostHeader: false,
  keepAliveTimeout: KEEP_ALIVE_MS,
  ...TCP_KEEP_ALIVE,
  headersTimeout: 15_000,
  // The whole request: uploads may be long. Headers have their own limit.
  requestTimeout: 0,
  connectionsCheckingInterval: 5_000,
} as const

/** A download may stall for as long as its client likes. */
const CONNECTION_TIMEOUT_MS = 0

/** Node's server with these limits. Once `leaving` has begun, its answers end their connections. */
export function openServer(
  listener?: RequestListener,
  maxHeaderBytes = MAX_HEADER_BYTES,
  leaving?: Leaving,
): Server {
  const answers = leaving === undefined ? {} : { ServerResponse: answersOf(leaving) }
  const server = createServer({ ...HTTP_OPTIONS, ...answers, maxHeaderSize: maxHeaderBytes }, listener)
  // Node would pass over what follows the first thousand fields, and still read a body by them. Their bytes are limited.
  server.maxHeadersCount = 0
  spareUnreadResponses(server)
  return server.setTimeout(CONNECTION_TIMEOUT_MS)
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

/** Ours, and Node's own. */
const LISTENERS_PER_ANSWER = 4

/** Requests in flight, by connection. */
export class InFlight {
  readonly #counts = new WeakMap<Socket, number>()

  /** Counts a request in until its answer has closed; how many there are with it on its connection. */
  enter(socket: Socket, response: ServerResponse): number {
    const count = this.#of(socket) + 1
    this.#counts.set(socket, count)
    response.once('close', () => this.#counts.set(socket, this.#of(socket) - 1))
    // Each answer under way listens to its socket, and Node warns from the eleventh listener on.
    if (count === 1) socket.setMaxListeners(MAX_IN_FLIGHT_PER_SOCKET * LISTENERS_PER_ANSWER)
    return count
  }

  #of(socket: Socket): number {
    return this.#counts.get(socket) ?? 0
  }
}
