// The metrics of the store: its size, what leaves it, and the git repositories that are kept in it for clones.

import type { MetricRow } from './metric-row.ts'

export const STORE_METRICS = {
  cacheSize: {
    name: 'hubmirror_cache_size_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Size of the store.',
  },
  cacheFacts: {
    name: 'hubmirror_cache_facts_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Part of this size that facts about files, revisions, repos and documents take.',
  },
  cacheLimit: {
    name: 'hubmirror_cache_limit_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Maximum size of the store; +Inf without HUBMIRROR_CACHE_MAX_SIZE.',
  },
  cacheBlobs: {
    name: 'hubmirror_cache_blobs',
    kind: 'gauge',
    labels: [],
    help: 'Complete blobs in the store.',
  },
  cacheDegraded: {
    name: 'hubmirror_cache_degraded',
    kind: 'gauge',
    labels: [],
    help: '1 while the store accepts no bytes (disk full, read-only or failing), else 0.',
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
  pins: {
    name: 'hubmirror_pins',
    kind: 'gauge',
    labels: [],
    help: 'Pins in the file HUBMIRROR_PINS; absent without it, as the three below are.',
  },
  pinsBehind: {
    name: 'hubmirror_behind_pins',
    kind: 'gauge',
    labels: ['reason'],
    help: 'Pins of which the mirror does not have all that they want, by the reason.',
  },
  pinsKept: {
    name: 'hubmirror_pins_kept_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Bytes that pins want and that are never evicted once they are stored.',
  },
  pinsMissing: {
    name: 'hubmirror_pins_missing_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Bytes that pins want and that are not stored.',
  },
  gits: {
    name: 'hubmirror_git_repositories',
    kind: 'gauge',
    labels: [],
    help: 'Git repositories in the store, which are kept for clones while the Hub is away. They count among the blobs.',
  },
  gitBytes: {
    name: 'hubmirror_git_bytes',
    kind: 'gauge',
    labels: [],
    help: 'Their part of the size of the store.',
  },
  gitFetches: {
    name: 'hubmirror_git_fetches_total',
    kind: 'counter',
    labels: ['result'],
    help: 'Fetches of branches and tags with git after a client had cloned or fetched a public repo: something new was `stored`, or the repo was `unchanged`, or the fetch has `failed`.',
  },
} as const satisfies Record<string, MetricRow>
