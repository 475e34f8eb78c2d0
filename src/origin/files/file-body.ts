// The bytes of one file, wherever the Hub sends for them (FileBody): follows redirects hop by hop, and checks every answer
// against what was announced. Does not know the disk.

import { setTimeout as sleep } from 'node:timers/promises'
import { MirrorError } from '../../errors.ts'
import { type HeaderBag, headerValue, isPage } from '../../http/headers.ts'
import { type ByteRange, parseContentRange } from '../../http/range.ts'
import { answeredAt } from '../../http/retry-after.ts'
import { bareEtag, type FileMeta } from '../../hub/file-meta.ts'
import { isAbsence, type Refusal } from '../../hub/refusal.ts'
import type { Lane, Observer } from '../../telemetry/observer.ts'
import type { OriginAnswer, OriginClient, Requester } from '../client.ts'
import { badAnswer, foreignHead, hubFailure, REDIRECT_LOOP, storageRefusal } from '../failures/bad-answer.ts'
import { RefusedByHub, readRefusedByHub } from '../failures/refused.ts'
import { isRetryableStatus, retryDelayMs } from '../failures/retry.ts'
import { isTimeout, originFailure } from '../failures/unreachable.ts'
import { followRedirects } from '../follow.ts'
import { discard } from '../read-body.ts'
import { mayCarryCredential } from '../redirect.ts'
import { isRepoMoved } from '../repo-moved.ts'
import { SHORT_BODY } from '../threads/messages.ts'
import { type Sink, SinkFailed, type SinkTarget } from '../threads/sink.ts'
import { ThreadBody } from '../threads/thread-body.ts'
import type { SignedUrls } from './signed-urls.ts'

/** Attempts without a byte of progress before a body is given up. */
const MAX_ATTEMPTS = 5
/**
 * A transfer that has begun waits longer for its next connection: starting again would waste everything that was sent.
 */
const LONG_WAIT_MS = 60_000

/** The facts about a file before its bytes come. There is no etag if it is requested by its digest. */
type AnnouncedFile = Pick<FileMeta, 'sizeBytes'> & Partial<Pick<FileMeta, 'etag'>>

/** A description of the file that the Hub has given elsewhere. Its answers about the file itself must agree with it. */
export interface ListedClaim {
  /** The Hub states the same digest and size. `url` is the address that it sends the file from, or redirects to. */
  confirmed(url: URL, contentType: string | undefined): void
  /** The Hub states something else, or has no such file. The transfer fails. */
  refuted(): void
}

interface Waiting {
  readonly signal: AbortSignal
  /** How long for a connection; undefined: as usual. */
  readonly waitMs: number | undefined
  /** Where another thread may write the bytes. */
  readonly sink: Sink | undefined
}

/** The source of one file's bytes. One per download or per streamed answer; never shared between credentials. */
export class FileBody {
  readonly #client: OriginClient
  readonly #target: string
  readonly #meta: AnnouncedFile
  readonly #namesCommit: boolean
  #requester: Requester
  #otherRequester: Requester | undefined
  readonly #onRefused: ((refusal: Refusal, requester: Requester) => void) | undefined
  readonly #urls: SignedUrls
  readonly #urlName: string
  readonly #claim: ListedClaim | undefined
  readonly #observer: Observer
  readonly #lane: Lane
  // By host: a CDN's own validator. It is unrelated to the Hub's etag, but must not change within one file.
  readonly #validators = new Map<string, string>()
  // Settles when the Hub has said where the bytes are. Requests for other ranges wait for that instead of asking as well.
  #asking: Promise<void> | undefined
  #sentByHub = false
  #ignoresRanges = false
  #encodedParts = 0
  // A proxy on the way drops Content-Range, so that a part cannot be recognised. Only the whole file is requested then.
  #isRangeless = false

  /** `target` must name the commit of `meta`; `urlName` is the scope under which signed URLs are cached. */
  constructor(options: {
    readonly client: OriginClient
    readonly target: string
    readonly meta: AnnouncedFile
    /** False for objects that are requested by their digest: the Hub names no commit with their bytes. */
    readonly namesCommit?: boolean
    readonly requester: Requester
    /** Used when the Hub refuses the first: its token may have lost its right or its quota while other readers wait for the bytes. */
    readonly otherRequester?: Requester | undefined
    /** Called with each refusal of the Hub itself, and the requester it refused, at any hop or attempt. */
    readonly onRefused?: (refusal: Refusal, requester: Requester) => void
    readonly urls: SignedUrls
    readonly urlName: string
    /** Present when `meta` is only claimed. */
    readonly claim?: ListedClaim | undefined
    readonly observer: Observer
    /** The lane of its connections: `relay` where the client's pace sets that of the transfer. */
    readonly lane: Lane
  }) {
    this.#client = options.client
    this.#target = options.target
    this.#meta = options.meta
    this.#namesCommit = options.namesCommit !== false
    this.#requester = options.requester
    this.#otherRequester = options.otherRequester
    this.#onRefused = options.onRefused
    this.#urls = options.urls
    this.#urlName = options.urlName
    this.#claim = options.claim
    this.#observer = options.observer
    this.#lane = options.lane
  }

  /** Whether the origin answers every range with the whole file, so that the parts of a file cost more than the file. */
  get ignoresRanges(): boolean {
    return this.#ignoresRanges
  }

  /**
   * Exactly the bytes of `range`, in order. A connection that fails is replaced from the next byte, with a new
   * signed URL where the old one is refused. Throws RefusedByHub, or MirrorError: integrity_mismatch when the file
   * is no longer the announced one, else what stopped it. Abort `signal` or return early to end the transfer.
   * `hasBegun`: this continues a transfer, and may wait longer for a connection than a client waits for its first byte.
   */
  read(
    range: ByteRange,
    signal: AbortSignal,
    { hasBegun = false }: { readonly hasBegun?: boolean } = {},
  ): AsyncGenerator<Buffer, void, undefined> {
    // Without a sink all bytes come here.
    return this.#parts(range, signal, { hasBegun, sink: undefined }) as AsyncGenerator<
      Buffer,
      void,
      undefined
    >
  }

  /**
   * Does what `read` does, but lets another thread write bytes to `sink`, each at its position in the file, where one can
   * receive them. Yields the number of bytes in their place, and the end of the sink is no error: the generator ends early
   * then. Other bytes it yields as they are; the caller must store them. Throws SinkFailed as well. When it has ended in any
   * way, no thread writes any more.
   */
  transfer(
    range: ByteRange,
    signal: AbortSignal,
    options: { readonly hasBegun: boolean; readonly sink: Sink },
  ): AsyncGenerator<Buffer | number, void, undefined> {
    return this.#parts(range, signal, options)
  }

  async *#parts(
    range: ByteRange,
    signal: AbortSignal,
    { hasBegun, sink }: { readonly hasBegun: boolean; readonly sink: Sink | undefined },
  ): AsyncGenerator<Buffer | number, void, undefined> {
    let position = range.start
    let failures = 0
    while (position < range.end) {
      try {
        const waitMs = hasBegun || position > range.start ? LONG_WAIT_MS : undefined
        const body = await this.#open({ start: position, end: range.end }, { signal, waitMs, sink })
        for await (const part of body) {
          failures = 0
          position += typeof part === 'number' ? part : part.length
          yield part
        }
        if (position < range.end) throw new ShortBody()
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof SinkIsFull) return
        if (!isWorthRetrying(error, this.#client.policy.base.host)) throw error
        failures += 1
        if (failures >= MAX_ATTEMPTS) {
          const { base } = this.#client.policy
          throw originFailure(error, base, base.host)
        }
        this.#observer.originRetry(retryReason(error))
        await sleep(retryDelayMs(failures, Math.random), undefined, { signal })
      }
    }
  }

  async #open(range: ByteRange, how: Waiting): Promise<AsyncIterable<Buffer | number>> {
    const cached = this.#cached()
    if (cached === undefined) {
      if (this.#asking === undefined || this.#sentByHub) return this.#askHub(range, how)
      await this.#asking
      return this.#open(range, how)
    }
    const answer = await this.#ask(cached, range, how)
    if (answer.status < 300) return this.#checked(answer, cached, range, how)
    // If the Hub itself refuses here, it also refuses at the file's own address, where `#resolve` handles that.
    const own = mayCarryCredential(this.#client.policy, cached)
    if (answer.status === 429 && !own) throw await readRefusedByHub(answer, cached.host)
    discard(answer)
    if (isRetryableStatus(answer.status)) throw hubFailure({ ...answer, host: cached.host })
    // The URL has expired, is bound to another method, or has moved. The Hub issues another, or has done so for another range.
    this.#urls.invalidate(this.#urlName, cached, foreignHead({ ...answer, host: cached.host }, own))
    this.#observer.originRetry('expired-url')
    return this.#open(range, how)
  }

  /** The cached URL. A requester under rules by name uses the file's own address instead, which reveals a new name. */
  #cached(): URL | undefined {
    const url = this.#urls.get(this.#urlName)
    const isOwn = url !== undefined && mayCarryCredential(this.#client.policy, url)
    return isOwn && this.#requester.onRedirect !== undefined ? undefined : url
  }

  async #askHub(range: ByteRange, how: Waiting): Promise<AsyncIterable<Buffer | number>> {
    let settle = (): void => {}
    const asking = new Promise<void>((resolve) => (settle = resolve))
    this.#asking = asking
    const answered = (): void => {
      if (this.#asking === asking) this.#asking = undefined
      settle()
    }
    try {
      return await this.#resolve(range, how, answered)
    } finally {
      answered()
    }
  }

  async #resolve(range: ByteRange, how: Waiting, onUrl: () => void): Promise<AsyncIterable<Buffer | number>> {
    let requester = this.#requester
    const followed = await followRedirects(
      this.#client.policy,
      this.#client.url(this.#target),
      (url) => {
        requester = this.#requester
        return this.#ask(url, range, how)
      },
      ({ to, isOwn, headers }) => {
        if (headerValue(headers, 'x-linked-etag') !== undefined)
          this.#compare(headers, to, sizeOf(headerValue(headers, 'x-linked-size')))
        if (isOwn) requester.onRedirect?.(to)
        else {
          this.#urls.set(this.#urlName, to, answeredAt(headers))
          onUrl()
        }
        return true
      },
    )
    if (followed.kind !== 'answer') throw badAnswer(REDIRECT_LOOP, followed.url)
    const { answer, url } = followed
    const own = mayCarryCredential(this.#client.policy, url)
    if (answer.status < 300) {
      this.#sentByHub = own
      return this.#checked(answer, url, range, how)
    }
    // A redirect without a target is no refusal. A refusal by a CDN is not the Hub's, except a 429, which concerns the caller.
    const refused = answer.status >= 400 && !isRetryableStatus(answer.status)
    if (refused && (own || answer.status === 429)) {
      // Throws for an answer that is not the Hub's.
      const error = await readRefusedByHub(answer, url.host)
      if (own && isAbsence(error.refusal)) this.#claim?.refuted()
      // The Hub has no such bytes: the file is shorter than claimed.
      if (own && answer.status === 416 && this.#claim !== undefined) throw this.#changed('size', url)
      if (own && isAboutRequester(answer.status)) {
        // Another range was refused before, and has switched to the other requester.
        if (requester !== this.#requester) return this.#resolve(range, how, onUrl)
        if (this.#otherRequester !== undefined) {
          this.#requester = this.#otherRequester
          this.#otherRequester = undefined
          this.#onRefused?.(error.refusal, requester)
          return this.#resolve(range, how, onUrl)
        }
      }
      if (own) this.#onRefused?.(error.refusal, requester)
      throw error
    }
    discard(answer)
    this.#urls.invalidate(this.#urlName, url)
    if (isRetryableStatus(answer.status)) throw hubFailure({ ...answer, host: url.host })
    const answered = { ...answer, host: url.host }
    if (answer.status >= 400) throw foreignHead(answered, false) ?? storageRefusal(answered)
    throw badAnswer('no body', url)
  }

  #ask(url: URL, range: ByteRange, { signal, waitMs, sink }: Waiting): Promise<OriginAnswer> {
    const isRangeless = this.#isRangeless || this.#encodedParts > 1
    const whole = isRangeless || (range.start === 0 && range.end === this.#meta.sizeBytes)
    const own = mayCarryCredential(this.#client.policy, url)
    return this.#client.send({
      kind: own ? 'body' : 'cdn',
      method: 'GET',
      url,
      requester: this.#requester,
      headers: whole ? {} : { range: `bytes=${range.start}-${range.end - 1}` },
      signal,
      lane: this.#lane,
      threadBytes: sink === undefined ? undefined : range.end - range.start,
      waitMs,
    })
  }

  /** Checks an answer against the request. Yields the bytes of `range` and nothing else. */
  #checked(
    answer: OriginAnswer,
    url: URL,
    range: ByteRange,
    { signal, sink }: Waiting,
  ): AsyncIterable<Buffer | number> {
    try {
      const { start, end } = this.#check(answer, url, range)
      const own = mayCarryCredential(this.#client.policy, url)
      const { body } = answer
      const skipBytes = range.start - start
      const wantedBytes = end - range.start
      return body instanceof ThreadBody && sink !== undefined
        ? this.#written(body, { sink, position: range.start, skipBytes, wantedBytes }, signal)
        : this.#bytes(answer, skipBytes, wantedBytes, own, signal)
    } catch (error) {
      discard(answer)
      throw error
    }
  }

  /** The range of the file that the answer's body is used for. It may begin before `range`, or end early. */
  #check(answer: OriginAnswer, url: URL, range: ByteRange): ByteRange {
    const bad = (reason: string): MirrorError =>
      new MirrorError('origin_bad_answer', { detail: { reason, host: url.host, status: answer.status } })
    const own = mayCarryCredential(this.#client.policy, url)
    const changed = (reason: 'size' | 'etag'): MirrorError => this.#changed(reason, url)
    const encoding = headerValue(answer.headers, 'content-encoding')
    if (encoding !== undefined && encoding !== 'identity') {
      // A part of encoded bytes is of no use. When it happens again, the whole is requested, which can be decoded.
      this.#encodedParts += 1
      throw bad('encoded body')
    }
    let given: ByteRange = { start: 0, end: range.end }
    if (answer.status === 206) {
      const part = parseContentRange(headerValue(answer.headers, 'content-range'))
      if (part === undefined) {
        this.#isRangeless = true
        throw bad('206 without Content-Range')
      }
      if (part.sizeBytes !== undefined && part.sizeBytes !== this.#meta.sizeBytes) throw changed('size')
      if (part.range.start !== range.start || part.range.end > range.end) throw bad('206 of another range')
      // The part may be shorter than requested. Bytes of the body beyond it are dropped.
      given = part.range
    } else if (answer.status !== 200) {
      throw bad('unexpected status')
    } else if (headerValue(answer.headers, 'content-length') !== undefined) {
      // A whole body of another length is another file, or a proxy's error page.
      if (Number(headerValue(answer.headers, 'content-length')) !== this.#meta.sizeBytes) {
        // A page in place of the Hub is no reason to give up at once: the next request may reach it.
        const foreign = own ? undefined : foreignHead({ ...answer, host: url.host }, false)
        if (foreign !== undefined) throw foreign
        const isOfHub = own && headerValue(answer.headers, 'x-repo-commit') !== undefined
        throw this.#claim !== undefined && isOfHub ? changed('size') : bad('wrong length')
      }
    }
    // A login page of the network is a 200 as well, but has another size, and names neither commit nor digest.
    if (this.#namesCommit && own && !this.#isVouchedFor(answer)) throw bad('no X-Repo-Commit')
    if (own) this.#compare(answer.headers, url, statedSize(answer))
    const validator = headerValue(answer.headers, 'etag')
    const known = this.#validators.get(url.host)
    if (known !== undefined && validator !== undefined && known !== validator) throw changed('etag')
    if (validator !== undefined) this.#validators.set(url.host, validator)
    // The answer to a request for the whole says nothing about ranges.
    if (range.end - range.start < this.#meta.sizeBytes) this.#ignoresRanges = answer.status === 200
    return given
  }

  #changed(reason: 'size' | 'etag', url: URL): MirrorError {
    this.#claim?.refuted()
    this.#observer.integrityFailure(reason === 'size' ? 'length' : 'validator')
    return new MirrorError('integrity_mismatch', { detail: { reason, host: url.host } })
  }

  /**
   * Compares an answer of the Hub with a claim. `sizeBytes` is the size that it states. Throws integrity_mismatch where they differ. An
   * etag that is no digest comes from a server on the way.
   */
  #compare(headers: HeaderBag, url: URL, sizeBytes: number | undefined): void {
    if (this.#claim === undefined) return
    const linked = headerValue(headers, 'x-linked-etag')
    const etag = bareEtag(linked ?? headerValue(headers, 'etag'))
    if (etag === undefined || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) return
    if (etag !== this.#meta.etag) throw this.#changed('etag', url)
    if (sizeBytes === undefined) return
    if (sizeBytes !== this.#meta.sizeBytes) throw this.#changed('size', url)
    this.#claim.confirmed(url, linked === undefined ? headerValue(headers, 'content-type') : undefined)
  }

  /** Whether the Hub's own answer is for this file, or at least may be, where the digest decides in the end. */
  #isVouchedFor({ headers }: OriginAnswer): boolean {
    const { etag, sizeBytes } = this.#meta
    if (headerValue(headers, 'x-repo-commit') !== undefined) return true
    if (etag === undefined) return false
    if (bareEtag(headerValue(headers, 'etag')) === etag) return true
    if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) return false
    const length = headerValue(headers, 'content-length')
    const announced = parseContentRange(headerValue(headers, 'content-range'))?.sizeBytes
    // A Hub sends the HTML of a repo as plain text.
    if (announced === undefined && length === undefined) return !isPage(headers)
    return (announced ?? Number(length)) === sizeBytes
  }

  /** Has a thread write the body. Yields how many more bytes are there. */
  async *#written(
    body: ThreadBody,
    target: SinkTarget,
    signal: AbortSignal,
  ): AsyncGenerator<number, void, undefined> {
    let left = target.wantedBytes
    let skipped = target.skipBytes
    for await (const bytes of body.writeTo(target)) {
      signal.throwIfAborted()
      // Threads ask CDNs only.
      this.#observer.originBytes('cdn', bytes + skipped)
      skipped = 0
      left -= bytes
      yield bytes
    }
    if (left > 0) throw new SinkIsFull()
  }

  async *#bytes(
    answer: OriginAnswer,
    skipBytes: number,
    wantedBytes: number,
    own: boolean,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    let skip = skipBytes
    let left = wantedBytes
    try {
      for await (const part of answer.body) {
        const chunk = part as Buffer
        signal.throwIfAborted()
        this.#observer.originBytes(own ? 'body' : 'cdn', chunk.length)
        const from = Math.min(skip, chunk.length)
        skip -= from
        if (from === chunk.length) continue
        const bytes = chunk.subarray(from, from + left)
        left -= bytes.length
        if (bytes.length > 0) yield bytes
        // Once all has come the loop asks for the end, which lets the connection go back to the pool; a chunk
        // beyond it is not wanted.
        if (left === 0 && bytes.length === 0) return
      }
    } finally {
      // Either all wanted bytes have come, or the reader has left.
      answer.body.destroy()
    }
  }
}

/** The sink wants no more bytes. Never leaves this file. */
class SinkIsFull extends Error {}

class ShortBody extends Error {
  readonly code = SHORT_BODY

  constructor() {
    super('the body ended before its length')
    this.name = 'ShortBody'
  }
}

function retryReason(error: unknown): Parameters<Observer['originRetry']>[0] {
  if (isShortBody(error)) return 'short-body'
  if (!(error instanceof MirrorError)) return isTimeout(error) ? 'timeout' : 'network'
  if (error.code === 'origin_timeout') return 'timeout'
  return error.code === 'origin_unreachable' ? 'network' : 'status'
}

/** Whether the body ended before its length, here or on another thread. */
function isShortBody(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === SHORT_BODY
}

/** Whether another requester may get another answer. */
function isAboutRequester(status: number): boolean {
  return status === 401 || status === 403 || status === 429
}

/**
 * True for trouble on the way. False if the Hub refuses, the file has changed, or a redirect is refused or loops. False
 * as well for an intermediary that answers in place of the Hub, but not for one in place of a CDN, which may have
 * refused the URL only.
 */
function isWorthRetrying(error: unknown, hub: string): boolean {
  if (error instanceof RefusedByHub || error instanceof SinkFailed || isRepoMoved(error)) return false
  if (!(error instanceof MirrorError)) return true
  const { code, detail } = error
  if (code === 'origin_moved') return false
  if (code === 'origin_intercepted' && detail['host'] === hub) return false
  return code.startsWith('origin_') && detail['reason'] !== REDIRECT_LOOP
}

/** The size of the whole file, if the answer states it. */
function statedSize({ status, headers }: OriginAnswer): number | undefined {
  return status === 206
    ? parseContentRange(headerValue(headers, 'content-range'))?.sizeBytes
    : sizeOf(headerValue(headers, 'content-length'))
}

function sizeOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
