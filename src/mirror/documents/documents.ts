// API answers in JSON: repo info, trees, paths-info, refs, lists, whoami. The Hub is asked with the caller's own
// credential. URLs are rewritten to point at the mirror, and Xet is removed. Answers about public repos are stored for the
// time when the Hub is away.

import { callerKey } from '../../callers/caller-key.ts'
import { isHubAway, isOriginUnavailable, MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { weakEtag } from '../../http/conditional.ts'
import { HUB_URLS, isCommitHash, type Repo } from '../../hub/names.ts'
import { deniesRepo, type Refusal, readRefusal } from '../../hub/refusal.ts'
import { rewriteLink, rewritten, rewrittenLength } from '../../hub/rewrite.ts'
import { asksForExpansion } from '../../hub/route.ts'
import { splitTarget } from '../../hub/url-text.ts'
import type { OriginClient } from '../../origin/client.ts'
import { foreignAnswer, interception } from '../../origin/failures/bad-answer.ts'
import { accessOf } from '../../origin/repos/repo-access.ts'
import { traitsOf } from '../../origin/repos/repo-info.ts'
import type { Outcome } from '../../telemetry/observer.ts'
import { noteAllowed, noteAnswered, noteRefusal } from '../access/note.ts'
import { proveAnswer, proveCommit, provePublic } from '../access/public.ts'
import { isOver, type RefusalKey, type Refusals } from '../access/refusals.ts'
import { hintContext, refusalAnswer } from '../access/refused.ts'
import { type Answer, ageHeader, closeBody } from '../answer.ts'
import type { Ctx } from '../context.ts'
import type { CommitListings } from '../files/commit-listings.ts'
import { type DocumentFact, isSameDocument } from '../metadata/documents.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { DocumentBody } from './document-body.ts'
import type { DocumentMemory } from './document-memory.ts'
import { documentName } from './document-name.ts'
import { DocumentPlans, infoOf } from './document-plans.ts'
import { GrantedDocuments, type GrantedDocumentsOptions } from './granted-documents.ts'
import {
  type DocumentRequest,
  type DocumentRoute,
  type HubAnswer,
  HubDocuments,
  SMALL_DOCUMENT_BYTES,
} from './hub-documents.ts'
import { type Implied, isComposedPage } from './implied.ts'
import { ListingDocuments } from './listing-documents.ts'
import { offlineError } from './offline.ts'
import { isPage, kept, receivedFact, unchangedFact } from './received.ts'
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

export interface DocumentsOptions extends GrantedDocumentsOptions {
  readonly client: OriginClient
  readonly metadata: Metadata
  readonly refusals: Refusals
  /** What other stored answers imply. */
  readonly implied: Implied
  /** What is stored of all repos together. */
  readonly lists: Pick<StoredLists, 'page'>
  readonly offline: boolean
  /** Whether a rule depends on licences: then the Hub is asked for them with everything else. */
  readonly asksLicence: () => boolean
  readonly monotonic: () => number
  readonly memory: DocumentMemory
  /** Learns what passes here of the files of public commits. */
  readonly listings: Pick<CommitListings, 'learn' | 'hasLearnt'>
}

/** The info of a repo with 300,000 files. */
const MAX_STORED_BYTES = 64 * 1024 * 1024
const PAGE_IS_GONE =
  'This page belongs to a listing that the mirror no longer has. Request its first page again.'

export class Documents {
  readonly #options: DocumentsOptions
  readonly #memory: DocumentMemory
  readonly #hub: HubDocuments
  readonly #plans: DocumentPlans
  readonly #granted: GrantedDocuments
  readonly pages: ListingDocuments
  // The name under which an answer of the Hub was stored.
  readonly #kept = new WeakMap<Buffer, string>()

  constructor(options: DocumentsOptions) {
    this.#options = options
    this.#memory = options.memory
    this.#hub = new HubDocuments({ ...options, memory: this.#memory })
    this.#plans = new DocumentPlans({ originBase: options.client.policy.base.href, aliases: HUB_URLS })
    this.#granted = new GrantedDocuments(options)
    this.pages = new ListingDocuments({ ...options, hub: this.#hub, plans: this.#plans })
  }

  /** A write was forwarded and accepted: requests from now on do not join one that was sent before. */
  changed(): void {
    this.#hub.changed()
  }

  /** Throws MirrorError when the origin is away and nothing stored may be served instead. */
  async get(ctx: Ctx, route: DocumentRoute, request: DocumentRequest): Promise<Answer> {
    const { client, access, metadata, offline, monotonic } = this.#options
    const { repo } = route
    const mayStore = ctx.admission?.mayStore(undefined) !== false
    const name = mayStore ? documentName(route, request) : undefined
    const stored = name === undefined ? undefined : await metadata.documents.get(name)
    const open = repo !== undefined && access.verdict(repo) === 'public'
    const fromStored = async (fact: DocumentFact, outcome: 'hit' | 'stale'): Promise<Answer> => {
      noteAllowed(ctx.access, open ? 'public' : 'was-public')
      const answer = await this.#fromFact(ctx, route, request, fact, outcome)
      return { ...answer, headers: { ...answer.headers, ...this.#age(route, name) } }
    }
    if (name !== undefined && stored !== undefined && open && route.immutable) {
      void this.pages.learn(ctx, route, stored, name)
      return fromStored(stored, 'hit')
    }
    const mayFallBack = repo !== undefined && (open || (await access.lastKnownPublic(repo)))
    const fallback = mayFallBack ? stored : undefined
    // Looked for only when the Hub cannot be reached: it costs more than asking.
    const implied = async (): Promise<DocumentFact | undefined> =>
      fallback ??
      (mayFallBack && mayStore && route.repo !== undefined
        ? await this.#options.implied.document(route, request)
        : route.document === 'list'
          ? await this.#options.lists.page(ctx, route)
          : undefined)
    if (isComposedPage(route.target)) {
      const page =
        open || route.document === 'list' || offline || client.isRecentlyUnreachable()
          ? await implied()
          : undefined
      if (page === undefined) throw new MirrorError('bad_url', { message: PAGE_IS_GONE })
      return fromStored(page, offline ? 'hit' : 'stale')
    }
    if (offline) {
      const fact = await implied()
      if (fact === undefined) throw offlineError(route, mayFallBack)
      return fromStored(fact, 'hit')
    }
    const refused = this.#refusedBefore(ctx, route)
    if (refused !== undefined) return refused
    const fact = client.isRecentlyUnreachable() ? await implied() : undefined
    if (fact !== undefined) return fromStored(fact, 'stale')
    const granted = () =>
      repo === undefined || name === undefined || mayFallBack ? undefined : this.#granted.get(ctx, repo, name)
    /** The stored answer if there is one, and else what the Hub has answered this very caller within the grace. */
    const instead = async (status: unknown, isAway: boolean): Promise<Answer | undefined> => {
      const known = await implied()
      if (known !== undefined) return { ...(await fromStored(known, 'stale')), isLimited: status === 429 }
      const inGrace = isAway ? granted() : undefined
      if (inGrace === undefined) return undefined
      noteAllowed(ctx.access, 'grace')
      const answer = await this.#fromFact(ctx, route, request, inGrace.fact, 'stale')
      return { ...answer, headers: { ...answer.headers, ...ageHeader(monotonic() - inGrace.askedAt) } }
    }
    try {
      const hasFallback = fallback !== undefined
      const isUrgent = hasFallback || granted() !== undefined
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
    const { client } = this.#options
    // Out of quota is no refusal: stored public answers are served as while the origin is away.
    if ((answer.status >= 500 || answer.status === 429) && context.hasFallback) {
      throw new MirrorError('origin_bad_answer', { detail: { status: answer.status } })
    }
    if (answer.status >= 400) {
      const refusal = readRefusal(answer.status, answer.headers, answer.body)
      const foreign = foreignAnswer({ ...answer, host: client.policy.base.host }, refusal)
      if (foreign !== undefined) throw foreign
      return this.#refused(ctx, route, refusal, {
        askedAt,
        headers: kept(answer.headers),
        ...context,
      })
    }
    const unchanged = answer.status === 304 ? context.stored : undefined
    const status = unchanged === undefined ? answer.status : 200
    if (unchanged === undefined && isPage(answer.headers))
      throw interception({ ...answer, host: client.policy.base.host }, 'hub')
    noteAnswered(ctx, route.repo !== undefined && this.#options.access.verdict(route.repo) === 'public')
    const received = unchanged === undefined ? receivedFact(answer) : unchangedFact(unchanged, answer)
    const same = context.stored !== undefined && isSameDocument(context.stored, received)
    // What is stored already has been scanned, and must not be in memory twice.
    const fact = same ? { ...received, body: context.stored.body } : received
    // Rewritten before anything is learnt from it: JSON of an unexpected shape is not believed either.
    const rewritten = await this.#answer(ctx, route, request, fact, 'bypass', status)
    // It is not known what another status would mean for the repo, and what is stored is served as a 200.
    if (route.repo === undefined || status !== 200) return rewritten
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
    const isKept = this.#keep(ctx, route.repo, name, { fact, askedAt, before: stored, route })
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
      fact,
      askedAt,
      before,
      route,
    }: {
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
    const grant = (): void => this.#granted.add(ctx, repo, name, { fact, askedAt })
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

  /** What the Hub refused to this caller a moment ago. */
  #refusedBefore(ctx: Ctx, route: DocumentRoute): Answer | undefined {
    const asked = questionOf(route)
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
    const { access } = this.#options
    noteRefusal(ctx.access, refusal)
    // Clients ask for folders that most repos lack, and wait long for an answer when the Hub is away.
    const missing = refusal.status === 404 && refusal.code === 'EntryNotFound'
    if (missing && name !== undefined && route.repo !== undefined) {
      const { body, contentType = 'application/json; charset=utf-8', message = 'Entry not found' } = refusal
      const fact = { body, contentType, link: undefined, headers, absent: { message } }
      this.#keep(ctx, route.repo, name, { fact, askedAt, before: stored })
    }
    const asked = questionOf(route)
    if (asked !== undefined && deniesRepo(refusal))
      this.#options.refusals.set(ctx.fingerprint, asked, { refusal, headers, at: askedAt })
    await access.refused(ctx, route.repo, refusal, askedAt)
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
  #age(route: DocumentRoute, name: string | undefined): Readonly<Record<string, string>> {
    const { metadata, monotonic } = this.#options
    const askedAt = route.immutable || name === undefined ? undefined : metadata.documents.askedAt(name)
    return ageHeader(askedAt === undefined ? undefined : monotonic() - askedAt)
  }

  #fromFact(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    fact: DocumentFact,
    outcome: 'hit' | 'stale',
  ): Promise<Answer> | Answer {
    if (fact.absent === undefined) return this.#answer(ctx, route, request, fact, outcome, 200)
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

  async #answer(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    fact: DocumentFact,
    outcome: Outcome,
    status: number,
  ): Promise<Answer> {
    const { mirrorBase } = ctx
    const bases = {
      originBase: withoutTrailingSlash(this.#options.client.policy.base.href),
      mirrorBase,
      aliases: HUB_URLS,
    }
    const link = fact.link === undefined ? undefined : rewriteLink(fact.link, { ...bases, stripXet: true })
    const headers: Record<string, string> = {
      ...fact.headers,
      'content-type': fact.contentType,
      ...(link === undefined ? {} : { link }),
      ...DOCUMENT_HEADERS,
    }
    const { body } = fact
    const plan = await this.#plans.of(body, route.document)
    // Not the Hub's own: without Xet and with the mirror's URLs these are other bytes, and not the same for all names of the
    // mirror. Weak as the Hub's, since a gateway may compress them. An answer to a POST is no representation of its target.
    if (status === 200 && request.method === 'GET')
      headers['etag'] = weakEtag([plan.digest, plan.hasBase ? mirrorBase : '', link ?? '', fact.contentType])
    const lengthBytes = rewrittenLength(body, plan, mirrorBase)
    headers['content-length'] = String(lengthBytes)
    if (body.length <= SMALL_DOCUMENT_BYTES) {
      const bytes = Buffer.concat([...rewritten(body, plan, mirrorBase)])
      return { status, headers, outcome, body: { kind: 'bytes', bytes } }
    }
    const release = await this.#memory.hold(body, callerKey(ctx.caller))
    const stream = new DocumentBody(body, plan, mirrorBase, release)
    return { status, headers, outcome, body: { kind: 'stream', stream, lengthBytes } }
  }
}

const DOCUMENT_HEADERS = {
  'access-control-allow-origin': '*',
  'cache-control': 'private, no-cache',
  vary: 'Authorization, Accept',
  'x-content-type-options': 'nosniff',
}

function questionOf({ repo, target }: DocumentRoute): RefusalKey | undefined {
  return repo === undefined ? undefined : { kind: 'document', repo, target }
}
