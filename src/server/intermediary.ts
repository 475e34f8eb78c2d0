// What the server knows of other processes of this mirror that stand between it and the clients. It does not know what
// they are: app.ts hands one in.

import type { IncomingMessage, RequestListener, Server } from 'node:http'
import type { Repo } from '../hub/names.ts'
import type { Reusable } from '../mirror/answer.ts'

/** An answer that is the same for every caller. */
export interface RepeatableAnswer extends Pick<Reusable, 'until' | 'askedAt' | 'commit'> {
  readonly route: { readonly repo: Repo }
}

/**
 * Processes that accept the clients' connections and forward each request to this one (RFC 9110 §3.7 calls such a process
 * an intermediary). Where there is one, no client can connect to this process.
 */
export interface Intermediary {
  /**
   * Makes the server that the processes connect to. `serve` gets each request as if its client had connected here:
   * `socket.remoteAddress` is the client's, `httpVersion` is the version that the client spoke.
   */
  open(serve: RequestListener): Server
  /** How many requests the client's own connection has in flight, this one included. */
  inFlight(request: IncomingMessage): number | undefined
  /**
   * The name and value of a field that lets the other process repeat `answer` by itself; undefined where it must not.
   * Only for complete answers whose body is in memory.
   */
  noteFor(answer: RepeatableAnswer): readonly [name: string, value: string] | undefined
}
