// A document as a client is sent it: with URLs that lead to the mirror, without Xet, and with a validator of its own.

import { callerKey } from '../../callers/caller-key.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { weakEtag } from '../../http/conditional.ts'
import { datasetsServerBase } from '../../hub/datasets-server.ts'
import { HUB_URLS } from '../../hub/names.ts'
import { rewriteLink, rewrittenLength } from '../../hub/rewrite.ts'
import type { OriginClient } from '../../origin/client.ts'
import type { Outcome } from '../../telemetry/observer.ts'
import type { Answer } from '../answer.ts'
import type { Ctx } from '../context.ts'
import type { DocumentFact } from '../metadata/documents.ts'
import { DocumentBody } from './document-body.ts'
import type { DocumentMemory } from './document-memory.ts'
import type { DocumentPlans } from './document-plans.ts'
import { type DocumentRequest, type DocumentRoute, SMALL_DOCUMENT_BYTES } from './hub-documents.ts'
import { RewrittenDocuments } from './rewritten-documents.ts'

export interface DocumentAnswersOptions {
  readonly client: Pick<OriginClient, 'policy'>
  readonly memory: DocumentMemory
  /** Bounds the memory of documents as clients are sent them, where that differs from what is stored. */
  readonly rewrittenBytes: number
  readonly plans: DocumentPlans
}

export class DocumentAnswers {
  readonly #originBase: string
  readonly #memory: DocumentMemory
  readonly #plans: DocumentPlans
  readonly #rewritten: RewrittenDocuments

  constructor({ client, memory, rewrittenBytes, plans }: DocumentAnswersOptions) {
    this.#originBase = withoutTrailingSlash(client.policy.base.href)
    this.#memory = memory
    this.#plans = plans
    this.#rewritten = new RewrittenDocuments({ maxBytes: rewrittenBytes })
  }

  /** The answer for the client of this request. The caller must close its body. Rejects as `DocumentMemory.hold` and the plan do. */
  async make(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    fact: DocumentFact,
    outcome: Outcome,
    status: number,
  ): Promise<Answer> {
    // The addresses in rows are those of the datasets-server, which the client has asked for by that name.
    const isRows = route.document === 'dataset-rows'
    const mirrorBase = isRows ? datasetsServerBase(ctx.mirrorBase) : ctx.mirrorBase
    const bases = {
      originBase: this.#originBase,
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
    const made = await this.#rewritten.of(body, plan, mirrorBase)
    const lengthBytes = made?.length ?? rewrittenLength(body, plan, mirrorBase)
    headers['content-length'] = String(lengthBytes)
    if (made !== undefined && made.length <= SMALL_DOCUMENT_BYTES)
      return { status, headers, outcome, body: { kind: 'bytes', bytes: made } }
    const release = await this.#memory.hold(made ?? body, callerKey(ctx.caller))
    const stream = new DocumentBody(made ?? body, made === undefined ? plan : NO_CHANGES, mirrorBase, release)
    return { status, headers, outcome, body: { kind: 'stream', stream, lengthBytes } }
  }
}

const NO_CHANGES = { edits: new Uint32Array(), members: new Map() } as const

const DOCUMENT_HEADERS = {
  'access-control-allow-origin': '*',
  'cache-control': 'private, no-cache',
  vary: 'Authorization, Accept',
  'x-content-type-options': 'nosniff',
}
