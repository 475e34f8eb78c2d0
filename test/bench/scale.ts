// Sizes and counts of the work: enough for ratios in a few minutes, the full amount, or so little that it only checks
// digests.

import { availableParallelism } from 'node:os'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

/** Rate of each connection at an origin with a limit. */
export const LIMIT_BYTES_PER_SECOND = 20_000_000
export const LIMIT_TEXT = 'origin at 20 MB/s per connection'

/** How much later a Hub answers that is far away. */
export const HUB_DELAY_MS = 80

export interface Scale {
  readonly name: 'smoke' | 'default' | 'full'
  /** Runs of each contestant. Fewer if its runs exceed the time budget. */
  readonly rounds: number
  readonly budgetSeconds: number
  /** A run that takes longer is abandoned. */
  readonly deadlineSeconds: number
  /** How long small requests are repeated. */
  readonly until: { readonly answers: number } | { readonly seconds: number }
  /** Sizes of a file for one reader, one for many at once, one that is not stored, and one much larger than a range. */
  readonly largeBytes: number
  readonly sharedBytes: number
  readonly coldBytes: number
  readonly vastBytes: number
  /** Size of a file that comes over TLS. */
  readonly tlsBytes: number
  readonly crowd: number
  readonly coldRanges: number
  readonly snapshotFiles: number
  /** Small files beside the large ones of a model. */
  readonly modelFiles: number
  readonly slowReaders: number
  readonly slowSeconds: number
  /** Readers that stop reading when their answer has begun. */
  readonly stalledReaders: number
  /** Slow connections of others, and how many requests are measured beside them. */
  readonly strangers: readonly number[]
  readonly strangersRequests: number
  /** Files of a repo whose info is large, and how many HEADs are measured beside its callers. */
  readonly infoFiles: number
  readonly infoHeads: number
  /** Steps of growth. */
  readonly clients: readonly number[]
  readonly blobs: readonly number[]
  readonly datasetFiles: readonly number[]
  readonly processes: readonly number[]
}

const DEFAULT: Scale = {
  name: 'default',
  rounds: 3,
  budgetSeconds: 6,
  deadlineSeconds: 20,
  until: { seconds: 1.5 },
  largeBytes: GIB,
  sharedBytes: 256 * MIB,
  coldBytes: 128 * MIB,
  vastBytes: 10 * GIB,
  tlsBytes: 512 * MIB,
  crowd: 50,
  coldRanges: 16,
  snapshotFiles: 1000,
  modelFiles: 300,
  slowReaders: 200,
  slowSeconds: 10,
  stalledReaders: 0,
  strangers: [70, 500],
  strangersRequests: 500,
  infoFiles: 100_000,
  infoHeads: 300,
  clients: [1, 10, 100],
  blobs: [1000, 100_000],
  datasetFiles: [10_000],
  processes: [1, 2],
}

const FULL: Scale = {
  ...DEFAULT,
  name: 'full',
  rounds: 5,
  budgetSeconds: 60,
  deadlineSeconds: 180,
  until: { seconds: 5 },
  sharedBytes: GIB,
  coldBytes: GIB,
  tlsBytes: 2 * GIB,
  coldRanges: 64,
  slowSeconds: 30,
  stalledReaders: 2000,
  strangers: [70, 500, 5000],
  clients: [1, 10, 100, 1000],
  blobs: [1000, 100_000, 1_000_000],
  datasetFiles: [10_000, 100_000],
  processes: [1, 2, 4, 8].filter((count) => count <= Math.max(2, availableParallelism())),
}

const SMOKE: Scale = {
  ...DEFAULT,
  name: 'smoke',
  rounds: 1,
  until: { answers: 20 },
  largeBytes: 5 * MIB,
  sharedBytes: 5 * MIB,
  coldBytes: 5 * MIB,
  vastBytes: 100 * MIB,
  tlsBytes: 5 * MIB,
  crowd: 5,
  coldRanges: 2,
  snapshotFiles: 20,
  modelFiles: 10,
  slowReaders: 5,
  slowSeconds: 0.5,
  strangers: [3],
  strangersRequests: 10,
  infoFiles: 100,
  infoHeads: 10,
  clients: [2],
  blobs: [10],
  datasetFiles: [30],
  processes: [2],
}

export const SCALES: Readonly<Record<Scale['name'], Scale>> = { default: DEFAULT, full: FULL, smoke: SMOKE }

/** `1 GiB`, `128 MiB`, `4 KiB`. */
export function sizeText(bytes: number): string {
  if (bytes >= GIB) return `${bytes / GIB} GiB`
  return bytes >= MIB ? `${bytes / MIB} MiB` : `${bytes / KIB} KiB`
}
