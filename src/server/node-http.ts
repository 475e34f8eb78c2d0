// Everything the mirror needs of Node's HTTP server beyond its documented API. Each function says what it relies on and
// why: this is the list to check when Node is upgraded. test/unit/server/node-http.test.ts proves each reliance on the
// Node that runs it. Tried on Node 20.20, 22.23 and 24.22.
//
// What is documented is used where it is needed, and not listed here: injecting a connection with
// `server.emit('connection', socket)`, `maxHeadersCount = 0`, `resetAndDestroy`, a `ServerResponse` class of one's own.

import type { Server, ServerResponse } from 'node:http'
import { type Server as ConnectionServer, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'

/**
 * Gives `first` every new connection in place of Node's HTTP. The returned function hands a connection on to Node's HTTP.
 *
 * Relies on: Node reads HTTP from a connection in a listener for `connection` that is there once the server is made, and
 * that works as well when it is called later.
 * Why: answering a plain request from its bytes costs a fraction of what Node's parser and response objects cost.
 */
export function interceptConnections(
  server: Server,
  first: (socket: Socket) => void,
): (socket: Socket) => void {
  const listeners = server.listeners('connection')
  server.removeAllListeners('connection')
  server.on('connection', first)
  return (socket) => {
    for (const listener of listeners) listener.call(server, socket)
  }
}

/**
 * Puts `bytes` back to be read again by Node's HTTP, which has just been handed the connection.
 *
 * Relies on: `read(0)` starts a read without taking bytes. Without a pending read the stream would start one itself on
 * `unshift`, even while Node has paused the socket, and Node would close the connection when those bytes arrive.
 */
export function unread(socket: Socket, bytes: Buffer): void {
  socket.read(0)
  socket.unshift(bytes)
}

/** What gets the bytes and the timeouts of a connection that is shared with Node. */
interface OwnListeners {
  readonly data: (bytes: Buffer) => void
  readonly timeout: () => void
}

/** A connection of which Node's HTTP reads only what it is given. */
export interface SharedConnection {
  /** Has Node read these bytes. */
  read(bytes: Buffer): void
  /** Has Node handle that the connection was idle for its timeout. */
  expire(): void
  /** Gives Node the connection for good. It reads `bytes` first. */
  give(bytes: Buffer): void
}

/**
 * Hands a connection to Node's HTTP by `handToNode`, but passes what arrives on it, and its timeouts, to `own`, which must not listen to
 * the connection yet.
 *
 * Relies on: Node adds a listener for `data`, which parses, and one for `timeout` while it is handed the connection. It reads past
 * the stream, from the handle, only until another listener for `data` is added.
 * Why: a connection that carries plain requests only can be read early again after each of them.
 */
export function shareWithNode(
  socket: Socket,
  handToNode: (socket: Socket) => void,
  own: OwnListeners,
): SharedConnection {
  handToNode(socket)
  const listenersOf = (event: string) => socket.listeners(event) as ((bytes?: Buffer) => void)[]
  const reading = listenersOf('data')
  const expiring = listenersOf('timeout')
  socket.on('data', own.data).on('timeout', own.timeout)
  for (const listener of reading) socket.off('data', listener)
  for (const listener of expiring) socket.off('timeout', listener)
  const read = (bytes: Buffer): void => {
    for (const listener of reading) listener.call(socket, bytes)
  }
  return {
    read,
    expire() {
      for (const listener of expiring) listener.call(socket)
    },
    give(bytes) {
      for (const listener of reading) socket.on('data', listener)
      for (const listener of expiring) socket.on('timeout', listener)
      socket.off('data', own.data).off('timeout', own.timeout)
      if (bytes.length > 0) read(bytes)
    },
  }
}

/**
 * Runs `around` in place of `server.closeIdleConnections`, with Node's own as its argument.
 *
 * Relies on: Node and Fastify close idle connections through this method of the instance, so replacing it is seen.
 * Why: Node does not know the connections it has not been handed, takes a connection for idle whose client has not read
 * its last response yet, and does not wait for requests that have arrived but are unread.
 */
export function aroundClosingIdle(server: Server, around: (closeIdle: () => void) => void): void {
  const closeIdle = server.closeIdleConnections.bind(server)
  server.closeIdleConnections = () => around(closeIdle)
}

/** The same for `server.closeAllConnections`. */
export function aroundClosingAll(server: Server, around: (closeAll: () => void) => void): void {
  const closeAll = server.closeAllConnections.bind(server)
  server.closeAllConnections = () => around(closeAll)
}

/**
 * Runs `work` while none of `sockets` can be destroyed.
 *
 * Relies on: `closeIdleConnections` ends a connection by calling `destroy` on its socket, before it returns.
 * Why: Node offers no way to exempt a connection.
 */
export function sparing(sockets: readonly Socket[], work: () => void): void {
  for (const socket of sockets) socket.destroy = () => socket
  try {
    work()
  } finally {
    for (const socket of sockets) Reflect.deleteProperty(socket, 'destroy')
  }
}

/**
 * Passes every write to the socket through `gate`, which runs it at once or later. The gate must keep the order.
 *
 * Relies on: a stream hands its bytes to `_write` or `_writev`, one call at a time: the next one waits for `done`. Node
 * documents both for those who implement a stream, not for replacing them on a socket. Why: what must not leave yet is
 * held below the stream's own queue, so that it stays in order and its back pressure works.
 */
export function gateWrites(socket: Socket, gate: (write: () => void) => void): void {
  const write = socket._write.bind(socket)
  const writeMany = socket._writev?.bind(socket)
  socket._write = (chunk, encoding, done) => gate(() => write(chunk, encoding, done))
  if (writeMany !== undefined) socket._writev = (chunks, done) => gate(() => writeMany(chunks, done))
}

/**
 * Makes `socket.remoteAddress` say `address`, until it is called again.
 *
 * Relies on: `remoteAddress` is a getter of the prototype, so that a property of the instance hides it.
 * Why: Fastify, its plugins and the mirror read the client's address there. Behind a private socket it is the address
 * that the other process names.
 */
export function setRemoteAddress(socket: Socket, address: string): void {
  Object.defineProperty(socket, 'remoteAddress', { value: address, configurable: true })
}

/**
 * Makes the connection count as encrypted, as one that arrives by TLS does.
 *
 * Relies on: Fastify finds the scheme of a request in the property `encrypted`, which Node sets on connections of TLS.
 * Why: behind a private socket the other process has spoken TLS with the client.
 */
export function markEncrypted(socket: Socket): void {
  Object.defineProperty(socket, 'encrypted', { value: true, configurable: true })
}

/**
 * The connection below one of TLS; undefined if it has none any more.
 *
 * Relies on: a `TLSSocket` keeps the socket that it was made of as `_parent`.
 * Why: Node tells neither of a failed nor of a finished handshake on which connection it was. And only the connection below
 * can be reset, or carry an answer that is not encrypted.
 */
export function underlyingSocket(secure: TLSSocket): Socket | undefined {
  const parent: unknown = Reflect.get(secure, '_parent')
  return parent instanceof Socket ? parent : undefined
}

/** Ends a connection by a reset (RFC 9293 §3.5.3), so that its client cannot take what came for the whole. */
export function resetConnection(socket: Socket): void {
  // Of TLS itself there is no reset, and some clients take a missing close_notify for an end.
  const below = 'encrypted' in socket ? underlyingSocket(socket as TLSSocket) : socket
  if (below === undefined) socket.destroy()
  else below.resetAndDestroy()
}

/**
 * Lets `server.close` close `others`, too. Its callback is called when the last of them has closed.
 *
 * Relies on: Node and Fastify close the server through this method of the instance.
 */
export function closeTogether(server: Server, others: readonly ConnectionServer[]): void {
  const close = server.close.bind(server)
  server.close = (done) => {
    let open = others.length + 1
    const closed = (error?: Error): void => {
      open -= 1
      if (open === 0) done?.(error)
    }
    for (const other of others) other.close(closed)
    return close(closed)
  }
}

/**
 * Starts the timeouts for requests on a server that gets its connections from elsewhere and never listens itself.
 *
 * Relies on: Node begins to check `headersTimeout` and `requestTimeout` at the event `listening`, and keeps checking
 * until the server is closed.
 */
export function startTimeouts(server: Server): void {
  server.emit('listening')
}

/**
 * Reports a connection on which no request has arrived in time, as Node does. Returns false when nothing listens: then
 * the caller must end the connection.
 *
 * Relies on: the name `clientError` and the code `ERR_HTTP_REQUEST_TIMEOUT` are documented; that a server emits the event
 * for others is not.
 */
export function reportTimeout(server: Server, socket: Socket): boolean {
  const error = Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })
  return server.emit('clientError', error, socket)
}

/**
 * Lets the connection end with this response. To be called before its head is written, which then says
 * `Connection: close` (RFC 9112 §9.6).
 *
 * Relies on: `shouldKeepAlive`, which Node's type declarations name and its documentation does not. Setting the field
 * `Connection` instead would fail where a head is written with fields of its own.
 */
export function endConnectionWith(response: ServerResponse): void {
  response.shouldKeepAlive = false
}
