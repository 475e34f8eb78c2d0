// The seam for answers that are given before the framework sees the request. The server works without: app.ts hands one
// in, or none.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { FileRoute } from '../hub/route.ts'
import type { Answer, Reusable } from '../mirror/answer.ts'

/** An answer of the mirror that the same request may get again, from every caller. */
export type ReusableAnswer = Answer & { readonly reusable: Reusable }

/**
 * Gives answers again that need no new decision. A request that it answers has passed the same checks as on the full
 * path, and stands in the request log. A request that it does not answer is untouched.
 */
export interface EarlyAnswers {
  /**
   * Called once, when `server` is made, if clients connect to it themselves. From then on requests may be answered from
   * the bytes of a connection, before Node's HTTP reads them.
   */
  attach(server: Server): void
  /** Answers a request that Node has read, or calls `otherwise`, at once or later, with the response untouched. */
  serve(request: IncomingMessage, response: ServerResponse, otherwise: () => void): void
  /**
   * Called with each reusable answer before it is sent. Caches it if it can. Returns header fields to send with it, for
   * processes between the mirror and the client; undefined if there are none.
   */
  keep(
    request: IncomingMessage,
    route: FileRoute,
    answer: ReusableAnswer,
  ): Readonly<Record<string, string>> | undefined
}
