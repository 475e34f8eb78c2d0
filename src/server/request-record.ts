// What is recorded about a request while it is served, for its log line, its metrics and its audit line.

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
  /** The program that reads the response, as far as errors differ. */
  reader: 'git' | 'git-lfs' | undefined
  /** A fingerprint of the token, which means nothing outside of this process. */
  token: string | undefined
  callerKind: CallerKind = 'anonymous'
  /** The decision about the caller's access. */
  readonly access: AccessNote = newNote()
  error: unknown
  readonly originRequests = { count: 0 }
  #gone = false
  #controller: AbortController | undefined

  constructor(id: string) {
    this.id = id
  }

  /** Whether the client or its socket has gone. A pipelined response may not be notified of the former. */
  get isGone(): boolean {
    return this.#gone
  }

  /** Aborts when the client disconnects. Made on first use: most responses need none. */
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

/** All properties from the start: an object that grows property by property costs more. */
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

/** Starts the record of a request. Call it once per request. */
export function startRecord(request: IncomingMessage, id: string): RequestRecord {
  const record = new RequestRecord(id)
  records.set(request, record)
  return record
}

/** The record of a request. Every request that has passed the first hook has one. */
export function recordOf(request: IncomingMessage): RequestRecord {
  const record = records.get(request)
  if (record === undefined) throw new Error('a request without a record')
  return record
}
