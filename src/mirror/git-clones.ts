// Clones while the Hub is away. After a client has cloned a public repo through the mirror, the mirror fetches the branches and tags of
// that repo itself, as an anonymous client of git, and keeps them in a bare repository. While the Hub is away, clients are answered from
// there. Who may be answered is decided as for stored files.

import { createHash } from 'node:crypto'
import { callerKey } from '../callers/caller-key.ts'
import { MirrorError } from '../errors.ts'
import type { Git, GitProtocol } from '../git/git.ts'
import { GitFailed } from '../git/program.ts'
import type { Proxies } from '../http/proxies.ts'
import { type GitRequest, gitTarget } from '../hub/git.ts'
import { lfsPointer } from '../hub/lfs-batch.ts'
import { apiPath, type Repo, repoKey } from '../hub/names.ts'
import { MemoryCache } from '../memory.ts'
import type { GitStore, OpenGit } from '../store/git/git-repos.ts'
import type { GitFetchResult, Observer } from '../telemetry/observer.ts'
import { noteAllowed } from './access/note.ts'
import { type PublicOptions, proveAnswer, provePublic } from './access/public.ts'
import { type Answer, closeBody } from './answer.ts'
import type { ClonedFiles } from './cloned-files.ts'
import { asAnonymous, type Ctx } from './context.ts'
import type { Documents } from './documents/documents.ts'
import type { Implied } from './documents/implied.ts'
import { bodyOf, closing, type GitQuestion, headersOf, protocolOf } from './git-exchange.ts'
import type { Invalidations } from './invalidations.ts'

export interface GitClonesOptions extends PublicOptions {
  readonly git: Git
  readonly store: GitStore
  readonly invalidations: Pick<Invalidations, 'onInvalidate' | 'onRemoved'>
  /** The prefix of an owner in the store, as in facts. */
  readonly origin: string
  readonly proxies: Proxies
  readonly via: string
  readonly offline: boolean
  readonly isOn: boolean
  /** Whether repos are kept of which clients have only read files. */
  readonly keepsRead: boolean
  /** Read at each use: it may change. */
  readonly settings: { readonly refTtlMs: number }
  /** Whether a Git LFS object is stored. */
  readonly isStored: (sha256: string, sizeBytes: number) => Promise<boolean>
  readonly documents: Pick<Documents, 'get'>
  /** What stored listings say of Git LFS objects. */
  readonly implied: Pick<Implied, 'objects'>
  /** Reads the files in the repositories, and ends with this. */
  readonly cloned: Pick<ClonedFiles, 'close'>
  readonly observer: Pick<Observer, 'gitFetched'>
  /** Git is needed, and is not installed. Called once. */
  readonly onNoGit: () => void
  /** A repository could not be fetched, or was found damaged. */
  readonly onTrouble: (repo: string, error: unknown) => void
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
  // The commit for which a repo was last fetched because a client had read a file.
  readonly #readAt = new MemoryCache<string>({ maxBytes: 1024 * 1024 })
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
    options.invalidations.onRemoved(() => this.#readAt.clear())
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
   * it has their pointers, or a stored listing names them. Undefined when the repo may not be answered from the store. Throws MirrorError.
   */
  async objects(
    ctx: Ctx,
    repo: Repo,
    asked: readonly { readonly oid: string; readonly size: number }[],
  ): Promise<ReadonlySet<string> | undefined> {
    const { isStored, implied } = this.#options
    if (!(await this.#mayAnswer(ctx, repo))) return undefined
    const pointers = await this.#pointers(ctx, repo, asked)
    const listed = asked.every(({ oid }) => pointers.has(oid)) ? NONE : await implied.objects(repo)
    const found = new Set<string>()
    for (const { oid, size } of asked) {
      const isOfRepo = pointers.has(oid) || listed.get(oid) === size
      if (isOfRepo && (await isStored(oid, size))) found.add(oid)
    }
    noteAllowed(ctx.access, 'was-public')
    return found
  }

  /** The objects whose pointers are in the history that is kept of the repo. Throws MirrorError. */
  async #pointers(
    ctx: Ctx,
    repo: Repo,
    asked: readonly { readonly oid: string; readonly size: number }[],
  ): Promise<ReadonlySet<string>> {
    const opened = await this.#open(ctx, repo)
    if (opened === undefined) return new Set()
    try {
      const ids = asked.map(({ oid, size }) => blobIdOf(lfsPointer(oid, size)))
      const present = await this.#options.git.present(opened.directory, ids, ctx.signal)
      return new Set(asked.flatMap(({ oid }, index) => (present.has(ids[index] ?? '') ? [oid] : [])))
    } catch (error) {
      ctx.signal.throwIfAborted()
      this.#check(repo, error)
      throw unusable(error)
    } finally {
      opened.release()
    }
  }

  /** Whether what is stored of the repo may be shown to this caller: it was public when the Hub was last asked. */
  async #mayAnswer(ctx: Ctx, repo: Repo): Promise<boolean> {
    const { access } = this.#options
    if (ctx.admission?.mayStore(undefined) === false) return false
    ctx.admission?.checkName()
    return access.verdict(repo) !== 'restricted' && (await access.lastKnownPublic(repo))
  }

  /** Opens the stored repository of a repo that may be answered from it. Undefined when there is none. Throws overloaded. */
  async #open(ctx: Ctx, repo: Repo): Promise<OpenGit | undefined> {
    const { store, isOn } = this.#options
    if (!isOn || !(await this.#mayAnswer(ctx, repo)) || !(await this.#hasGit())) return undefined
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

  /** A client has read a file of the repo at this commit. Returns at once. */
  read(ctx: Ctx, repo: Repo, commit: string): void {
    const { keepsRead, access } = this.#options
    const key = repoKey(repo)
    if (!keepsRead || this.#readAt.get(key) === commit || access.verdict(repo) === 'restricted') return
    // Once for each commit, also if the repo turns out not to be public, or to be too large.
    this.#readAt.set(key, commit)
    this.fetched(ctx, repo)
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
    this.#options.cloned.close()
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
      if (await draft.isNew()) await this.#readInfo(ctx, repo)
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

  /** Stores what the Hub says of the repo beside its history, for clients that ask for more than files. */
  async #readInfo(ctx: Ctx, repo: Repo): Promise<void> {
    const target = `${apiPath(repo)}/revision/main`
    const route = {
      kind: 'document',
      document: 'revision',
      repo,
      revision: 'main',
      target,
      immutable: false,
    } as const
    const request = { method: 'GET', body: undefined, contentType: undefined } as const
    // The repository is of use without it.
    await this.#options.documents
      .get(asAnonymous(ctx), route, request)
      .then(({ body }) => closeBody(body))
      .catch(() => undefined)
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

const NONE: ReadonlyMap<string, number> = new Map()
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

/** The id that git gives to a blob. */
function blobIdOf(text: string): string {
  const bytes = Buffer.from(text)
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
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
