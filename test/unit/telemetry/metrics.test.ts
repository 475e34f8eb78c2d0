import { readFileSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createMetrics, METRICS } from '../../../src/telemetry/metrics.ts'
import {
  ACCESS_RESULTS,
  EVICTION_REASONS,
  INTEGRITY_KINDS,
  type Observer,
} from '../../../src/telemetry/observer.ts'

const RULES = [{ name: 'no-pickles', action: 'deny' }]
const create = () => createMetrics({ version: '1.2.3', rules: RULES, processMetrics: false })

/** The exposition as series → value, such as `hubmirror_origin_up` → '1'. */
async function seriesOf(metrics: ReturnType<typeof create>): Promise<ReadonlyMap<string, string>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const pairs = lines.map((line) => {
    const space = line.lastIndexOf(' ')
    return [line.slice(0, space), line.slice(space + 1)] as const
  })
  const series = new Map(pairs)
  expect(series.size).toBe(lines.length)
  return series
}

describe('the table of metrics', () => {
  it.each(Object.values(METRICS).map((row) => [row.name, row] as const))(
    'keeps the conventions for %s',
    (name, row) => {
      expect(name).toMatch(/^hubmirror_[a-z]+(?:_[a-z]+)*$/)
      expect(row.help).toMatch(/^[A-Z01].+\.$/)
      expect(name.endsWith('_total')).toBe(row.kind === 'counter')
      if (row.kind === 'histogram') expect(name).toMatch(/_seconds$/)
      if (row.kind === 'gauge')
        expect(name).toMatch(
          /_(?:bytes|info|up|blobs|repositories|degraded|in_progress|seconds|workers|pins)$/,
        )
      for (const label of row.labels) {
        const words = 'route outcome status kind reason result version name rule action'
        expect(words.split(' ')).toContain(label)
      }
    },
  )

  it('is what the exposition shows, each with its help and type', async () => {
    const metrics = create()
    metrics.observer.hubTokenAge('default', 1)
    metrics.observer.originUp(true)
    const text = await metrics.text()
    for (const { name, kind, help } of Object.values(METRICS)) {
      expect(text).toContain(`# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`)
    }
    expect(text.match(/# TYPE /g)).toHaveLength(Object.keys(METRICS).length)
  })
})

describe('before any request, the exposition', () => {
  it('has the counters of rare events, at zero, and no series with labels of requests', async () => {
    const series = await seriesOf(create())
    const expected = [
      ...ACCESS_RESULTS.map((result) => `hubmirror_access_decisions_total{result="${result}"}`),
      'hubmirror_policy_decisions_total{rule="no-pickles",action="deny"}',
      ...EVICTION_REASONS.flatMap((reason) => [
        `hubmirror_cache_evictions_total{reason="${reason}"}`,
        `hubmirror_cache_evicted_bytes_total{reason="${reason}"}`,
      ]),
      ...INTEGRITY_KINDS.map((kind) => `hubmirror_integrity_failures_total{kind="${kind}"}`),
      'hubmirror_origin_retries_total{reason="expired-url"}',
      'hubmirror_origin_quota_holds_total{result="waited"}',
      'hubmirror_audit_lost_lines_total',
      'hubmirror_workers_lost_total',
      'hubmirror_flights_in_progress',
      'hubmirror_flights_total',
      'hubmirror_flights_joined_total',
      'hubmirror_cache_size_bytes',
      'hubmirror_cache_facts_bytes',
      'hubmirror_cache_blobs',
      'hubmirror_cache_degraded',
    ]
    expect(expected.filter((name) => series.get(name) !== '0')).toEqual([])
    for (const [name, value] of series) {
      expect(name).not.toMatch(/_bucket|route=|status=|outcome=/)
      if (!/hubmirror_(?:build_info|cache_limit_bytes)/.test(name)) expect([name, value]).toEqual([name, '0'])
    }
    expect(series.size).toBeLessThan(72)
  })

  it('has every series that an alert compares with zero', async () => {
    const rules = readFileSync(new URL('../../../deploy/prometheus/rules.yml', import.meta.url), 'utf8')
    const asked = [...rules.matchAll(/(?:increase|delta|changes)\((hubmirror_[a-z_]+)/g)].map(
      ([, name]) => name,
    )
    const names = [...(await seriesOf(create())).keys()].map((name) => name.replace(/\{.*/, ''))
    expect(asked.length).toBeGreaterThan(0)
    for (const name of asked) expect(names).toContain(name)
  })

  it('shows the version and the limit of the store, and nothing about an origin that was never asked', async () => {
    const unlimited = await seriesOf(create())
    expect(unlimited.get('hubmirror_build_info{version="1.2.3"}')).toBe('1')
    expect(unlimited.get('hubmirror_origin_up')).toBeUndefined()
    expect(unlimited.get('hubmirror_cache_limit_bytes')).toBe('+Inf')
    const limited = createMetrics({ version: '1', storeLimitBytes: 5e9, processMetrics: false })
    expect((await seriesOf(limited)).get('hubmirror_cache_limit_bytes')).toBe('5000000000')
  })

  it('keeps two mirrors in one process apart', async () => {
    const [first, second] = [create(), create()]
    first.observer.flightStarted()
    expect((await seriesOf(second)).get('hubmirror_flights_total')).toBe('0')
  })
})

describe('the observer', () => {
  const calls: readonly [string, (observer: Observer) => void, Readonly<Record<string, string>>][] = [
    [
      'a certificate and a failed handshake',
      (observer) => {
        observer.tlsCertificate(1_700_000_000)
        observer.tlsFailed('left')
      },
      {
        hubmirror_tls_certificate_expiry_timestamp_seconds: '1700000000',
        'hubmirror_tls_handshake_failures_total{reason="left"}': '1',
        'hubmirror_tls_handshake_failures_total{reason="timeout"}': '0',
      },
    ],
    [
      'an answered request',
      (observer) =>
        observer.requestDone({
          route: 'file',
          outcome: 'hit',
          status: 206,
          bytes: 512,
          firstByteSeconds: 0.004,
          totalSeconds: 2,
        }),
      {
        'hubmirror_requests_total{route="file",outcome="hit",status="206"}': '1',
        'hubmirror_served_bytes_total{route="file",outcome="hit"}': '512',
        'hubmirror_first_byte_seconds_bucket{le="0.001",outcome="hit"}': '0',
        'hubmirror_first_byte_seconds_bucket{le="0.005",outcome="hit"}': '1',
        'hubmirror_request_duration_seconds_sum{route="file"}': '2',
      },
    ],
    [
      'a request without a first byte',
      (observer) =>
        observer.requestDone({
          route: 'bad',
          outcome: 'error',
          status: 418,
          bytes: 0,
          firstByteSeconds: undefined,
          totalSeconds: 1,
        }),
      {
        'hubmirror_requests_total{route="bad",outcome="error",status="418"}': '1',
      },
    ],
    [
      'an answer of the origin',
      (observer) => observer.originRequest('cdn', 206, 0.3),
      {
        'hubmirror_origin_requests_total{kind="cdn",status="206"}': '1',
        'hubmirror_origin_request_duration_seconds_sum{kind="cdn"}': '0.3',
      },
    ],
    [
      'bytes of the origin',
      (o) => o.originBytes('cdn', 7),
      { 'hubmirror_fetched_bytes_total{kind="cdn"}': '7' },
    ],
    ['a retry', (o) => o.originRetry('timeout'), { 'hubmirror_origin_retries_total{reason="timeout"}': '1' }],
    ['an origin that is down', (o) => o.originUp(false), { hubmirror_origin_up: '0' }],
    ['an origin that is up', (o) => o.originUp(true), { hubmirror_origin_up: '1' }],
    [
      'a decision',
      (o) => o.accessDecided('granted'),
      { 'hubmirror_access_decisions_total{result="granted"}': '1' },
    ],
    [
      'the books of the store',
      (o) => o.storeChanged({ sizeBytes: 10, factBytes: 3, limitBytes: 20, blobs: 2, gits: 1, gitBytes: 4 }),
      {
        hubmirror_cache_size_bytes: '10',
        hubmirror_cache_facts_bytes: '3',
        hubmirror_cache_limit_bytes: '20',
        hubmirror_cache_blobs: '2',
        hubmirror_git_repositories: '1',
        hubmirror_git_bytes: '4',
      },
    ],
    [
      'a fetch with git',
      (o) => o.gitFetched('unchanged'),
      {
        'hubmirror_git_fetches_total{result="stored"}': '0',
        'hubmirror_git_fetches_total{result="unchanged"}': '1',
      },
    ],
    [
      'an eviction',
      (o) => o.evicted('max-size', 9),
      {
        'hubmirror_cache_evictions_total{reason="max-size"}': '1',
        'hubmirror_cache_evicted_bytes_total{reason="max-size"}': '9',
      },
    ],
    [
      'flights',
      (o) => {
        o.flightStarted()
        o.flightStarted()
        o.flightJoined()
        o.flightEnded()
      },
      {
        hubmirror_flights_in_progress: '1',
        hubmirror_flights_total: '2',
        hubmirror_flights_joined_total: '1',
      },
    ],
    [
      'an integrity failure',
      (o) => o.integrityFailure('digest'),
      { 'hubmirror_integrity_failures_total{kind="digest"}': '1' },
    ],
    ['a store that takes nothing', (o) => o.storeDegraded(true), { hubmirror_cache_degraded: '1' }],
  ]

  it.each(calls)('counts %s', async (_, call, expected) => {
    const metrics = create()
    call(metrics.observer)
    const series = await seriesOf(metrics)
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, series.get(name)]))).toEqual(
      expected,
    )
  })

  it('has no distribution of what was not observed', async () => {
    const metrics = create()
    const event = { route: 'bad', outcome: 'error', status: 418, bytes: 0, totalSeconds: 1 } as const
    metrics.observer.requestDone({ ...event, firstByteSeconds: undefined })
    const names = [...(await seriesOf(metrics)).keys()]
    expect(names.filter((name) => name.startsWith('hubmirror_first_byte_seconds'))).toEqual([])
  })

  it('has no series for an unknown status', async () => {
    const metrics = create()
    for (const status of [600, 799, 1e9, Number.NaN, -1, 200.5])
      metrics.observer.originRequest('cdn', status, 0)
    const series = await seriesOf(metrics)
    expect(series.get('hubmirror_origin_requests_total{kind="cdn",status="other"}')).toBe('6')
  })

  it('never throws for an amount that is no positive number', async () => {
    const metrics = create()
    for (const amount of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      metrics.observer.originBytes('body', amount)
      metrics.observer.originRequest('body', 200, amount)
      metrics.observer.storeChanged({
        sizeBytes: amount,
        factBytes: amount,
        limitBytes: undefined,
        blobs: amount,
        gits: amount,
        gitBytes: amount,
      })
      metrics.observer.evicted('prune', amount)
    }
    expect((await seriesOf(metrics)).get('hubmirror_fetched_bytes_total{kind="body"}')).toBe('0')
  })
})

it('the usual metrics of the process have their usual names', async () => {
  const metrics = createMetrics({ version: '1' })
  const text = await metrics.text()
  expect(text).toContain('process_resident_memory_bytes')
  expect(text).toContain('nodejs_eventloop_lag_seconds')
  expect(metrics.contentType).toMatch(/^text\/plain; version=0\.0\.4/)
})

it('starts the timers and observers of the process once, for all mirrors in it', async () => {
  const observing = vi.spyOn(PerformanceObserver.prototype, 'observe')
  onTestFinished(() => observing.mockRestore())
  const texts = await Promise.all([1, 2, 3].map(() => createMetrics({ version: '1' }).text()))
  for (const text of texts) expect(text).toContain('nodejs_gc_duration_seconds')
  expect(observing.mock.calls.length).toBeLessThanOrEqual(1)
})
