// The questions one asks the Hub about a file: what is it (head), and give me these bytes (FileBody). Follows
// redirects hop by hop; checks every answer against what was announced. Does not know the disk.

import { setTimeout as sleep } from 'node:timers/promises'
import { MirrorError } from '../errors.ts'
import { headerValue } from '../http/headers.ts'
import { type ByteRange, parseContentRange } from '../http/range.ts'
import { type FileMeta, readFirstHop } from '../hub/file-meta.ts'
import type { CommitHash } from '../hub/names.ts'
import { type Refusal, readRefusal } from '../hub/refusal.ts'
import type { Lane, Observer } from '../telemetry/observer.ts'
import type { Asker, OriginAnswer, OriginClient } from './client.ts'
import { isTimeout, originFailure } from './failure.ts'
import { isMoved } from './moved.ts'
import { followRedirect, MAX_HOPS, mayCarryCredential } from './redirect.ts'
import { isRetryableStatus, retryDelayMs } from './retry.ts'
import type { SignedUrls } from './signed-urls.ts'

/** What the Hub said about a file: its facts and where the bytes are, or its own "no". */
export type HeadResult =
  | { readonly kind: 'meta'; readonly meta: FileMeta; readonly location: URL | undefined }
  | { readonly kind: 'refusal'; readonly refusal: Refusal }

/** The Hub answers "no" while a body is being pulled; relayed as it is. */
export class RefusedByHub extends Error {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    super(`the Hub answered ${refusal.status}`)
    this.name = 'RefusedByHub'
    this.refusal = refusal
  }
}

/** Attempts without a byte of progress before a body is given up. */
const MAX_ATTEMPTS = 5
const REDIRECT_LOOP = 'redirect loop'
/** A transfer that has begun waits longer for its next connection: to begin anew would cost all. */
const LONG_WAIT_MS = 60_000
/** More text than any refusal needs. */
const MAX_REFUSAL_BYTES = 64 * 1024

/**
 * Asks HEAD for a canonical file target and follows the Hub's own redirects (renamed repo, resolve-cache); the
 * last hop to another host is not taken. The commit comes from the first hop that names one (huggingface_hub
 * reads it there too). Throws MirrorError when the origin is away or not to be trusted.
 */
export async function headFile(
  client: OriginClient,
  target: string,
  asker: Asker,
  options: { readonly timeoutMs?: number; readonly retries: number; readonly kind?: 'head' | 'access' },
): Promise<HeadResult> {
  let url = client.url(target)
  let commit: CommitHash | undefined
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const answer = await headOnce(client, url, asker, options)
    const first = readFirstHop(answer.headers, answer.status)
    switch (first.kind) {
      case 'refusal':
        return { kind: 'refusal', refusal: readRefusal(answer.status, answer.headers, Buffer.alloc(0)) }
      case 'bad':
        throw new MirrorError('origin_bad_answer', {
          detail: { reason: first.reason, status: answer.status },
        })
      case 'meta': {
        // The commit of the address the client used wins over that of a later hop.
        const meta = commit === undefined ? first.meta : { ...first.meta, commit }
        if (first.location !== undefined)
          return { kind: 'meta', meta, location: followRedirect(client.policy, url, first.location) }
        // Only an address of the commit means the same bytes tomorrow; that of a renamed repo may name a branch.
        const isPinned = hop > 0 && url.pathname.split('/').includes(meta.commit)
        return { kind: 'meta', meta, location: isPinned ? url : undefined }
      }
      case 'redirect':
        commit ??= first.commit
        url = followRedirect(client.policy, url, first.location)
        if (!mayCarryCredential(client.policy, url)) {
          throw new MirrorError('origin_bad_answer', {
            detail: { reason: 'redirect without facts', host: url.host },
          })
        }
        asker.onRedirect?.(url)
        break
      default:
        first satisfies never
    }
  }
  throw new MirrorError('origin_bad_answer', { detail: { reason: REDIRECT_LOOP } })
}

async function headOnce(
  client: OriginClient,
  url: URL,
  asker: Asker,
  options: { readonly timeoutMs?: number; readonly retries: number; readonly kind?: 'head' | 'access' },
): Promise<OriginAnswer> {
  for (let attempt = 1; ; attempt += 1) {
    const last = attempt > options.retries
    try {
      const answer = await client.send({
        kind: options.kind ?? 'head',
        method: 'HEAD',
        url,
        asker,
        ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      })
      await answer.body.dump()
      if (!isRetryableStatus(answer.status)) return answer
      if (last) {
        throw new MirrorError('origin_bad_answer', {
          detail: { reason: 'server error', status: answer.status },
        })
      }
    } catch (error) {
      if (last || !(error instanceof MirrorError) || error.code !== 'origin_unreachable') throw error
    }
    await sleep(retryDelayMs(attempt, Math.random))
  }
}

interface Waiting {
  readonly signal: AbortSignal
  /** How long for a connection; undefined: as usual. */
  readonly waitMs: number | undefined
}

/** Where the bytes of one file come from. One per flight or per streamed answer; not shared between credentials. */
export class FileBody {
  readonly #client: OriginClient
  readonly #target: string
  readonly #meta: Pick<FileMeta, 'sizeBytes'>
  readonly #namesCommit: boolean
  #asker: Asker
  #otherAsker: Asker | undefined
  readonly #onRefused: ((refusal: Refusal, asker: Asker) => void) | undefined
  readonly #urls: SignedUrls
  readonly #urlName: string
  readonly #observer: Observer
  readonly #lane: Lane
  // A CDN's own validator: unrelated to the Hub's etag, but it must not change within one file.
  readonly #validators = new Map<string, string>()
  // Settles when the Hub has told where the bytes are: other ranges wait for that, and do not ask as well.
  #asking: Promise<void> | undefined
  #sentByHub = false
  #ignoresRanges = false
  #encodedParts = 0

  /** `target` must name the commit of `meta`; `urlName` is the scope under which signed URLs are remembered. */
  constructor(options: {
    readonly client: OriginClient
    readonly target: string
    readonly meta: Pick<FileMeta, 'sizeBytes'>
    /** False where the Hub names no commit beside the bytes: of objects that are asked for by their digest. */
    readonly namesCommit?: boolean
    readonly asker: Asker
    /** Who asks when the Hub refuses the first: others may wait for bytes that its token no longer opens, or has no quota for. */
    readonly otherAsker?: Asker | undefined
    /** Hears what the Hub itself refuses to the asker who asked, at whatever hop or attempt. */
    readonly onRefused?: (refusal: Refusal, asker: Asker) => void
    readonly urls: SignedUrls
    readonly urlName: string
    readonly observer: Observer
    /** What its connections are counted as: `relay` where a client's pace is that of the transfer. */
    readonly lane: Lane
  }) {
    this.#client = options.client
    this.#target = options.target
    this.#meta = options.meta
    this.#namesCommit = options.namesCommit !== false
    this.#asker = options.asker
    this.#otherAsker = options.otherAsker
    this.#onRefused = options.onRefused
    this.#urls = options.urls
    this.#urlName = options.urlName
    this.#observer = options.observer
    this.#lane = options.lane
  }

  /** Whoever asks for a part is sent the whole, so that parts of one file cost more than the file. */
  get ignoresRanges(): boolean {
    return this.#ignoresRanges
  }

  /**
   * Exactly the bytes of `range`, in order. A connection that fails is replaced from the next byte, with a new
   * signed URL where the old one is refused. Throws RefusedByHub, or MirrorError: integrity_mismatch when the file
   * is no longer the announced one, else what stopped it. Abort `signal` or return early to end the transfer.
   * `hasBegun`: it goes on with a transfer, and waits longer for a connection than a client for the first byte.
   */
  async *read(
    range: ByteRange,
    signal: AbortSignal,
    { hasBegun = false }: { readonly hasBegun?: boolean } = {},
  ): AsyncGenerator<Buffer, void, undefined> {
    let position = range.start
    let failures = 0
    while (position < range.end) {
      try {
        const waitMs = hasBegun || position > range.start ? LONG_WAIT_MS : undefined
        const body = await this.#open({ start: position, end: range.end }, { signal, waitMs })
        for await (const chunk of body) {
          failures = 0
          position += chunk.length
          yield chunk
        }
        if (position < range.end) throw new ShortBody()
      } catch (error) {
        signal.throwIfAborted()
        if (!isWorthRetrying(error)) throw error
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

  async #open(range: ByteRange, how: Waiting): Promise<AsyncIterable<Buffer>> {
    const remembered = this.#remembered()
    if (remembered === undefined) {
      if (this.#asking === undefined || this.#sentByHub) return this.#askHub(range, how)
      await this.#asking
      return this.#open(range, how)
    }
    const answer = await this.#ask(remembered, range, how)
    if (answer.status < 300) return this.#checked(answer, remembered, range, how.signal)
    // What the Hub itself refuses it refuses at the file's own address too, where that is dealt with.
    const own = mayCarryCredential(this.#client.policy, remembered)
    if (answer.status === 429 && !own) throw await refusedBy(answer)
    discard(answer)
    if (isRetryableStatus(answer.status)) {
      throw new MirrorError('origin_bad_answer', { detail: { reason: 'CDN error', status: answer.status } })
    }
    // Expired, bound to the method it was signed for, or moved on: the Hub gives another, or has to another range.
    this.#urls.forget(this.#urlName, remembered)
    this.#observer.originRetry('expired-url')
    return this.#open(range, how)
  }

  /** Whoever is decided about by name asks the Hub at the file's own address, which tells a new name. */
  #remembered(): URL | undefined {
    const url = this.#urls.get(this.#urlName)
    const isOwn = url !== undefined && mayCarryCredential(this.#client.policy, url)
    return isOwn && this.#asker.onRedirect !== undefined ? undefined : url
  }

  async #askHub(range: ByteRange, how: Waiting): Promise<AsyncIterable<Buffer>> {
    let settle = (): void => {}
    const asking = new Promise<void>((resolve) => (settle = resolve))
    this.#asking = asking
    const told = (): void => {
      if (this.#asking === asking) this.#asking = undefined
      settle()
    }
    try {
      return await this.#resolve(range, how, told)
    } finally {
      told()
    }
  }

  async #resolve(range: ByteRange, how: Waiting, onUrl: () => void): Promise<AsyncIterable<Buffer>> {
    let url = this.#client.url(this.#target)
    for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
      const asker = this.#asker
      const answer = await this.#ask(url, range, how)
      const own = mayCarryCredential(this.#client.policy, url)
      const location = headerValue(answer.headers, 'location')
      if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
        discard(answer)
        url = followRedirect(this.#client.policy, url, location)
        if (mayCarryCredential(this.#client.policy, url)) asker.onRedirect?.(url)
        else {
          this.#urls.set(this.#urlName, url)
          onUrl()
        }
        continue
      }
      if (answer.status < 300) {
        this.#sentByHub = own
        return this.#checked(answer, url, range, how.signal)
      }
      // A redirect without a target is no refusal. A CDN's own is not the Hub's, but for 429: that is the caller's.
      const refused = answer.status >= 400 && !isRetryableStatus(answer.status)
      if (own && isOfAsker(answer.status) && asker !== this.#asker) {
        // Another range was told before, and has turned to the other asker.
        discard(answer)
        return this.#resolve(range, how, onUrl)
      }
      if (own && isOfAsker(answer.status) && this.#otherAsker !== undefined) {
        this.#asker = this.#otherAsker
        this.#otherAsker = undefined
        this.#onRefused?.((await refusedBy(answer)).refusal, asker)
        return this.#resolve(range, how, onUrl)
      }
      if (refused && (own || answer.status === 429)) {
        const error = await refusedBy(answer)
        if (own) this.#onRefused?.(error.refusal, asker)
        throw error
      }
      discard(answer)
      this.#urls.forget(this.#urlName, url)
      throw new MirrorError('origin_bad_answer', { detail: { reason: 'no body', status: answer.status } })
    }
    throw new MirrorError('origin_bad_answer', { detail: { reason: REDIRECT_LOOP } })
  }

  #ask(url: URL, range: ByteRange, { signal, waitMs }: Waiting): Promise<OriginAnswer> {
    const whole = this.#encodedParts > 1 || (range.start === 0 && range.end === this.#meta.sizeBytes)
    const own = mayCarryCredential(this.#client.policy, url)
    return this.#client.send({
      kind: own ? 'body' : 'cdn',
      method: 'GET',
      url,
      asker: this.#asker,
      headers: whole ? {} : { range: `bytes=${range.start}-${range.end - 1}` },
      signal,
      lane: this.#lane,
      waitMs,
    })
  }

  /** Holds an answer against the request; yields the bytes of `range` and nothing else. */
  #checked(answer: OriginAnswer, url: URL, range: ByteRange, signal: AbortSignal): AsyncIterable<Buffer> {
    try {
      const { start, end } = this.#check(answer, url, range)
      const own = mayCarryCredential(this.#client.policy, url)
      return this.#bytes(answer, range.start - start, end - range.start, own, signal)
    } catch (error) {
      discard(answer)
      throw error
    }
  }

  /** Where the bytes of the answer begin, and where those begin that nobody asked for. */
  #check(answer: OriginAnswer, url: URL, range: ByteRange): ByteRange {
    const bad = (reason: string): MirrorError =>
      new MirrorError('origin_bad_answer', { detail: { reason, host: url.host, status: answer.status } })
    const changed = (reason: 'size' | 'etag'): MirrorError => {
      this.#observer.integrityFailure(reason === 'size' ? 'length' : 'validator')
      return new MirrorError('integrity_mismatch', { detail: { reason, host: url.host } })
    }
    const encoding = headerValue(answer.headers, 'content-encoding')
    if (encoding !== undefined && encoding !== 'identity') {
      // A part of what was encoded is of no use. Where that is no accident the whole is asked for, which can be decoded.
      this.#encodedParts += 1
      throw bad('encoded body')
    }
    let given: ByteRange = { start: 0, end: range.end }
    if (answer.status === 206) {
      const told = parseContentRange(headerValue(answer.headers, 'content-range'))
      if (told === undefined) throw bad('206 without Content-Range')
      if (told.sizeBytes !== undefined && told.sizeBytes !== this.#meta.sizeBytes) throw changed('size')
      if (told.range.start !== range.start || told.range.end > range.end) throw bad('206 of another range')
      // It may be shorter than what was asked for; what its body holds beyond that belongs nowhere.
      given = told.range
    } else if (answer.status !== 200) {
      throw bad('unexpected status')
    } else if (headerValue(answer.headers, 'content-length') !== undefined) {
      // A whole body of another length is another file, or a proxy's error page.
      if (Number(headerValue(answer.headers, 'content-length')) !== this.#meta.sizeBytes)
        throw bad('wrong length')
    }
    if (this.#namesCommit && mayCarryCredential(this.#client.policy, url)) {
      const commit = headerValue(answer.headers, 'x-repo-commit')
      // A login page of the network answers 200 too, but names no commit.
      if (commit === undefined) throw bad('no X-Repo-Commit')
    }
    const validator = headerValue(answer.headers, 'etag')
    const known = this.#validators.get(url.host)
    if (known !== undefined && validator !== undefined && known !== validator) throw changed('etag')
    if (validator !== undefined) this.#validators.set(url.host, validator)
    // Whoever asked for all of it says nothing of ranges.
    if (range.end - range.start < this.#meta.sizeBytes) this.#ignoresRanges = answer.status === 200
    return given
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
      // Either everything wanted has come, or nobody wants the rest.
      answer.body.destroy()
    }
  }
}

class ShortBody extends Error {
  readonly code = 'SHORT_BODY'

  constructor() {
    super('the body ended before its length')
    this.name = 'ShortBody'
  }
}

function retryReason(error: unknown): Parameters<Observer['originRetry']>[0] {
  if (error instanceof ShortBody) return 'short-body'
  if (!(error instanceof MirrorError)) return isTimeout(error) ? 'timeout' : 'network'
  if (error.code === 'origin_timeout') return 'timeout'
  return error.code === 'origin_bad_answer' ? 'status' : 'network'
}

/** Whether another asker may be answered otherwise. */
function isOfAsker(status: number): boolean {
  return status === 401 || status === 403 || status === 429
}

/** Trouble on the way is; a Hub that says no, a file that changed, a redirect that is refused or a loop are not. */
function isWorthRetrying(error: unknown): boolean {
  if (error instanceof RefusedByHub || isMoved(error)) return false
  if (error instanceof MirrorError && error.code === 'origin_moved') return false
  if (error instanceof MirrorError)
    return error.code.startsWith('origin_') && error.detail['reason'] !== REDIRECT_LOOP
  return true
}

function discard(answer: OriginAnswer): void {
  answer.body.on('error', () => undefined)
  answer.body.destroy()
}

async function refusedBy(answer: OriginAnswer): Promise<RefusedByHub> {
  return new RefusedByHub(readRefusal(answer.status, answer.headers, await bounded(answer)))
}

async function bounded(answer: OriginAnswer): Promise<Buffer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of answer.body) {
    const chunk = part as Buffer
    size += chunk.length
    if (size > MAX_REFUSAL_BYTES) break
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}
