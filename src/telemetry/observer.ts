// The events that rooms report for metrics. It knows neither Prometheus nor pino, so that the rooms do not either.

/** How one request was answered. Closed: the log, the metric and the header use the same word. */
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

/** The kind of route of a request, as a metric label. Closed. */
export const ROUTE_KINDS = ['file', 'document', 'xet-token', 'pass-through', 'ops', 'bad'] as const
export type RouteKind = (typeof ROUTE_KINDS)[number]

/** The purpose of a request to the origin. `cdn` is any host to which a redirect led. Closed. */
export const ORIGIN_KINDS = ['head', 'body', 'cdn', 'document', 'access', 'pass-through'] as const
export type OriginKind = (typeof ORIGIN_KINDS)[number]

/**
 * The purpose of a connection to the origin. Each kind leaves connections free for the kinds before it. `question`: a short
 * response that is read at once. `pull`: a long body for the store. `passage`: a read that is passed through, while the
 * length of its response is unknown. `relay`: a body at the speed of a client. Closed.
 */
export const LANES = ['question', 'pull', 'passage', 'relay'] as const
export type Lane = (typeof LANES)[number]

/** The end of a wait for a free connection: sent, timed out, refused at once, or its client disconnected. Closed. */
export const WAIT_RESULTS = ['granted', 'late', 'refused', 'left'] as const
export type WaitResult = (typeof WAIT_RESULTS)[number]

/**
 * Why a TLS handshake with a client failed: it spoke plain HTTP, or TLS before 1.2, took too long, had no certificate that
 * counts, refused that of the mirror, or left; or for any other reason. Closed.
 */
export const TLS_FAILURES = [
  'plain-http',
  'old-version',
  'timeout',
  'client-certificate',
  'own-certificate',
  'left',
  'other',
] as const
export type TlsFailure = (typeof TLS_FAILURES)[number]

/**
 * The access decision for a request: public, granted or refused by the Hub for this caller, denied by the mirror, limited by
 * a quota, or unknown because neither could decide. Closed.
 */
export const ACCESS_RESULTS = ['public', 'granted', 'refused', 'denied', 'limited', 'unknown'] as const
export type AccessResult = (typeof ACCESS_RESULTS)[number]

/** The result of a request that was held back because of the Hub's rate limit. Closed. */
export const QUOTA_RESULTS = ['waited', 'refused'] as const
export type QuotaResult = (typeof QUOTA_RESULTS)[number]

export const INTEGRITY_KINDS = ['digest', 'length', 'validator', 'disk'] as const
export type IntegrityKind = (typeof INTEGRITY_KINDS)[number]

export const EVICTION_REASONS = ['max-size', 'min-free', 'prune', 'damaged'] as const
export type EvictionReason = (typeof EVICTION_REASONS)[number]

/** The end of a fetch of branches and tags with git: something new was stored, or nothing is new, or it failed. Closed. */
export const GIT_FETCH_RESULTS = ['stored', 'unchanged', 'failed'] as const
export type GitFetchResult = (typeof GIT_FETCH_RESULTS)[number]

/**
 * Why a pin is behind: it waits for its turn, the mirror is offline, the Hub cannot be reached or asks to wait, it refuses the repo,
 * the files may not be kept, there is no room, no revision has such a name, or something else has failed. Closed.
 */
export const PIN_REASONS = [
  'waiting',
  'offline',
  'hub-away',
  'rate-limit',
  'quota',
  'refused',
  'restricted',
  'rule',
  'no-digest',
  'no-space',
  'no-match',
  'failed',
] as const
export type PinReason = (typeof PIN_REASONS)[number]

/** Receives events for metrics. Every method returns at once and never throws. Durations are in seconds, sizes in bytes. */
export interface Observer {
  /** One answered request. `status` was sent to the client; `bytes` are body bytes written to its socket. */
  requestDone(event: {
    readonly route: RouteKind
    readonly outcome: Outcome
    readonly status: number
    readonly bytes: number
    /** Body bytes that a front proxy is to send in place of the mirror. */
    readonly handedOverBytes?: number
    readonly firstByteSeconds: number | undefined
    readonly totalSeconds: number
  }): void
  /** One response of the origin or of a CDN. A failure without a response has status 0. */
  originRequest(kind: OriginKind, status: number, seconds: number): void
  originBytes(kind: OriginKind, bytes: number): void
  originRetry(reason: 'status' | 'network' | 'timeout' | 'short-body' | 'expired-url'): void
  /** A request whose credential has no quota left at the Hub: sent after a wait, or refused by the mirror. */
  quotaHeld(result: QuotaResult): void
  /** The number of connections to the origin in use has changed. */
  originInUse(lane: Lane, change: 1 | -1): void
  /** The number of requests that wait for a connection to the origin has changed. */
  originWaiting(lane: Lane, change: 1 | -1): void
  /** The end of such a wait. */
  originWaited(lane: Lane, result: WaitResult, seconds: number): void
  /** What large documents take of the memory they share has changed, or how many requests wait for it. */
  documentMemoryChanged(memory: { readonly takenBytes: number; readonly waiting: number }): void
  /** False from the first failure to connect until the next response. */
  originUp(up: boolean): void
  /** Once per request that concerns the Hub. */
  accessDecided(result: AccessResult): void
  /** The audit log could not be written, or can be written again. */
  auditDegraded(degraded: boolean): void
  /** A line of the audit log is lost. */
  auditLost(): void
  /** A rule of the operator applied to a request. `rule` is its name, so there are as many names as rules. */
  policyDecided(rule: string, action: 'allow' | 'deny' | 'no-store' | 'use-token' | 'serve-stored'): void
  /** The size of the store after a change. Without `limitBytes` it is unlimited. */
  storeChanged(usage: {
    readonly sizeBytes: number
    /** The part of `sizeBytes` that facts take. */
    readonly factBytes: number
    readonly limitBytes: number | undefined
    readonly blobs: number
    /** Git repositories that are kept for clones, which count among the blobs. */
    readonly gits: number
    readonly gitBytes: number
  }): void
  evicted(reason: EvictionReason, bytes: number): void
  /** The mirror has asked the Hub with git for the branches and tags of a repo. */
  gitFetched(result: GitFetchResult): void
  /** A file was described by the listing of its commit, without a request to the Hub. */
  listingUsed(): void
  /** A file was fetched before a client requested it. */
  readAhead(bytes: number): void
  /** A client has requested such a file. */
  readAheadUsed(): void
  /** The Hub has contradicted the listing of a commit. */
  listingDistrusted(): void
  /** What pins want, and how far the mirror is. `behind` has a number of pins for each reason. */
  pinsChanged(pins: {
    readonly pins: number
    readonly behind: ReadonlyMap<string, number>
    readonly keptBytes: number
    readonly missingBytes: number
  }): void
  flightStarted(): void
  flightEnded(): void
  flightJoined(): void
  integrityFailure(kind: IntegrityKind): void
  /** The store cannot take bytes (disk full, read-only, I/O error), or can take them again. */
  storeDegraded(degraded: boolean): void
  /** The age of the file of one of the mirror's own Hub tokens. `name` is its name in the settings. */
  hubTokenAge(name: string, seconds: number): void
  /** When the certificate that new connections get expires, epoch seconds. */
  tlsCertificate(expiresAt: number): void
  /** A TLS handshake with a client failed. */
  tlsFailed(reason: TlsFailure): void
  /** The number of worker processes that accept connections. */
  workers(serving: number): void
  /** A worker process ended unexpectedly. */
  workerLost(): void
}

/** Ignores all events. */
export const silentObserver: Observer = {
  requestDone() {},
  originRequest() {},
  originBytes() {},
  originRetry() {},
  quotaHeld() {},
  originInUse() {},
  originWaiting() {},
  originWaited() {},
  documentMemoryChanged() {},
  originUp() {},
  accessDecided() {},
  auditDegraded() {},
  auditLost() {},
  policyDecided() {},
  storeChanged() {},
  evicted() {},
  gitFetched() {},
  listingUsed() {},
  readAhead() {},
  readAheadUsed() {},
  listingDistrusted() {},
  pinsChanged() {},
  flightStarted() {},
  flightEnded() {},
  flightJoined() {},
  integrityFailure() {},
  storeDegraded() {},
  hubTokenAge() {},
  tlsCertificate() {},
  tlsFailed() {},
  workers() {},
  workerLost() {},
}
