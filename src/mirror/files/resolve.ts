// (repo, revision, path) → what the file is, for this caller, now. Asks the Hub only for facts that are not fresh, and
// with one request where one is enough: the answer to a HEAD says whether this credential may read, which commit the
// revision is, and which bytes the file has. Opens no body.

import { isHubAway, isOriginUnavailable, type MirrorError } from '../../errors.ts'
import { blobKeyOf, type FileMeta } from '../../hub/file-meta.ts'
import { mayBeOutsideGate } from '../../hub/gate.ts'
import { type CommitHash, isCommitHash, type Repo } from '../../hub/names.ts'
import { deniesRepo, isAbsence, type Refusal } from '../../hub/refusal.ts'
import { type FileRoute, resolveTarget } from '../../hub/route.ts'
import { FALLBACK_TIMEOUT_MS, type OriginClient } from '../../origin/client.ts'
import { type HeadResult, headFile } from '../../origin/files/file-head.ts'
import type { SignedUrls } from '../../origin/files/signed-urls.ts'
import { isRepoMoved } from '../../origin/repo-moved.ts'
import { askPublicAccess } from '../../origin/repos/repo-access.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { Access } from '../access/access.ts'
import { noteAllowed, noteAnswered, noteRefusal, noteServed } from '../access/note.ts'
import { proveCommit } from '../access/public.ts'
import { isOver, type RefusalKey, type Refusals } from '../access/refusals.ts'
import type { Reusable } from '../answer.ts'
import { anonymousRequester, asAnonymous, type ClientName, type Ctx } from '../context.ts'
import { offlineFileError } from '../documents/offline.ts'
import type { Invalidations } from '../invalidations.ts'
import type { FileFact } from '../metadata/files.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { namingRequester } from '../renames.ts'
import { SingleFlight } from '../single-flight.ts'
import type { AnsweredFile, Grants } from './grants.ts'
import { HeadCommits } from './head-commits.ts'
import type { ListedFiles, Turn } from './listed-files.ts'
import { type Resolved, type ResolvedFile, urlName } from './resolved.ts'
import type { ServedFiles } from './served-files.ts'
import { mayStore, NOT_LISTED, type Stored, type StoredFiles } from './stored-files.ts'

/** `askedAt` is when the request was sent, also for callers that joined it later: an answer is not younger than that. */
interface HeadAnswer {
  readonly result: HeadResult
  readonly askedAt: number
}

export interface ResolverOptions {
  readonly client: OriginClient
  readonly metadata: Metadata
  readonly access: Access
  /** What the Hub has answered to single credentials. */
  readonly grants: Grants
  /** Read at each use: they may change. */
  readonly settings: { readonly refTtlMs: number }
  readonly monotonic: () => number
  readonly refusals: Refusals
  /** What the listing of a commit says of files that are not stored. */
  readonly listedFiles: ListedFiles
  /** What is stored of public repos. */
  readonly storedFiles: Pick<StoredFiles, 'find'>
  /** What callers whom a rule names may have of restricted repos. */
  readonly served: Pick<ServedFiles, 'add' | 'has' | 'withoutHub'>
  readonly urls: SignedUrls
  readonly invalidations: Pick<Invalidations, 'generation' | 'invalidate' | 'onRemoved'>
  readonly observer: Pick<Observer, 'policyDecided'>
  readonly offline: boolean
  /** Whether a rule depends on licences: then the Hub is asked for them with the rest of the repo's info. */
  readonly asksLicence: () => boolean
}

/** For so long after the Hub could not be reached, restricted files within the grace are answered without another try. */
const AWAY_MS = 5_000

export class Resolver {
  readonly #options: ResolverOptions
  readonly #heads = new SingleFlight<HeadAnswer>(isRepoMoved)
  readonly #headCommits: HeadCommits
  // When the Hub last could not be reached with a question that it had answered before: one that fails for no other reason.
  #awayAt = Number.NEGATIVE_INFINITY

  constructor(options: ResolverOptions) {
    this.#options = options
    this.#headCommits = new HeadCommits(options)
  }

  /**
   * Throws MirrorError when the origin is away and nothing stored may be served instead, and RepoMoved when the Hub has reported
   * a name of the repo that was not decided about. With `usesListing: false` the Hub is asked about a file that is not stored,
   * whatever the listing of its commit says.
   */
  async resolve(
    ctx: Ctx,
    route: FileRoute,
    method: 'GET' | 'HEAD',
    { usesListing = true }: { readonly usesListing?: boolean } = {},
  ): Promise<Resolved> {
    const promised = method === 'GET' ? this.#headCommits.get(clientOf(ctx), route) : undefined
    const pinned = promised === undefined ? route : { ...route, revision: promised }
    const turn = this.#options.listedFiles.enter(pinned)
    const listed = usesListing ? { method, turn } : undefined
    const resolved = await this.#resolve(ctx, pinned, listed).finally(() => turn.leave())
    ctx.admission?.checkName()
    if (isCommitHash(route.revision)) return resolved
    if (method === 'HEAD') {
      if (resolved.kind === 'file') this.recordHeadCommit(clientOf(ctx), route, resolved.meta.commit)
      return resolved
    }
    return { ...resolved, reusable: this.#reusableOnBranch(route, resolved.reusable) }
  }

  /** A HEAD has named this commit to this client, so that its GET means the same. */
  recordHeadCommit(
    client: ClientName,
    route: FileRoute,
    commit: CommitHash,
    at = this.#options.monotonic(),
  ): void {
    this.#headCommits.set(client, route, commit, at)
  }

  /** What may be reused of an answer to a GET of a branch: nothing while another commit is promised to some client. */
  #reusableOnBranch(route: FileRoute, reusable: Reusable | undefined): Reusable | undefined {
    const { metadata, settings } = this.#options
    const ref = metadata.refs.inMemory(route.repo, route.revision, settings.refTtlMs)
    if (reusable === undefined || ref?.fresh !== true || ref.commit !== reusable.commit) return undefined
    if (!this.#headCommits.allMayGet(route, reusable.commit)) return undefined
    return { ...reusable, askedAt: ref.at, until: Math.min(reusable.until, ref.until) }
  }

  /** `listed` is present for a request that a listing may answer. */
  async #resolve(
    ctx: Ctx,
    route: FileRoute,
    listed: { readonly method: 'GET' | 'HEAD'; readonly turn: Turn } | undefined,
  ): Promise<Resolved> {
    const { access, offline, client, metadata, refusals, storedFiles, served } = this.#options
    const { repo, revision, path } = route
    const { generation } = this.#options.invalidations
    const ref = await metadata.refs.get(repo, revision, this.#options.settings.refTtlMs)
    const kept = ref === undefined ? undefined : await metadata.files.get(repo, ref.commit, path)
    const fact = kept !== undefined && mayStore(ctx, kept) ? kept : undefined
    const openUntil = access.publicUntil(repo)
    const open = openUntil !== undefined
    const reason = open ? 'public' : 'was-public'
    const stored = fact && ({ fact, reason, askedAt: ref?.at } satisfies Stored)
    if (open && ref?.fresh === true && stored !== undefined) {
      const { at: askedAt, commit, until = openUntil } = ref
      const reusable = { until: Math.min(until, openUntil), askedAt, generation, commit }
      return this.#fromFact(ctx, stored, 'hit', reusable)
    }
    if (!offline && stored === undefined && listed !== undefined) {
      const found = await this.#options.listedFiles.find(ctx, route, listed.method, ref, listed.turn)
      if (found !== undefined) return found
    }

    const isOpen = open || (await access.lastKnownPublic(repo))
    const fallback = isOpen ? stored : undefined
    // What stored answers to other questions say of the file.
    const inListings = () =>
      isOpen ? storedFiles.find(ctx, route, { reason, ref }) : Promise.resolve(NOT_LISTED)
    if (offline) {
      if (fallback !== undefined) return this.#fromFact(ctx, fallback, 'hit')
      const byRule = isOpen ? undefined : await served.withoutHub(ctx, route)
      const { commit, hasFile, stored: found } = byRule ?? (await inListings())
      if (found !== undefined) return this.#fromFact(ctx, found, 'hit')
      const mayKnow = isOpen || byRule !== undefined
      throw offlineFileError({ isOpen: mayKnow, hasRevision: commit !== undefined, isListed: hasFile })
    }
    const fresh = this.#fromGrant(ctx, route)
    if (fresh !== undefined) return fresh
    const refused = refusals.get(ctx.fingerprint, questionOf(route))
    if (refused !== undefined && !isOver(refused, repo, this.#options)) {
      noteRefusal(ctx.access, refused.refusal, 'remembered')
      return { kind: 'refusal', refusal: refused.refusal, outcome: 'refused' }
    }
    const unasked = client.isRecentlyUnreachable() ? (fallback ?? (await inListings()).stored) : undefined
    if (unasked !== undefined) return this.#fromFact(ctx, unasked, 'stale')
    const wasAnswered =
      !isOpen && (this.#options.grants.hasGrace(ctx, route) || (await served.has(ctx, route)))
    const granted = wasAnswered && this.#isAway ? await this.#withoutHub(ctx, route) : undefined
    if (granted !== undefined) return this.#fromFact(ctx, granted, 'stale')
    try {
      const isUrgent = fallback !== undefined || wasAnswered
      const answer = await this.#ask(ctx, route, { fact, fallback, isUrgent })
      if (answer.kind === 'file' || answer.refusal.status !== 429) return answer
      const { stored: found } = await inListings()
      return found === undefined ? answer : { ...this.#fromFact(ctx, found, 'stale'), isLimited: true }
    } catch (error) {
      if (!isOriginUnavailable(error)) throw error
      if (wasAnswered && isUnreachable(error)) this.#awayAt = this.#options.monotonic()
      // The Hub itself may have answered the other of these two requests.
      const staysPublic = await this.#staysPublic(repo)
      if (!staysPublic && (isOpen || !isHubAway(error))) throw error
      const instead = staysPublic
        ? (fallback ?? (await inListings()).stored)
        : await this.#withoutHub(ctx, route)
      if (instead === undefined) throw error
      return this.#fromFact(ctx, instead, 'stale')
    }
  }

  get #isAway(): boolean {
    return this.#options.monotonic() - this.#awayAt < AWAY_MS
  }

  /** What this caller may still have of a restricted repo while the Hub cannot be asked. */
  async #withoutHub(ctx: Ctx, route: FileRoute): Promise<Stored | undefined> {
    const granted = await this.#options.grants.withoutHub(ctx, route)
    if (granted !== undefined && mayStore(ctx, granted.fact)) return { ...granted, reason: 'grace' }
    return (await this.#options.served.withoutHub(ctx, route))?.stored
  }

  /** Whether the last answer of the Hub is still that the repo is public. */
  async #staysPublic(repo: Repo): Promise<boolean> {
    const { access } = this.#options
    return access.verdict(repo) === 'public' || access.lastKnownPublic(repo)
  }

  async #ask(
    ctx: Ctx,
    route: FileRoute,
    stored: {
      readonly fact: FileFact | undefined
      readonly fallback: Stored | undefined
      /** Whether the Hub gets less time, because there is an answer without it. */
      readonly isUrgent: boolean
    },
  ): Promise<Resolved> {
    const { fallback, isUrgent } = stored
    await ctx.countAgainstLimit?.()
    const { access, monotonic } = this.#options
    const startedAt = monotonic()
    const isKnown = access.verdict(route.repo) !== undefined
    // A caller with a token proves nothing about callers without one.
    const isPublic = this.#isPublic(ctx, route, isUrgent)
    const known = stored.fact?.kind === 'present' ? stored.fact.meta : undefined
    const head = this.#head(ctx, route, isUrgent, known)
    const { result, askedAt } = await head.catch(async (error: unknown) => {
      // If an intermediary answered this request, the Hub may have answered the other one: its refusal counts.
      if (isAnswered(error)) await isPublic
      throw error
    })
    const { commit } = result.kind === 'refusal' ? result.refusal : result.meta
    // A proof that is asked for along with the file covers it. One that was asked for before may not.
    const seenAt = isKnown ? askedAt : Math.min(askedAt, startedAt)
    // At once: a request that waits for the same proof may continue before this one.
    if (ctx.authorization !== undefined && commit !== undefined) access.saw(route.repo, commit, seenAt)
    const isShared = isPublic.then((open) => {
      if (!open || commit === undefined) return open
      return proveCommit(ctx, { repo: route.repo, commit, askedAt: seenAt }, this.#options)
    })
    if (result.kind === 'refusal')
      return this.#refused(ctx, route, result.refusal, { askedAt, fallback, isPublic: isShared })
    // Not awaited: concurrent requests for the same find the grant.
    return this.#learn(ctx, route, result, { askedAt, before: stored.fact, isPublic: isShared })
  }

  #learn(
    ctx: Ctx,
    route: FileRoute,
    result: Extract<HeadResult, { kind: 'meta' }>,
    context: { askedAt: number; before: FileFact | undefined; isPublic: Promise<boolean> },
  ): ResolvedFile {
    const { repo, path, revision } = route
    const { metadata, urls, client } = this.#options
    const { meta, location, signedAt } = result
    const key = blobKeyOf(meta, { origin: client.policy.base.href, repo, path })
    metadata.refs.set(repo, revision, meta.commit, { askedAt: context.askedAt, store: false })
    const fact: FileFact = { kind: 'present', meta, key }
    this.#addRestricted(ctx, route, { fact, ...context })
    if (location !== undefined) {
      urls.set(urlName(ctx, repo, meta.commit, path), location, signedAt)
      this.#options.listedFiles.notePinned(location)
    }
    const mayStore = ctx.admission?.mayStore(meta.sizeBytes) !== false
    const isPublic = context.isPublic.then((open) => {
      // Only now may anything about the file reach the disk.
      if (open && mayStore) {
        metadata.files.set(repo, meta.commit, path, fact)
        metadata.refs.set(repo, revision, meta.commit, { askedAt: context.askedAt, store: true })
      }
      return open
    })
    // A HEAD is answered before this is known, so that nothing may wait for it.
    isPublic.catch(() => undefined)
    noteAnswered(ctx, this.#options.access.verdict(repo) === 'public')
    const same = context.before?.kind === 'present' && context.before.key === key
    return { kind: 'file', meta, key, isPublic, mayStore, outcome: same ? 'revalidated' : 'miss' }
  }

  /** For the time when the Hub cannot be asked, if the repo turns out not to be public. */
  #addRestricted(ctx: Ctx, route: FileRoute, answered: AnsweredFile): void {
    this.#options.grants.add(ctx, route, answered)
    this.#options.served.add(ctx, route, answered)
  }

  async #refused(
    ctx: Ctx,
    route: FileRoute,
    refusal: Refusal,
    context: { askedAt: number; fallback: Stored | undefined; isPublic: Promise<boolean> },
  ): Promise<Resolved> {
    const { access, metadata } = this.#options
    // Out of quota is no refusal: stored public files are served as while the origin is away.
    if (refusal.status === 429 && context.fallback !== undefined)
      return { ...this.#fromFact(ctx, context.fallback, 'stale'), isLimited: true }
    noteRefusal(ctx.access, refusal)
    if (deniesRepo(refusal)) {
      const cached = { refusal, headers: {}, at: context.askedAt }
      this.#options.refusals.set(ctx.fingerprint, questionOf(route), cached)
      await access.refused(ctx, route.repo, refusal, context.askedAt)
    }
    const { commit } = refusal
    if (isAbsence(refusal) && commit !== undefined) {
      this.#addRestricted(ctx, route, { fact: { kind: 'absent', commit }, ...context })
      metadata.refs.set(route.repo, route.revision, commit, { askedAt: context.askedAt, store: false })
      // The Hub tells even an anonymous request that a gated repo lacks a file. That says nothing about the rest of the
      // repo.
      void context.isPublic.then((open) => {
        if (!open) return
        metadata.files.set(route.repo, commit, route.path, { kind: 'absent', commit })
        metadata.refs.set(route.repo, route.revision, commit, { askedAt: context.askedAt, store: true })
      })
    }
    return { kind: 'refusal', refusal, outcome: 'refused' }
  }

  #head(ctx: Ctx, route: FileRoute, isUrgent: boolean, known?: FileMeta): Promise<HeadAnswer> {
    const target = resolveTarget(route.repo, route.revision, route.path)
    const ask = async () => {
      const { client, metadata, monotonic } = this.#options
      const askedAt = monotonic()
      const requester = namingRequester(ctx, route.repo, { base: client.policy.base, metadata, askedAt })
      const result = await headFile(client, route, requester, {
        retries: isUrgent ? 0 : 1,
        known,
        ...(isUrgent ? { timeoutMs: FALLBACK_TIMEOUT_MS } : {}),
      })
      return { result, askedAt }
    }
    // After a write through the mirror, a request must not share an answer that was asked for before.
    const changedAt = this.#options.metadata.refs.changedAt(route.repo) ?? ''
    return this.#heads.run(`${ctx.fingerprint} ${changedAt} ${target}`, ask, namesOf(ctx))
  }

  /**
   * Whether the repo is public: known, or asked without a credential, once for all callers. Never rejects. An anonymous
   * answer about the file alone is not enough, since the README of a gated repo is public; the repo must call itself
   * public.
   */
  #isPublic(ctx: Ctx, route: FileRoute, isUrgent: boolean): Promise<boolean> {
    const { access, client } = this.#options
    const { repo } = route
    // Nothing of it may be stored, so the answer is not needed; and asking would store what the Hub says of the repo.
    if (ctx.admission?.mayStore(undefined) === false) return Promise.resolve(false)
    const verdict = access.verdict(repo)
    if (verdict !== undefined) return Promise.resolve(verdict === 'public')
    const ask = async () => {
      const askedAt = this.#options.monotonic()
      const [head, open] = await Promise.all([
        // The same request as that of a caller without a token.
        this.#head(asAnonymous(ctx), route, isUrgent).catch((error: unknown) => {
          if (isRepoMoved(error)) throw error
        }),
        askPublicAccess(client, repo, anonymousRequester(ctx), {
          licence: this.#options.asksLicence(),
          ...(isUrgent ? { timeoutMs: FALLBACK_TIMEOUT_MS } : {}),
          onTraits: (traits) => this.#options.metadata.repos.setTraits(repo, traits, askedAt),
        }).catch(() => undefined),
      ])
      if (open === false) return false
      if (head === undefined) return undefined
      // An origin without such info is judged by the file itself, unless a gate might not cover the file.
      const isPublic = open === 'unsaid' ? undefined : open
      if (head.result.kind === 'meta')
        return open === 'unsaid' && !mayBeOutsideGate(route.path) ? true : isPublic
      return deniesRepo(head.result.refusal) ? false : isMissing(head.result.refusal) ? isPublic : undefined
    }
    return access.prove(repo, ask, namesOf(ctx))
  }

  #fromFact(
    ctx: Ctx,
    { fact, reason, askedAt, local }: Stored,
    outcome: 'hit' | 'stale',
    reusable?: Reusable,
  ): Resolved {
    if (reason === 'rule') noteServed(ctx, this.#options.observer)
    else noteAllowed(ctx.access, reason)
    const age = askedAt === undefined ? {} : { ageMs: this.#options.monotonic() - askedAt }
    if (fact.kind === 'present') {
      const { meta, key } = fact
      return {
        kind: 'file',
        meta,
        key,
        isPublic: Promise.resolve(reason === 'public' || reason === 'was-public'),
        mayStore: true,
        outcome,
        reusable,
        ...(local === undefined ? {} : { local }),
        ...age,
      }
    }
    const text = 'Entry not found'
    const refusal = {
      status: 404,
      code: 'EntryNotFound',
      message: text,
      commit: fact.commit,
      body: Buffer.from(text),
      contentType: 'text/plain; charset=utf-8',
    }
    return { kind: 'refusal', refusal, outcome, reusable, ...age }
  }

  /** What the Hub answered this very caller a moment ago, about a repo that is not public. */
  #fromGrant(ctx: Ctx, route: FileRoute): ResolvedFile | undefined {
    const granted = this.#options.grants.fresh(ctx, route)
    if (granted === undefined) return undefined
    const { meta, key } = granted
    // The anonymous request beside the one that granted it may still be running.
    const isPublic = this.#isPublic(ctx, route, false).then(
      (open) => open && this.#isProved(ctx, route, meta),
    )
    noteAllowed(ctx.access, ctx.authorization === undefined ? 'public' : 'remembered')
    const mayStore = ctx.admission?.mayStore(meta.sizeBytes) !== false
    return { kind: 'file', meta, key, isPublic, mayStore, outcome: 'miss' }
  }

  /** Whether what was granted of a commit may be shared. The request that granted it has asked for the proof. */
  async #isProved(ctx: Ctx, { repo }: FileRoute, { commit }: FileMeta): Promise<boolean> {
    if (ctx.authorization === undefined) return true
    const { access } = this.#options
    await access.proving(repo)
    return access.coversSeen(repo, commit)
  }
}

/** Whether a server has answered, though not as a Hub would. */
function isAnswered(error: unknown): boolean {
  return isOriginUnavailable(error) && !isUnreachable(error)
}

function isUnreachable({ code }: MirrorError): boolean {
  return code === 'origin_unreachable' || code === 'origin_timeout'
}

function questionOf({ repo, revision, path }: FileRoute): RefusalKey {
  return { kind: 'file', repo, target: resolveTarget(repo, revision, path) }
}

/** A redirect to another name means the same only to callers that were decided about under the same names. */
function namesOf({ admission }: Ctx): string {
  return admission?.names ?? ''
}

function clientOf({ caller, fingerprint }: Ctx): ClientName {
  return { address: caller.address, fingerprint }
}

/** Whether the refusal is about the revision or the path, so that the repo itself was shown. */
function isMissing({ status, code }: Refusal): boolean {
  return status === 404 && (code === 'EntryNotFound' || code === 'RevisionNotFound')
}
