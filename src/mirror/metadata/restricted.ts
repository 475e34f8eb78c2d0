// What the mirror keeps of restricted repos that a `serve-stored` rule names, for the time when the Hub cannot be asked. These
// facts lie under an origin of their own, so that nothing takes them for facts of a public repo: not this mirror after the repo
// was published, and no earlier version. No other restricted repo is named on the disk. Who may have them is decided in access/.

import { type CommitHash, parseRepoId, type Repo, repoKey } from '../../hub/names.ts'
import { MemoryCache } from '../../memory.ts'
import { isServedRepo } from '../../policy/decide.ts'
import type { Rule } from '../../policy/rules.ts'
import { isRecord } from '../../records.ts'
import { type FactKind, type Facts, RESTRICTED } from '../../store/store.ts'
import type { Invalidations } from '../invalidations.ts'
import { type DocumentFact, DocumentMetadata } from './documents.ts'
import { FactStore, ownerOf } from './fact-store.ts'
import { type FileFact, FileMetadata } from './files.ts'
import { RefMetadata } from './refs.ts'
import { removeFacts } from './remove-facts.ts'

/** What this process knows of a repo. */
interface Showing {
  /** Whether the Hub has shown the repo, and nothing has ended that since. */
  readonly isShown: boolean
  /** When the request was sent that decided it. */
  readonly at: number
  /** Ended because no rule names the repo any more, and not by the Hub or a write. */
  readonly isRuleGone?: boolean
}

export interface RestrictedOptions {
  readonly facts: Facts
  readonly origin: string
  /** Read at each use: they may change. */
  readonly settings: { readonly policies: readonly Rule[] }
  /** Whether content that is not public may be stored. */
  readonly cachePrivate: boolean
  readonly monotonic: () => number
  readonly invalidations: Pick<Invalidations, 'onRemoved'>
  readonly onWriteError: (error: unknown) => void
}

export class RestrictedMetadata {
  readonly files: FileMetadata
  readonly refs: RefMetadata
  readonly documents: DocumentMetadata
  readonly #options: RestrictedOptions
  readonly #store: FactStore
  readonly #showings = new MemoryCache<Showing>({
    maxBytes: 4 * 1024 * 1024,
    onRemove: ({ isShown, at }) => {
      if (!isShown) this.#forgottenEndAt = Math.max(this.#forgottenEndAt, at)
    },
  })
  // The last end that was evicted.
  #forgottenEndAt = Number.NEGATIVE_INFINITY
  // When a write was accepted that may have been to any repo.
  #allEndedAt = Number.NEGATIVE_INFINITY
  // When what was stored may have been removed: the disk says which repos are still shown. Ends stay.
  #removedAt = Number.NEGATIVE_INFINITY
  // Changes of what the disk says of repos, one after another.
  #marking: Promise<void> = Promise.resolve()

  constructor(options: RestrictedOptions) {
    this.#options = options
    this.#store = new FactStore({ ...options, origin: RESTRICTED + options.origin })
    this.files = new FileMetadata(this.#store)
    // No answer that is repeated depends on them.
    this.refs = new RefMetadata(this.#store, { ...options, invalidations: { invalidate() {} } })
    this.documents = new DocumentMetadata(this.#store)
    options.invalidations.onRemoved(() => {
      this.refs.forget()
      this.documents.forget()
      this.#removedAt = options.monotonic()
    })
  }

  /** Whether a rule names the repo, for some caller. Only then is anything kept of it, or used. */
  isNamed(repo: Repo): boolean {
    const { cachePrivate, settings } = this.#options
    return cachePrivate && isServedRepo(settings.policies, repo)
  }

  /** Whether the Hub has shown the repo, and nothing has ended that since; also before a restart. */
  async isShown(repo: Repo): Promise<boolean> {
    if (!this.isNamed(repo)) return false
    const known = this.#known(repo)
    return known === undefined ? (await this.#marked(repo)) === true : known.isShown
  }

  #known(repo: Repo): Showing | undefined {
    const noted = this.#showings.get(placeOf(repo))
    const known = noted?.isShown === true && noted.at <= this.#removedAt ? undefined : noted
    const allEndedAt = this.#allEndedAt
    if (allEndedAt === Number.NEGATIVE_INFINITY || (known !== undefined && known.at > allEndedAt))
      return known
    return { isShown: false, at: Math.max(allEndedAt, this.#forgottenEndAt) }
  }

  /** The Hub has shown the repo to a credential that has a right to it, in answer to a request that was sent at `askedAt`. */
  show(repo: Repo, askedAt: number): void {
    const before = this.#known(repo)
    // A late answer to an early request must not undo an end.
    const isOver = askedAt <= (before?.at ?? this.#forgottenEndAt)
    if (!this.isNamed(repo) || before?.isShown === true || isOver) return
    this.#showings.set(placeOf(repo), { isShown: true, at: askedAt })
    void this.#mark(repo, true)
  }

  /** Whether the Hub, or a write, has ended the showing of the repo in this process. */
  isEnded(repo: Repo): boolean {
    const known = this.#known(repo)
    return known !== undefined && !known.isShown && known.isRuleGone !== true
  }

  /** An operator brings something of the repo: the disk names it before anything is kept. Rejects with the error of the disk. */
  willBring(repo: Repo): Promise<void> {
    return this.#saveMark(repo, undefined)
  }

  /** All that an operator brings of the repo is kept. It is shown from now on. Rejects with the error of the disk. */
  async broughtAll(repo: Repo): Promise<void> {
    await this.#saveMark(repo, true)
    if (this.isNamed(repo) && !this.isEnded(repo))
      this.#showings.set(placeOf(repo), { isShown: true, at: this.#options.monotonic() })
    // The Hub, or a write, has ended it meanwhile.
    else await this.#mark(repo, false)
  }

  /**
   * Nothing of the repo is used until the Hub shows it again, by a request that is sent after `at`. That holds at once. Resolves
   * when it is on the disk, or could not be written. Never rejects.
   */
  async end(repo: Repo, at: number): Promise<void> {
    // A rule that went a moment ago may come back.
    if (this.isNamed(repo) || this.#showings.has(placeOf(repo))) await this.#end(repo, at)
  }

  /** The same for all repos. */
  async endAll(at: number): Promise<void> {
    this.#allEndedAt = Math.max(this.#allEndedAt, at)
    const { facts, settings, onWriteError } = this.#options
    if (!settings.policies.some(({ action }) => action === 'serve-stored')) return
    await this.#marking
    try {
      for await (const { key, value } of facts.list('repos')) {
        const repo = this.#store.repoOf(key)
        if (repo === undefined || !isRecord(value) || value['shown'] !== true) continue
        // The Hub may have shown it again meanwhile.
        if (this.#known(repo)?.isShown === false) await this.#mark(repo, false)
      }
    } catch (error) {
      onWriteError(error)
    }
  }

  /** Keeps what a commit has at a path. Ignored, as all that follows here, for a repo that no rule names. */
  keepFile(repo: Repo, commit: CommitHash, path: string, fact: FileFact): void {
    this.#keep(repo, () => this.files.set(repo, commit, path, fact))
  }

  keepRef(repo: Repo, revision: string, commit: CommitHash, askedAt: number): void {
    this.#keep(repo, () => this.refs.set(repo, revision, commit, { askedAt, store: true }))
  }

  keepDocument(repo: Repo, name: string, fact: DocumentFact, askedAt: number): void {
    this.#keep(repo, () => this.documents.set(name, fact, askedAt))
  }

  /**
   * Removes the facts of repos that no rule names any more, of whichever origin. If `signal` aborts, the next call goes on. Resolves
   * to the number of these repos. Rejects with the error of the disk.
   */
  async removeUnnamed(signal: AbortSignal): Promise<number> {
    const { facts, monotonic } = this.#options
    const gone = new Map<string, Repo>()
    for await (const { key } of facts.list('repos')) {
      const repo = key.startsWith(RESTRICTED) ? ownerOf(key) : undefined
      if (repo !== undefined && !this.isNamed(repo)) gone.set(key, repo)
    }
    if (gone.size === 0) return 0
    // If a rule names one of them again meanwhile, the Hub must show it again.
    for (const repo of gone.values()) await this.#end(repo, monotonic(), true)
    // Until none is found: a write from before may come late.
    for (let isLeft = true; isLeft; ) {
      isLeft = false
      for (const kind of ['documents', 'files', 'refs'] as const) {
        const removed = await removeFacts(facts, kind, this.#unnamedKeys(kind, signal))
        if (signal.aborted) return 0
        isLeft ||= removed > 0
      }
    }
    // Last: as long as they are there, the next start goes on.
    for (const [key, repo] of gone) if (!this.isNamed(repo)) await facts.remove('repos', key)
    return gone.size
  }

  /** The keys of facts of repos that no rule names. Ends early when `signal` aborts. */
  async *#unnamedKeys(kind: FactKind, signal: AbortSignal): AsyncGenerator<string> {
    for await (const key of this.#options.facts.keys(kind, RESTRICTED)) {
      if (signal.aborted) return
      const repo = ownerOf(key)
      if (repo === undefined || !this.isNamed(repo)) yield key
    }
  }

  /** Resolves when all that is to be kept has been handed to the store. Never rejects. */
  settled(): Promise<void> {
    return this.#marking
  }

  async #end(repo: Repo, at: number, isRuleGone = false): Promise<void> {
    const before = this.#showings.get(placeOf(repo))
    // A rule that goes does not make up for an end by the Hub.
    const wasEnded = before?.isShown === false && before.isRuleGone !== true
    this.#showings.set(placeOf(repo), {
      isShown: false,
      at: Math.max(at, before?.at ?? at),
      ...(isRuleGone && !wasEnded && { isRuleGone }),
    })
    if (before?.isShown !== false) await this.#mark(repo, false)
  }

  /** Behind the response. The disk names the repo as one of these first, so that its facts are found when the rule goes. */
  #keep(repo: Repo, keep: () => void): void {
    if (!this.isNamed(repo)) return
    void this.#mark(repo, undefined).then(() => {
      if (this.isNamed(repo)) keep()
    })
  }

  /** What the disk says: whether the repo is shown; undefined when nothing is kept of it. */
  async #marked(repo: Repo): Promise<boolean | undefined> {
    const fact = await this.#store.read('repos', this.#markKey(repo))
    return isRecord(fact) ? fact['shown'] === true : undefined
  }

  #markKey({ type, id }: Repo): string {
    return this.#store.repoKey({ type, id: parseRepoId(id.toLowerCase()) ?? id })
  }

  /** Saves whether the repo is shown; with undefined, only that something is kept of it. Never rejects. */
  #mark(repo: Repo, isShown: boolean | undefined): Promise<void> {
    return this.#saveMark(repo, isShown).catch(this.#options.onWriteError)
  }

  /** The same, but rejects with the error of the disk. */
  #saveMark(repo: Repo, isShown: boolean | undefined): Promise<void> {
    const marking = this.#marking.then(async () => {
      const before = await this.#marked(repo)
      if (before === undefined && isShown === false) return
      const shown = isShown ?? before ?? false
      if (shown !== before) await this.#options.facts.write('repos', this.#markKey(repo), { shown })
    })
    this.#marking = marking.catch(() => undefined)
    return marking
  }
}

/** What the Hub said holds for all spellings of a name: it ignores case. */
function placeOf(repo: Repo): string {
  return repoKey(repo).toLowerCase()
}
