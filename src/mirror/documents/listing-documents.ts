// Documents that describe files of a commit: finds the files in those that pass, and reads listings for the mirror itself.

import { callerKey } from '../../callers/caller-key.ts'
import { isPage } from '../../http/headers.ts'
import { isCommitHash } from '../../hub/names.ts'
import { readRefusal } from '../../hub/refusal.ts'
import type { Access } from '../access/access.ts'
import { asAnonymous, type Ctx } from '../context.ts'
import type { CommitListings, TreeRoute } from '../files/commit-listings.ts'
import type { DocumentFact } from '../metadata/documents.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { DocumentMemory } from './document-memory.ts'
import { documentName } from './document-name.ts'
import { type DocumentPlans, infoOf, itemsOf } from './document-plans.ts'
import type { DocumentRoute, HubDocuments } from './hub-documents.ts'
import type { Implied } from './implied.ts'
import { receivedFact } from './received.ts'

const GET = { method: 'GET', body: undefined, contentType: undefined } as const

export interface ListingDocumentsOptions {
  readonly metadata: Metadata
  readonly access: Access
  readonly implied: Implied
  readonly memory: DocumentMemory
  readonly listings: Pick<CommitListings, 'learn' | 'hasLearnt'>
  readonly hub: HubDocuments
  readonly plans: DocumentPlans
}

export class ListingDocuments {
  readonly #options: ListingDocumentsOptions

  constructor(options: ListingDocumentsOptions) {
    this.#options = options
  }

  /**
   * Learns what a document says of the files of a commit. `name` is that of the document. `owner` is undefined for a public repo, else
   * the fingerprint of the credential to which the Hub has sent it. Never rejects.
   */
  async learn(
    ctx: Ctx,
    route: DocumentRoute,
    fact: DocumentFact,
    name: string,
    owner?: string,
  ): Promise<void> {
    const { repo, revision = '', document, target } = route
    const isInfo = document === 'repo' || document === 'revision'
    if (repo === undefined || fact.absent !== undefined) return
    // An info without blobs has names only.
    if (isInfo ? !/[?&]blobs=/.test(target) : !isCommitHash(revision)) return
    const { listings, plans, memory } = this.#options
    const { body } = fact
    try {
      if (isCommitHash(revision) && listings.hasLearnt({ repo, commit: revision, owner, name })) return
      const plan = await plans.of(body, document)
      const items = itemsOf(body, document, plan)
      const commit = isInfo ? infoOf(body, plan)['sha'] : revision
      if (items === undefined || typeof commit !== 'string' || !isCommitHash(commit)) return
      const release = await memory.hold(body, callerKey(ctx.caller))
      await listings.learn({ repo, commit, owner, name }, body, items).finally(release)
    } catch {
      // A document that cannot be read, or for which there is no memory, teaches nothing.
    }
  }

  /** The same for the caller alone, to whom the Hub has sent the document. Ignored unless the repo is known not to be public. */
  async learnOwn(ctx: Ctx, route: DocumentRoute, fact: DocumentFact, name: string): Promise<void> {
    const isOwn = ctx.authorization !== undefined && route.repo !== undefined
    if (isOwn && this.#options.access.isRestricted(route.repo))
      await this.learn(ctx, route, fact, name, ctx.fingerprint)
  }

  /**
   * One page of a listing for the mirror itself: what is stored, or what the Hub sends without a credential. For an `owner`, whose
   * request `ctx` must be, it is what the Hub sends to that credential. Its files have been learnt when this resolves. Undefined
   * when there is no such page, and when the Hub cannot be asked. Never rejects.
   */
  async readPage(
    ctx: Ctx,
    route: TreeRoute,
    owner: string | undefined,
  ): Promise<{ readonly next: TreeRoute | undefined } | undefined> {
    const { metadata, implied } = this.#options
    const name = documentName(route, GET)
    const stored = name === undefined || owner !== undefined ? undefined : await metadata.documents.get(name)
    try {
      const page = stored ?? (await this.#ask(ctx, route, name, owner))
      if (page === undefined || page.absent !== undefined) return undefined
      if (stored !== undefined) await this.learn(ctx, route, page, name ?? route.target)
      const { link } = page
      return { next: link === undefined ? undefined : implied.nextPage(route.repo, link) }
    } catch {
      // The request that needed the page asks about its file instead, and reports what is wrong.
      return undefined
    }
  }

  async #ask(
    ctx: Ctx,
    route: TreeRoute,
    name: string | undefined,
    owner: string | undefined,
  ): Promise<DocumentFact | undefined> {
    const { hub, plans, access, metadata } = this.#options
    const asking = owner === undefined ? asAnonymous(ctx) : ctx
    const { answer, done } = await hub.ask(asking, route, GET, { hasFallback: true })
    const { status, headers, body, askedAt } = answer
    try {
      if (status >= 400) {
        await access.refused(asking, route.repo, readRefusal(status, headers, body), askedAt)
        return undefined
      }
      if (status !== 200 || isPage(headers)) return undefined
      const fact = receivedFact(answer)
      // Throws for what is no list: that is neither stored nor learnt.
      await plans.of(body, route.document)
      if (name !== undefined && owner === undefined && access.verdict(route.repo) === 'public')
        metadata.documents.set(name, fact, askedAt)
      await this.learn(ctx, route, fact, name ?? route.target, owner)
      return fact
    } finally {
      done()
    }
  }
}
