// The pins of a running mirror: the file that says what is wanted, what was seen of it at the Hub, and which blobs are kept
// for it. It fetches nothing: commands/pins/reconciler.ts does, and tells this what it has found.

import type { Logger } from 'pino'
import { FollowedPins } from '../config/followed-pins.ts'
import type { Config } from '../config/keys.ts'
import { type Pin, type PinsFile, pinId, pinPart } from '../config/pins-file.ts'
import type { Check } from '../server/ops-routes.ts'
import type { BlobKey } from '../store/digest.ts'
import {
  type PinnedCommit,
  type PinnedCommits,
  type PinnedFile,
  readPinnedCommits,
  writePinnedCommits,
} from '../store/pinned-commits.ts'
import type { Observer } from '../telemetry/observer.ts'
import {
  byPin,
  type Claims,
  claim,
  claimMore,
  type KnownCommits,
  namesOf,
  pinName,
  revisionsOf,
  stillPinned,
} from './claims.ts'
import { type PinsReport, reportOf, summary, type Trouble, WAITING } from './report.ts'

/** What is known of the runs for one pin. */
interface Run {
  /** On the monotonic clock. */
  dueAt: number
  /** Whether files of it have got room since its last run ended: a run that is under way may have passed them over. */
  hasGained: boolean
  /** Failed runs since the last good one. */
  failures: number
  trouble: Trouble | undefined
}

/** How long a report is used again: probes ask often, and making one takes a while with many files. */
const REPORT_MS = 1_000
/** The first wait after a run that failed; each further one is twice as long. */
const RETRY_MS = 60_000
const LONGEST_RETRY_MS = 3_600_000
/** With more, it takes a while to find out what is kept, and to note it on the disk. */
const MANY_FILES = 1_000
/** Each of the two then takes one twentieth of the time, at most. */
const SHARE = 20

interface PinsOptions {
  readonly path: string
  readonly cacheDir: string
  /** Read at each use: they may change. */
  readonly settings: { readonly cacheMaxSizeBytes?: number | undefined }
  readonly offline: boolean
  readonly logger: Logger
  readonly observer: Pick<Observer, 'pinsChanged'>
  /** Wall clock in epoch ms. */
  readonly now: () => number
  readonly monotonic: () => number
}

/** The part of the store that pins need. */
interface KeepingStore {
  keep(keys: ReadonlySet<BlobKey>): void
  keepAlso(keys: readonly BlobKey[]): void
  readonly ledger: { has(name: string): boolean }
}

export class Pins {
  readonly #options: PinsOptions
  readonly #file: FollowedPins
  readonly #runs = new Map<string, Run>()
  /** The same, by the pins of the file as they are now: they are looked up for each pin at each look. */
  #runOfPin = new WeakMap<Pin, Run>()
  /** The pins of the file, by the same keys as their runs. */
  #wanted: ReadonlyMap<string, Pin>
  readonly #listeners: (() => void)[] = []
  #store: KeepingStore | undefined
  /** What was seen of the pins, and is kept of it. */
  #known: KnownCommits
  #claims: Claims
  /** Whether the claims are not those of the priorities: a revision has left files, or some did not fit. */
  #isStale = false
  /** The limit of the store for which the claims were made. */
  #limitBytes: number | undefined
  #writing: Promise<void> = Promise.resolve()
  /** Whether the last note could not be written. */
  #hasFailed = false
  /** The note that waits, because the last one took long. */
  #laterNote: NodeJS.Timeout | undefined
  /** When many files may be noted again, and when it may be found out again which are kept, on the clock of this process. */
  #nextNoteAt = 0
  #nextClaimAt = 0
  #made: { readonly report: PinsReport; readonly at: number } | undefined

  private constructor(options: PinsOptions, pinned: PinnedCommits) {
    this.#options = options
    this.#file = new FollowedPins({
      path: options.path,
      onChange: () => this.#fileChanged(),
      onFault: (faults) =>
        options.logger.error(
          { path: options.path, faults: faults.shown() },
          'the file of pins is wrong; the last good one stays in use',
        ),
    })
    this.#wanted = wantedBy(this.#file.current)
    this.#known = byPin(stillPinned(this.#file.current, byPin(pinned)))
    this.#claims = this.#claim()
  }

  /**
   * Reads the file, and what an earlier process kept. Resolves with undefined if the settings name no file. Rejects with
   * ConfigFaults.
   */
  static async of(
    { pins: path, cacheDir, offline }: Pick<Config, 'pins' | 'cacheDir' | 'offline'>,
    deps: Omit<PinsOptions, 'path' | 'cacheDir' | 'offline'>,
  ): Promise<Pins | undefined> {
    if (path === undefined) return undefined
    const options = { ...deps, path, cacheDir, offline }
    const { logger } = deps
    const pinned = await readPinnedCommits(cacheDir).catch((error: unknown) => {
      // A directory that cannot be used at all is reported when the store is opened.
      logger.warn({ cacheDir, err: error }, 'pins.json in the store cannot be read')
      return new Map() as PinnedCommits
    })
    if (pinned === 'damaged')
      logger.warn(
        { cacheDir },
        'pins.json in the store is damaged: pins keep nothing until they were looked at',
      )
    return new Pins(options, pinned === 'damaged' ? new Map() : pinned)
  }

  /** What is wanted. */
  get file(): PinsFile {
    return this.#file.current
  }

  /**
   * The pin of the file as it is now that wants the same files as `pin`; its interval, its priority and what it keeps may differ.
   * Undefined if there is none.
   */
  current(pin: Pin): Pin | undefined {
    return this.#wanted.get(runKey(pin))
  }

  /** The blobs that are kept from eviction. */
  get keys(): ReadonlySet<BlobKey> {
    return this.#claims.keys
  }

  /** Hands over the store, which keeps `keys` already. */
  attach(store: KeepingStore): void {
    this.#store = store
  }

  /** `listener` runs when the file has changed, or may be looked at again. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** Reads the file if it has changed, and the limit of the store. Notes again what could not be noted. Never throws. */
  check(): void {
    this.#file.check()
    const now = performance.now()
    if (this.#hasFailed && now >= this.#nextNoteAt) {
      this.#nextNoteAt = now + RETRY_MS
      this.#tryToNote()
    }
    this.#made = undefined
    if (this.#options.settings.cacheMaxSizeBytes !== this.#limitBytes) this.#keep()
    else this.#refresh()
  }

  /** Whether the bytes are stored. */
  isStored(key: BlobKey): boolean {
    return this.#store?.ledger.has(key) === true
  }

  /** How many files of a pin are missing; 1 if none of its revisions is known. */
  missingOf(pin: Pin): number {
    const revisions = revisionsOf(pin, this.#known)
    if (revisions.length === 0) return 1
    const files = revisions.flatMap(({ commits }) => commits[0]?.files ?? [])
    return files.filter(({ key }) => !this.isStored(key)).length
  }

  /** The pin to look at next, and in how many ms; 0 is now. Undefined if there are no pins. */
  next(): { readonly pin: Pin; readonly inMs: number } | undefined {
    const now = this.#options.monotonic()
    let first: { pin: Pin; inMs: number } | undefined
    // The pins are in the order of their priority.
    for (const pin of this.file.pins) {
      const inMs = Math.max(0, this.#runOf(pin).dueAt - now)
      if (first === undefined || inMs < first.inMs) first = { pin, inMs }
      if (inMs === 0) break
    }
    return first
  }

  /** The branches and tags of the repo are these: what was kept of others that a glob of the pin meant is free now. */
  async listedRevisions(pin: Pin, all: ReadonlySet<string>): Promise<void> {
    const gone = revisionsOf(pin, this.#known).filter(
      ({ revision }) => !all.has(revision) && !pin.revisions.includes(revision),
    )
    if (gone.length === 0) return
    for (const { revision } of gone) this.#known.get(pinPart(pin))?.delete(revision)
    this.#isStale = true
    this.#refresh()
    await this.#note()
  }

  /**
   * A revision of the pin is at this commit, which has these files of those that are meant. From now on they are kept. Resolves
   * when a restart knows that, too, or will within seconds where many files are kept; rejects with the error of the disk.
   */
  async listed(
    pin: Pin,
    {
      revision,
      commit,
      files,
    }: { readonly revision: string; readonly commit: string; readonly files: readonly PinnedFile[] },
  ): Promise<void> {
    // The file may have changed since.
    const current = this.current(pin)
    if (current === undefined || !namesOf(current)(revision)) return
    const ofPin = this.#known.get(pinPart(pin)) ?? new Map<string, readonly PinnedCommit[]>()
    const before = ofPin.get(revision) ?? []
    const known = before.find((one) => one.commit === commit)
    const seenAt = known?.seenAt ?? this.#options.now()
    const present: PinnedCommit = { commit, seenAt, files: files.filter(({ sizeBytes }) => sizeBytes > 0) }
    const past = before.filter((one) => one.commit !== commit)
    if (before[0]?.commit === commit && before[0].files.length === present.files.length)
      return this.#hasFailed ? this.#write() : undefined
    this.#known.set(pinPart(pin), ofPin.set(revision, [present, ...past].slice(0, current.keep + 1)))
    this.#keepMore(present.files, before.length > 0)
    await this.#note()
  }

  /** A run for a pin is under way and does not come on for now. */
  troubled(pin: Pin, trouble: Trouble): void {
    this.#runOf(pin).trouble = trouble
    this.#made = undefined
  }

  /** A run for a pin has ended. With `mayRetry` it is made again soon. */
  ended(pin: Pin, trouble: Trouble | undefined, { mayRetry }: { readonly mayRetry: boolean }): void {
    const { monotonic, logger } = this.#options
    const run = this.#runOf(pin)
    const before = run.trouble
    run.trouble = trouble
    run.failures = trouble === undefined ? 0 : run.failures + 1
    const retryMs = Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** Math.min(10, run.failures - 1))
    const { everyMs } = this.current(pin) ?? pin
    const inMs = trouble !== undefined && mayRetry ? Math.min(everyMs, retryMs) : everyMs
    const isDue = run.hasGained && this.#lacksFiles(pin, (key) => this.#claims.keys.has(key))
    run.dueAt = isDue ? Number.NEGATIVE_INFINITY : monotonic() + inMs
    run.hasGained = false
    this.#made = undefined
    const place = { pin: pinName(pin) }
    if (trouble !== undefined && (before?.reason !== trouble.reason || run.failures === 1))
      logger.warn({ ...place, reason: trouble.reason, detail: trouble.message }, 'a pin is behind')
    else if (trouble === undefined && before !== undefined) logger.info(place, 'a pin is complete')
  }

  /** What is wanted against what is stored; what was stored or evicted within the last second may not be in it. */
  report(): PinsReport {
    if (this.#made === undefined || performance.now() - this.#made.at >= REPORT_MS)
      this.#made = { report: this.#makeReport(), at: performance.now() }
    return this.#made.report
  }

  #makeReport(): PinsReport {
    const { now, monotonic, settings } = this.#options
    this.#refresh()
    return reportOf({
      file: this.file,
      known: this.#known,
      claims: this.#claims,
      faulty: this.#file.isFaulty,
      limitBytes: settings.cacheMaxSizeBytes,
      isStored: (key) => this.isStored(key),
      troubleOf: (pin) => this.#runOf(pin).trouble,
      nextRunAt: (pin) => now() + Math.max(0, this.#runOf(pin).dueAt - monotonic()),
    })
  }

  /** For /readyz. Pins that are behind do not make the mirror unready. */
  readiness(): Check {
    const detail = summary(this.report())
    return detail === undefined ? { ok: true } : { ok: false, detail }
  }

  /** Reports the metrics. Never throws. */
  count(): void {
    const { pins, keptBytes } = this.report()
    const behind = new Map<string, number>()
    for (const { reason } of pins) if (reason !== null) behind.set(reason, (behind.get(reason) ?? 0) + 1)
    const missingBytes = pins.flatMap(({ at }) => at).reduce((sum, { missing }) => sum + missing.sizeBytes, 0)
    this.#options.observer.pinsChanged({ pins: pins.length, behind, keptBytes, missingBytes })
  }

  /** Writes what waits to be written, and once more what could not be. Resolves when that is done, or has failed. */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined)
    if (this.#laterNote !== undefined || this.#hasFailed) await this.#write().catch(() => undefined)
  }

  #runOf(pin: Pin): Run {
    const found = this.#runOfPin.get(pin)
    if (found !== undefined) return found
    const run = this.#runs.get(runKey(pin)) ?? this.#newRun(pin)
    this.#runOfPin.set(pin, run)
    return run
  }

  #newRun(pin: Pin): Run {
    // What an earlier process had seen counts until the first run has ended.
    const isKnown = revisionsOf(pin, this.#known).length > 0
    const run: Run = {
      // It was never looked at.
      dueAt: Number.NEGATIVE_INFINITY,
      hasGained: false,
      failures: 0,
      trouble: isKnown ? undefined : WAITING,
    }
    this.#runs.set(runKey(pin), run)
    return run
  }

  #fileChanged(): void {
    const { logger, path } = this.#options
    const { file } = this
    this.#wanted = wantedBy(file)
    for (const key of this.#runs.keys()) if (!this.#wanted.has(key)) this.#runs.delete(key)
    this.#runOfPin = new WeakMap()
    logger.info({ path, pins: file.pins.length }, 'the file of pins was read again')
    // What is no longer pinned can be evicted at once, whether or not the disk takes the note of it.
    this.#known = byPin(stillPinned(file, this.#known))
    this.#keep()
    this.#tryToNote()
    for (const listener of this.#listeners) listener()
  }

  /**
   * Notes on the disk what is known. Resolves when that is done; with many files, perhaps before. Rejects with the error of the disk,
   * also for a note that was put off and could not be written.
   */
  #note(): Promise<void> {
    const waitMs = this.#nextNoteAt - performance.now()
    if (this.#hasFailed || this.#claims.keys.size <= MANY_FILES || waitMs <= 0) return this.#write()
    this.#laterNote ??= setTimeout(() => this.#tryToNote(), waitMs).unref()
    return Promise.resolve()
  }

  /** Notes it now. An error of the disk is logged, and `check` tries again. */
  #tryToNote(): void {
    this.#write().catch((error: unknown) =>
      this.#options.logger.warn({ err: error }, 'what pins keep could not be written to the store'),
    )
  }

  #write(): Promise<void> {
    clearTimeout(this.#laterNote)
    this.#laterNote = undefined
    this.#writing = this.#writing
      .catch(() => undefined)
      .then(async () => {
        const beganAt = performance.now()
        await writePinnedCommits(this.#options.cacheDir, stillPinned(this.file, this.#known))
        this.#hasFailed = false
        const endedAt = performance.now()
        this.#nextNoteAt = endedAt + (endedAt - beganAt) * SHARE
      })
      .catch((error: unknown) => {
        this.#hasFailed = true
        throw error
      })
    return this.#writing
  }

  /** Keeps the files of a commit as well, as far as they fit. `isMoved` says that others may be free now. */
  #keepMore(files: readonly PinnedFile[], isMoved: boolean): void {
    const { added, fits } = claimMore(this.#claims, files, this.#limitBytes)
    this.#store?.keepAlso(added)
    this.#made = undefined
    if (fits && !isMoved) return
    this.#isStale = true
    this.#refresh()
  }

  /** Finds out again what is kept, if that has changed; with many files not at once, because that takes a while. */
  #refresh(): void {
    const isLate = this.#claims.keys.size <= MANY_FILES || performance.now() >= this.#nextClaimAt
    if (this.#isStale && isLate) this.#keep()
  }

  #keep(): void {
    const beganAt = performance.now()
    this.#made = undefined
    this.#isStale = false
    const before = this.#claims.keys
    this.#claims = this.#claim()
    const { keys } = this.#claims
    const gained = new Set([...keys].filter((key) => !before.has(key)))
    // Also if it holds the same: the store judges what arrives by the set that it was given last, to which keys are added.
    this.#store?.keep(keys)
    if (gained.size > 0) this.#lookAtOwners(gained)
    const endedAt = performance.now()
    this.#nextClaimAt = endedAt + (endedAt - beganAt) * SHARE
  }

  /** Pins of which missing files have room now are due. */
  #lookAtOwners(gained: ReadonlySet<BlobKey>): void {
    for (const pin of this.file.pins)
      if (this.#lacksFiles(pin, (key) => gained.has(key)))
        Object.assign(this.#runOf(pin), { dueAt: Number.NEGATIVE_INFINITY, hasGained: true })
  }

  /** Whether a present commit of the pin has files that are not stored, of those that `isMeant` accepts. */
  #lacksFiles(pin: Pin, isMeant: (key: BlobKey) => boolean): boolean {
    const isLacking = ({ key }: PinnedFile): boolean => isMeant(key) && !this.isStored(key)
    return revisionsOf(pin, this.#known).some(({ commits }) => commits[0]?.files.some(isLacking) === true)
  }

  #claim(): Claims {
    this.#limitBytes = this.#options.settings.cacheMaxSizeBytes
    return claim(this.#file.current, this.#known, this.#limitBytes)
  }
}

function wantedBy({ pins }: PinsFile): ReadonlyMap<string, Pin> {
  return new Map(pins.map((pin) => [runKey(pin), pin]))
}

/** What has to be the same for a run to count for a pin. */
function runKey(pin: Pin): string {
  return pinId(pin, pin.revisions.join('\n'))
}
