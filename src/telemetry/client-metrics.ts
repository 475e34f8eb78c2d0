// The metrics of what faces clients: worker processes, and the mirror's own TLS.

import type { MetricRow } from './metric-row.ts'

export const CLIENT_METRICS = {
  workers: {
    name: 'hubmirror_workers',
    kind: 'gauge',
    labels: [],
    help: 'Worker processes that accept connections; 0 if one process does everything.',
  },
  workersLost: {
    name: 'hubmirror_workers_lost_total',
    kind: 'counter',
    labels: [],
    help: 'Worker processes that ended unexpectedly; each is replaced.',
  },
  tlsExpiry: {
    name: 'hubmirror_tls_certificate_expiry_timestamp_seconds',
    kind: 'gauge',
    labels: [],
    help: 'When the certificate that new connections get expires, in seconds since 1970; absent without HUBMIRROR_TLS_CERT.',
  },
  tlsFailures: {
    name: 'hubmirror_tls_handshake_failures_total',
    kind: 'counter',
    labels: ['reason'],
    help: "TLS handshakes with clients that failed: `plain-http` was spoken, `old-version` (before TLS 1.2), `timeout`, `client-certificate` (none, or none that counts), `own-certificate` (the client refuses the mirror's), `left` (the client went, as probes of the port do) or `other`.",
  },
} as const satisfies Record<string, MetricRow>
