// Fetches what pins want, in the process that has the store: one pin after the other, by the work of `hubmirror prefetch` over
// the control socket of this same process. So the same rules, proofs, quota and downloads count as for any client.

import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isGlob, type Pin } from '../../config/pins-file.ts'
import { diskCode, diskMessage } from '../../disk-errors.ts'
import { pathFilter } from '../../hub/file-patterns.ts'
import { pinName } from '../../pins/claims.ts'
import type { Pins } from '../../pins/pins.ts'
import type { Trouble } from '../../pins/report.ts'
import { Attempts, FAILURES_IN_A_ROW } from '../prefetch/attempts.ts'
import { ControlClient } from '../prefetch/control-client.ts'
import { type JobObserver, type Plan, type RepoResult, runJob } from '../prefetch/job.ts'
import { type ListedFile, listRevisions, NoListing } from '../prefetch/listing.ts'
import { Pace, type PaceClock, SYSTEM_CLOCK } from '../prefetch/pace.ts'
import { MirrorGone } from '../prefetch/silence.ts'

/** How often the file is looked at. */
const CHECK_EVERY_MS = 2_000
/** More would be asked about at each look. */
const MAX_REVISIONS = 1_000
/** More would fill the memory, and the file in which they are noted. */
const MAX_FILES = 1_000_000
/** Other pins do not wait longer for one that fails for its own reason. The quota of the Hub is that of all pins. */
const OWN_WAITS_MS = 20_000

export interface ReconcilerOptions {
  readonly pins: Pins
  /** The control socket of this process. */
  readonly socketPath: string
  readonly version: string
  readonly offline: boolean
  readonly logger: Logger
  /** Without it, the clock of the system. */
  readonly clock?: PaceClock
}

const OFFLINE: Trouble = {
  reason: 'offline',
  message: 'this mirror is offline (HUBMIRROR_OFFLINE): it fetches nothing',
}

/** What a run says is what `Attempts` says. */
const SILENT: JobObserver = { say() {}, begin() {}, file: () => ({ at() {}, done() {} }) }

/** The end of a run for a pin. */
interface End {
  readonly trouble: Trouble | undefined
  readonly mayRetry: boolean
}

/** Begins to fetch. Returns a function that ends it, and resolves when no request is under way. */
export function startReconciler(options: ReconcilerOptions): () => Promise<void> {
  const stopped = new AbortController()
  const reconciler = new Reconciler(options, stopped.signal)
  const running = reconciler.run().catch((error: unknown) => {
    if (!stopped.signal.aborted) options.logger.error({ err: error }, 'pins are not looked after any more')
  })
  return async () => {
    stopped.abort()
    await running
    reconciler.close()
  }
}

class Reconciler {
  readonly #options: ReconcilerOptions
  readonly #signal: AbortSignal
  readonly #client: ControlClient
  readonly #clock: PaceClock
  readonly #pace: Pace
  /** How many revisions the runs for a pin have come to since the last good one; the next run goes on behind them. */
  readonly #reached = new WeakMap<Pin, number>()
  #wake = (): void => undefined

  constructor(options: ReconcilerOptions, signal: AbortSignal) {
    const { pins, socketPath, version } = options
    this.#options = options
    this.#signal = signal
    this.#client = new ControlClient(socketPath, { version, program: 'hubmirror-pins', sparesQuota: true })
    this.#clock = options.clock ?? SYSTEM_CLOCK
    this.#pace = new Pace(() => pins.file.bandwidth, this.#clock)
    pins.onChange(() => this.#wake())
  }

  close(): void {
    this.#client.close()
  }

  async run(): Promise<void> {
    const { pins } = this.#options
    while (!this.#signal.aborted) {
      pins.check()
      const next = pins.next()
      if (next === undefined || next.inMs > 0)
        await this.#rest(Math.min(next?.inMs ?? CHECK_EVERY_MS, CHECK_EVERY_MS))
      else await this.#look(next.pin)
    }
  }

  async #rest(ms: number): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    await delay(ms, undefined, { signal: AbortSignal.any([woken.signal, this.#signal]) }).catch(
      () => undefined,
    )
  }

  /** One run for one pin. It ends when no pin of the file wants the same any more, and goes on after every other change. */
  async #look(pin: Pin): Promise<void> {
    const { pins, logger } = this.#options
    const changed = new AbortController()
    // A change that this notices calls `#wake`.
    const watch = setInterval(() => pins.check(), CHECK_EVERY_MS)
    watch.unref()
    this.#wake = () => {
      if (pins.current(pin) === undefined) changed.abort()
    }
    const signal = AbortSignal.any([this.#signal, changed.signal])
    try {
      const { trouble, mayRetry } = await this.#reconcile(pin, signal)
      if (!signal.aborted) pins.ended(pin, trouble, { mayRetry })
    } catch (error) {
      if (signal.aborted) return
      logger.debug({ err: error, pin: pinName(pin) }, 'a run for a pin failed')
      pins.ended(pin, troubleOf(error), { mayRetry: true })
    } finally {
      clearInterval(watch)
    }
  }

  async #reconcile(pin: Pin, signal: AbortSignal): Promise<End> {
    const { pins, offline } = this.#options
    const attempts = new Attempts((message, reason) => pins.troubled(pin, { reason, message }), {
      ownWaitsMs: OWN_WAITS_MS,
      clock: this.#clock,
    })
    const revisions = await this.#revisions(pin, { attempts, signal })
    if ('trouble' in revisions) return revisions
    const ends: End[] = []
    const reached = this.#reached.get(pin) ?? 0
    for (const revision of startingAt(reached, revisions)) {
      if (attempts.hasFailed) break
      const visits = Math.floor((reached + ends.length) / revisions.length)
      const [result] = await runJob({
        client: this.#client,
        wanted: [{ repo: pin.repo, revision }],
        isMeant: pathFilter(pin.include, pin.exclude),
        dryRun: false,
        signal,
        observer: SILENT,
        pace: this.#pace,
        endsWithoutSpace: true,
        isRepeated: true,
        attempts,
        onListed: (plan) => this.#toFetch(pin, plan, visits),
      })
      if (result !== undefined) ends.push(endOf(result))
    }
    // The first that says something: later revisions often fail for the same reason.
    const bad = ends.find(({ trouble }) => trouble !== undefined)
    if (bad === undefined) this.#reached.delete(pin)
    else this.#reached.set(pin, reached + ends.length)
    const mayRetry = ends.some((end) => end.mayRetry)
    if (!offline) return { trouble: bad?.trouble, mayRetry }
    const isMissing = pins.missingOf(pin) > 0 || bad !== undefined
    return { trouble: isMissing ? OFFLINE : undefined, mayRetry: false }
  }

  /** The names of the branches and tags that a pin means, and what it names itself. */
  async #revisions(
    pin: Pin,
    { attempts, signal }: { readonly attempts: Attempts; readonly signal: AbortSignal },
  ): Promise<readonly string[] | End> {
    const { pins, offline } = this.#options
    const named = pin.revisions.filter((revision) => !isGlob(revision))
    const globs = pin.revisions.filter(isGlob)
    if (globs.length === 0) return named
    let all: ReadonlySet<string>
    try {
      all = await listRevisions(pin.repo, { client: this.#client, signal, attempts })
    } catch (error) {
      if (error instanceof NoListing) {
        if (offline) return { trouble: pins.missingOf(pin) === 0 ? undefined : OFFLINE, mayRetry: false }
        return { trouble: { reason: error.kind, message: error.message }, mayRetry: error.kind !== 'refused' }
      }
      if (error instanceof MirrorGone && !signal.aborted)
        return { trouble: { reason: 'failed', message: error.message }, mayRetry: true }
      throw error
    }
    await pins.listedRevisions(pin, all)
    const isMeant = pathFilter(globs, [])
    const found = [...new Set([...named, ...[...all].filter(isMeant)])]
    if (found.length === 0)
      return {
        trouble: { reason: 'no-match', message: 'no branch or tag of the repo has such a name' },
        mayRetry: false,
      }
    if (found.length <= MAX_REVISIONS) return found
    const message = `it means ${found.length} branches and tags, and at most ${MAX_REVISIONS} are looked at`
    return { trouble: { reason: 'failed', message }, mayRetry: false }
  }

  /**
   * Keeps the files of a commit from now on. Resolves with those that are missing and have room. After `visits` runs that failed, those
   * come first which these runs may have left: what always fails must not hold up the rest.
   */
  async #toFetch(
    pin: Pin,
    { revision, commit, files }: Plan,
    visits: number,
  ): Promise<readonly ListedFile[]> {
    const { pins, offline } = this.#options
    if (files.length > MAX_FILES)
      throw new NoListing(`it means ${files.length} files, and at most ${MAX_FILES} can be pinned at once`)
    const known = files.flatMap(({ key, sizeBytes }) => (key === undefined ? [] : [{ key, sizeBytes }]))
    await pins.listed(pin, { revision, commit, files: known })
    if (offline) return []
    const lacking = files.filter(({ key, sizeBytes }) => {
      if (key === undefined) return true
      return sizeBytes > 0 && pins.keys.has(key) && !pins.isStored(key)
    })
    // A run tries at least so many: they are begun at once.
    return startingAt(visits * FAILURES_IN_A_ROW, lacking)
  }
}

/** All of them, first that at `index`, which counts on from the last to the first. */
function startingAt<T>(index: number, items: readonly T[]): readonly T[] {
  const start = index % Math.max(1, items.length)
  return [...items.slice(start), ...items.slice(0, start)]
}

/** Why a run has failed. An error of the disk is one of the store: what is kept is noted there. */
function troubleOf(error: unknown): Trouble {
  const code = diskCode(error)
  if (code === undefined)
    return { reason: 'failed', message: error instanceof Error ? error.message : String(error) }
  const reason = code === 'ENOSPC' || code === 'EDQUOT' ? 'no-space' : 'failed'
  return { reason, message: diskMessage('the store (HUBMIRROR_CACHE_DIR) cannot be written', error) }
}

/** What a run for one revision has come to. */
function endOf({ error, kind, files }: RepoResult): End {
  if (error !== undefined)
    return { trouble: { reason: kind ?? 'failed', message: error }, mayRetry: kind !== 'refused' }
  const missing = files.filter(({ state }) => state === 'missing')
  const first = missing.find((file) => file.kind === 'no-space') ?? missing[0]
  if (first === undefined) return { trouble: undefined, mayRetry: false }
  const reason = first.kind ?? 'failed'
  const passes: readonly string[] = ['rate-limit', 'quota', 'hub-away', 'failed', 'no-space']
  const mayRetry = missing.some((file) => passes.includes(file.kind ?? 'failed'))
  const message = `${first.path}: ${first.reason ?? reason}`
  return { trouble: { reason, message }, mayRetry }
}
