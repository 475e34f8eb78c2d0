// Verifies the blobs of a running mirror in the background, slowly, round after round. A damaged blob is removed, counted
// and logged; the next request for it fetches it again. A round that was interrupted is resumed by the next process.

import type { Auditor } from '../../telemetry/audit.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { SmallBlobs } from '../blobs/blob-table.ts'
import type { Damage } from '../damage.ts'
import { createLayout } from '../layout.ts'
import type { Store } from '../store.ts'
import { realClock, type ScrubClock, type ScrubReport, scrub } from './scrub.ts'
import { clearPosition, readPosition, writePosition } from './scrub-position.ts'

/** The pause between two rounds, and after a failed one. Without it a small store would be read all the time. */
const REST_MS = 3_600_000
const RECORD_EVERY_MS = 30_000

/** The log of the scrubber; a pino logger fits. */
export interface ScrubLog {
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
  error(fields: object, text: string): void
}

/** What the scrubber needs. */
export interface ScrubberOptions {
  readonly root: string
  readonly store: Pick<Store, 'blobs' | 'scanned'> & { readonly smallBlobs: SmallBlobs }
  /** Undefined for no scrubber. */
  readonly rateBytesPerSecond: number | undefined
  /** As in ScrubOptions. */
  readonly keepsSums?: boolean
  readonly observer: Observer
  readonly auditor: Auditor
  readonly log: ScrubLog
  /** Epoch milliseconds, for stamps that are stored. */
  readonly now: () => number
  readonly clock?: ScrubClock
}

/**
 * Starts the rounds once the scan at start has ended. The first one continues where the last process stopped. The returned
 * function ends them, and resolves when no file is open; the caller calls it before it closes the store.
 */
export function startScrubber(options: ScrubberOptions): () => Promise<void> {
  if (options.rateBytesPerSecond === undefined) return () => Promise.resolve()
  const stopping = new AbortController()
  const clock = options.clock ?? realClock
  const rounds = async (): Promise<void> => {
    await options.store.scanned.catch(() => undefined)
    while (!stopping.signal.aborted) {
      try {
        await round(options, clock, stopping.signal)
      } catch (error) {
        // The next round may succeed; serving does not depend on it.
        options.log.error({ err: error }, 'the scrubber failed; it tries again in an hour')
      }
      if (!stopping.signal.aborted) await clock.sleep(REST_MS, stopping.signal)
    }
  }
  const running = rounds()
  return () => {
    stopping.abort()
    return running
  }
}

async function round(options: ScrubberOptions, clock: ScrubClock, signal: AbortSignal): Promise<void> {
  const layout = createLayout(options.root)
  const before = await readPosition(layout, 'scrub')
  const startedAt = before?.startedAt ?? options.now()
  const record = async (report: ScrubReport): Promise<void> => {
    if (report.last === undefined) return
    const position = {
      after: report.last,
      startedAt,
      blobs: (before?.blobs ?? 0) + report.blobs,
      sizeBytes: (before?.sizeBytes ?? 0) + report.sizeBytes,
      damaged: (before?.damaged ?? 0) + report.damaged,
      refused: (before?.refused ?? 0) + report.refused,
    }
    // If the position is lost, some blobs are read again. A full disk must not end the round.
    await writePosition(layout, 'scrub', position).catch(() => undefined)
  }
  let recordedAt = clock.now()
  const report = await scrub(layout, {
    rateBytesPerSecond: options.rateBytesPerSecond,
    keepsSums: options.keepsSums === true,
    smallBlobs: options.store.smallBlobs,
    signal,
    from: before?.after,
    clock,
    async onBlob(progress) {
      if (clock.now() - recordedAt < RECORD_EVERY_MS) return
      recordedAt = clock.now()
      await record(progress)
    },
    onDamaged: (damage) => remove(options, damage),
    onRefused: (key, error) =>
      options.log.warn({ key, err: error }, 'a stored blob could not be read; it was left unchanged'),
  })
  if (!report.finished) {
    await record(report)
    return
  }
  await clearPosition(layout, 'scrub')
  options.log.info(
    {
      blobs: (before?.blobs ?? 0) + report.blobs,
      sizeBytes: (before?.sizeBytes ?? 0) + report.sizeBytes,
      damaged: (before?.damaged ?? 0) + report.damaged,
      seconds: Math.round((options.now() - startedAt) / 1000),
    },
    'the scrubber has verified all blobs',
  )
}

async function remove(options: ScrubberOptions, damage: Damage): Promise<void> {
  // Removes it from the ledger, and from its place if it could not be moved. A file that has replaced it stays.
  if (damage.place !== 'replaced') await options.store.blobs.remove(damage.key)
  reportDamage(options, damage)
}

/** Counts, audits and logs a damaged blob that has been taken out of the store. */
export function reportDamage(
  { observer, auditor, log }: Pick<ScrubberOptions, 'observer' | 'auditor' | 'log'>,
  damage: Damage,
): void {
  if (damage.place === 'quarantined')
    auditor.act({ act: 'scrub', by: { kind: 'mirror' }, details: { ...damage } })
  observer.integrityFailure('disk')
  observer.evicted('damaged', damage.sizeBytes)
  log.error({ ...damage }, 'a stored blob was damaged; it will be fetched again')
}
