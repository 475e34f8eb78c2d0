// A server that is about to stop: it still serves, every response asks its client to open a new connection elsewhere,
// and no connection is closed while a request that has arrived on it is unread. It does not know why the process ends,
// nor when.

import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import { setImmediate as afterReading } from 'node:timers/promises'
import { aroundClosingIdle, endConnectionWith } from './node-http.ts'

/** Whether the server is about to stop. Begins once and never ends. */
export class Shutdown {
  #hasBegun = false

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** From now on the head of every response says `Connection: close` (RFC 9112 §9.6). */
  begin(): void {
    this.#hasBegun = true
  }
}

/** A class for the responses of a server: those whose head is written after `shutdown` has begun end their connection. */
export function answersOf(shutdown: Shutdown): typeof ServerResponse {
  return class Answer<Request extends IncomingMessage> extends ServerResponse<Request> {
    // Node's method has several signatures; the arguments are passed through. Node also calls it for implicit heads.
    override writeHead(...given: readonly unknown[]): this {
      if (shutdown.hasBegun) endConnectionWith(this)
      return super.writeHead(...(given as Parameters<ServerResponse['writeHead']>))
    }
  }
}

/**
 * Delays `server.closeIdleConnections` until everything that has arrived has been read. A connection with an unread
 * request only looks idle, and closing it would lose the request.
 */
export function readBeforeClosing(server: Server): void {
  // The first immediate may belong to the current iteration of the event loop, which has done its reading.
  aroundClosingIdle(server, (closeIdle) => void setImmediate(() => setImmediate(closeIdle)))
}

/**
 * Resolves when the connections that wait in the system's queue have been accepted, and what has arrived on them has been
 * read. A connection that is still in the queue when its port is closed is reset.
 */
export async function arrivalsRead(): Promise<void> {
  // The event loop accepts all of them in its next iteration, and reads from them in the one after that.
  for (let round = 0; round < 3; round += 1) await afterReading()
}
