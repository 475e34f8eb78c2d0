// The metrics of what the mirror learns from listings.

import type { MetricRow } from './metric-row.ts'

export const LISTING_METRICS = {
  listedFiles: {
    name: 'hubmirror_listed_files_total',
    kind: 'counter',
    labels: [],
    help: 'Requests for files that were not stored, and that the listing of their commit described, so that the Hub was not asked about them.',
  },
  listingsDistrusted: {
    name: 'hubmirror_listings_distrusted_total',
    kind: 'counter',
    labels: [],
    help: 'Commits whose listing the Hub contradicted when it was asked for a file. The mirror then asks about each of their files.',
  },
  readAheadFiles: {
    name: 'hubmirror_read_ahead_files_total',
    kind: 'counter',
    labels: [],
    help: 'Files that were fetched before a client requested them; see HUBMIRROR_READ_AHEAD.',
  },
  readAheadBytes: {
    name: 'hubmirror_read_ahead_bytes_total',
    kind: 'counter',
    labels: [],
    help: 'The bytes of these files.',
  },
  readAheadUsed: {
    name: 'hubmirror_read_ahead_used_files_total',
    kind: 'counter',
    labels: [],
    help: 'How many of these files a client has then requested. The rest was fetched for nothing so far.',
  },
} as const satisfies Record<string, MetricRow>
