// The fast path, joined: a cache of responses, the route that answers from it, and the reader that answers plain
// requests from the bytes of their connection. To the server it is one `EarlyAnswers`; app.ts makes it. Nothing depends
// on it: this folder can be deleted together with the lines of app.ts that are marked `fast path`, once src/workers is.

import type { Callers } from '../callers/caller.ts'
import type { Invalidations } from '../mirror/invalidations.ts'
import { addressReader, type ClientLists, clientGate } from '../server/clients.ts'
import type { EarlyAnswers } from '../server/early-answers.ts'
import type { Intermediary } from '../server/intermediary.ts'
import type { RequestReporters } from '../server/request-log.ts'
import type { Shutdown } from '../server/shutdown.ts'
import { type AdmittingMirror, cachedResponse, createCachedRoute } from './cached-route.ts'
import { readEarly } from './early-read.ts'
import { ResponseCache } from './response-cache.ts'

export interface FastPathOptions extends RequestReporters {
  readonly mirror: AdmittingMirror
  readonly callers: Pick<Callers, 'recognise'>
  /** Says which responses must not be given again. */
  readonly invalidations: Pick<Invalidations, 'generation' | 'onInvalidate'>
  /** Milliseconds that never step back. */
  readonly monotonic: () => number
  /** Once it has begun, connections are read by Node, whose responses end them. */
  readonly shutdown: Shutdown
  /** Processes that may give the same response by themselves. */
  readonly intermediary?: Pick<Intermediary, 'noteFor'> | undefined
  /** Marks the mirror's requests to the origin, so that one that comes back is found. */
  readonly via: string
  readonly trustProxy: readonly string[]
  readonly clients: ClientLists
}

export function createFastPath(options: FastPathOptions): EarlyAnswers {
  const { intermediary, shutdown } = options
  const cache = new ResponseCache(options)
  const addressOf = addressReader(options.trustProxy)
  const isServed = clientGate(options.clients)
  const cachedRoute = createCachedRoute({ ...options, cache, addressOf, isServed })
  return {
    attach(server) {
      readEarly(server, (head, socket) => !shutdown.hasBegun && cachedRoute.write(head, socket))
    },
    serve: (request, response, otherwise) => cachedRoute.serve(request, response, otherwise),
    keep({ method, url = '' }, route, answer) {
      if ((method !== 'GET' && method !== 'HEAD') || answer.outcome !== 'hit') return undefined
      const { reusable } = answer
      const kept = cache.set(method, url, cachedResponse(answer, route, { method, reusable }))
      // An intermediary keeps small bodies only, and takes what it forwards for the whole.
      if (kept === undefined || kept.file !== undefined || answer.status === 206) return undefined
      const note = intermediary?.noteFor(kept)
      return note && { [note[0]]: note[1] }
    },
  }
}
