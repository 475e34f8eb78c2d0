// Reads a connection before Node's HTTP does. Plain requests whose response is cached are answered from their bytes,
// since Node's parser costs more than such a response. Of any other plain request, Node gets the head and no byte behind it.
// Once it has answered, the connection is read early again. A request that is not plain hands the connection to Node for good,
// with all bytes that were not answered. So does one that arrives before the one before it is answered. Nothing is decided about
// a request here.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { MAX_HEADER_BYTES, MAX_IN_FLIGHT_PER_SOCKET } from '../server/limits.ts'
import {
  aroundClosingAll,
  aroundClosingIdle,
  interceptConnections,
  reportTimeout,
  type SharedConnection,
  shareWithNode,
  sparing,
  unread,
} from '../server/node-http.ts'
import { type RequestHead, readHead } from './plain-head.ts'

/**
 * Writes the whole response to a request, at once or after a read. Returns false, or resolves with it, if Node must read
 * the request; nothing has been written then. Must not reject.
 */
export type WriteAnswer = (head: RequestHead, socket: Socket) => boolean | Promise<boolean>

/** Offers the requests on new connections of `server` to `answer` first. */
export function readEarly(server: Server, answer: WriteAnswer): void {
  const connections = new Map<Socket, EarlyConnection>()
  const handToNode = interceptConnections(server, (socket) =>
    connections.set(socket, new EarlyConnection(socket, deps)),
  )
  const deps = { server, answer, handToNode, ended: (socket: Socket) => connections.delete(socket) }
  server.on('request', (request, response) => connections.get(request.socket)?.isAnswered(request, response))
  aroundClosingIdle(server, (closeIdle) => {
    for (const connection of connections.values()) connection.leave()
    // Node takes a connection for idle whose response is being read here.
    const busy = [...connections].filter(([, connection]) => connection.isReading)
    sparing(
      busy.map(([socket]) => socket),
      closeIdle,
    )
  })
  aroundClosingAll(server, (closeAll) => {
    for (const connection of connections.values()) connection.cut()
    closeAll()
  })
}

const NOTHING = Buffer.alloc(0)

interface Deps {
  readonly server: Server
  readonly answer: WriteAnswer
  readonly handToNode: (socket: Socket) => void
  readonly ended: (socket: Socket) => void
}

/** A connection that Node's HTTP has not been handed for good. */
class EarlyConnection {
  readonly #socket: Socket
  readonly #deps: Deps
  #hasAnswered = false
  /** Present once Node was given a request of this connection. */
  #shared: SharedConnection | undefined
  /** Node answers a request. */
  #isAtNode = false
  /** Present while an answer is being read: its request, and what has arrived since. */
  #waiting: Buffer | undefined

  constructor(socket: Socket, deps: Deps) {
    this.#socket = socket
    this.#deps = deps
    socket.on('data', this.#read).on('end', this.#end).on('timeout', this.#expire)
    socket.on('error', this.#fail).on('close', this.#stop)
    socket.setTimeout(deps.server.headersTimeout)
  }

  /** Whether an answer is being read. */
  get isReading(): boolean {
    return this.#waiting !== undefined
  }

  /** Node answers a request of this connection by `response`. */
  isAnswered(request: IncomingMessage, response: ServerResponse): void {
    response.once('close', () => {
      if (!this.#isAtNode) return
      this.#isAtNode = false
      this.#hasAnswered = true
      // By Node's reading the request goes on, or the connection ends.
      if (!request.complete || !this.#socket.writable) this.#handToNode(NOTHING)
    })
  }

  /** Ends the connection if it is idle. A client that has sent nothing yet keeps its time for the first request. */
  leave(): void {
    if (this.#hasAnswered && !this.#isBusy()) this.#socket.destroy()
  }

  cut(): void {
    this.#socket.destroy()
  }

  readonly #read = (bytes: Buffer): void => {
    if (this.#isAtNode) {
      // Several requests at once: their order and their number are counted on the full path.
      this.#handToNode(bytes)
      return
    }
    // An answer is being read: what arrives meanwhile comes after it.
    if (this.#waiting === undefined) this.#answer(bytes, 1)
    else this.#waiting = Buffer.concat([this.#waiting, bytes])
    if ((this.#waiting?.length ?? 0) > MAX_HEADER_BYTES) this.#socket.pause()
  }

  /** Answers the requests in `bytes`, before which `from` - 1 others arrived at once. */
  #answer(bytes: Buffer, from: number): void {
    const socket = this.#socket
    let rest = bytes
    for (let count = from; rest.length > 0; count += 1) {
      // Unsent bytes mean that the client does not read. Many requests at once fall under the limit of the full path.
      const mayLook = !this.#isSending() && count <= MAX_IN_FLIGHT_PER_SOCKET
      const head = mayLook ? readHead(rest, MAX_HEADER_BYTES) : undefined
      const answered = head !== undefined && this.#deps.answer(head, socket)
      if (head === undefined || answered === false) {
        this.#pass(rest, head?.text.length)
        return
      }
      if (answered !== true) {
        this.#waiting = rest
        void answered.then((isAnswered) => this.#goOn(isAnswered, head.text.length, count))
        return
      }
      rest = rest.subarray(head.text.length)
    }
    if (this.#hasAnswered) return
    this.#hasAnswered = true
    socket.setTimeout(this.#deps.server.keepAliveTimeout)
  }

  /** Goes on with what has arrived during a read, or with the request itself if it was not answered. */
  #goOn(isAnswered: boolean, headBytes: number, count: number): void {
    const socket = this.#socket
    const bytes = this.#waiting ?? NOTHING
    this.#waiting = undefined
    if (!socket.writable) return
    if (socket.isPaused()) socket.resume()
    if (isAnswered) this.#answer(bytes.subarray(headBytes), count + 1)
    else this.#pass(bytes, headBytes)
  }

  /** Passes a plain request to Node if nothing has arrived behind it, and otherwise the whole connection. */
  #pass(bytes: Buffer, headBytes: number | undefined): void {
    if (headBytes !== bytes.length) {
      this.#handToNode(bytes)
      return
    }
    this.#isAtNode = true
    this.#shared ??= this.#share()
    this.#shared.read(bytes)
  }

  #share(): SharedConnection {
    const socket = this.#socket
    this.#stopListening()
    socket.on('close', this.#stop).setTimeout(0)
    return shareWithNode(socket, this.#deps.handToNode, { data: this.#read, timeout: this.#expire })
  }

  /** A client that ends its side before its answer was read gets none, as at Node. */
  readonly #end = (): void => {
    this.#socket.end()
  }

  /** A response is being read, or waits for its client to read on; there is no limit to that time. */
  #isBusy(): boolean {
    return this.#isAtNode || this.isReading || this.#isSending()
  }

  #isSending(): boolean {
    return this.#socket.writableLength > 0
  }

  readonly #expire = (): void => {
    const socket = this.#socket
    const { server } = this.#deps
    if (this.#isAtNode) {
      this.#shared?.expire()
      return
    }
    if (this.#isBusy()) {
      socket.setTimeout(server.keepAliveTimeout)
      return
    }
    if (this.#hasAnswered || !reportTimeout(server, socket)) socket.destroy()
  }

  /** A reset of a connection on which nothing is under way is no error. */
  readonly #fail = (): void => undefined

  readonly #stop = (): void => {
    this.#isAtNode = false
    this.#deps.ended(this.#socket)
    this.#stopListening()
  }

  #stopListening(): void {
    const socket = this.#socket
    socket.off('data', this.#read).off('end', this.#end).off('timeout', this.#expire)
    socket.off('error', this.#fail).off('close', this.#stop)
  }

  /** Gives the connection to Node for good, with the bytes that were not answered. */
  #handToNode(bytes: Buffer): void {
    const socket = this.#socket
    this.#stop()
    if (this.#shared !== undefined) {
      this.#shared.give(bytes)
      return
    }
    socket.setTimeout(0)
    this.#deps.handToNode(socket)
    unread(socket, bytes)
  }
}
