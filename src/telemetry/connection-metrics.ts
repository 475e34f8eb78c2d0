// The metrics of connections to the origin: how many are in use, and how many requests wait for one.

import type { MetricRow } from './metric-row.ts'

export const CONNECTION_METRICS = {
  originInUse: {
    name: 'hubmirror_origin_connections_in_progress',
    kind: 'gauge',
    labels: ['kind'],
    help: 'Connections to the origin and its CDN in use, by purpose: `question`, `pull` (into the store), `passage` (a read that is passed through) or `relay` (a body at the speed of a client).',
  },
  originWaiting: {
    name: 'hubmirror_origin_waits_in_progress',
    kind: 'gauge',
    labels: ['kind'],
    help: 'Requests that are waiting for a free connection to the origin; see HUBMIRROR_ORIGIN_CONNECTIONS.',
  },
  originWaits: {
    name: 'hubmirror_origin_waits_total',
    kind: 'counter',
    labels: ['kind', 'result'],
    help: 'Requests that found no free connection to the origin, by result: `granted` (got one later), `late` (gave up waiting), `refused` (immediately) or `left` (the client disconnected).',
  },
  originWaitSeconds: {
    name: 'hubmirror_origin_wait_seconds_total',
    kind: 'counter',
    labels: ['kind'],
    help: 'Total time that requests waited for a connection to the origin.',
  },
} as const satisfies Record<string, MetricRow>
