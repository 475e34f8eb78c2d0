// Every metric the mirror has, as one table, and the Observer that feeds them. The only home of prom-client. It knows
// no repo, path or token: no label may carry one, or a crawler would fill the monitoring with series.
import { Counter, collectDefaultMetrics, Gauge, Histogram, type Metric, Registry } from 'prom-client'
import { CONNECTION_METRICS } from './connection-metrics.ts'
import {
  ACCESS_RESULTS,
  EVICTION_REASONS,
  INTEGRITY_KINDS,
  LANES,
  type Observer,
  QUOTA_RESULTS,
  WAIT_RESULTS,
} from './observer.ts'
import { RequestTally, TalliedHistogram } from './tally.ts'

export interface MetricRow {
  readonly name: string
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
}

/** The mirror's own metrics. Names, labels and meanings are public interface; the README's table is printed from it. */
export const METRICS = {
  build: {
    name: 'hubmirror_build_info',
    kind: 'gauge',
    labels: ['version'],
    help: 'Always 1; the label says which version runs.',
  },
  requests: {
    name: 'hubmirror_requests_total',
    kind: 'counter',
    labels: ['route', 'outcome', 'status'],
    help: 'Requests answered, by what was asked for, how it was answered, and the status the client saw.',
  },
  served: {
    name: 'hubmirror_served_bytes_total',
    kind: 'counter',
    labels: ['route', 'outcome'],
    help: 'Body bytes handed to clients.',
  },
  firstByte: {
    name: 'hubmirror_first_byte_seconds',
    kind: 'histogram',
    labels: ['outcome'],
    help: 'Time from a request to the first byte of its answer.',
  },
  total: {
    name: 'hubmirror_request_duration_seconds',
    kind: 'histogram',
    labels: ['route'],
    help: 'Time from a request to the last byte of its answer.',
  },
  originRequests: {
    name: 'hubmirror_origin_requests_total',
    kind: 'counter',
    labels: ['kind', 'status'],
    help: 'Requests to the origin and its CDN; status 0 is a request that got no answer.',
  },
  originSeconds: {
    name: 'hubmirror_origin_request_duration_seconds',
    kind: 'histogram',
    labels: ['kind'],
    help: 'Time from a request to the headers of its answer by the origin or its CDN, or to its failure.',
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
    help: 'Requests to the origin that were repeated, by what was wrong with the one before.',
  },
  originQuota: {
    name: 'hubmirror_origin_quota_holds_total',
    kind: 'counter',
    labels: ['result'],
    help: "Requests held back because the Hub's rate limit for their credential is used up: `waited` were sent a moment later, `refused` were not.",
  },
  ...CONNECTION_METRICS,
  originUp: {
    name: 'hubmirror_origin_up',
    kind: 'gauge',
    labels: [],
    help: '0 from a failure to reach the origin until its next answer, else 1; absent until the origin was asked.',
  },
  access: {
    name: 'hubmirror_access_decisions_total',
    kind: 'counter',
    labels: ['result'],
    help: "Decisions about a caller's right, one per request: everybody may, granted or refused by the Hub, denied or limited by the mirror, or unknown because nobody could say.",
  },
  auditDegraded: {
    name: 'hubmirror_audit_degraded',
    kind: 'gauge',
    labels: [],
    help: '1 while the audit log cannot be written, else 0; lines wait in memory then.',
  },
  auditLost: {
    name: 'hubmirror_audit_lost_lines_total',
    kind: 'counter',
    labels: [],
    help: 'Lines of the audit log that found no room in memory while it could not be written.',
  },
  policy: {
    name: 'hubmirror_policy_decisions_total',
    kind: 'counter',
    labels: ['rule', 'action'],
    help: 'Requests that a rule of the operator had a say in; the label is the name of the rule.',
  },
  cacheSize: {
    name: 'hubmirror_cache_size_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Bytes the store takes.',
  },
  cacheFacts: {
    name: 'hubmirror_cache_facts_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Of these, what is known of files, revisions, repos and documents.',
  },
  cacheLimit: {
    name: 'hubmirror_cache_limit_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Bytes the store may take; +Inf without HUBMIRROR_CACHE_MAX_SIZE.',
  },
  cacheBlobs: {
    name: 'hubmirror_cache_blobs',
    kind: 'gauge',
    labels: [],
    help: 'Finished blobs in the store.',
  },
  cacheDegraded: {
    name: 'hubmirror_cache_degraded',
    kind: 'gauge',
    labels: [],
    help: '1 while the store takes no bytes (disk full, read-only or failing), else 0.',
  },
  evictions: {
    name: 'hubmirror_cache_evictions_total',
    kind: 'counter',
    labels: ['reason'],
    help: 'Blobs removed from the store.',
  },
  evicted: {
    name: 'hubmirror_cache_evicted_bytes_total',
    kind: 'counter',
    labels: ['reason'],
    help: 'Bytes removed from the store.',
  },
  flights: {
    name: 'hubmirror_flights_in_progress',
    kind: 'gauge',
    labels: [],
    help: 'Files being pulled from the origin right now.',
  },
  flightsStarted: {
    name: 'hubmirror_flights_total',
    kind: 'counter',
    labels: [],
    help: 'Pulls started.',
  },
  flightsJoined: {
    name: 'hubmirror_flights_joined_total',
    kind: 'counter',
    labels: [],
    help: "Clients served from a pull that another client's request had started.",
  },
  integrity: {
    name: 'hubmirror_integrity_failures_total',
    kind: 'counter',
    labels: ['kind'],
    help: 'Bytes that were thrown away because they were not what the Hub announced, or not what was stored.',
  },
  hubTokenAge: {
    name: 'hubmirror_hub_token_age_seconds',
    kind: 'gauge',
    labels: ['name'],
    help: "Age of each Hub token of the mirror's own that comes from a file; replace it before it is 90 days old.",
  },
  workers: {
    name: 'hubmirror_workers',
    kind: 'gauge',
    labels: [],
    help: 'Worker processes that take connections; 0 where one process does everything.',
  },
  workersLost: {
    name: 'hubmirror_workers_lost_total',
    kind: 'counter',
    labels: [],
    help: 'Worker processes that ended unasked; another one takes the place of each.',
  },
} as const satisfies Record<string, MetricRow>

/** From an answer out of memory (below 1 ms) to an origin that answers just in time (HUBMIRROR_ORIGIN_TIMEOUT: 20 s). */
const FIRST_BYTE_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20]
/** From another mirror in the same room to the same end. */
const ORIGIN_BUCKETS = FIRST_BYTE_BUCKETS.slice(1)
/** From a small answer to half an hour, which a large file on a slow line takes. */
const TOTAL_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10, 60, 300, 1800]

type RetryReason = Parameters<Observer['originRetry']>[0]
// A record, so that the compiler misses none.
const RETRY_REASONS = {
  status: true,
  network: true,
  timeout: true,
  'short-body': true,
  'expired-url': true,
} satisfies Record<RetryReason, true>

/** The metrics of one mirror: an Observer to feed them and the text that Prometheus reads. */
export interface Metrics {
  readonly observer: Observer
  /** The Content-Type of `text`. */
  readonly contentType: string
  /** Creates a series at zero for each of the operator's rules; called again when the rules have changed. */
  expectRules(rules: readonly { readonly name: string; readonly action: string }[]): void
  /** The exposition of all metrics. */
  text(): Promise<string>
}

/**
 * Creates the metrics. `setToZero` decides which series exist before anything has happened. `processMetrics: false`
 * leaves out the usual `process_…` and `nodejs_…` ones, whose collectors cannot be taken down again.
 */
export function createMetrics(options: {
  readonly version: string
  readonly storeLimitBytes?: number | undefined
  /** The operator's rules. */
  readonly rules?: readonly { readonly name: string; readonly action: string }[]
  readonly processMetrics?: boolean
}): Metrics {
  const registry = new Registry()
  if (options.processMetrics !== false) collectDefaultMetrics({ register: registry })
  const series = createSeries(registry)
  const tally = new RequestTally()
  setToZero(series)
  series.build.set({ version: options.version }, 1)
  // Neither up nor down before it was asked.
  series.originUp.remove()
  const expectRules: Metrics['expectRules'] = (rules) => {
    for (const { name: rule, action } of rules) series.policy.inc({ rule, action }, 0)
  }
  expectRules(options.rules ?? [])
  series.cacheLimit.set(options.storeLimitBytes ?? Number.POSITIVE_INFINITY)
  return {
    observer: createObserver(series, tally),
    contentType: registry.contentType,
    expectRules,
    text() {
      const { requests: cells, decisions } = tally.taken()
      for (const { route, outcome, status, requests, bytes } of cells) {
        series.requests.inc({ route, outcome, status: statusLabel(status) }, requests)
        series.served.inc({ route, outcome }, bytes)
      }
      for (const [result, count] of decisions) series.access.inc({ result }, count)
      return registry.metrics()
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
    // The registry asks a metric for its name and its values; the type wants the classes of the library.
    registry.registerMetric(metric as unknown as Metric)
    return metric
  }
  return {
    build: gauge(METRICS.build),
    requests: counter(METRICS.requests),
    served: counter(METRICS.served),
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
    flights: gauge(METRICS.flights),
    flightsStarted: counter(METRICS.flightsStarted),
    flightsJoined: counter(METRICS.flightsJoined),
    integrity: counter(METRICS.integrity),
    hubTokenAge: gauge(METRICS.hubTokenAge),
    workers: gauge(METRICS.workers),
    workersLost: counter(METRICS.workersLost),
  } satisfies Record<keyof typeof METRICS, unknown>
}

/**
 * Creates the series of rare events at zero, because `rate` and `increase` miss the first event of a counter that appears
 * with that event. Rare are those of which a single event matters; some alerts ask for them. Counters without labels are
 * at zero by themselves. All other series appear with their first use: one missed event of a frequent kind does no harm,
 * and most combinations of route, outcome and status never occur.
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
  for (const kind of INTEGRITY_KINDS) series.integrity.inc({ kind }, 0)
}

function createObserver(series: Series, tally: RequestTally): Observer {
  return {
    requestDone({ route, outcome, status, bytes, firstByteSeconds, totalSeconds }) {
      tally.done(route, outcome, status, amount(bytes))
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
    originUp: (up) => series.originUp.set(up ? 1 : 0),
    accessDecided: (result) => tally.decided(result),
    auditDegraded: (degraded) => series.auditDegraded.set(degraded ? 1 : 0),
    auditLost: () => series.auditLost.inc(),
    policyDecided: (rule, action) => series.policy.inc({ rule, action }),
    storeChanged({ sizeBytes, factBytes, limitBytes, blobs }) {
      series.cacheFacts.set(amount(factBytes))
      series.cacheSize.set(amount(sizeBytes))
      series.cacheLimit.set(limitBytes ?? Number.POSITIVE_INFINITY)
      series.cacheBlobs.set(amount(blobs))
    },
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
    workers: (serving) => series.workers.set(amount(serving)),
    workerLost: () => series.workersLost.inc(),
    storeDegraded: (degraded) => series.cacheDegraded.set(degraded ? 1 : 0),
  }
}

/** prom-client throws at what is not a positive number; an Observer never throws, and a doubtful amount is none. */
function amount(value: number): number {
  return Number.isFinite(value) && value > 0 ? value : 0
}

/** The exact code. An origin that invents codes of its own does not get to invent series. */
function statusLabel(status: number): string {
  return status === 0 || (Number.isInteger(status) && status >= 100 && status <= 599)
    ? String(status)
    : 'other'
}
