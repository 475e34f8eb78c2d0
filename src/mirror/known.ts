// What is known of repos, refs and files: typed facts over the store, and the short memory that says how long a
// mutable one may be believed. What lies on the disk is never fresh by itself: freshness is counted on the
// monotonic clock of this process, so neither a restart nor a clock that steps back can lengthen it.

import { type FileMeta, isBareEtag } from '../hub/file-meta.ts'
import { type CommitHash, isCommitHash, parseRepoId, type Repo, type RepoId, repoKey } from '../hub/names.ts'
import { MemoryCache, textBytes } from '../memory.ts'
import { type BlobKey, isBlobKey } from '../store/digest.ts'
import type { FactKind, Facts } from '../store/store.ts'
import type { Invalidations } from './invalidations.ts'

/** A file of one commit: immutable, so it needs no date. `absent` says the commit has no such path. */
export type FileFact =
  | { readonly kind: 'present'; readonly meta: FileMeta; readonly key: BlobKey }
  | { readonly kind: 'absent'; readonly commit: CommitHash }

/** What a repo is called and how it is licensed, as far as it is known. */
export interface StoredTraits {
  readonly name?: RepoId | undefined
  /** Lower case; empty when the repo names none. */
  readonly licence?: readonly string[] | undefined
}

/** Of how many revisions of a repo the names are kept. */
const MAX_NAMES = 256
const MEGABYTE = 1024 * 1024

/** Where a branch was last seen, and when the Hub was asked. */
interface KnownRef {
  readonly commit: CommitHash
  readonly at: number
}

export interface DocumentFact {
  /** As the Hub sent it. The same object as long as it is in memory; nobody may write to it. */
  readonly body: Buffer
  readonly contentType: string
  readonly link: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** The Hub said that there is no such entry; `body` is how it said so. */
  readonly absent?: { readonly message: string }
}

/**
 * Facts are written behind the answer; a failed write costs a question later, so nobody waits for it. A disk that
 * cannot be read knows nothing: the Hub is asked then.
 */
export class Known {
  readonly #facts: Facts
  readonly #origin: string
  readonly #monotonic: () => number
  readonly #changes = new MemoryCache<number>({ maxBytes: 2 * MEGABYTE })
  readonly #refs = new MemoryCache<KnownRef>({ maxBytes: 16 * MEGABYTE })
  // When the question was asked whose answer a document last was.
  readonly #documentsAt = new MemoryCache<number>({ maxBytes: 8 * MEGABYTE })
  // What the Hub tells of repos beside who may read them.
  readonly #traits = new MemoryCache<StoredTraits>({
    maxBytes: 8 * MEGABYTE,
    sizeOf: ({ name, licence = [] }) => textBytes(name, ...licence),
  })
  // When the question was asked whose answer last told what the Hub calls a repo.
  readonly #namedAt = new MemoryCache<number>({ maxBytes: 8 * MEGABYTE })
  readonly #publicTurns = new Map<string, Promise<void>>()
  #naming = Promise.resolve()
  readonly #invalidations: Pick<Invalidations, 'invalidate'>
  readonly #onWriteError: (error: unknown) => void

  constructor(options: {
    readonly facts: Facts
    /** Part of every key: facts of one Hub are not facts of another. */
    readonly origin: string
    readonly monotonic: () => number
    readonly invalidations: Pick<Invalidations, 'invalidate'>
    /** Hears of every fact that could not be written or read. */
    readonly onWriteError: (error: unknown) => void
  }) {
    this.#facts = options.facts
    this.#origin = options.origin
    this.#monotonic = options.monotonic
    this.#invalidations = options.invalidations
    this.#onWriteError = options.onWriteError
  }

  async file(repo: Repo, commit: CommitHash, path: string): Promise<FileFact | undefined> {
    return parseFile(await this.#read('files', this.#fileKey(repo, commit, path)))
  }

  rememberFile(repo: Repo, commit: CommitHash, path: string, fact: FileFact): void {
    const value =
      fact.kind === 'absent'
        ? { absent: true, commit: fact.commit }
        : { ...fact.meta, commit: fact.meta.commit, key: fact.key }
    const key = this.#fileKey(repo, commit, path)
    // Seen again at every revalidation, and hardly ever another.
    if (JSON.stringify(this.#facts.peek('files', key)) === JSON.stringify(value)) return
    void this.#write('files', key, value)
  }

  /**
   * The commit `revision` was last seen at, and whether that may be believed without asking; `at` is when the Hub was
   * asked, where this process asked it.
   */
  async ref(
    repo: Repo,
    revision: string,
    ttlMs: number,
  ): Promise<
    | {
        readonly commit: CommitHash
        readonly fresh: boolean
        readonly at?: number
        readonly until?: number
      }
    | undefined
  > {
    if (isCommitHash(revision)) return { commit: revision, fresh: true }
    const inMemory = this.refInMemory(repo, revision, ttlMs)
    if (inMemory !== undefined) return inMemory
    const stored = await this.#read('refs', this.#refKey(repo, revision))
    if (!isRecord(stored) || typeof stored['commit'] !== 'string' || !isCommitHash(stored['commit']))
      return undefined
    return { commit: stored['commit'], fresh: false }
  }

  /** The same where this process has seen it; `until` is up to when it is fresh, but for a change through us. */
  refInMemory(
    repo: Repo,
    revision: string,
    ttlMs: number,
  ):
    | {
        readonly commit: CommitHash
        readonly fresh: boolean
        readonly at: number
        readonly until: number
      }
    | undefined {
    const known = this.#refs.get(this.#refKey(repo, revision))
    if (known === undefined) return undefined
    const { commit, at } = known
    const until = at + ttlMs
    return { commit, at, until, fresh: this.#monotonic() < until && !this.changedSince(repo, at) }
  }

  /** `askedAt` is when the question left: an answer is not younger than its question. */
  rememberRef(
    repo: Repo,
    revision: string,
    commit: CommitHash,
    options: { askedAt: number; store: boolean },
  ): void {
    if (isCommitHash(revision)) return
    const key = this.#refKey(repo, revision)
    const before = this.#refs.get(key)
    if (before !== undefined && before.at > options.askedAt) return
    const hasMoved = before === undefined ? this.#refs.hasEvicted : before.commit !== commit
    this.#refs.set(key, { commit, at: options.askedAt })
    if (hasMoved) this.#invalidations.invalidate(repo)
    if (!options.store) return
    const stored = this.#facts.peek('refs', key)
    if (isRecord(stored) && stored['commit'] === commit) return
    void this.#write('refs', key, { commit })
    // One after the other: each adds to what the one before has written.
    this.#naming = this.#naming.then(() => this.#addRevision(repo, revision))
  }

  /** The names by which revisions of the repo were stored, the newest first. */
  async revisions(repo: Repo): Promise<readonly string[]> {
    const stored = await this.#read('refs', this.#namesKey(repo))
    const names = isRecord(stored) && Array.isArray(stored['names']) ? (stored['names'] as unknown[]) : []
    return names.filter((name) => typeof name === 'string')
  }

  async #addRevision(repo: Repo, revision: string): Promise<void> {
    const names = await this.revisions(repo)
    if (names.includes(revision)) return
    void this.#write('refs', this.#namesKey(repo), { names: [revision, ...names].slice(0, MAX_NAMES) })
  }

  /** Somebody changed the repo through us: no ref of it is fresh, or the committer would read what was before. */
  changed(repo: Repo): void {
    this.#changes.set(this.#repoKey(repo), this.#monotonic())
    this.#invalidations.invalidate(repo)
  }

  /** Whether the repo was changed through us at or after `at`. */
  changedSince(repo: Repo, at: number): boolean {
    const changedAt = this.#changes.get(this.#repoKey(repo))
    return changedAt !== undefined && changedAt >= at
  }

  /** Whether the last word of the Hub was that everybody may read this repo. */
  async wasPublic(repo: Repo): Promise<boolean> {
    const stored = await this.#read('repos', this.#repoKey(repo))
    return isRecord(stored) && stored['public'] === true
  }

  /** What was last told of a repo: by the Hub to this process, else what the disk kept of a public one. */
  async traits(repo: Repo): Promise<StoredTraits> {
    const key = this.#repoKey(repo)
    const told = this.#traits.get(key)
    if (told !== undefined) return told
    const stored = parseTraits(await this.#read('repos', key))
    this.#traits.set(key, stored)
    return stored
  }

  /** The same, if it is in memory. */
  traitsInMemory(repo: Repo): StoredTraits | undefined {
    return this.#traits.get(this.#repoKey(repo))
  }

  /** Whether the Hub has said within this time what it calls the repo. */
  isNameYoung(repo: Repo, ttlMs: number): boolean {
    const at = this.#namedAt.get(this.#repoKey(repo))
    return at !== undefined && this.#monotonic() - at < ttlMs
  }

  /** What the Hub has called the repo, as far as that is in memory. */
  toldName(repo: Repo): RepoId | undefined {
    return this.traitsInMemory(repo)?.name
  }

  /**
   * The Hub told these traits of a repo, asked at `askedAt`. What it did not tell stays as it was. They reach the disk
   * with the word "public".
   */
  tell(repo: Repo, traits: StoredTraits, askedAt: number): void {
    const key = this.#repoKey(repo)
    const before = this.#traits.get(key)
    // A late answer to an early question must not undo a later one.
    const isNamed = traits.name !== undefined && askedAt >= (this.#namedAt.get(key) ?? askedAt)
    if (isNamed) this.#namedAt.set(key, askedAt)
    const name = isNamed ? traits.name : before?.name
    const licence = traits.licence ?? before?.licence
    this.#traits.set(key, {
      ...(name === undefined ? {} : { name }),
      ...(licence === undefined ? {} : { licence }),
    })
  }

  /** In the order of the calls: the last word said is the one that stays. */
  async rememberPublic(repo: Repo, value: boolean): Promise<void> {
    const key = this.#repoKey(repo)
    const before = this.#publicTurns.get(key) ?? Promise.resolve()
    // Awaited: after a withdrawal nothing may be served on the strength of the old fact.
    const turn = before.then(() => this.#writePublic(key, value)).catch(this.#onWriteError)
    this.#publicTurns.set(key, turn)
    await turn
    if (this.#publicTurns.get(key) === turn) this.#publicTurns.delete(key)
  }

  async #writePublic(key: string, value: boolean): Promise<void> {
    // A fact that cannot be read may still be there: a withdrawal removes it unseen.
    const stored = await this.#facts.read('repos', key).catch(() => (value ? undefined : { public: true }))
    const fact = value ? { public: true, ...this.#traits.get(key) } : undefined
    if ((isRecord(stored) && stored['public'] === true) === value) {
      if (fact === undefined || JSON.stringify(stored) === JSON.stringify(fact)) return
    }
    if (fact !== undefined) await this.#facts.write('repos', key, fact)
    else await this.#facts.remove('repos', key)
  }

  async document(name: string): Promise<DocumentFact | undefined> {
    return parseDocument(await this.#read('documents', `${this.#origin} ${name}`))
  }

  /** `before` is what was stored under the name, where it has just been read: large ones are not in memory. */
  rememberDocument(name: string, fact: DocumentFact, askedAt: number, before?: DocumentFact): void {
    this.#documentsAt.set(name, askedAt)
    const known = parseDocument(this.#facts.peek('documents', `${this.#origin} ${name}`)) ?? before
    if (known !== undefined && isSameDocument(known, fact)) return
    void this.#write('documents', `${this.#origin} ${name}`, fact)
  }

  /** When this process last asked the Hub for the document and got what is stored. */
  documentAskedAt(name: string): number | undefined {
    return this.#documentsAt.get(name)
  }

  async #read(kind: FactKind, key: string): Promise<unknown> {
    try {
      return await this.#facts.read(kind, key)
    } catch (error) {
      this.#onWriteError(error)
      return undefined
    }
  }

  /** Resolves when the write has succeeded or failed; the failure is heard by onWriteError. */
  #write(kind: 'files' | 'refs' | 'documents', key: string, value: unknown): Promise<void> {
    return this.#facts.write(kind, key, value).catch(this.#onWriteError)
  }

  #repoKey(repo: Repo): string {
    return `${this.#origin} ${repoKey(repo)}`
  }

  #refKey(repo: Repo, revision: string): string {
    return `${this.#repoKey(repo)} ${JSON.stringify(revision)}`
  }

  /** Of the list of names; those of the refs themselves end in a quote. */
  #namesKey(repo: Repo): string {
    return `${this.#repoKey(repo)} names`
  }

  #fileKey(repo: Repo, commit: CommitHash, path: string): string {
    return `${this.#repoKey(repo)} ${commit} ${JSON.stringify(path)}`
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// A fact in memory is parsed once; whoever asks again gets the same object.
const parsedFiles = new WeakMap<object, FileFact>()

function parseFile(value: unknown): FileFact | undefined {
  if (!isRecord(value)) return undefined
  const parsed = parsedFiles.get(value) ?? readFile(value)
  if (parsed !== undefined) parsedFiles.set(value, parsed)
  return parsed
}

function readFile(value: Record<string, unknown>): FileFact | undefined {
  const { commit, etag, sizeBytes, lfs, contentType, key } = value
  if (typeof commit !== 'string' || !isCommitHash(commit)) return undefined
  if (value['absent'] === true) return { kind: 'absent', commit }
  if (typeof etag !== 'string' || !isBareEtag(etag) || typeof lfs !== 'boolean') return undefined
  if (typeof key !== 'string' || !isBlobKey(key)) return undefined
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return undefined
  const meta = { commit, etag, sizeBytes, lfs, ...(typeof contentType === 'string' ? { contentType } : {}) }
  return { kind: 'present', meta, key }
}

function parseTraits(value: unknown): StoredTraits {
  if (!isRecord(value)) return {}
  const { name, licence } = value
  const id = typeof name === 'string' ? parseRepoId(name) : undefined
  return {
    ...(id === undefined ? {} : { name: id }),
    ...(Array.isArray(licence) ? { licence: licence.filter((item) => typeof item === 'string') } : {}),
  }
}

/** Whether the Hub said the same. */
export function isSameDocument(one: DocumentFact, other: DocumentFact): boolean {
  return one.link === other.link && (one.body === other.body || one.body.equals(other.body))
}

function parseDocument(value: unknown): DocumentFact | undefined {
  if (!isRecord(value) || typeof value['contentType'] !== 'string') return undefined
  // Earlier versions kept the body as a text.
  const body = typeof value['body'] === 'string' ? Buffer.from(value['body']) : value['body']
  if (!Buffer.isBuffer(body)) return undefined
  const link = typeof value['link'] === 'string' ? value['link'] : undefined
  const headers: Record<string, string> = {}
  if (isRecord(value['headers'])) {
    for (const [name, text] of Object.entries(value['headers']))
      if (typeof text === 'string') headers[name] = text
  }
  const { absent } = value
  const message = isRecord(absent) && typeof absent['message'] === 'string' ? absent['message'] : undefined
  return {
    body,
    contentType: value['contentType'],
    link,
    headers,
    ...(message === undefined ? {} : { absent: { message } }),
  }
}
