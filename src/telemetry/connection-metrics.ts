// The metrics of what requests share and wait for: connections to the origin, and memory for large documents.

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
  documentMemory: {
    name: 'hubmirror_document_memory_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Memory that large JSON documents of the Hub take while they arrive or are sent; at most 256 MiB.',
  },
  documentWaits: {
    name: 'hubmirror_document_waits_in_progress',
    kind: 'gauge',
    labels: [],
    help: 'Requests for large documents that wait until others have released memory.',
  },
} as const satisfies Record<string, MetricRow>
