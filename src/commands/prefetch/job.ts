// The work of `hubmirror prefetch`: lists each repo, and has the mirror store the files that are meant. It prints nothing.

import { MAKE_ROOM } from '../../disk-errors.ts'
import type { PathTest } from '../../hub/file-patterns.ts'
import { branchName } from '../../hub/names.ts'
import { resolveTarget } from '../../hub/route.ts'
import { parseRecord } from '../../records.ts'
import { type Attempt, Attempts } from './attempts.ts'
import {
  AnswerBroken,
  againOf,
  type ControlClient,
  PARALLEL,
  type RefusalKind,
  type Reply,
  readLines,
  readText,
  refusalKind,
  refusalText,
} from './control-client.ts'
import { type ListedFile, listFiles, NoListing, type Wanted } from './listing.ts'
import { fetchManifests } from './manifests.ts'
import type { Pace } from './pace.ts'
import { MirrorGone } from './silence.ts'

/**
 * - `stored`: it was stored before.
 * - `fetched`: it has been stored now.
 * - `absent`: it is not stored, and would be fetched. Only in a dry run.
 * - `missing`: it is not stored, and the reason says why.
 */
export type FileState = 'stored' | 'fetched' | 'absent' | 'missing'

/** Why a file is missing, or a repo could not be listed, in a word. */
export type MissingKind = RefusalKind | 'restricted' | 'rule' | 'no-digest' | 'no-space'

export interface FileResult extends ListedFile {
  readonly state: FileState
  /** How much of an absent file an unfinished download has left. */
  readonly presentBytes?: number
  readonly reason?: string | undefined
  readonly kind?: MissingKind | undefined
}

export interface RepoResult extends Wanted {
  /** Undefined if the repo could not be listed; `error` says why. */
  readonly commit: string | undefined
  readonly error?: string
  readonly kind?: MissingKind
  /** Those that are meant, in the order of the listing. */
  readonly files: readonly FileResult[]
}

/** Where the job reports how far it is. */
export interface JobObserver {
  say(line: string): void
  /** The files that are meant, of all repos together. */
  begin(files: readonly ListedFile[]): void
  /** Work on a file begins. `name` also names its repo. */
  file(name: string, file: ListedFile): FileObserver
}

export interface FileObserver {
  at(presentBytes: number): void
  done(result: FileResult): void
}

export interface JobOptions {
  readonly client: ControlClient
  readonly wanted: readonly Wanted[]
  readonly isMeant: PathTest
  readonly dryRun: boolean
  readonly signal: AbortSignal
  readonly observer: JobObserver
  /** Called with the files that are meant, as soon as they are known. Resolves with those to fetch. */
  readonly onListed?: (listed: Plan) => Promise<readonly ListedFile[]>
  /** Holds back what is fetched. */
  readonly pace?: Pace
  /** Several jobs may have them in common. Without it, the job has its own. */
  readonly attempts?: Attempts
  /** Whether the first file without space ends the fetching for its repo: a smaller one must not take what is left. */
  readonly endsWithoutSpace?: boolean
  /**
   * Whether the same is looked at again and again: what depends on files is requested only if one of them was fetched, and where
   * Attempts.hasFailed, the rest is left for the next time.
   */
  readonly isRepeated?: boolean
}

/** What the mirror says of a file that is not stored and will not be. */
interface Missing {
  readonly reason: string
  readonly kind: MissingKind
  /** The same holds for all files of the repo. */
  readonly isForRepo: boolean
}

type Found = Exclude<FileState, 'missing'> | Missing

/** A repo that was listed. */
export interface Plan extends Wanted {
  readonly commit: string
  readonly files: readonly ListedFile[]
}

/**
 * Lists all repos and then has their files stored, several at once. Resolves with what became of each file, also when the
 * mirror stops in the middle. Rejects with the reason of `signal`.
 */
export async function runJob(options: JobOptions): Promise<readonly RepoResult[]> {
  return new Job(options).run()
}

class Job {
  readonly #options: JobOptions
  readonly #attempts: Attempts
  /** Why no further file can be asked for. */
  #ended: string | undefined

  constructor(options: JobOptions) {
    this.#options = options
    this.#attempts = options.attempts ?? new Attempts((line) => options.observer.say(line))
  }

  async run(): Promise<readonly RepoResult[]> {
    const { observer } = this.#options
    const plans: (Plan | RepoResult)[] = []
    for (const wanted of this.#options.wanted) plans.push(await this.#plan(wanted))
    observer.begin(plans.flatMap(({ files }) => files))
    const results: RepoResult[] = []
    for (const plan of plans) results.push('error' in plan ? plan : await this.#fetch(plan as Plan))
    return this.#options.dryRun ? results : this.#checked(results)
  }

  async #plan(wanted: Wanted): Promise<Plan | RepoResult> {
    const { client, signal, isMeant, onListed } = this.#options
    const failed = (error: string, kind: MissingKind = 'failed'): RepoResult => ({
      ...wanted,
      commit: undefined,
      error,
      kind,
      files: [],
    })
    if (this.#ended !== undefined) return failed(this.#ended)
    try {
      const listed = await listFiles(wanted, { client, signal, attempts: this.#attempts })
      const { commit } = listed
      const files = listed.files.filter(({ path }) => isMeant(path))
      return { ...wanted, commit, files: (await onListed?.({ ...wanted, commit, files })) ?? files }
    } catch (error) {
      if (error instanceof NoListing) return failed(error.message, error.kind)
      return failed(this.#end(error))
    }
  }

  async #fetch(plan: Plan): Promise<RepoResult> {
    const { observer } = this.#options
    let forRepo: Missing | undefined
    const files = await inParallel(plan.files, async (file): Promise<FileResult> => {
      const seen = observer.file(`${plan.repo.id}/${file.path}`, file)
      let presentBytes = 0
      const at = (bytes: number): void => seen.at((presentBytes = bytes))
      const found =
        forRepo ?? (this.#ended === undefined ? await this.#ask(plan, file, at) : missing(this.#ended))
      if (typeof found === 'object' && this.#endsRepo(found)) forRepo = found
      const result: FileResult =
        typeof found === 'object'
          ? { ...file, state: 'missing', reason: found.reason, kind: found.kind }
          : { ...file, state: found, ...(found === 'absent' && { presentBytes }) }
      seen.done(result)
      return result
    })
    await this.#fetchManifests(plan, files)
    return { repo: plan.repo, revision: plan.revision, commit: plan.commit, files }
  }

  /** Whether no further file of the repo is asked for. */
  #endsRepo({ isForRepo, kind }: Missing): boolean {
    const { endsWithoutSpace = false, isRepeated = false } = this.#options
    return isForRepo || (endsWithoutSpace && kind === 'no-space') || (isRepeated && this.#attempts.hasFailed)
  }

  async #fetchManifests({ repo, revision }: Plan, files: readonly FileResult[]): Promise<void> {
    const { client, dryRun, signal, isRepeated = false } = this.#options
    const isOld = isRepeated && files.every(({ state }) => state !== 'fetched')
    // The registry has tags of its own, which mean files of the main branch.
    if (dryRun || isOld || repo.type !== 'model' || branchName(revision) !== 'main') return
    if (this.#ended !== undefined) return
    try {
      await fetchManifests(repo, files, { client, signal, attempts: this.#attempts })
    } catch (error) {
      this.#end(error)
    }
  }

  /** Has one file stored, or asks about it. Never rejects but with the reason of the signal. */
  async #ask(plan: Plan, file: ListedFile, onBytes: (presentBytes: number) => void): Promise<Found> {
    const { dryRun, signal } = this.#options
    try {
      const target = resolveTarget(plan.repo, plan.commit, file.path)
      const progress = { ...file, askedBytes: 0 }
      return await this.#attempts.run(
        () => (dryRun ? this.#look(target, onBytes) : this.#storeAtPace(target, progress, onBytes)),
        signal,
      )
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof MirrorGone) return missing(this.#end(error))
      return missing(error instanceof Error ? error.message : String(error))
    }
  }

  async #look(target: string, onBytes: (presentBytes: number) => void): Promise<Attempt<Found>> {
    const { client, signal } = this.#options
    const reply = await client.ask(target, { signal, wish: 'look' })
    if (reply.status !== 200) return { value: refused(reply), ...againOf(reply) }
    const { standing, presentBytes } = parseRecord(reply.text) ?? {}
    if (typeof presentBytes === 'number') onBytes(presentBytes)
    if (standing === 'stored' || standing === 'absent') return { value: standing }
    return { value: unkept(NOT_KEPT[String(standing)] ?? UNCLEAR, standing) }
  }

  /** Has a file stored as fast as the pace allows: a large one in pieces. Another try goes on behind `askedBytes`. */
  async #storeAtPace(
    target: string,
    file: { readonly sizeBytes: number; askedBytes: number },
    onBytes: (presentBytes: number) => void,
  ): Promise<Attempt<Found>> {
    const { pace } = this.#options
    const { sizeBytes } = file
    const pieceBytes = pace?.pieceBytes ?? sizeBytes
    while (sizeBytes - file.askedBytes > pieceBytes) {
      const start = file.askedBytes
      const range = `bytes=${start}-${start + pieceBytes - 1}`
      const { value, ...again } = await this.#storePaced(target, onBytes, { range, bytes: pieceBytes })
      if (value !== 'part') return { value, ...again }
      file.askedBytes += pieceBytes
    }
    // To the open end: so the file is verified and stored, and what may be missing before is fetched.
    const range = file.askedBytes === 0 ? undefined : `bytes=${file.askedBytes}-`
    const bytes = sizeBytes - file.askedBytes
    const { value, ...again } = await this.#storePaced(target, onBytes, { range, bytes })
    if (value === 'part') throw new AnswerBroken()
    return { value, ...again }
  }

  /** Has `bytes` of a file stored when the pace allows. Only those that were transferred count. */
  async #storePaced(
    target: string,
    onBytes: (presentBytes: number) => void,
    { range, bytes }: { readonly range: string | undefined; readonly bytes: number },
  ): Promise<Attempt<Found | 'part'>> {
    const { pace, signal } = this.#options
    await pace?.take(bytes, signal)
    const result = await this.#store(target, onBytes, range)
    pace?.giveBack(bytes - result.arrivedBytes)
    return result
  }

  async #store(
    target: string,
    onBytes: (presentBytes: number) => void,
    range: string | undefined,
  ): Promise<Attempt<Found | 'part'> & { readonly arrivedBytes: number }> {
    const { client, signal } = this.#options
    const answer = await client.open(target, { signal, wish: 'store', range })
    const { statusCode: status = 0, headers } = answer
    if (status !== 200) {
      const reply = { status, headers, text: await readText(answer, { signal }) }
      return { value: refused(reply), ...againOf(reply), arrivedBytes: 0 }
    }
    let last: Record<string, unknown> | undefined
    for await (const line of readLines(answer, { signal })) {
      last = parseRecord(line)
      const presentBytes = last?.['presentBytes']
      if (typeof presentBytes === 'number') onBytes(presentBytes)
    }
    const arrivedBytes = Number(last?.['arrivedBytes'])
    if (last?.['stored'] === true)
      return { value: last['fetched'] === true ? 'fetched' : 'stored', arrivedBytes }
    if (last?.['stored'] === 'part') return { value: 'part', arrivedBytes }
    if (last?.['stored'] !== false) throw new AnswerBroken()
    const { reason, message, mayRetry } = last
    return {
      value: unkept(typeof message === 'string' ? message : UNCLEAR, reason),
      retryMs: mayRetry === true ? 0 : undefined,
      arrivedBytes,
    }
  }

  /**
   * The results, in which a file counts as missing that was evicted while others were fetched. Without this, a set that is
   * larger than the store would seem to be there.
   */
  async #checked(results: readonly RepoResult[]): Promise<readonly RepoResult[]> {
    const hasFetched = results.some(({ files }) => files.some(({ state }) => state === 'fetched'))
    if (!hasFetched || this.#ended !== undefined) return results
    const checked: RepoResult[] = []
    for (const result of results) {
      const files = await inParallel(result.files, (file) => this.#check(result, file))
      checked.push({ ...result, files })
    }
    return checked
  }

  async #check({ repo, commit }: RepoResult, file: FileResult): Promise<FileResult> {
    const { client, signal } = this.#options
    if (file.state === 'missing' || commit === undefined || this.#ended !== undefined) return file
    try {
      const reply = await client.ask(resolveTarget(repo, commit, file.path), { signal, wish: 'look' })
      // What cannot be asked now was stored all the same.
      const isGone = reply.status === 200 && parseRecord(reply.text)?.['standing'] !== 'stored'
      return isGone ? { ...file, state: 'missing', reason: EVICTED, kind: 'no-space' } : file
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof MirrorGone) this.#end(error)
      return file
    }
  }

  /** Notes that the mirror has stopped; all that follows is missing. Throws every other error, and the reason of the signal. */
  #end(error: unknown): string {
    this.#options.signal.throwIfAborted()
    if (!(error instanceof MirrorGone)) throw error
    this.#ended = `${error.message}; run the command again to go on`
    return this.#ended
  }
}

function missing(reason: string): Missing {
  return { reason, kind: 'failed', isForRepo: false }
}

function refused(reply: Reply): Missing {
  return { reason: refusalText(reply), kind: refusalKind(reply), isForRepo: false }
}

const UNKEPT: readonly string[] = ['restricted', 'rule', 'no-digest', 'no-space']

/** The mirror does not keep a file, or has failed. `why` is its own word for it. */
function unkept(reason: string, why: unknown): Missing {
  const kind = UNKEPT.find((one) => one === why) as MissingKind | undefined
  return { reason, kind: kind ?? 'failed', isForRepo: why === 'restricted' }
}

const UNCLEAR = 'the mirror has given no reason that this version understands'
const EVICTED = `it was stored and has been evicted, because the store has no space for all files: ${MAKE_ROOM}`

/** Why a file would not be kept, by the word that the mirror says. */
const NOT_KEPT: Readonly<Record<string, string>> = {
  restricted: 'the repo is private or gated, and HUBMIRROR_CACHE_PRIVATE is off',
  rule: 'a rule of the policies keeps it out of the store',
  'no-digest': 'the Hub names no digest by which it could be verified',
}

/** Runs `work` for each item, a few at a time. Resolves with the results in the order of the items; rejects with the first error. */
async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results = Array<R>(items.length)
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next
      next += 1
      results[index] = await work(items[index] as T)
    }
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker))
  return results
}
