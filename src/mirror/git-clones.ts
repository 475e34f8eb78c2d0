// Clones while the Hub is away. After a client has cloned a public repo through the mirror, the mirror fetches the branches and tags of
// that repo itself, as an anonymous client of git, and keeps them in a bare repository. While the Hub is away, clients are answered from
// there. Who may be answered is decided as for stored files.

import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { callerKey } from '../callers/caller-key.ts'
import { MirrorError } from '../errors.ts'
import type { Git, GitProtocol } from '../git/git.ts'
import { GitFailed } from '../git/program.ts'
import type { Proxies } from '../http/proxies.ts'
import { GIT_TYPES, type GitRequest, gitTarget } from '../hub/git.ts'
import { lfsPointer } from '../hub/lfs-batch.ts'
import { type Repo, repoKey } from '../hub/names.ts'
import { MemoryCache } from '../memory.ts'
import type { GitStore, OpenGit } from '../store/git/git-repos.ts'
import type { GitFetchResult, Observer } from '../telemetry/observer.ts'
import { noteAllowed } from './access/note.ts'
import { type PublicOptions, proveAnswer, provePublic } from './access/public.ts'
import type { Answer } from './answer.ts'
import type { Ctx } from './context.ts'
import type { Invalidations } from './invalidations.ts'

export interface GitClonesOptions extends PublicOptions {
  readonly git: Git
  readonly store: GitStore
  readonly invalidations: Pick<Invalidations, 'onInvalidate'>
  /** The prefix of an owner in the store, as in facts. */
  readonly origin: string
  readonly proxies: Proxies
  readonly via: string
  readonly offline: boolean
  readonly isOn: boolean
  /** Read at each use: it may change. */
  readonly settings: { readonly refTtlMs: number }
  /** Whether a Git LFS object is stored. */
  readonly isStored: (sha256: string, sizeBytes: number) => Promise<boolean>
  readonly observer: Pick<Observer, 'gitFetched'>
  /** Git is needed, and is not installed. Called once. */
  readonly onNoGit: () => void
  /** A repository could not be fetched, or was found damaged. */
  readonly onTrouble: (repo: string, error: unknown) => void
}

export interface GitQuestion {
  /** The field Git-Protocol. */
  readonly protocol: string | undefined
  /** The field Content-Encoding. */
  readonly encoding: string | undefined
  /** Reads the body of a `pack` request. */
  readonly body: () => Promise<Buffer>
}

/** A repo that is to be fetched, because a client has fetched it at that time. */
interface Job {
  readonly ctx: Ctx
  readonly repo: Repo
  readonly at: number
}

/** How many repos are fetched at the same time. */
const FETCHES = 2
/** How many repos may wait to be fetched. */
const MAX_WAITING = 200
/** Processes that answer clients at the same time: all of them, and those of one caller. */
const ANSWERS = 8
const ANSWERS_OF_CALLER = 4
/** More than the wants and haves of a repo with a hundred thousand commits. */
const MAX_QUESTION_BYTES = 8 * 1024 * 1024
/** How long the requests of one clone lie apart at most. */
const SAME_CLONE_MS = 60_000
/** How often the size of what arrives is looked at. */
const LOOK_EVERY_MS = 200
/** A repository that was found whole is not checked again for this long. */
const WHOLE_FOR_MS = 10 * 60_000

export class GitClones {
  readonly #options: GitClonesOptions
  readonly #closing = new AbortController()
  readonly #work = new Set<Promise<void>>()
  // Repos that are to be fetched, by their key, each with the timer that delays it.
  readonly #waiting = new Map<string, NodeJS.Timeout>()
  readonly #queue: Job[] = []
  readonly #fetching = new Set<string>()
  readonly #fetchedAt = new MemoryCache<number>({ maxBytes: 1024 * 1024 })
  readonly #wholeAt = new MemoryCache<number>({ maxBytes: 256 * 1024 })
  // Clients whose clone has begun with an answer from the store, which must not go on with one of the Hub.
  readonly #begun = new MemoryCache<number>({ maxBytes: 1024 * 1024 })
  readonly #answering = new Map<string, number>()
  #answers = 0
  #saidNoGit = false
  #isChecking = false

  constructor(options: GitClonesOptions) {
    this.#options = options
    options.invalidations.onInvalidate((what) => {
      if (typeof what !== 'string' && options.access.verdict(what) === 'restricted') this.#remove(what)
    })
  }

  /** Whether the Hub is not to be asked, or could not be reached a moment ago. */
  get isHubAway(): boolean {
    return this.#options.offline || this.#options.client.isRecentlyUnreachable()
  }

  /**
   * The answer from the store while the Hub is away, or has been away when this clone began. Undefined leaves the request to the
   * pass-through.
   */
  async get(ctx: Ctx, asked: GitRequest, question: GitQuestion): Promise<Answer | undefined> {
    const begunAt = asked.kind === 'pack' ? this.#begun.get(cloneKey(ctx, asked.repo)) : undefined
    const hasBegun = begunAt !== undefined && this.#options.monotonic() - begunAt < SAME_CLONE_MS
    return hasBegun || this.isHubAway ? this.stored(ctx, asked, question) : undefined
  }

  /**
   * The answer from the store, for when the Hub turns out to be away. Undefined when nothing is stored, or the repo was not public when
   * the Hub was last asked. Throws MirrorError when the answer cannot be given.
   */
  async stored(ctx: Ctx, asked: GitRequest, question: GitQuestion): Promise<Answer | undefined> {
    const { monotonic, offline } = this.#options
    const { repo } = asked
    const opened = await this.#open(ctx, repo)
    if (opened === undefined) return undefined
    try {
      const protocol = protocolOf(question.protocol)
      const answer = await (asked.kind === 'refs'
        ? this.#refs(ctx, repo, opened, protocol)
        : this.#pack(ctx, repo, opened, { protocol, body: await bodyOf(question) }))
      noteAllowed(ctx.access, 'was-public')
      this.#begun.set(cloneKey(ctx, repo), monotonic())
      if (answer.body.kind !== 'stream') opened.release()
      return { ...answer, outcome: offline ? 'hit' : 'stale' }
    } catch (error) {
      opened.release()
      throw error
    }
  }

  /**
   * Which of these Git LFS objects are stored and belong to the repo, which is answered while the Hub is away: the history that is kept of
   * it has their pointers. Undefined when that is not known. Throws MirrorError.
   */
  async objects(
    ctx: Ctx,
    repo: Repo,
    asked: readonly { readonly oid: string; readonly size: number }[],
  ): Promise<ReadonlySet<string> | undefined> {
    const { git, isStored } = this.#options
    const opened = await this.#open(ctx, repo)
    if (opened === undefined) return undefined
    const found = new Set<string>()
    try {
      const ids = asked.map(({ oid, size }) => blobIdOf(lfsPointer(oid, size)))
      const present = await git.present(opened.directory, ids, ctx.signal)
      for (const [index, { oid, size }] of asked.entries())
        if (present.has(ids[index] ?? '') && (await isStored(oid, size))) found.add(oid)
    } catch (error) {
      ctx.signal.throwIfAborted()
      this.#check(repo, error)
      throw unusable(error)
    } finally {
      opened.release()
    }
    noteAllowed(ctx.access, 'was-public')
    return found
  }

  /** Opens the stored repository of a repo that may be answered from it. Undefined when there is none. Throws overloaded. */
  async #open(ctx: Ctx, repo: Repo): Promise<OpenGit | undefined> {
    const { access, store, isOn } = this.#options
    if (!isOn || ctx.admission?.mayStore(undefined) === false) return undefined
    ctx.admission?.checkName()
    if (access.verdict(repo) === 'restricted' || !(await access.lastKnownPublic(repo))) return undefined
    if (!(await this.#hasGit())) return undefined
    const opened = await store.open(this.#ownerOf(repo))
    if (opened === undefined) return undefined
    try {
      const endAnswer = this.#beginAnswer(ctx)
      return { directory: opened.directory, release: () => (endAnswer(), opened.release()) }
    } catch (error) {
      opened.release()
      throw error
    }
  }

  /** The Hub has sent objects of the repo to a client of git. Returns at once. */
  fetched(ctx: Ctx, repo: Repo): void {
    const { offline, store, isOn, monotonic, settings } = this.#options
    if (!isOn || offline || store.readOnly || ctx.admission?.mayStore(undefined) === false) return
    const key = repoKey(repo)
    if (this.#closing.signal.aborted || this.#waiting.has(key) || this.#waiting.size >= MAX_WAITING) return
    const before = this.#fetchedAt.get(key)
    const at = monotonic()
    // The request of the client has been answered, and noted, by itself.
    const own = {
      ...ctx,
      signal: this.#closing.signal,
      countAgainstLimit: undefined,
      originRequests: { count: 0 },
      access: {},
    }
    const waitMs = before === undefined ? 0 : Math.max(0, before + settings.refTtlMs - at)
    const timer = setTimeout(() => {
      this.#queue.push({ ctx: own, repo, at })
      this.#next()
    }, waitMs)
    timer.unref()
    this.#waiting.set(key, timer)
  }

  /** Ends all work. Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the mirror stops'))
    for (const timer of this.#waiting.values()) clearTimeout(timer)
    this.#queue.length = 0
    while (this.#work.size > 0) await Promise.allSettled(this.#work)
  }

  #next(): void {
    for (const [index, job] of this.#queue.entries()) {
      const key = repoKey(job.repo)
      if (this.#fetching.size >= FETCHES) return
      // Two at once would make the same state twice.
      if (this.#fetching.has(key)) continue
      this.#queue.splice(index, 1)
      this.#waiting.delete(key)
      this.#fetching.add(key)
      this.#fetchedAt.set(key, this.#options.monotonic())
      this.#run(
        () =>
          this.#fetch(job).finally(() => {
            this.#fetching.delete(key)
            this.#next()
          }),
        job.repo,
      )
      return this.#next()
    }
  }

  /** Work for which no request waits. */
  #run(work: () => Promise<void>, repo: Repo): void {
    const running = work()
      .catch((error: unknown) => {
        if (!this.#closing.signal.aborted) this.#options.onTrouble(repoKey(repo), error)
      })
      .finally(() => this.#work.delete(running))
    this.#work.add(running)
  }

  async #fetch({ ctx, repo, at }: Job): Promise<void> {
    const { client, access, store, git, proxies, via } = this.#options
    const url = client.url(gitTarget(repo))
    if (!client.hasSpareQuota({ url, authorization: undefined }) || !(await this.#hasGit())) return
    // What a credential has opened may be the first of a repo that has turned private.
    if (!(await provePublic(ctx, repo, this.#options))) return
    if (!(await proveAnswer(ctx, { repo, askedAt: at }, this.#options))) return
    ctx.admission?.checkName()
    const owner = this.#ownerOf(repo)
    const draft = await store.begin(owner)
    if (draft === undefined) throw new Error(NO_ROOM)
    let result: GitFetchResult = 'failed'
    const stop = new AbortController()
    const looking = watch(async () => {
      if (!(await draft.grow())) stop.abort(new Error(NO_ROOM))
    })
    try {
      const signal = AbortSignal.any([stop.signal, this.#closing.signal])
      await git.fetch(draft.directory, { url, proxy: proxies.of(url), via }, signal)
      await looking.end()
      if (!(await draft.grow())) throw new Error(NO_ROOM)
      const isNew = access.verdict(repo) !== 'restricted' && (await draft.commit())
      result = isNew ? 'stored' : 'unchanged'
    } finally {
      this.#options.observer.gitFetched(result)
      await looking.end()
      await draft.discard()
    }
    // It may have turned private while it was put in its place.
    if (access.verdict(repo) === 'restricted') await store.remove(owner)
  }

  async #refs(ctx: Ctx, repo: Repo, { directory }: OpenGit, protocol: GitProtocol): Promise<Answer> {
    try {
      const bytes = await this.#options.git.refs(directory, protocol, ctx.signal)
      const headers = { ...headersOf('refs'), 'content-length': String(bytes.length) }
      return { status: 200, headers, outcome: 'stale', body: { kind: 'bytes', bytes } }
    } catch (error) {
      ctx.signal.throwIfAborted()
      // What a client has sent does not matter here. Git may also have had no memory or no process.
      if (error instanceof GitFailed) this.#damaged(repo, error)
      throw unusable(error)
    }
  }

  async #pack(
    ctx: Ctx,
    repo: Repo,
    { directory, release }: OpenGit,
    { protocol, body }: { readonly protocol: GitProtocol; readonly body: Buffer },
  ): Promise<Answer> {
    const { git } = this.#options
    const chunks = git.pack(
      directory,
      { protocol, body },
      AbortSignal.any([ctx.signal, this.#closing.signal]),
    )
    const check = (error: unknown): void => this.#check(repo, error)
    const first = await chunks.next().catch((error: unknown) => {
      ctx.signal.throwIfAborted()
      check(error)
      throw unusable(error)
    })
    async function* stream(): AsyncGenerator<Buffer, void, undefined> {
      try {
        if (first.done !== true) yield first.value
        yield* chunks
      } catch (error) {
        if (!ctx.signal.aborted) check(error)
        throw error
      } finally {
        await chunks.return()
        release()
      }
    }
    // The caller may end the stream before its first chunk, so its end must not depend on that.
    const answer = closing(stream(), () => chunks.return().then(release))
    return {
      status: 200,
      headers: headersOf('pack'),
      outcome: 'stale',
      body: { kind: 'stream', stream: answer, lengthBytes: undefined },
    }
  }

  /** Git has failed to answer: because of the question, or because the repository is damaged. */
  #check(repo: Repo, error: unknown): void {
    if (!(error instanceof GitFailed)) return
    const { git, store, monotonic } = this.#options
    const key = repoKey(repo)
    const wholeAt = this.#wholeAt.get(key)
    // One at a time: any client can ask a wrong question.
    if (this.#isChecking || (wholeAt !== undefined && monotonic() - wholeAt < WHOLE_FOR_MS)) return
    this.#isChecking = true
    this.#wholeAt.set(key, monotonic())
    this.#run(async () => {
      try {
        const opened = await store.open(this.#ownerOf(repo))
        if (opened === undefined) return
        const isWhole = await git.isWhole(opened.directory, this.#closing.signal).finally(opened.release)
        if (!isWhole) this.#damaged(repo, error)
      } finally {
        this.#isChecking = false
      }
    }, repo)
  }

  #damaged(repo: Repo, error: unknown): void {
    this.#options.onTrouble(repoKey(repo), error)
    this.#wholeAt.delete(repoKey(repo))
    this.#remove(repo)
  }

  #remove(repo: Repo): void {
    if (!this.#options.store.readOnly) this.#run(() => this.#options.store.remove(this.#ownerOf(repo)), repo)
  }

  /** Counts an answer. Returns a function that ends it, which may be called repeatedly. Throws overloaded. */
  #beginAnswer(ctx: Ctx): () => void {
    const key = callerKey(ctx.caller)
    const own = this.#answering.get(key) ?? 0
    if (this.#answers >= ANSWERS || own >= ANSWERS_OF_CALLER)
      throw new MirrorError('overloaded', { message: BUSY })
    this.#answers += 1
    this.#answering.set(key, own + 1)
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#answers -= 1
      const left = (this.#answering.get(key) ?? 1) - 1
      if (left === 0) this.#answering.delete(key)
      else this.#answering.set(key, left)
    }
  }

  async #hasGit(): Promise<boolean> {
    if (await this.#options.git.isThere()) return true
    if (!this.#saidNoGit) this.#options.onNoGit()
    this.#saidNoGit = true
    return false
  }

  #ownerOf(repo: Repo): string {
    return `${this.#options.origin} ${repoKey(repo)}`
  }
}

const NO_ROOM = 'there is no room for it in the store, or it is too large'
const BUSY = 'This mirror is answering too many clones from its store. Try again in a moment.'

function unusable(cause: unknown): MirrorError {
  const message =
    'The mirror cannot answer this from its stored copy of the repo, and the Hub cannot be asked now. Try again later.'
  return new MirrorError('origin_unreachable', { message, cause })
}

function cloneKey(ctx: Ctx, repo: Repo): string {
  return `${ctx.caller.address} ${ctx.fingerprint} ${repoKey(repo)}`
}

function protocolOf(field: string | undefined): GitProtocol {
  // The field is a list of keys with colons between them.
  const version = /(?:^|:)version=([12])(?:$|:)/.exec(field ?? '')?.[1]
  return version === '1' ? 'version=1' : version === '2' ? 'version=2' : undefined
}

function headersOf(kind: keyof typeof GIT_TYPES): Record<string, string> {
  return {
    'content-type': GIT_TYPES[kind],
    'cache-control': 'no-cache, max-age=0, must-revalidate',
    'x-content-type-options': 'nosniff',
  }
}

/** The id that git gives to a blob. */
function blobIdOf(text: string): string {
  const bytes = Buffer.from(text)
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

const gunzipped = promisify(gunzip)

async function bodyOf({ body, encoding }: GitQuestion): Promise<Buffer> {
  const bytes = await body()
  if (encoding === undefined || encoding === 'identity') return bytes
  if (!/^(?:x-)?gzip$/i.test(encoding)) throw new MirrorError('bad_request')
  try {
    return await gunzipped(bytes, { maxOutputLength: MAX_QUESTION_BYTES })
  } catch (error) {
    const isLong = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE'
    throw new MirrorError(isLong ? 'request_too_large' : 'bad_request', { cause: error })
  }
}

/** The same iteration, but its end calls `close`, also when it ends before it has begun. */
function closing<T>(given: AsyncGenerator<T, void, undefined>, close: () => Promise<void>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => given.next(),
      async return() {
        await given.return()
        await close()
        return { done: true, value: undefined }
      },
    }),
  }
}

/** Calls `look` again and again. `end` resolves when the last call is over. */
function watch(look: () => Promise<void>): { end(): Promise<void> } {
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    running ??= look()
      .catch(() => undefined)
      .finally(() => {
        running = undefined
      })
  }, LOOK_EVERY_MS)
  return {
    async end() {
      clearInterval(timer)
      await running
    },
  }
}
