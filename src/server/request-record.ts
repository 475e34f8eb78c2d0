// What is noted about a request while it is served, for its one log line and its metrics.

import type { IncomingMessage } from 'node:http'
import type { AccessNote, CallerKind } from '../telemetry/audit.ts'
import type { About } from '../telemetry/log.ts'
import type { Outcome, RouteKind } from '../telemetry/observer.ts'

export class RequestRecord {
  readonly id: string
  readonly startedAt = performance.now()
  firstByteAt: number | undefined
  bytes = 0
  /** Body bytes that a front proxy sends in place of this process, as far as it sends them. */
  handedOver = 0
  route: RouteKind = 'bad'
  outcome: Outcome = 'error'
  about: About = NOTHING
  /** Not the token: a name for it that means nothing outside of this process. */
  token: string | undefined
  callerKind: CallerKind = 'anonymous'
  /** What was decided about the caller's right. */
  readonly access: AccessNote = newNote()
  error: unknown
  readonly originRequests = { count: 0 }
  #gone = false
  #controller: AbortController | undefined

  constructor(id: string) {
    this.id = id
  }

  /** The client has gone, or its socket has: a pipelined answer may never hear of the former. */
  get isGone(): boolean {
    return this.#gone
  }

  /** Aborts when the client goes. Made when it is first asked for: most answers are done before they need one. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#gone && !this.#controller.signal.aborted) this.#controller.abort(new Error(GONE))
    return this.#controller.signal
  }

  leave(): void {
    this.#gone = true
    this.#controller?.abort(new Error(GONE))
  }
}

/** All fields from the beginning: one that grows costs more than all that is noted in it. */
function newNote(): AccessNote {
  return {
    decision: undefined,
    reason: undefined,
    code: undefined,
    rule: undefined,
    mirrorToken: undefined,
    hubToken: undefined,
  }
}

const NOTHING: About = {}
const GONE = 'the client has disconnected'
const records = new WeakMap<IncomingMessage, RequestRecord>()

/** Starts the trace of a request; there is one per request. */
export function startRecord(request: IncomingMessage, id: string): RequestRecord {
  const record = new RequestRecord(id)
  records.set(request, record)
  return record
}

/** The trace of a request that has one: all that have passed the first hook. */
export function recordOf(request: IncomingMessage): RequestRecord {
  const record = records.get(request)
  if (record === undefined) throw new Error('a request without a trace')
  return record
}
