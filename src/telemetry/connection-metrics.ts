// The part of the table of metrics that is about the connections to the origin: who has them, and who waits.

import type { MetricRow } from './metrics.ts'

export const CONNECTION_METRICS = {
  originInUse: {
    name: 'hubmirror_origin_connections_in_progress',
    kind: 'gauge',
    labels: ['kind'],
    help: 'Connections to the origin and its CDN in use: for questions, pulls into the store, passages (reads that are passed through) and relays (bodies at the pace of a client).',
  },
  originWaiting: {
    name: 'hubmirror_origin_waits_in_progress',
    kind: 'gauge',
    labels: ['kind'],
    help: 'Requests that wait until others give a connection to the origin back; see HUBMIRROR_ORIGIN_CONNECTIONS.',
  },
  originWaits: {
    name: 'hubmirror_origin_waits_total',
    kind: 'counter',
    labels: ['kind', 'result'],
    help: 'Requests that found no connection free: `granted` one later, too `late`, `refused` at once, or their client has `left`.',
  },
  originWaitSeconds: {
    name: 'hubmirror_origin_wait_seconds_total',
    kind: 'counter',
    labels: ['kind'],
    help: 'Time that requests have waited for a connection to the origin, all together.',
  },
} as const satisfies Record<string, MetricRow>
