// The first look at a connection: requests that are plain and ready are answered from the bytes as they come, before
// Node's HTTP, which costs more than such an answer. From the first request that is not, the connection is Node's, with
// all that was not answered; it never comes back. It decides nothing about any request.

import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { MAX_HEADER_BYTES, MAX_IN_FLIGHT_PER_SOCKET } from '../server/limits.ts'
import {
  aroundClosingAll,
  aroundClosingIdle,
  interceptConnections,
  reportTimeout,
  unread,
} from '../server/node-http.ts'
import { type RequestHead, readHead } from './plain-head.ts'

/** Writes the whole answer to a request, at once; false, and nothing is written, where another is to answer. */
export type WriteAnswer = (head: RequestHead, socket: Socket) => boolean

/** Lets `answer` look first at what comes in by the connections of `server`. */
export function readEarly(server: Server, answer: WriteAnswer): void {
  const looks = new Set<UnreadConnection>()
  const giveOver = interceptConnections(server, (socket) => looks.add(new UnreadConnection(socket, rooms)))
  const rooms = { server, answer, giveOver, ended: (look: UnreadConnection) => looks.delete(look) }
  aroundClosingIdle(server, (closeIdle) => {
    for (const look of looks) look.leave()
    closeIdle()
  })
  aroundClosingAll(server, (closeAll) => {
    for (const look of looks) look.cut()
    closeAll()
  })
}

interface Rooms {
  readonly server: Server
  readonly answer: WriteAnswer
  readonly giveOver: (socket: Socket) => void
  readonly ended: (look: UnreadConnection) => void
}

/** A connection that Node's HTTP does not know yet. */
class UnreadConnection {
  readonly #socket: Socket
  readonly #rooms: Rooms
  #hasAnswered = false

  constructor(socket: Socket, rooms: Rooms) {
    this.#socket = socket
    this.#rooms = rooms
    socket.on('data', this.#read).on('end', this.#end).on('timeout', this.#expire)
    socket.on('error', this.#fail).on('close', this.#stop)
    socket.setTimeout(rooms.server.headersTimeout)
  }

  /** Ends the connection if it idles. One that has asked nothing yet may be about to, for as long as it has time for that. */
  leave(): void {
    if (this.#hasAnswered && !this.#isBusy()) this.#socket.destroy()
  }

  cut(): void {
    this.#socket.destroy()
  }

  readonly #read = (bytes: Buffer): void => {
    const socket = this.#socket
    let rest = bytes
    for (let count = 1; rest.length > 0; count += 1) {
      // What the kernel did not take waits for a client that does not read, and many at once are for the limit on them.
      const mayLook = !this.#isBusy() && count <= MAX_IN_FLIGHT_PER_SOCKET
      const head = mayLook ? readHead(rest, MAX_HEADER_BYTES) : undefined
      if (head === undefined || !this.#rooms.answer(head, socket)) {
        this.#giveOver()
        unread(socket, rest)
        return
      }
      rest = rest.subarray(head.text.length)
    }
    if (this.#hasAnswered) return
    this.#hasAnswered = true
    socket.setTimeout(this.#rooms.server.keepAliveTimeout)
  }

  readonly #end = (): void => {
    this.#socket.end()
  }

  /** An answer waits until its client reads on, for as long as that takes. */
  #isBusy(): boolean {
    return this.#socket.writableLength > 0
  }

  readonly #expire = (): void => {
    const socket = this.#socket
    const { server } = this.#rooms
    if (this.#isBusy()) {
      socket.setTimeout(server.keepAliveTimeout)
      return
    }
    if (this.#hasAnswered || !reportTimeout(server, socket)) socket.destroy()
  }

  /** A client that resets a connection on which nothing is under way. */
  readonly #fail = (): void => undefined

  readonly #stop = (): void => {
    const socket = this.#socket
    this.#rooms.ended(this)
    socket.off('data', this.#read).off('end', this.#end).off('timeout', this.#expire)
    socket.off('error', this.#fail).off('close', this.#stop)
  }

  #giveOver(): void {
    this.#stop()
    this.#socket.setTimeout(0)
    this.#rooms.giveOver(this.#socket)
  }
}
