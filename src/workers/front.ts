// The server of a worker: takes connections of clients and hands over each request as Node has read it. It knows
// neither what is served nor by whom.

import { lookup } from 'node:dns/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { HTTP_OPTIONS, MAX_IN_FLIGHT_PER_SOCKET } from '../server/limits.ts'

/** A request that waits for its answer. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly address: string
  /** Requests in flight on the connection, this one included. */
  readonly inFlight: number
  /** The client sends its body when it is told to. */
  readonly awaitsContinue: boolean
}

export interface Front {
  /** Resolves with the port. Rejects with what the system says. */
  listen(host: string, port: number): Promise<number>
  /** Takes no new connections; resolves when the last one has ended. */
  close(): Promise<void>
  /** Ends all connections at once. */
  cut(): void
}

/** How often connections whose last answer has ended are looked for while the server closes. */
const SWEEP_MS = 250
/** Those of one answer: Node's own, and of who waits for the client to leave. */
const LISTENERS_PER_ANSWER = 4

export function createFront(answer: (exchange: Exchange) => void): Front {
  const servers: Server[] = []
  const inFlight = new WeakMap<Socket, number>()
  let isClosing = false

  const take = (request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean): void => {
    const { socket } = request
    const count = (inFlight.get(socket) ?? 0) + 1
    const { remoteAddress: address } = socket
    // Of too many requests the first is handed over, which ends the connection; the rest had only arrived with it.
    if (socket.destroyed || address === undefined || count > MAX_IN_FLIGHT_PER_SOCKET + 1) return
    inFlight.set(socket, count)
    response.once('close', () => inFlight.set(socket, (inFlight.get(socket) ?? 1) - 1))
    if (count === 1) socket.setMaxListeners(MAX_IN_FLIGHT_PER_SOCKET * LISTENERS_PER_ANSWER)
    if (isClosing) response.shouldKeepAlive = false
    answer({ request, response, address, inFlight: count, awaitsContinue })
  }

  const open = (host: string, port: number): Promise<Server> =>
    new Promise((resolve, reject) => {
      const server = createServer(HTTP_OPTIONS)
      server.setTimeout(0)
      server.on('request', (request, response) => take(request, response, false))
      server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
        take(request, response, true),
      )
      server.on('clientError', refuse)
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.off('error', reject)
        servers.push(server)
        resolve(server)
      })
    })

  return {
    async listen(host, port) {
      const own = addressOf(await open(host, port))
      if (host !== 'localhost') return own.port
      // Both of its addresses, as far as the system has them.
      for (const { address } of await lookup(host, { all: true }).catch(() => [])) {
        if (address !== own.address) await open(address, own.port).catch(() => undefined)
      }
      return own.port
    },
    async close() {
      isClosing = true
      const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)))
      // Closing ends what is idle now; clients keep the connections of downloads that end later.
      const sweep = setInterval(() => {
        for (const server of servers) server.closeIdleConnections()
      }, SWEEP_MS)
      await Promise.all(closed)
      clearInterval(sweep)
    },
    cut() {
      for (const server of servers) server.closeAllConnections()
    },
  }
}

function addressOf(server: Server): { readonly address: string; readonly port: number } {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a server without a port')
  return address
}

/** What the server of a single process says to what Node cannot read, or waits for in vain. */
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
