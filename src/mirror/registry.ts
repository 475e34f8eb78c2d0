// Manifests and blobs of the Hub's registry (/v2). Only those of public repos are answered here. A blob comes by its digest
// from the store that holds files too. A manifest comes from the Hub, or from the store while the Hub is away. All other
// requests are left to the pass-through, with the caller's own credential.

import { isOriginUnavailable, type MirrorError } from '../errors.ts'
import { etagOf, weakEtag } from '../http/conditional.ts'
import { headerValue, isPage } from '../http/headers.ts'
import { readRefusal } from '../hub/refusal.ts'
import {
  blobSizeName,
  blobsIn,
  isLlamaAgent,
  MANIFEST_HEADERS,
  manifestAccept,
  manifestName,
  type RegistryRequest,
} from '../hub/registry.ts'
import { passableHeaders } from '../hub/response-headers.ts'
import type { OriginAnswer, OriginClient } from '../origin/client.ts'
import { foreignAnswer, interception } from '../origin/failures/bad-answer.ts'
import { RefusedByHub } from '../origin/failures/refused.ts'
import { askSize, type ObjectSize } from '../origin/files/object-size.ts'
import { discard, readBounded } from '../origin/read-body.ts'
import type { Outcome } from '../telemetry/observer.ts'
import type { Access } from './access/access.ts'
import { noteAllowed, noteRefusal } from './access/note.ts'
import { proveAnswer, provePublic } from './access/public.ts'
import { hintContext, refusalAnswer } from './access/refused.ts'
import { type Answer, ageHeader } from './answer.ts'
import { anonymousRequester, type Ctx, requesterOf } from './context.ts'
import type { DocumentFreshness } from './documents/document-freshness.ts'
import { type DocumentFact, isSameDocument } from './metadata/documents.ts'
import type { Metadata } from './metadata/metadata.ts'
import type { ObjectRequest, Objects } from './objects.ts'

export interface RegistryOptions {
  readonly client: OriginClient
  readonly access: Access
  readonly metadata: Metadata
  readonly objects: Objects
  readonly freshness: Pick<DocumentFreshness, 'isFresh'>
  readonly offline: boolean
  readonly monotonic: () => number
}

export interface RegistryQuestion extends ObjectRequest {
  /** What the manifest depends on, beside the caller. */
  readonly accept: string | undefined
}

/** A manifest names a handful of blobs. */
const MAX_MANIFEST_BYTES = 1024 * 1024

export class Registry {
  readonly #options: RegistryOptions

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  /** Undefined leaves the request to the pass-through. Throws MirrorError when the Hub is away and nothing is stored. */
  async get(ctx: Ctx, asked: RegistryRequest, question: RegistryQuestion): Promise<Answer | undefined> {
    const { access, offline } = this.#options
    if (ctx.admission?.mayStore(undefined) === false) return undefined
    const isPublic = !offline && (await provePublic(ctx, asked.repo, this.#options))
    ctx.admission?.checkName()
    if (access.verdict(asked.repo) === 'restricted') return undefined
    // What is stored of a repo may be used while the last answer of the Hub was that the repo is public.
    const mayUse = isPublic || (await access.lastKnownPublic(asked.repo))
    if (!mayUse) return undefined
    return asked.kind === 'blob'
      ? this.#blob(ctx, asked, question, isPublic)
      : this.#manifest(ctx, asked, question, isPublic)
  }

  async #blob(
    ctx: Ctx,
    { repo, target, sha256 }: Extract<RegistryRequest, { kind: 'blob' }>,
    question: RegistryQuestion,
    isPublic: boolean,
  ): Promise<Answer | undefined> {
    const { metadata, objects } = this.#options
    const size = await this.#sizeOf(ctx, { target, sha256 }, isPublic)
    if (size === undefined) return undefined
    const { sizeBytes, isExact: isSure } = size
    ctx.admission?.checkSize(sizeBytes)
    const isStored = await objects.isStored(sha256, sizeBytes)
    // The Hub is away, or may not be asked.
    if (!isPublic && !isStored) return undefined
    const mayStore = ctx.admission?.mayStore(sizeBytes) !== false
    if (!mayStore) return undefined
    noteAllowed(ctx.access, isPublic ? 'public' : 'was-public')
    const known = sizeFact({ sizeBytes, isExact: isStored || isSure })
    metadata.documents.set(`BLOB ${target}`, known, this.#options.monotonic())
    const object = { repo, sha256, sizeBytes, mayStore, isPublic: Promise.resolve(true), from: target }
    const answer = await objects.answer(ctx, { ...object, contentType: 'application/octet-stream' }, question)
    if (!isStored) return answer
    return { ...answer, outcome: isPublic || this.#options.offline ? 'hit' : 'stale' }
  }

  /**
   * The stored size of the blob, or the one that the Hub reports without a credential. That it reports one shows that the
   * repo has the blob. A size that is not exact is stored only after the digest was right.
   */
  async #sizeOf(
    ctx: Ctx,
    { target, sha256 }: { readonly target: string; readonly sha256: string },
    isPublic: boolean,
  ): Promise<ObjectSize | undefined> {
    const { metadata, client, objects } = this.#options
    const kept = sizeIn(await metadata.documents.get(`BLOB ${target}`))
    // A size that is not exact is right if the blob has been stored with it: its bytes were verified.
    if (kept !== undefined && (kept.isExact || (await objects.isStored(sha256, kept.sizeBytes))))
      return { ...kept, isExact: true }
    if (!isPublic) return undefined
    await ctx.countAgainstLimit?.()
    const stated = kept && { sizeBytes: kept.sizeBytes, isBelieved: true }
    try {
      return await askSize(client, client.url(target), anonymousRequester(ctx), ctx.signal, stated)
    } catch (error) {
      // The quota of visitors is used up. The caller may have one of its own.
      if (error instanceof RefusedByHub) return undefined
      throw error
    }
  }

  async #manifest(
    ctx: Ctx,
    { repo, target }: RegistryRequest,
    { accept: given = '', method }: RegistryQuestion,
    isPublic: boolean,
  ): Promise<Answer | undefined> {
    const { metadata, client, offline, monotonic, freshness } = this.#options
    const accept = manifestAccept(given)
    if (accept === undefined) return undefined
    const isLlama = isLlamaAgent(ctx.forward['user-agent'])
    const name = manifestName(target, { accept, isLlama })
    const kept = await metadata.documents.get(name)
    const fromKept = (fact: DocumentFact, outcome: Outcome): Answer => {
      noteAllowed(ctx.access, isPublic ? 'public' : 'was-public')
      return manifestAnswer(fact, method, outcome)
    }
    const orKept = (error: MirrorError): Answer => {
      if (kept === undefined) throw error
      return fromKept(kept, 'stale')
    }
    if (kept !== undefined && isPublic && freshness.isFresh(repo, name)) {
      const answer = fromKept(kept, 'hit')
      const age = ageHeader(monotonic() - (metadata.documents.askedAt(name) ?? monotonic()))
      return { ...answer, headers: { ...answer.headers, ...age } }
    }
    if (offline || client.isRecentlyUnreachable()) return kept && fromKept(kept, offline ? 'hit' : 'stale')
    // The repo is not known to be public now. What is stored of it is only for the time when the Hub is away.
    if (!isPublic && kept === undefined) return undefined
    await ctx.countAgainstLimit?.()
    const askedAt = monotonic()
    let answer: OriginAnswer
    try {
      answer = await client.send({
        kind: 'document',
        method: 'GET',
        url: client.url(target),
        requester: requesterOf(ctx),
        headers: {
          ...(accept === '' ? {} : { accept }),
          ...(kept?.etag === undefined ? {} : { 'if-none-match': kept.etag }),
        },
        signal: ctx.signal,
      })
    } catch (error) {
      if (kept === undefined || !isOriginUnavailable(error)) throw error
      return fromKept(kept, 'stale')
    }
    if (kept !== undefined && answer.status === 304) {
      discard(answer)
      metadata.documents.set(name, kept, askedAt, kept)
      return fromKept(kept, 'revalidated')
    }
    const body = await readWhole(answer)
    const isUnavailable = answer.status >= 500 || answer.status === 429
    if (kept !== undefined && (isUnavailable || body === undefined))
      return { ...fromKept(kept, 'stale'), isLimited: answer.status === 429 }
    // A redirect, for example: the repo has another name.
    if (body === undefined || (answer.status >= 300 && answer.status < 400)) return undefined
    if (answer.status >= 400) {
      const refusal = readRefusal(answer.status, answer.headers, body)
      const foreign = foreignAnswer({ ...answer, host: client.policy.base.host }, refusal)
      if (foreign !== undefined) return orKept(foreign)
      noteRefusal(ctx.access, refusal)
      const anonymous = ctx.authorization === undefined
      return refusalAnswer(refusal, { asked: hintContext(ctx, repo), anonymous, aboutRepo: true })
    }
    // A login page of the network instead of the JSON.
    if (isPage(answer.headers))
      return orKept(interception({ ...answer, host: client.policy.base.host }, 'hub'))
    const fact = factOf(answer, body)
    noteAllowed(ctx.access, 'public')
    const keep = async (): Promise<void> => {
      metadata.documents.set(name, fact, askedAt, kept)
      await this.#keepSizes(target, body, askedAt)
    }
    if (isPublic && answer.status === 200) {
      if (kept !== undefined && isSameDocument(kept, fact)) void keep()
      // The client asks for the blobs next, whose sizes are kept then.
      else if (await proveAnswer(ctx, { repo, askedAt }, this.#options)) await keep()
    }
    const outcome = kept === undefined ? 'miss' : 'revalidated'
    return { ...manifestAnswer(fact, method, outcome), status: answer.status }
  }

  /** Keeps the sizes of the blobs that a manifest names, for those of which the Hub will not give the size. */
  async #keepSizes(target: string, manifest: Buffer, askedAt: number): Promise<void> {
    const { documents } = this.#options.metadata
    for (const [sha256, sizeBytes] of blobsIn(manifest.toString())) {
      const name = blobSizeName(target, sha256)
      if ((await documents.get(name)) === undefined)
        documents.set(name, sizeFact({ sizeBytes, isExact: false }), askedAt)
    }
  }
}

/** The size of a blob, as it is stored. One that is not exact counts once the blob is stored with it. */
export function sizeFact({ sizeBytes, isExact }: ObjectSize): DocumentFact {
  const body = Buffer.from(isExact ? String(sizeBytes) : `${sizeBytes}?`)
  return { body, contentType: 'text/plain', link: undefined, headers: {} }
}

/** The size that `sizeFact` has written. */
function sizeIn(fact: DocumentFact | undefined): ObjectSize | undefined {
  const [, digits, mark] = /^(\d{1,15})(\??)$/.exec(fact?.body.toString() ?? '') ?? []
  return digits === undefined ? undefined : { sizeBytes: Number(digits), isExact: mark === '' }
}

function factOf(answer: OriginAnswer, body: Buffer): DocumentFact {
  const passable = passableHeaders(answer.headers, MANIFEST_HEADERS)
  const kept = MANIFEST_HEADERS.flatMap((name) => {
    const value = passable[name]
    return typeof value === 'string' ? [[name, value] as const] : []
  })
  const contentType = headerValue(answer.headers, 'content-type') ?? 'application/json'
  return {
    body,
    contentType,
    link: undefined,
    headers: Object.fromEntries(kept),
    etag: etagOf(answer.headers),
  }
}

function manifestAnswer(fact: DocumentFact, method: 'GET' | 'HEAD', outcome: Outcome): Answer {
  const bytes = fact.body
  const headers = {
    ...fact.headers,
    'content-type': fact.contentType,
    'content-length': String(bytes.length),
    etag: weakEtag([bytes, fact.contentType]),
    'cache-control': 'private, no-cache',
    vary: 'Authorization, Accept, User-Agent',
    'x-content-type-options': 'nosniff',
  }
  return {
    status: 200,
    headers,
    outcome,
    body: method === 'HEAD' ? { kind: 'none' } : { kind: 'bytes', bytes },
  }
}

/** Undefined for a body that is larger than any manifest, is encoded, or breaks off. */
async function readWhole(answer: OriginAnswer): Promise<Buffer | undefined> {
  const body = await readBounded(answer, MAX_MANIFEST_BYTES).catch(() => undefined)
  const encoding = headerValue(answer.headers, 'content-encoding')
  const length = headerValue(answer.headers, 'content-length')
  if (
    body === undefined ||
    (encoding !== undefined && encoding !== 'identity') ||
    (length !== undefined && Number(length) !== body.length)
  )
    return undefined
  return body
}
