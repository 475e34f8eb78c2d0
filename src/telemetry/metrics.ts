// The table of all metrics, and the Observer that updates them. Only this file and tally.ts know prom-client. No label may
// contain a repo, path or token: a crawler would create series without end.
import { Counter, collectDefaultMetrics, Gauge, Histogram, type Metric, Registry } from 'prom-client'
import { CLIENT_METRICS } from './client-metrics.ts'
import { CONNECTION_METRICS } from './connection-metrics.ts'
import { LISTING_METRICS } from './listing-metrics.ts'
import type { MetricRow } from './metric-row.ts'
import {
  ACCESS_RESULTS,
  EVICTION_REASONS,
  GIT_FETCH_RESULTS,
  INTEGRITY_KINDS,
  LANES,
  type Observer,
  QUOTA_RESULTS,
  TLS_FAILURES,
  WAIT_RESULTS,
} from './observer.ts'
import { countPins } from './pin-series.ts'
import { STORE_METRICS } from './store-metrics.ts'
import { RequestTally, TalliedHistogram } from './tally.ts'

/** The mirror's own metrics. Names, labels and meanings are public interface. The documentation prints this table. */
export const METRICS = {
  build: {
    name: 'hubmirror_build_info',
    kind: 'gauge',
    labels: ['version'],
    help: 'Always 1; the label is the running version.',
  },
  requests: {
    name: 'hubmirror_requests_total',
    kind: 'counter',
    labels: ['route', 'outcome', 'status'],
    help: 'Requests answered, by kind of route, outcome and the status sent to the client.',
  },
  served: {
    name: 'hubmirror_served_bytes_total',
    kind: 'counter',
    labels: ['route', 'outcome'],
    help: 'Body bytes sent to clients.',
  },
  handedOver: {
    name: 'hubmirror_handed_over_bytes_total',
    kind: 'counter',
    labels: ['route'],
    help: 'Body bytes that a front proxy is to send in place of the mirror (HUBMIRROR_SENDFILE). The mirror does not see how many of them it sends.',
  },
  firstByte: {
    name: 'hubmirror_first_byte_seconds',
    kind: 'histogram',
    labels: ['outcome'],
    help: 'Time from a request to the first byte of its response.',
  },
  total: {
    name: 'hubmirror_request_duration_seconds',
    kind: 'histogram',
    labels: ['route'],
    help: 'Time from a request to the last byte of its response.',
  },
  originRequests: {
    name: 'hubmirror_origin_requests_total',
    kind: 'counter',
    labels: ['kind', 'status'],
    help: 'Requests to the origin and its CDN; status 0 means that no response arrived.',
  },
  originSeconds: {
    name: 'hubmirror_origin_request_duration_seconds',
    kind: 'histogram',
    labels: ['kind'],
    help: 'Time from a request to the origin or its CDN until the response headers, or until the failure.',
  },
  fetched: {
    name: 'hubmirror_fetched_bytes_total',
    kind: 'counter',
    labels: ['kind'],
    help: 'Body bytes fetched from the origin and its CDN.',
  },
  originRetries: {
    name: 'hubmirror_origin_retries_total',
    kind: 'counter',
    labels: ['reason'],
    help: 'Requests to the origin that were retried, by the reason why the previous one failed.',
  },
  originQuota: {
    name: 'hubmirror_origin_quota_holds_total',
    kind: 'counter',
    labels: ['result'],
    help: "Requests held back because the Hub's rate limit for their credential is used up: `waited` were sent a moment later, `refused` were not sent.",
  },
  ...CONNECTION_METRICS,
  originUp: {
    name: 'hubmirror_origin_up',
    kind: 'gauge',
    labels: [],
    help: '0 from a failure to reach the origin until its next response, else 1; absent until the first request to the origin.',
  },
  access: {
    name: 'hubmirror_access_decisions_total',
    kind: 'counter',
    labels: ['result'],
    help: 'Access decisions, one per request: `public` content, `granted` or `refused` by the Hub, `denied` or `limited` by the mirror, or `unknown` because neither could decide.',
  },
  auditDegraded: {
    name: 'hubmirror_audit_degraded',
    kind: 'gauge',
    labels: [],
    help: '1 while the audit log cannot be written and its lines are kept in memory, else 0.',
  },
  auditLost: {
    name: 'hubmirror_audit_lost_lines_total',
    kind: 'counter',
    labels: [],
    help: 'Lines of the audit log that were lost because it could not be written and memory for them was full.',
  },
  policy: {
    name: 'hubmirror_policy_decisions_total',
    kind: 'counter',
    labels: ['rule', 'action'],
    help: 'Requests to which a rule of the operator applied; the label is the name of the rule.',
  },
  ...STORE_METRICS,
  ...LISTING_METRICS,
  flights: {
    name: 'hubmirror_flights_in_progress',
    kind: 'gauge',
    labels: [],
    help: 'Files that the mirror is downloading from the origin.',
  },
  flightsStarted: {
    name: 'hubmirror_flights_total',
    kind: 'counter',
    labels: [],
    help: 'Downloads from the origin that were started.',
  },
  flightsJoined: {
    name: 'hubmirror_flights_joined_total',
    kind: 'counter',
    labels: [],
    help: "Requests served from a download that another client's request had started.",
  },
  integrity: {
    name: 'hubmirror_integrity_failures_total',
    kind: 'counter',
    labels: ['kind'],
    help: 'Failed verifications: bytes that were discarded because they differ from what the Hub announced, or from what was stored.',
  },
  hubTokenAge: {
    name: 'hubmirror_hub_token_age_seconds',
    kind: 'gauge',
    labels: ['name'],
    help: "Age of each of the mirror's own Hub tokens that comes from a file; replace it before it is 90 days old.",
  },
  ...CLIENT_METRICS,
} as const satisfies Record<string, MetricRow>

/** Seconds, from a response out of memory (below 1 ms) to the default of HUBMIRROR_ORIGIN_TIMEOUT (20 s). */
const FIRST_BYTE_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20]
/** Seconds, from another mirror in the same network to the same end. */
const ORIGIN_BUCKETS = FIRST_BYTE_BUCKETS.slice(1)
/** Seconds, from a small response to half an hour: a large file over a slow connection. */
const TOTAL_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10, 60, 300, 1800]

type RetryReason = Parameters<Observer['originRetry']>[0]
// A record, so that the compiler reports a missing reason.
const RETRY_REASONS = {
  status: true,
  network: true,
  timeout: true,
  'short-body': true,
  'expired-url': true,
} satisfies Record<RetryReason, true>

/** The metrics of one mirror: an Observer that updates them, and the text that Prometheus scrapes. */
export interface Metrics {
  readonly observer: Observer
  /** The Content-Type of `text`. */
  readonly contentType: string
  /** Creates a series at zero for each of the operator's rules. The caller repeats this when the rules have changed. */
  expectRules(rules: readonly { readonly name: string; readonly action: string }[]): void
  /** The exposition of all metrics. */
  text(): Promise<string>
}

let ofProcess: Registry | undefined

/**
 * The usual `process_…` and `nodejs_…` metrics. All mirrors in a process share them: prom-client starts a timer of 10 ms
 * and an observer of garbage collection for them, and cannot stop either.
 */
function processMetrics(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}

/**
 * Creates the metrics. `setToZero` decides which series exist before the first event. `processMetrics: false` leaves out
 * the metrics of the process.
 */
export function createMetrics(options: {
  readonly version: string
  readonly storeLimitBytes?: number | undefined
  /** The operator's rules. */
  readonly rules?: readonly { readonly name: string; readonly action: string }[]
  readonly processMetrics?: boolean
}): Metrics {
  const registry = new Registry()
  const registries = options.processMetrics === false ? [registry] : [processMetrics(), registry]
  const series = createSeries(registry)
  const tally = new RequestTally()
  setToZero(series)
  series.build.set({ version: options.version }, 1)
  // The origin is neither up nor down before the first request to it.
  series.originUp.remove()
  // Without TLS there is no certificate.
  series.tlsExpiry.remove()
  // Without a file of pins there are none.
  for (const name of ['pins', 'pinsKept', 'pinsMissing'] as const) series[name].remove()
  // These appear with the first large document.
  series.documentMemory.remove()
  series.documentWaits.remove()
  const expectRules: Metrics['expectRules'] = (rules) => {
    for (const { name: rule, action } of rules) series.policy.inc({ rule, action }, 0)
  }
  expectRules(options.rules ?? [])
  series.cacheLimit.set(options.storeLimitBytes ?? Number.POSITIVE_INFINITY)
  return {
    observer: createObserver(series, tally),
    contentType: registry.contentType,
    expectRules,
    async text() {
      const { requests: cells, decisions } = tally.take()
      for (const { route, outcome, status, requests, bytes } of cells) {
        series.requests.inc({ route, outcome, status: statusLabel(status) }, requests)
        series.served.inc({ route, outcome }, bytes)
      }
      for (const [result, count] of decisions) series.access.inc({ result }, count)
      const texts = await Promise.all(registries.map((one) => one.metrics()))
      return texts.join('\n')
    },
  }
}

type Series = ReturnType<typeof createSeries>

function createSeries(registry: Registry) {
  const registers = [registry]
  const counter = <L extends string>(row: MetricRow & { readonly labels: readonly L[] }) =>
    new Counter<L>({ name: row.name, help: row.help, labelNames: row.labels, registers })
  const gauge = <L extends string>(row: MetricRow & { readonly labels: readonly L[] }) =>
    new Gauge<L>({ name: row.name, help: row.help, labelNames: row.labels, registers })
  const histogram = <L extends string>(
    row: MetricRow & { readonly labels: readonly L[] },
    buckets: number[],
  ) => new Histogram<L>({ name: row.name, help: row.help, labelNames: row.labels, buckets, registers })
  const tallied = (row: MetricRow & { readonly labels: readonly [string] }, bounds: readonly number[]) => {
    const metric = new TalliedHistogram({ name: row.name, help: row.help, label: row.labels[0], bounds })
    // The registry needs only the name and the values of a metric, although its type demands a class of the library.
    registry.registerMetric(metric as unknown as Metric)
    return metric
  }
  return {
    build: gauge(METRICS.build),
    requests: counter(METRICS.requests),
    served: counter(METRICS.served),
    handedOver: counter(METRICS.handedOver),
    firstByte: tallied(METRICS.firstByte, FIRST_BYTE_BUCKETS),
    total: tallied(METRICS.total, TOTAL_BUCKETS),
    originRequests: counter(METRICS.originRequests),
    originSeconds: histogram(METRICS.originSeconds, ORIGIN_BUCKETS),
    fetched: counter(METRICS.fetched),
    originRetries: counter(METRICS.originRetries),
    originQuota: counter(METRICS.originQuota),
    originInUse: gauge(METRICS.originInUse),
    originWaiting: gauge(METRICS.originWaiting),
    originWaits: counter(METRICS.originWaits),
    originWaitSeconds: counter(METRICS.originWaitSeconds),
    documentMemory: gauge(METRICS.documentMemory),
    documentWaits: gauge(METRICS.documentWaits),
    originUp: gauge(METRICS.originUp),
    access: counter(METRICS.access),
    auditDegraded: gauge(METRICS.auditDegraded),
    auditLost: counter(METRICS.auditLost),
    policy: counter(METRICS.policy),
    cacheSize: gauge(METRICS.cacheSize),
    cacheFacts: gauge(METRICS.cacheFacts),
    cacheLimit: gauge(METRICS.cacheLimit),
    cacheBlobs: gauge(METRICS.cacheBlobs),
    cacheDegraded: gauge(METRICS.cacheDegraded),
    evictions: counter(METRICS.evictions),
    evicted: counter(METRICS.evicted),
    gits: gauge(METRICS.gits),
    gitBytes: gauge(METRICS.gitBytes),
    pins: gauge(METRICS.pins),
    pinsBehind: gauge(METRICS.pinsBehind),
    pinsKept: gauge(METRICS.pinsKept),
    pinsMissing: gauge(METRICS.pinsMissing),
    gitFetches: counter(METRICS.gitFetches),
    listedFiles: counter(METRICS.listedFiles),
    listingsDistrusted: counter(METRICS.listingsDistrusted),
    readAheadFiles: counter(METRICS.readAheadFiles),
    readAheadBytes: counter(METRICS.readAheadBytes),
    readAheadUsed: counter(METRICS.readAheadUsed),
    flights: gauge(METRICS.flights),
    flightsStarted: counter(METRICS.flightsStarted),
    flightsJoined: counter(METRICS.flightsJoined),
    integrity: counter(METRICS.integrity),
    hubTokenAge: gauge(METRICS.hubTokenAge),
    workers: gauge(METRICS.workers),
    workersLost: counter(METRICS.workersLost),
    tlsExpiry: gauge(METRICS.tlsExpiry),
    tlsFailures: counter(METRICS.tlsFailures),
  } satisfies Record<keyof typeof METRICS, unknown>
}

/**
 * Creates the series of rare events at zero, because `rate` and `increase` miss the first event of a counter that appears
 * with that event. An event counts as rare if a single one matters; some alerts use these series. Counters without labels
 * start at zero by themselves. All other series appear with their first use: one missed event of a frequent kind does no
 * harm, and most combinations of route, outcome and status never occur.
 */
function setToZero(series: Series): void {
  for (const reason of Object.keys(RETRY_REASONS)) series.originRetries.inc({ reason }, 0)
  for (const result of QUOTA_RESULTS) series.originQuota.inc({ result }, 0)
  for (const lane of LANES) {
    series.originWaitSeconds.inc({ kind: lane }, 0)
    for (const result of WAIT_RESULTS) series.originWaits.inc({ kind: lane, result }, 0)
  }
  for (const result of ACCESS_RESULTS) series.access.inc({ result }, 0)
  for (const reason of EVICTION_REASONS) {
    series.evictions.inc({ reason }, 0)
    series.evicted.inc({ reason }, 0)
  }
  for (const result of GIT_FETCH_RESULTS) series.gitFetches.inc({ result }, 0)
  for (const kind of INTEGRITY_KINDS) series.integrity.inc({ kind }, 0)
}

function createObserver(series: Series, tally: RequestTally): Observer {
  return {
    requestDone({ route, outcome, status, bytes, handedOverBytes = 0, firstByteSeconds, totalSeconds }) {
      tally.done(route, outcome, status, amount(bytes))
      if (handedOverBytes > 0) series.handedOver.inc({ route }, amount(handedOverBytes))
      if (firstByteSeconds !== undefined) series.firstByte.observe(outcome, amount(firstByteSeconds))
      series.total.observe(route, amount(totalSeconds))
    },
    originRequest(kind, status, seconds) {
      series.originRequests.inc({ kind, status: statusLabel(status) })
      series.originSeconds.observe({ kind }, amount(seconds))
    },
    originBytes: (kind, bytes) => series.fetched.inc({ kind }, amount(bytes)),
    originRetry: (reason) => series.originRetries.inc({ reason }),
    quotaHeld: (result) => series.originQuota.inc({ result }),
    originInUse: (lane, change) => series.originInUse.inc({ kind: lane }, change),
    originWaiting: (lane, change) => series.originWaiting.inc({ kind: lane }, change),
    originWaited: (lane, result, seconds) => {
      series.originWaits.inc({ kind: lane, result })
      series.originWaitSeconds.inc({ kind: lane }, amount(seconds))
    },
    documentMemoryChanged({ takenBytes, waiting }) {
      series.documentMemory.set(amount(takenBytes))
      series.documentWaits.set(amount(waiting))
    },
    originUp: (up) => series.originUp.set(up ? 1 : 0),
    accessDecided: (result) => tally.decided(result),
    auditDegraded: (degraded) => series.auditDegraded.set(degraded ? 1 : 0),
    auditLost: () => series.auditLost.inc(),
    policyDecided: (rule, action) => series.policy.inc({ rule, action }),
    storeChanged({ sizeBytes, factBytes, limitBytes, blobs, gits, gitBytes }) {
      series.cacheFacts.set(amount(factBytes))
      series.cacheSize.set(amount(sizeBytes))
      series.cacheLimit.set(limitBytes ?? Number.POSITIVE_INFINITY)
      series.cacheBlobs.set(amount(blobs))
      series.gits.set(amount(gits))
      series.gitBytes.set(amount(gitBytes))
    },
    gitFetched: (result) => series.gitFetches.inc({ result }),
    readAhead: (bytes) => (series.readAheadFiles.inc(), series.readAheadBytes.inc(amount(bytes))),
    readAheadUsed: () => series.readAheadUsed.inc(),
    listingUsed: () => series.listedFiles.inc(),
    listingDistrusted: () => series.listingsDistrusted.inc(),
    evicted(reason, bytes) {
      series.evictions.inc({ reason })
      series.evicted.inc({ reason }, amount(bytes))
    },
    flightStarted() {
      series.flightsStarted.inc()
      series.flights.inc()
    },
    flightEnded: () => series.flights.dec(),
    flightJoined: () => series.flightsJoined.inc(),
    integrityFailure: (kind) => series.integrity.inc({ kind }),
    hubTokenAge: (name, seconds) => series.hubTokenAge.set({ name }, amount(seconds)),
    tlsCertificate(expiresAt) {
      series.tlsExpiry.set(amount(expiresAt))
      for (const reason of TLS_FAILURES) series.tlsFailures.inc({ reason }, 0)
    },
    tlsFailed: (reason) => series.tlsFailures.inc({ reason }),
    pinsChanged: (pins) => countPins(series, pins),
    workers: (serving) => series.workers.set(amount(serving)),
    workerLost: () => series.workersLost.inc(),
    storeDegraded: (degraded) => series.cacheDegraded.set(degraded ? 1 : 0),
  }
}

/** prom-client throws for anything but a positive number. An Observer never throws, so such an amount counts as zero. */
function amount(value: number): number {
  return Number.isFinite(value) && value > 0 ? value : 0
}

/** The exact status code; `other` for codes outside of 100 to 599, so that an odd origin cannot create series. */
function statusLabel(status: number): string {
  return status === 0 || (Number.isInteger(status) && status >= 100 && status <= 599)
    ? String(status)
    : 'other'
}
