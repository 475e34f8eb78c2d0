// What is noted about a request while it is served, for its one log line and its metrics.

import type { IncomingMessage } from 'node:http'
import type { Outcome, RouteKind } from '../telemetry/observer.ts'

export interface Trace {
  readonly id: string
  readonly startedAt: number
  firstByteAt: number | undefined
  bytes: number
  route: RouteKind
  outcome: Outcome
  repo: string | undefined
  revision: string | undefined
  path: string | undefined
  /** Not the token: a name for it that means nothing outside of this process. */
  token: string | undefined
  error: unknown
  readonly trips: { count: number }
  /** Aborted when the client has gone, or its socket has: a pipelined answer may never hear of the former. */
  readonly gone: AbortController
}

const traces = new WeakMap<IncomingMessage, Trace>()

/** Starts the trace of a request; there is one per request. */
export function startTrace(request: IncomingMessage, id: string): Trace {
  const trace: Trace = {
    id,
    startedAt: performance.now(),
    firstByteAt: undefined,
    bytes: 0,
    route: 'bad',
    outcome: 'error',
    repo: undefined,
    revision: undefined,
    path: undefined,
    token: undefined,
    error: undefined,
    trips: { count: 0 },
    gone: new AbortController(),
  }
  traces.set(request, trace)
  return trace
}

/** The trace of a request that has one: all that have passed the first hook. */
export function traceOf(request: IncomingMessage): Trace {
  const trace = traces.get(request)
  if (trace === undefined) throw new Error('a request without a trace')
  return trace
}
