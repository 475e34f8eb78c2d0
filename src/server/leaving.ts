// A server on its way out: it still serves, every answer asks its client to connect anew elsewhere, and no connection is
// closed while a request that has arrived on it is unread. It does not know why the process ends, nor when.

import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import { setImmediate as afterReading } from 'node:timers/promises'
import { aroundClosingIdle, endConnectionWith } from './node-http.ts'

/** Whether the server is on its way out. Begins once, and does not end. */
export class Leaving {
  #hasBegun = false

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** From now on the head of every answer says `Connection: close` (RFC 9112 §9.6). */
  begin(): void {
    this.#hasBegun = true
  }
}

/** The class of a server's answers: those whose head is written after `leaving` has begun end their connection. */
export function answersOf(leaving: Leaving): typeof ServerResponse {
  return class Answer<Request extends IncomingMessage> extends ServerResponse<Request> {
    // Node's own has several forms; each is handed on as it came. Heads that nobody writes are written by it, too.
    override writeHead(...given: readonly unknown[]): this {
      if (leaving.hasBegun) endConnectionWith(this)
      return super.writeHead(...(given as Parameters<ServerResponse['writeHead']>))
    }
  }
}

/**
 * Lets `server.closeIdleConnections` wait for the moment in which everything that has arrived is read: with an unread
 * request a connection only looks idle, and closing it would lose the request.
 */
export function readBeforeClosing(server: Server): void {
  // The first immediate may belong to the current iteration of the event loop, which has done its reading.
  aroundClosingIdle(server, (closeIdle) => void setImmediate(() => setImmediate(closeIdle)))
}

/**
 * Resolves when the connections that wait for the process are taken, and what has arrived on them is read. A connection
 * that is still in the system's queue when its port is closed is reset.
 */
export async function arrivalsRead(): Promise<void> {
  // The event loop takes all that wait in its next round, and reads from them in the one after that.
  for (let round = 0; round < 3; round += 1) await afterReading()
}
