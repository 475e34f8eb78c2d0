// What pins want against what is stored, for /readyz, the metrics and `hubmirror pins`. Pure.

import { isGlob, type Pin, type PinsFile } from '../config/pins-file.ts'
import { repoKey } from '../hub/names.ts'
import type { BlobKey } from '../store/digest.ts'
import type { PinnedFile } from '../store/pinned-commits.ts'
import type { PinReason } from '../telemetry/observer.ts'
import { type Claims, type KnownCommits, revisionsOf } from './claims.ts'

/** The end of the last run for a pin, if it could not do everything. */
export interface Trouble {
  readonly reason: PinReason
  readonly message: string
}

interface Sum {
  readonly files: number
  readonly sizeBytes: number
}

export interface RevisionReport extends Sum {
  readonly revision: string
  readonly commit: string
  /** How many earlier commits are kept as well. The other numbers are of the present one. */
  readonly pastCommits: number
  readonly missing: Sum
}

export interface PinReport {
  readonly repo: string
  readonly revisions: readonly string[]
  readonly priority: number
  readonly behind: boolean
  readonly reason: PinReason | null
  readonly message: string | null
  /** ISO 8601; null if no mirror runs. */
  readonly nextRunAt: string | null
  readonly at: readonly RevisionReport[]
}

export interface PinsReport {
  readonly complete: boolean
  /** Whether the file has a fault, so that an older one counts. */
  readonly faulty: boolean
  readonly bandwidth: number | null
  readonly keptBytes: number
  readonly limitBytes: number | null
  readonly pins: readonly PinReport[]
}

export interface ReportOptions {
  readonly file: PinsFile
  readonly known: KnownCommits
  readonly claims: Readonly<Claims>
  readonly faulty: boolean
  readonly limitBytes: number | undefined
  readonly isStored: (key: BlobKey) => boolean
  readonly troubleOf: (pin: Pin) => Trouble | undefined
  /** When the pin is looked at next, epoch ms. */
  readonly nextRunAt: (pin: Pin) => number | undefined
}

/** Compares. */
export function reportOf(options: ReportOptions): PinsReport {
  const { file, claims, faulty, limitBytes } = options
  const pins = file.pins.map((pin) => reportPin(pin, claims, options))
  return {
    complete: pins.every(({ behind }) => !behind),
    faulty,
    bandwidth: file.bandwidth ?? null,
    keptBytes: claims.sizeBytes,
    limitBytes: limitBytes ?? null,
    pins,
  }
}

/** One sentence about all pins. Undefined if none is behind. */
export function summary({ pins, faulty }: PinsReport): string | undefined {
  const behind = pins.filter((pin) => pin.behind)
  const reasons = new Map<string, number>()
  for (const { reason } of behind)
    reasons.set(reason ?? 'waiting', (reasons.get(reason ?? 'waiting') ?? 0) + 1)
  const why = [...reasons].map(([reason, number]) => `${number} ${reason}`).join(', ')
  const first = behind.length === 0 ? undefined : `${behind.length} of ${pins.length} pins are behind: ${why}`
  const second = faulty ? 'the file of pins has a fault, and the last good one counts' : undefined
  return [first, second].filter((part) => part !== undefined).join('; ') || undefined
}

function reportPin(pin: Pin, claims: Readonly<Claims>, options: ReportOptions): PinReport {
  const { isStored, troubleOf, nextRunAt } = options
  let noSpace = false
  const at = revisionsOf(pin, options.known).map(({ revision, commits }): RevisionReport => {
    // What lacks of an earlier commit is not fetched any more.
    const [commit] = commits
    const files = unique(commit?.files ?? [])
    const missing = files.filter(({ key }) => !isStored(key))
    noSpace ||= missing.some(({ key }) => !claims.keys.has(key))
    return {
      revision,
      commit: commit?.commit ?? '',
      pastCommits: commits.length - 1,
      ...sumOf(files),
      missing: sumOf(missing),
    }
  })
  const trouble = troubleOf(pin) ?? (noSpace ? NO_SPACE : undefined)
  const known = new Set(at.map(({ revision }) => revision))
  const isKnown = at.length > 0 && pin.revisions.every((revision) => isGlob(revision) || known.has(revision))
  const behind = !isKnown || trouble !== undefined || at.some(({ missing }) => missing.files > 0)
  const { reason, message } = trouble ?? WAITING
  const due = nextRunAt(pin)
  return {
    repo: repoKey(pin.repo),
    revisions: pin.revisions,
    priority: pin.priority,
    behind,
    reason: behind ? reason : null,
    message: behind ? message : null,
    nextRunAt: due === undefined ? null : new Date(due).toISOString(),
    at,
  }
}

/** Nothing was seen of it yet. */
export const WAITING: Trouble = { reason: 'waiting', message: 'it has not been fetched yet' }

/** The pins together are larger than the store may be. */
const NO_SPACE: Trouble = {
  reason: 'no-space',
  message:
    'the pins together are larger than HUBMIRROR_CACHE_MAX_SIZE: what does not fit is neither fetched nor kept. Raise the ' +
    'limit, or pin less; priority decides what comes first',
}

function unique(files: readonly PinnedFile[]): readonly PinnedFile[] {
  return [...new Map(files.map((file) => [file.key, file])).values()]
}

function sumOf(files: readonly PinnedFile[]): Sum {
  return { files: files.length, sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) }
}
