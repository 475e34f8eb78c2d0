// API answers in JSON: repo info, trees, paths-info, refs, lists, whoami. The Hub is asked with the caller's own
// credential. URLs are rewritten to point at the mirror, and Xet is removed. Answers about public repos are stored for the
// time when the Hub is away.

import { isHubAway, isOriginUnavailable, MirrorError } from '../../errors.ts'
import { isPage } from '../../http/headers.ts'
import { isOfDatasetsServer } from '../../hub/datasets-server.ts'
import { isCommitHash, type Repo } from '../../hub/names.ts'
import { deniesRepo, isBadToken, type Refusal, readRefusal } from '../../hub/refusal.ts'
import { asksForExpansion } from '../../hub/route.ts'
import { splitTarget } from '../../hub/url-text.ts'
import type { OriginClient } from '../../origin/client.ts'
import { foreignAnswer, interception } from '../../origin/failures/bad-answer.ts'
import { accessOf } from '../../origin/repos/repo-access.ts'
import { traitsOf } from '../../origin/repos/repo-info.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { Access } from '../access/access.ts'
import { noteAllowed, noteAnswered, noteRefusal, noteServed } from '../access/note.ts'
import { proveAnswer, proveCommit, provePublic } from '../access/public.ts'
import { isOver, type Refusals } from '../access/refusals.ts'
import { hintContext, refusalAnswer } from '../access/refused.ts'
import { type Answer, ageHeader, closeBody } from '../answer.ts'
import type { Ctx } from '../context.ts'
import type { CommitListings } from '../files/commit-listings.ts'
import { type DocumentFact, isSameDocument } from '../metadata/documents.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { isComposedPage } from './compose-list.ts'
import { DocumentAnswers, type DocumentAnswersOptions } from './document-answers.ts'
import { type DocumentFreshness, isImmutable } from './document-freshness.ts'
import { documentName, refusalKey } from './document-name.ts'
import { DocumentPlans, infoOf } from './document-plans.ts'
import { GrantedDocuments, type GrantedDocumentsOptions } from './granted-documents.ts'
import { type DocumentRequest, type DocumentRoute, type HubAnswer, HubDocuments } from './hub-documents.ts'
import type { Implied } from './implied.ts'
import { ListingDocuments } from './listing-documents.ts'
import { offlineError } from './offline.ts'
import { kept, receivedFact, unchangedFact } from './received.ts'
import { ServedDocuments, type ServedDocumentsOptions } from './served-documents.ts'
import type { StoredLists } from './stored-lists.ts'

export type { DocumentRequest } from './hub-documents.ts'

/** What is known of a document before the Hub is asked for it. */
interface AskContext {
  /** The name under which it may be stored. */
  readonly name: string | undefined
  readonly stored: DocumentFact | undefined
  /** Whether a stored answer of a public repo can take its place. */
  readonly hasFallback: boolean
  /** Whether the Hub gets less time, because there is an answer without it. */
  readonly isUrgent: boolean
}

export interface DocumentsOptions
  extends GrantedDocumentsOptions,
    ServedDocumentsOptions,
    Omit<DocumentAnswersOptions, 'plans'> {
  readonly access: Access
  readonly client: OriginClient
  /** For what the datasets-server says of datasets. Undefined when the mirror asks none. */
  readonly datasetsServer?: OriginClient | undefined
  readonly metadata: Metadata
  readonly refusals: Refusals
  /** What other stored answers imply. */
  readonly implied: Implied
  /** What is stored of all repos together. */
  readonly lists: Pick<StoredLists, 'page'>
  readonly observer: Pick<Observer, 'policyDecided'>
  readonly offline: boolean
  /** Whether a rule depends on licences: then the Hub is asked for them with everything else. */
  readonly asksLicence: () => boolean
  readonly monotonic: () => number
  readonly freshness: Pick<DocumentFreshness, 'isFresh' | 'endLists'>
  /** Learns what passes here of the files of commits. */
  readonly listings: Pick<CommitListings, 'learn' | 'hasLearnt'>
}

/** The info of a repo with 300,000 files. */
const MAX_STORED_BYTES = 64 * 1024 * 1024
/** There is no bound to the number of searches. */
const MAX_LIST_BYTES = 1024 * 1024
const PAGE_IS_GONE =
  'This page belongs to a listing that the mirror no longer has. Request its first page again.'

export class Documents {
  readonly #options: DocumentsOptions
  readonly #hub: HubDocuments
  readonly #plans: DocumentPlans
  readonly #granted: GrantedDocuments
  readonly #served: ServedDocuments
  readonly #answers: DocumentAnswers
  readonly pages: ListingDocuments
  // The name under which an answer of the Hub was stored.
  readonly #kept = new WeakMap<Buffer, string>()

  constructor(options: DocumentsOptions) {
    this.#options = options
    this.#hub = new HubDocuments(options)
    this.#plans = new DocumentPlans(options)
    this.#granted = new GrantedDocuments(options)
    this.#served = new ServedDocuments(options)
    this.#answers = new DocumentAnswers({ ...options, plans: this.#plans })
    this.pages = new ListingDocuments({ ...options, hub: this.#hub, plans: this.#plans })
  }

  /** A write was forwarded and accepted: requests from now on do not join one that was sent before. */
  changed(): void {
    this.#hub.changed()
    this.#options.freshness.endLists()
  }

  /** Throws MirrorError when the origin is away and nothing stored may be served instead. */
  async get(ctx: Ctx, route: DocumentRoute, request: DocumentRequest): Promise<Answer> {
    const { access, metadata, offline } = this.#options
    const { repo } = route
    const client = this.#hub.clientFor(route)
    const mayStore = ctx.admission?.mayStore(undefined) !== false
    const name = mayStore ? documentName(route, request) : undefined
    const stored = name === undefined ? undefined : await metadata.documents.get(name)
    // A document about no repo is stored only as every caller may have it. One with a credential may be shown more.
    const isList = repo === undefined && name !== undefined
    const open =
      repo === undefined ? isList && ctx.authorization === undefined : access.verdict(repo) === 'public'
    const fromStored = async (fact: DocumentFact, outcome: 'hit' | 'stale'): Promise<Answer> => {
      noteAllowed(ctx.access, open ? 'public' : 'was-public')
      const answer = await this.#fromFact(ctx, route, request, fact, outcome)
      return { ...answer, headers: { ...answer.headers, ...this.#age(route, request, name) } }
    }
    if (name !== undefined && stored !== undefined && open && this.#mayRepeat(ctx, route, request, name)) {
      // What can change was learnt when the Hub was asked.
      if (isImmutable(route, request)) void this.pages.learn(ctx, route, stored, name)
      return fromStored(stored, 'hit')
    }
    const mayFallBack = isList || (repo !== undefined && (open || (await access.lastKnownPublic(repo))))
    const fallback = mayFallBack ? stored : undefined
    // Looked for only when the Hub cannot be reached: it costs more than asking.
    const implied = async (): Promise<DocumentFact | undefined> => {
      // What the mirror has is of more use then than what the Hub once listed, of which further pages may lack.
      if (route.document === 'list') return (await this.#options.lists.page(ctx, route)) ?? fallback
      if (fallback !== undefined || route.repo === undefined) return fallback
      return mayFallBack && mayStore ? this.#options.implied.document(route, request) : undefined
    }
    const byRule = async () => (mayFallBack ? undefined : this.#byRule(ctx, route, request, name))
    if (isComposedPage(route.target)) {
      const isAway = offline || client.isRecentlyUnreachable()
      const page = open || route.document === 'list' || isAway ? await implied() : undefined
      if (page !== undefined) return fromStored(page, offline ? 'hit' : 'stale')
      const answer = isAway ? (await byRule())?.answer : undefined
      if (answer === undefined) throw new MirrorError('bad_url', { message: PAGE_IS_GONE })
      return answer
    }
    if (offline) {
      const fact = await implied()
      if (fact !== undefined) return fromStored(fact, 'hit')
      const served = await byRule()
      if (served?.answer !== undefined) return served.answer
      throw offlineError(route, mayFallBack || served !== undefined)
    }
    const refused = this.#refusedBefore(ctx, route)
    if (refused !== undefined) return refused
    const fact = client.isRecentlyUnreachable() ? await implied() : undefined
    if (fact !== undefined) return fromStored(fact, 'stale')
    const restricted = repo === undefined || name === undefined || mayFallBack ? undefined : { repo, name }
    const granted = () => restricted && this.#granted.get(ctx, restricted.repo, restricted.name)
    /** The stored answer if there is one, else what this very caller has within the grace, else what a rule lets it have. */
    const instead = async (status: unknown, isAway: boolean): Promise<Answer | undefined> => {
      const known = await implied()
      if (known !== undefined) return { ...(await fromStored(known, 'stale')), isLimited: status === 429 }
      if (!isAway) return undefined
      const inGrace = granted()
      if (inGrace === undefined) return (await byRule())?.answer
      noteAllowed(ctx.access, 'grace')
      return this.#aged(await this.#fromFact(ctx, route, request, inGrace.fact, 'stale'), inGrace.askedAt)
    }
    try {
      const hasFallback = fallback !== undefined
      const isUrgent =
        hasFallback ||
        granted() !== undefined ||
        (restricted !== undefined && (await this.#served.has(ctx, restricted.repo, restricted.name)))
      const answer = await this.#ask(ctx, route, request, { name, stored, hasFallback, isUrgent })
      const { status } = answer
      if (status < 500 && status !== 429) return answer
      return (await instead(status, status >= 500)) ?? answer
    } catch (error) {
      if (!isOriginUnavailable(error)) throw error
      const answer = await instead(error.detail['status'], isHubAway(error))
      if (answer === undefined) throw error
      return answer
    }
  }

  /** What is stored of a restricted repo, if a rule lets this caller have it. Only for a time when the Hub cannot be asked. */
  async #byRule(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    name: string | undefined,
  ): Promise<{ readonly answer: Answer | undefined } | undefined> {
    if (route.repo === undefined) return undefined
    const found = await this.#served.get(ctx, route, request, name)
    if (found?.fact === undefined) return found && { answer: undefined }
    const { offline, observer } = this.#options
    noteServed(ctx, observer)
    const answer = await this.#fromFact(ctx, route, request, found.fact, offline ? 'hit' : 'stale')
    const isFixed = found.askedAt === undefined || isImmutable(route, request)
    return { answer: isFixed ? answer : this.#aged(answer, found.askedAt) }
  }

  #aged(answer: Answer, askedAt: number): Answer {
    return { ...answer, headers: { ...answer.headers, ...ageHeader(this.#options.monotonic() - askedAt) } }
  }

  /** Whether a public document that is stored under `name` may be given without asking the Hub. */
  #mayRepeat(ctx: Ctx, route: DocumentRoute, request: DocumentRequest, name: string): boolean {
    if (isImmutable(route, request)) return true
    // What a token is sent of such fields may be more.
    const isOwn = ctx.authorization !== undefined && asksForExpansion(splitTarget(route.target).query)
    return !isOwn && this.#options.freshness.isFresh(route.repo, name)
  }

  async #ask(ctx: Ctx, route: DocumentRoute, request: DocumentRequest, context: AskContext): Promise<Answer> {
    await ctx.countAgainstLimit?.()
    const { isUrgent: hasFallback, stored } = context
    // The Hub checks this caller's right before it says that nothing has changed.
    const etag = request.method === 'GET' ? stored?.etag : undefined
    const { answer, done } = await this.#hub.ask(ctx, route, request, { hasFallback, etag })
    try {
      return await this.#use(ctx, route, request, context, answer)
    } finally {
      done()
    }
  }

  /** The Hub's answer for this caller. Stores and learns what may be stored and learnt from it. */
  async #use(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    context: AskContext,
    answer: HubAnswer,
  ): Promise<Answer> {
    const { askedAt } = answer
    const { host } = this.#hub.clientFor(route).policy.base
    // Out of quota is no refusal: stored public answers are served as while the origin is away.
    if ((answer.status >= 500 || answer.status === 429) && context.hasFallback) {
      throw new MirrorError('origin_bad_answer', { detail: { status: answer.status } })
    }
    if (answer.status >= 400) {
      const refusal = readRefusal(answer.status, answer.headers, answer.body)
      const foreign = foreignAnswer({ ...answer, host }, refusal)
      if (foreign !== undefined) throw foreign
      return this.#refused(ctx, route, refusal, {
        askedAt,
        headers: kept(answer.headers),
        ...context,
      })
    }
    const unchanged = answer.status === 304 ? context.stored : undefined
    const status = unchanged === undefined ? answer.status : 200
    // A login page of the network instead of the JSON.
    if (unchanged === undefined && isPage(answer.headers)) throw interception({ ...answer, host }, 'hub')
    noteAnswered(ctx, route.repo !== undefined && this.#options.access.verdict(route.repo) === 'public')
    const received = unchanged === undefined ? receivedFact(answer) : unchangedFact(unchanged, answer)
    const same = context.stored !== undefined && isSameDocument(context.stored, received)
    // What is stored already has been scanned, and must not be in memory twice.
    const fact = same ? { ...received, body: context.stored.body } : received
    // Rewritten before anything is learnt from it: JSON of an unexpected shape is not believed either.
    const rewritten = await this.#answers.make(ctx, route, request, fact, 'bypass', status)
    // It is not known what another status would mean for the repo, and what is stored is served as a 200.
    if (status !== 200) return rewritten
    if (route.repo === undefined) {
      const isKept = this.#keepList(ctx, fact, { ...context, askedAt })
      return isKept ? { ...rewritten, outcome: same ? 'revalidated' : 'miss' } : rewritten
    }
    try {
      await this.#learn(ctx, route, fact.body, askedAt)
    } catch (error) {
      await closeBody(rewritten.body)
      throw error
    }
    const { name, stored } = context
    if (fact.body.length > MAX_STORED_BYTES || name === undefined) return rewritten
    // What a token is sent of such fields is not for anonymous callers.
    if (ctx.authorization !== undefined && asksForExpansion(splitTarget(route.target).query)) return rewritten
    const { document } = route
    const isKept = this.#keep(ctx, route.repo, name, { document, fact, askedAt, before: stored, route })
    if (!isKept) return rewritten
    return { ...rewritten, outcome: same ? 'revalidated' : 'miss' }
  }

  /**
   * Stores the document of a public repo, and says whether that is known already. That of a restricted one is kept for this
   * caller. A listing does not say whether its repo is public: for a client that asks for nothing else, the mirror asks about the
   * repo after its answer, once for all callers.
   */
  #keep(
    ctx: Ctx,
    repo: Repo,
    name: string,
    {
      document,
      fact,
      askedAt,
      before,
      route,
    }: {
      readonly document: DocumentRoute['document']
      readonly fact: DocumentFact
      readonly askedAt: number
      readonly before?: DocumentFact | undefined
      /** Present when the document may describe files. */
      readonly route?: DocumentRoute
    },
  ): boolean {
    const { access, metadata } = this.#options
    const verdict = access.verdict(repo)
    const store = (): void => {
      // An answer that several callers shared is written once.
      if (before?.body !== fact.body && this.#kept.get(fact.body) === name) return
      this.#kept.set(fact.body, name)
      metadata.documents.set(name, fact, askedAt, before)
    }
    const keep = (): void => {
      store()
      if (route !== undefined) void this.pages.learn(ctx, route, fact, name)
    }
    const isKnown = verdict === 'public'
    const commit = route?.revision
    const isSame = before !== undefined && isSameDocument(before, fact)
    const grant = (): void => {
      this.#granted.add(ctx, repo, name, { fact, askedAt })
      this.#served.add(ctx, repo, { document, name }, { fact, askedAt })
      if (route !== undefined) void this.pages.learnOwn(ctx, route, fact, name)
    }
    // At once where nothing need be asked: the next request finds it.
    if (isKnown && (ctx.authorization === undefined || isSame)) keep()
    else if (verdict === 'restricted') grant()
    else {
      const prove = (): Promise<boolean> =>
        commit !== undefined && isCommitHash(commit)
          ? proveCommit(ctx, { repo, commit, askedAt }, this.#options)
          : proveAnswer(ctx, { repo, askedAt }, this.#options)
      void provePublic(ctx, repo, this.#options).then(async (open) => {
        if (!open) grant()
        else if (await prove()) keep()
      })
    }
    return isKnown
  }

  /** Stores a document about no repo as the Hub shows it without a credential, and says whether it does. */
  #keepList(
    ctx: Ctx,
    fact: DocumentFact,
    { name, stored, askedAt }: Pick<AskContext, 'name' | 'stored'> & { readonly askedAt: number },
  ): boolean {
    const isPublic = ctx.authorization === undefined && name !== undefined
    if (!isPublic || fact.body.length > MAX_LIST_BYTES) return false
    this.#options.metadata.documents.set(name, fact, askedAt, stored)
    return true
  }

  /** What the Hub refused to this caller a moment ago. */
  #refusedBefore(ctx: Ctx, route: DocumentRoute): Answer | undefined {
    const asked = refusalKey(route)
    if (asked === undefined) return undefined
    const refused = this.#options.refusals.get(ctx.fingerprint, asked)
    if (refused === undefined || isOver(refused, asked.repo, this.#options)) return undefined
    const { refusal, headers: extra } = refused
    noteRefusal(ctx.access, refusal, 'remembered')
    return refusalAnswer(refusal, {
      asked: hintContext(ctx, route.repo),
      anonymous: ctx.authorization === undefined,
      aboutRepo: true,
      extra,
    })
  }

  async #refused(
    ctx: Ctx,
    route: DocumentRoute,
    refusal: Refusal,
    context: {
      readonly askedAt: number
      readonly headers: Readonly<Record<string, string>>
    } & Pick<AskContext, 'name' | 'stored'>,
  ): Promise<Answer> {
    const { askedAt, headers, name, stored } = context
    const { access, metadata } = this.#options
    const { status, isForeign } = refusal
    noteRefusal(ctx.access, refusal)
    // Clients ask for folders that most repos lack, and wait long for an answer when the Hub is away.
    const missing = refusal.status === 404 && refusal.code === 'EntryNotFound'
    if (missing && name !== undefined && route.repo !== undefined) {
      const { body, contentType = 'application/json; charset=utf-8', message = 'Entry not found' } = refusal
      const fact = { body, contentType, link: undefined, headers, absent: { message } }
      this.#keep(ctx, route.repo, name, { document: route.document, fact, askedAt, before: stored })
    }
    const asked = refusalKey(route)
    if (asked !== undefined && deniesRepo(refusal))
      this.#options.refusals.set(ctx.fingerprint, asked, { refusal, headers, at: askedAt })
    // It may have been made private, or deleted.
    const isGone = (status === 404 && !isForeign) || (deniesRepo(refusal) && !isBadToken(refusal))
    if (route.repo === undefined && name !== undefined && isGone) metadata.documents.remove(name)
    // The datasets-server refuses more than the Hub does, and decides about no right to the repo.
    if (!isOfDatasetsServer(route.document)) await access.refused(ctx, route.repo, refusal, askedAt)
    return refusalAnswer(refusal, {
      asked: hintContext(ctx, route.repo),
      anonymous: ctx.authorization === undefined,
      aboutRepo: route.repo !== undefined,
      extra: headers,
    })
  }

  /** A repo's own info says whether the repo is public, and which commit a revision is. */
  async #learn(ctx: Ctx, route: DocumentRoute, body: Buffer, askedAt: number): Promise<void> {
    const { repo, revision, document } = route
    if (repo === undefined || (document !== 'repo' && document !== 'revision')) return
    const info = infoOf(body, await this.#plans.of(body, document))
    const { sha } = info
    const kind = accessOf(info)
    const { access, metadata } = this.#options
    metadata.repos.setTraits(repo, traitsOf(info), askedAt)
    if (kind === 'gated' || kind === 'private') {
      await access.withdrawn(repo, askedAt, 'anonymous')
      if (revision !== undefined && typeof sha === 'string' && isCommitHash(sha))
        this.#served.addRef(ctx, repo, { revision, commit: sha, askedAt })
      return
    }
    const mayStore = ctx.admission?.mayStore(undefined) !== false
    if (kind === 'public' && info['gated'] === false && mayStore) await access.proved(repo, askedAt)
    if (revision !== undefined && typeof sha === 'string' && isCommitHash(sha)) {
      const store = mayStore && access.verdict(repo) === 'public'
      metadata.refs.set(repo, revision, sha, { askedAt, store })
    }
  }

  /** The age of a document that may change. */
  #age(
    route: DocumentRoute,
    request: DocumentRequest,
    name: string | undefined,
  ): Readonly<Record<string, string>> {
    const { metadata, monotonic } = this.#options
    const askedAt =
      isImmutable(route, request) || name === undefined ? undefined : metadata.documents.askedAt(name)
    return ageHeader(askedAt === undefined ? undefined : monotonic() - askedAt)
  }

  #fromFact(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    fact: DocumentFact,
    outcome: 'hit' | 'stale',
  ): Promise<Answer> | Answer {
    if (fact.absent === undefined) return this.#answers.make(ctx, route, request, fact, outcome, 200)
    const refusal = {
      status: 404,
      code: 'EntryNotFound',
      message: fact.absent.message,
      commit: undefined,
      body: fact.body,
      contentType: fact.contentType,
    }
    return refusalAnswer(refusal, { anonymous: false, aboutRepo: true, extra: fact.headers, outcome })
  }
}
