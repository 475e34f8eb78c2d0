// A resolved file and what the client asked of it → an answer with a body: from a blob, by joining a flight, or
// straight from the origin where nothing may or can be stored. The conditions of RFC 9110 §13.2.2 in their order.

import { createHash } from 'node:crypto'
import { callerKey } from '../../callers/caller-key.ts'
import { MirrorError } from '../../errors.ts'
import { type ByteRange, formatContentRange, formatUnsatisfied } from '../../http/range.ts'
import { type Conditions, select } from '../../http/select.ts'
import { type FileMeta, fileHeaders } from '../../hub/file-meta.ts'
import { type Repo, repoKey } from '../../hub/names.ts'
import { type FileRoute, resolveTarget } from '../../hub/route.ts'
import type { OriginClient, Requester } from '../../origin/client.ts'
import { bufferBody, SHORT_BODY_BYTES } from '../../origin/connections/body-buffers.ts'
import { FileBody } from '../../origin/files/file-body.ts'
import { askSize } from '../../origin/files/object-size.ts'
import type { SignedUrls } from '../../origin/files/signed-urls.ts'
import { isRepoMoved } from '../../origin/repo-moved.ts'
import { hashUpTo, Verifier } from '../../store/digest.ts'
import type { BlobHandle, Store } from '../../store/store.ts'
import type { Lane, Observer, Outcome } from '../../telemetry/observer.ts'
import type { Access } from '../access/access.ts'
import { provePublic } from '../access/public.ts'
import { type Answer, ageHeader, type Body, type ByteSource, type Reusable } from '../answer.ts'
import { anonymousRequester, asStranger, type Ctx, requesterOf } from '../context.ts'
import type { Flights, Joined } from '../downloads/downloads.ts'
import type { Known } from '../known.ts'
import { type ResolvedFile, urlName } from './resolve.ts'
import { skip, verified } from './verified.ts'

export interface PullOptions {
  readonly store: Store
  readonly flights: Flights
  readonly client: OriginClient
  readonly access: Access
  readonly known: Known
  readonly monotonic: () => number
  readonly urls: SignedUrls
  readonly offline: boolean
  /** Whether bytes that are not everybody's may be stored; each caller's right has been proved before this room. */
  readonly cachePrivate: boolean
  readonly observer: Observer
  readonly onStorageFailed: (error: unknown) => void
}

/** Where bytes come from that are not stored. */
interface BodySource {
  readonly repo: Repo
  /** The canonical target that the Hub is asked for. */
  readonly target: string
  readonly urls: SignedUrls
  readonly urlName: string
  readonly namesCommit: boolean
}

/** What is known of the bytes before any of them has come. */
type KnownBody = Pick<ResolvedFile, 'key' | 'isPublic' | 'mayStore' | 'outcome' | 'reusable'> & {
  readonly meta: Pick<FileMeta, 'etag' | 'sizeBytes'>
}

/** An object that is named by its sha256 alone, of which the Hub has told this caller that it is in the repo. */
export interface KnownObject {
  readonly repo: Repo
  /** In hex. */
  readonly sha256: string
  readonly sizeBytes: number
  readonly contentType: string
  /** Whether everybody may read the repo. Only then, or with `cachePrivate`, are bytes of it stored. */
  readonly isPublic: Promise<boolean>
  readonly mayStore: boolean
  /** The target at the Hub, or the one address that the Hub gave, which cannot be asked for again. */
  readonly from: string | URL
}

/** What a transfer link says of its object. */
export type LinkedObject = Pick<KnownObject, 'repo' | 'sha256' | 'sizeBytes' | 'mayStore'> & {
  readonly url: URL
}

export interface ObjectRequest {
  readonly method: 'GET' | 'HEAD'
  readonly conditions: Conditions
}

export class Puller {
  readonly #options: PullOptions

  constructor(options: PullOptions) {
    this.#options = options
  }

  /** The answer to HEAD: never opens a body, here or at the origin. */
  head(route: FileRoute, file: ResolvedFile, conditions: Conditions): Answer {
    const headers: Record<string, string> = { ...headersOf(file.meta, route), ...ageHeader(file.ageMs) }
    if (select('HEAD', conditions, file.meta).kind === 'not-modified') {
      return { status: 304, headers, outcome: file.outcome, body: { kind: 'none' } }
    }
    headers['content-length'] = String(file.meta.sizeBytes)
    return { status: 200, headers, outcome: file.outcome, body: { kind: 'none' }, reusable: file.reusable }
  }

  /**
   * The answer to GET. The body is opened, and nothing of it taken; whoever sends it closes it. Throws RepoMoved where
   * its first bytes turn out to lie under a name that was not decided about, also when others ask for them.
   */
  async get(ctx: Ctx, route: FileRoute, file: ResolvedFile, conditions: Conditions): Promise<Answer> {
    const headers: Record<string, string> = { ...headersOf(file.meta, route), ...ageHeader(file.ageMs) }
    return this.#answer(ctx, this.#sourceOf(ctx, route, file.meta), file, { headers, conditions })
  }

  /** The object of a transfer link: `Mirror.object`. */
  async linked(ctx: Ctx, { url, ...link }: LinkedObject, request: ObjectRequest): Promise<Answer> {
    const isStored = link.mayStore && (await this.hasObject(link.sha256, link.sizeBytes))
    // A Hub may give an address for whatever digest it is told. Where bytes of private repos are stored, too, the address
    // has to show that they are the caller's.
    const isOpen = isStored && !this.#options.cachePrivate
    if (this.#options.offline && !isOpen) throw new MirrorError('offline_and_absent')
    if (!isOpen) await this.#checkSize(ctx, link, url)
    // Whoever holds the link may have it; whether everybody may matters to what is stored only.
    const isPublic = isOpen ? Promise.resolve(true) : provePublic(ctx, link.repo, this.#options)
    const contentType = 'application/octet-stream'
    return this.object(ctx, { ...link, contentType, isPublic, from: url }, request)
  }

  /**
   * The size of a batch is what its caller has said, and the Hub may repeat that. A pull by a wrong one would fail for all who
   * join it. Throws transfer_link_refused.
   */
  async #checkSize(ctx: Ctx, { sizeBytes }: Pick<LinkedObject, 'sizeBytes'>, url: URL): Promise<void> {
    await ctx.countAgainstLimit?.()
    const found = await askSize(this.#options.client, url, anonymousRequester(ctx), ctx.signal)
    if (found?.sizeBytes === sizeBytes) return
    const reason = found === undefined ? 'refused there' : 'another size'
    throw new MirrorError('transfer_link_refused', { detail: { reason, host: url.host } })
  }

  /** Whether the bytes of a sha256 are stored, whole and of this size. */
  async hasObject(sha256: string, sizeBytes: number): Promise<boolean> {
    const { blobs } = this.#options.store
    if (sizeBytes === 0) return sha256 === EMPTY_SHA256
    if (blobs.cachedBytes(`sha256:${sha256}`, sizeBytes) !== undefined) return true
    const blob = await blobs.open(`sha256:${sha256}`, sizeBytes).catch(() => undefined)
    await blob?.close()
    return blob !== undefined
  }

  /**
   * The answer to HEAD or GET of an object that the caller has the right to. As that of `get`: verified to its last byte,
   * from the store where it is there, by one pull for all who ask.
   */
  async object(ctx: Ctx, object: KnownObject, request: ObjectRequest): Promise<Answer> {
    const { repo, sha256, sizeBytes, from } = object
    // Of nothing no byte is fetched, and no digest checked.
    if (sizeBytes === 0 && sha256 !== EMPTY_SHA256) throw new MirrorError('integrity_mismatch')
    const headers: Record<string, string> = {
      'content-type': object.contentType,
      etag: `"${sha256}"`,
      'accept-ranges': 'bytes',
      'access-control-allow-origin': '*',
      'cache-control': 'private, no-cache',
      'x-content-type-options': 'nosniff',
    }
    const file: KnownBody = {
      meta: { etag: sha256, sizeBytes },
      key: `sha256:${sha256}`,
      isPublic: object.isPublic,
      mayStore: object.mayStore,
      outcome: 'miss',
    }
    if (request.method === 'HEAD') {
      const answer = { status: 200, headers: { ...headers, 'content-length': String(sizeBytes) } }
      return { ...answer, outcome: 'bypass', body: { kind: 'none' } }
    }
    const isFixed = from instanceof URL
    const source: BodySource = {
      repo,
      target: isFixed ? '/' : from,
      urls: isFixed ? onlyUrl(from) : this.#options.urls,
      urlName: `${ctx.fingerprint} ${repoKey(repo)} ${sha256}`,
      namesCommit: false,
    }
    return this.#answer(ctx, source, file, { headers, conditions: request.conditions })
  }

  async #answer(
    ctx: Ctx,
    source: BodySource,
    file: KnownBody,
    { headers, conditions }: { readonly headers: Record<string, string>; readonly conditions: Conditions },
  ): Promise<Answer> {
    const { meta } = file
    const selected = select('GET', conditions, meta)
    if (selected.kind === 'not-modified') {
      return { status: 304, headers, outcome: file.outcome, body: { kind: 'none' } }
    }
    if (selected.kind === 'unsatisfiable') {
      throw new MirrorError('range_not_satisfiable', {
        detail: { contentRange: formatUnsatisfied(meta.sizeBytes) },
      })
    }
    const range = selected.kind === 'range' ? selected.range : { start: 0, end: meta.sizeBytes }
    headers['content-length'] = String(range.end - range.start)
    if (selected.kind === 'range') headers['content-range'] = formatContentRange(range, meta.sizeBytes)
    const { body, outcome } = await this.#open(ctx, source, file, {
      range,
      whole: completesFile(range, meta.sizeBytes, conditions.range),
    })
    const status = selected.kind === 'range' ? 206 : 200
    return { status, headers, outcome, body, reusable: this.#reusableWith(body, file) }
  }

  /** Where the same bytes, or others of the same file, are found again without waiting. */
  #reusableWith(body: Body, { key, meta: { sizeBytes }, reusable }: KnownBody): Reusable | undefined {
    const { blobs } = this.#options.store
    if (reusable === undefined) return undefined
    if (body.kind === 'bytes')
      return { ...reusable, bytes: () => (sizeBytes === 0 ? EMPTY : blobs.cachedBytes(key, sizeBytes)) }
    if (body.kind !== 'source' || body.source.blob === undefined) return undefined
    const open = (range: ByteRange): ByteSource | undefined => {
      const blob = blobs.openCached(key, sizeBytes)
      return blob && blobSource(blob, range)
    }
    return { ...reusable, file: { sizeBytes, open } }
  }

  async #open(
    ctx: Ctx,
    from: BodySource,
    file: KnownBody,
    wanted: { readonly range: ByteRange; readonly whole: boolean },
  ): Promise<{ body: Body; outcome: Outcome }> {
    const { store, flights, offline } = this.#options
    const { meta, key } = file
    if (meta.sizeBytes === 0) return { body: { kind: 'bytes', bytes: EMPTY }, outcome: file.outcome }
    const isPublic = await file.isPublic
    ctx.admission?.checkName()
    const caller = callerKey(ctx.caller)
    const isWanted = (): boolean => this.#options.client.isWanted(caller)
    // Without a digest nobody could say whether what is stored is the file.
    const isCheckable = !key.startsWith('opaque:')
    if (!isCheckable || !file.mayStore || (!isPublic && !this.#options.cachePrivate)) {
      await ctx.countAgainstLimit?.()
      return { body: await this.#straight(ctx, from, file, wanted.range), outcome: 'bypass' }
    }
    const stored = file.outcome === 'miss' ? 'revalidated' : file.outcome
    const bytes = store.blobs.cachedBytes(key, meta.sizeBytes)
    if (bytes !== undefined) {
      const { start, end } = wanted.range
      return { body: { kind: 'bytes', bytes: bytes.subarray(start, end) }, outcome: stored }
    }
    const blob = await store.blobs.open(key, meta.sizeBytes).catch((error: unknown) => {
      this.#options.onStorageFailed(error)
      return undefined
    })
    if (blob !== undefined) {
      // What was not checked may have been wrong when it was sent.
      const verifierAt = blob.isChecked
        ? (position: number) => hashedUpTo(blob, position, ctx.signal)
        : undefined
      const rescue = offline ? undefined : this.#rescue(ctx, from, file, wanted, verifierAt)
      return {
        body: { kind: 'source', source: blobSource(blob, wanted.range), ...(rescue && { rescue, isWanted }) },
        outcome: stored,
      }
    }
    if (offline) throw new MirrorError('offline_and_absent')
    const reader = { ...wanted, signal: ctx.signal, claim: ctx.countAgainstLimit }
    const joined = await flights.join(key, meta.sizeBytes, reader, () =>
      // Others may join, and stay when the token of the one who started is no longer good or out of quota: the file is everybody's.
      this.#body(ctx, from, meta, {
        // It goes into the store, however slow its readers are; what is short is over like a question.
        lane: meta.sizeBytes <= SHORT_BODY_BYTES ? 'question' : 'pull',
        otherRequester: isPublic ? anonymousRequester(ctx) : undefined,
      }),
    )
    if (joined === undefined) {
      // What others pull found no room for this reader.
      await ctx.countAgainstLimit?.()
      return { body: await this.#straight(ctx, from, file, wanted.range), outcome: 'bypass' }
    }
    await heedMove(joined.source)
    const { flight } = joined
    const rescue = this.#rescue(ctx, from, file, wanted, (position) => flight.verifierAt(position))
    return {
      body: { kind: 'source', source: joined.source, rescue, isWanted },
      outcome: OUTCOME_OF[joined.how],
    }
  }

  #sourceOf(ctx: Ctx, { repo, path }: FileRoute, { commit }: FileMeta): BodySource {
    return {
      repo,
      // By commit, not by branch: the branch may have moved since the facts were learnt.
      target: resolveTarget(repo, commit, path),
      urls: this.#options.urls,
      urlName: urlName(ctx, repo, commit, path),
      namesCommit: true,
    }
  }

  #body(
    ctx: Ctx,
    source: BodySource,
    meta: KnownBody['meta'],
    { lane, otherRequester }: { readonly lane: Lane; readonly otherRequester?: Requester | undefined },
  ): FileBody {
    const { client, observer } = this.#options
    const { repo, ...from } = source
    return new FileBody({
      ...from,
      lane,
      client,
      observer,
      meta,
      requester: requesterOf(ctx),
      otherRequester,
      onRefused: (refusal, { authorization }) => {
        // Nobody waits: what is believed in memory has ended when this returns, and Known hears of a disk that fails.
        const who = authorization === undefined ? asStranger(ctx) : ctx
        void this.#options.access.refused(who, repo, refusal, this.#options.monotonic())
      },
    })
  }

  /** Straight from the origin to one client: nothing touches the disk, and a whole file is verified all the same. */
  async #straight(ctx: Ctx, from: BodySource, file: KnownBody, range: ByteRange): Promise<Body> {
    const { client } = this.#options
    const caller = callerKey(ctx.caller)
    const stream = this.#passing(ctx, from, file, range)
    // Without rules and scopes every name is as good.
    const opened = ctx.admission === undefined ? stream : await begun(stream)
    const isWanted = (): boolean => client.isWanted(caller)
    return { kind: 'stream', stream: opened, lengthBytes: range.end - range.start, isWanted }
  }

  /** A short range is read at once, where there is memory for it, so that its connection is not the client's to keep. */
  async *#passing(
    ctx: Ctx,
    from: BodySource,
    { meta, key }: KnownBody,
    range: ByteRange,
  ): AsyncGenerator<Buffer, void, undefined> {
    const { client, observer } = this.#options
    const release = client.buffers.reserve(callerKey(ctx.caller), range.end - range.start)
    const lane = release === undefined ? 'relay' : 'question'
    const bytes = this.#body(ctx, from, meta, { lane }).read(range, ctx.signal)
    const whole = range.start === 0 && range.end === meta.sizeBytes
    const stream = whole ? verified(bytes, new Verifier(key, meta.sizeBytes), observer) : bytes
    yield* release === undefined ? stream : bufferBody(stream, release)
  }

  /**
   * How a reader goes on when the disk fails under it: the rest comes straight, the digest still decides. `verifierAt`
   * hashes the file up to there, or as far as the disk lets it.
   */
  #rescue(
    ctx: Ctx,
    from: BodySource,
    file: KnownBody,
    wanted: { readonly range: ByteRange; readonly whole: boolean },
    verifierAt: ((position: number) => Promise<Verifier>) | undefined,
  ): (position: number) => AsyncIterable<Buffer> {
    const { meta } = file
    const { observer } = this.#options
    const straight = (position: number): AsyncIterable<Buffer> =>
      this.#body(ctx, from, meta, { lane: 'relay' }).read(
        { start: position, end: wanted.range.end },
        ctx.signal,
        { hasBegun: position > wanted.range.start },
      )
    return async function* (position) {
      if (!wanted.whole) {
        yield* straight(position)
        return
      }
      // What was sent so far came from the disk that has just failed; without its hash the end cannot be vouched for.
      const verifier = position === 0 ? new Verifier(file.key, meta.sizeBytes) : await verifierAt?.(position)
      if (verifier === undefined)
        throw new MirrorError('integrity_mismatch', { detail: { reason: 'disk failed' } })
      const missing = position - verifier.position
      yield* skip(verified(straight(verifier.position), verifier, observer), missing)
    }
  }
}

/**
 * Waits for the first bytes. Closes the source and throws RepoMoved where it is that which keeps them: the one who
 * started the pull was not decided about under that name. What else may fail is told when the answer is sent.
 */
async function heedMove(source: ByteSource): Promise<void> {
  try {
    await source.ready(source.range.start)
  } catch (error) {
    if (!isRepoMoved(error)) return
    await source.close()
    throw error
  }
}

/** The same chunks, of which the first has come. Throws what kept it. */
async function begun(stream: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer>> {
  const chunks = stream[Symbol.asyncIterator]()
  const first = chunks.next()
  await first
  let next: Promise<IteratorResult<Buffer>> | undefined = first
  return {
    [Symbol.asyncIterator]: () => ({
      next() {
        const chunk = next ?? chunks.next()
        next = undefined
        return chunk
      },
      return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
    }),
  }
}

const EMPTY = Buffer.alloc(0)
const EMPTY_SHA256 = createHash('sha256').digest('hex')

/** One address that the Hub gave once. Throws transfer_link_refused when another would be needed. */
function onlyUrl(url: URL): SignedUrls {
  return {
    get: () => url,
    set: () => undefined,
    invalidate: () => {
      throw new MirrorError('transfer_link_refused', { detail: { reason: 'refused there', host: url.host } })
    },
  }
}

// Of facts that are in memory, the headers are made once.
const madeHeaders = new WeakMap<FileMeta, Readonly<Record<string, string>>>()

function headersOf(meta: FileMeta, route: FileRoute): Readonly<Record<string, string>> {
  if (route.download) return fileHeaders(meta, route.path, { download: true })
  const made = madeHeaders.get(meta) ?? fileHeaders(meta, route.path, { download: false })
  madeHeaders.set(meta, made)
  return made
}

/** A range to the open end is the rest of a download: it completes a file, so it is verified like a whole one. */
function completesFile(range: ByteRange, sizeBytes: number, header: string | undefined): boolean {
  if (range.start === 0 && range.end === sizeBytes) return true
  return range.end === sizeBytes && /^\s*bytes\s*=\s*\d+\s*-\s*$/i.test(header ?? '')
}

const OUTCOME_OF = {
  started: 'miss',
  resumed: 'partial-hit',
  joined: 'coalesced',
} as const satisfies Record<Joined['how'], Outcome>

/** A verifier that has hashed the first `position` bytes of a blob that is still open, or those before the damaged ones. */
async function hashedUpTo(blob: BlobHandle, position: number, signal: AbortSignal): Promise<Verifier> {
  const verifier = new Verifier(blob.key, blob.sizeBytes)
  await hashUpTo(
    verifier,
    (...to) => {
      signal.throwIfAborted()
      return blob.read(...to).catch(() => 0)
    },
    position,
  )
  return verifier
}

/** A finished blob as a source of `range`; closing it closes the blob. */
function blobSource(blob: BlobHandle, range: ByteRange): ByteSource {
  return {
    range,
    file: blob.file,
    blob: { key: blob.key, sizeBytes: blob.sizeBytes },
    isBelieved: () => blob.isTrusted(range),
    ready: () => Promise.resolve(range.end),
    read: (buffer, offset, length, position) => blob.read(buffer, offset, length, position),
    close: () => blob.close(),
  }
}
