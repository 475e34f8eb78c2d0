// What the rooms tell whoever counts. It knows neither Prometheus nor pino, so that the rooms do not either.

/** How one request was answered. Closed: the same word stands in the log, the metric and the header. */
export const OUTCOMES = [
  'hit',
  'revalidated',
  'stale',
  'miss',
  'partial-hit',
  'coalesced',
  'bypass',
  'refused',
  'error',
  'own',
] as const
export type Outcome = (typeof OUTCOMES)[number]

/** What a request asked for, as a metric label. Closed. */
export const ROUTE_KINDS = ['file', 'document', 'xet-token', 'pass-through', 'ops', 'bad'] as const
export type RouteKind = (typeof ROUTE_KINDS)[number]

/** What a request to the origin was for. `cdn` is any host a redirect led to. Closed. */
export const ORIGIN_KINDS = ['head', 'body', 'cdn', 'document', 'access', 'pass-through'] as const
export type OriginKind = (typeof ORIGIN_KINDS)[number]

/**
 * What a connection to the origin is wanted for; each kind leaves room for those before it. `question`: an answer that is
 * read at once and is short; `pull`: a long body for the store; `passage`: a read that is passed through, as long as nobody
 * knows how long its answer is; `relay`: a body at the pace of a client. Closed.
 */
export const LANES = ['question', 'pull', 'passage', 'relay'] as const
export type Lane = (typeof LANES)[number]

/** What became of a request that found no connection free for it: sent, too late, refused at once, its client left. Closed. */
export const WAIT_RESULTS = ['granted', 'late', 'refused', 'left'] as const
export type WaitResult = (typeof WAIT_RESULTS)[number]

/**
 * What was decided about the right of a request: everybody may, the Hub granted it to this caller, the Hub refused it,
 * the mirror denied it, out of quota, or nobody could say. Closed.
 */
export const ACCESS_RESULTS = ['public', 'granted', 'refused', 'denied', 'limited', 'unknown'] as const
export type AccessResult = (typeof ACCESS_RESULTS)[number]

/** What became of a request that the Hub had asked to wait with. Closed. */
export const QUOTA_RESULTS = ['waited', 'refused'] as const
export type QuotaResult = (typeof QUOTA_RESULTS)[number]

export const INTEGRITY_KINDS = ['digest', 'length', 'validator', 'disk'] as const
export type IntegrityKind = (typeof INTEGRITY_KINDS)[number]

export const EVICTION_REASONS = ['max-size', 'min-free', 'prune', 'damaged'] as const
export type EvictionReason = (typeof EVICTION_REASONS)[number]

/** Every method returns at once and never throws. Durations are seconds, sizes bytes. */
export interface Observer {
  /** One answered request; `status` is what the client saw, `bytes` body bytes handed to its socket. */
  requestDone(event: {
    readonly route: RouteKind
    readonly outcome: Outcome
    readonly status: number
    readonly bytes: number
    readonly firstByteSeconds: number | undefined
    readonly totalSeconds: number
  }): void
  /** One answer (or failure, status 0) of the origin or of a CDN. */
  originRequest(kind: OriginKind, status: number, seconds: number): void
  originBytes(kind: OriginKind, bytes: number): void
  originRetry(reason: 'status' | 'network' | 'timeout' | 'short-body' | 'expired-url'): void
  /** A request whose credential is out of quota at the Hub: sent after a wait, or refused here without a question. */
  quotaHeld(result: QuotaResult): void
  /** So many connections to the origin more, or less, are in use. */
  originInUse(lane: Lane, change: 1 | -1): void
  /** So many requests more, or less, wait for a connection to the origin. */
  originWaiting(lane: Lane, change: 1 | -1): void
  /** The end of such a wait. */
  originWaited(lane: Lane, result: WaitResult, seconds: number): void
  /** False from the first failure to connect until the next answer. */
  originUp(up: boolean): void
  /** Once per request that is about the Hub. */
  accessDecided(result: AccessResult): void
  /** The audit log could not be written, or can be again. */
  auditDegraded(degraded: boolean): void
  /** A line of the audit log is lost. */
  auditLost(): void
  /** A rule of the operator had a say in a request. `rule` is its name, of which there are as many as rules. */
  policyDecided(rule: string, action: 'allow' | 'deny' | 'no-store' | 'use-token'): void
  /** The books of the store after a change; limitBytes undefined means unlimited. */
  storeChanged(books: {
    readonly sizeBytes: number
    /** Of these, what is known rather than stored: facts. */
    readonly factBytes: number
    readonly limitBytes: number | undefined
    readonly blobs: number
  }): void
  evicted(reason: EvictionReason, bytes: number): void
  flightStarted(): void
  flightEnded(): void
  flightJoined(): void
  integrityFailure(kind: IntegrityKind): void
  /** The store stopped taking bytes (disk full, read-only, I/O error), or takes them again. */
  storeDegraded(degraded: boolean): void
  /** How long ago the file of one of the mirror's own Hub tokens was written. `name` is the operator's, from the settings. */
  hubTokenAge(name: string, seconds: number): void
  /** How many worker processes take connections. */
  workers(serving: number): void
  /** A worker process ended unasked. */
  workerLost(): void
}

/** Listens to nothing. */
export const silentObserver: Observer = {
  requestDone() {},
  originRequest() {},
  originBytes() {},
  originRetry() {},
  quotaHeld() {},
  originInUse() {},
  originWaiting() {},
  originWaited() {},
  originUp() {},
  accessDecided() {},
  auditDegraded() {},
  auditLost() {},
  policyDecided() {},
  storeChanged() {},
  evicted() {},
  flightStarted() {},
  flightEnded() {},
  flightJoined() {},
  integrityFailure() {},
  storeDegraded() {},
  hubTokenAge() {},
  workers() {},
  workerLost() {},
}
