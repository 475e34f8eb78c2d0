// Sends one request over one hop. This is the only place that speaks HTTP to the origin: every request passes through
// `send`, which decides whether the credential goes along. It knows nothing about repos.

import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import type { HeaderBag } from '../http/headers.ts'
import { DIRECT, type Proxies } from '../http/proxies.ts'
import { TOO_MANY } from '../hub/refusal.ts'
import type { Lane, Observer, OriginKind } from '../telemetry/observer.ts'
import { keepConnectionAfterRedirects } from './connections/after-head.ts'
import { BodyBuffers } from './connections/body-buffers.ts'
import { decodeBody } from './connections/content-coding.ts'
import { CONNECT_TIMEOUT_MS, createDispatcher } from './connections/dispatcher.ts'
import { allowSilentEventStreams } from './connections/event-streams.ts'
import { type Floor, withFloor } from './connections/pace.ts'
import {
  type ConnectionPermit,
  type ConnectionRequest,
  QUEUE_TIMEOUT_MS,
  Shares,
  type WaitReport,
} from './connections/shares.ts'
import { Reachability } from './failures/reachability.ts'
import { originFailure } from './failures/unreachable.ts'
import type { OriginAnswer } from './origin-answer.ts'
import { followMoves } from './origin-move.ts'
import { Quota, type QuotaKey, type QuotaWait } from './quota.ts'
import { mayCarryCredential, type RedirectPolicy } from './redirect.ts'
import { BodyThreads, LONG_BODY_BYTES } from './threads/body-threads.ts'

/** On whose behalf a request is sent, and what the Hub may learn about that caller. */
export interface Requester {
  /** The caller's Authorization field as it came. */
  readonly authorization: string | undefined
  /** Whose share of the connections the request takes: `callerKey`. Requests without one share one share. */
  readonly caller?: string
  /** The caller's header fields that the Hub counts by: user agent, download counter. Never credentials. */
  readonly forward: Readonly<Record<string, string>>
  /** Called when a request leaves for the origin, to count it in the request log. */
  readonly onOriginRequest?: () => void
  /** Called with the target of every redirect within the origin before it is taken. Throws to stop there. */
  readonly onRedirect?: ((url: URL) => void) | undefined
}

export interface OriginRequest {
  readonly kind: OriginKind
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT'
  readonly url: URL
  readonly requester: Requester
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer | Readable
  readonly signal?: AbortSignal
  /**
   * A shorter limit than the configured one for the time until the answer, the wait for a connection included. A request with
   * this limit does not wait for the end of a rate limit either.
   */
  readonly timeoutMs?: number
  /**
   * The length of the body that is asked for, if another thread may receive it. Then `body` of the answer may be a ThreadBody,
   * which can be written to a sink only.
   */
  readonly threadBytes?: number | undefined
  /**
   * How long the answer may take once the request has been sent, where the configured limit is too short. A caller that sends
   * a stream as the body must abort `signal` when the upload takes too long: see `watchUpload`.
   */
  readonly answerTimeoutMs?: number
  /** What the connection is used for. The default is `relay` for the GET of a body, and `question` for all else. */
  readonly lane?: Lane | undefined
  /** How long to wait for a connection while other requests hold them all. The default is QUEUE_TIMEOUT_MS. */
  readonly waitMs?: number | undefined
}

export type { OriginAnswer }

export interface OriginClient {
  readonly policy: RedirectPolicy
  /**
   * Sends one request. Follows no redirect but a move of the whole origin (see followMoves). Throws origin_unreachable or
   * origin_timeout, and as `Shares.acquire` where it gets no connection. A requester that is out of quota at the Hub gets a
   * 429 without a request to the Hub. Every 429 names the time to wait, as far as the Hub has named it.
   */
  send(request: OriginRequest): Promise<OriginAnswer>
  /** The same check for code that sends by `dispatcher` itself. Returns an answer when the request must not be sent. */
  admit(quotaKey: QuotaKey, signal: AbortSignal): Promise<OriginAnswer | undefined>
  /** Updates the quota from an answer to such a request. Returns its headers, those of a 429 with the time to wait. */
  observeAnswer(quotaKey: QuotaKey, status: number, headers: HeaderBag): HeaderBag
  /** Whether the mirror may send a request of its own, so that the last tenth of each quota is left for callers. */
  hasSpareQuota(quotaKey: QuotaKey): boolean
  /** For how many ms no request of the mirror's own that this credential may go with should be sent, so that it is left. */
  reservedQuotaMs(authorization: string | undefined): number
  /** The URL of a canonical target such as `/org/name/resolve/main/x`. */
  url(target: string): URL
  /** True for a few seconds after the origin could not be reached: callers with a stored answer need not wait then. */
  isRecentlyUnreachable(): boolean
  /** One sentence that says why, while `isRecentlyUnreachable`; otherwise undefined. It names no other host than the origin. */
  unreachableReason(): string | undefined
  /** For code that forwards requests itself and holds a permit of `shares`. Event streams may be silent on it. */
  readonly dispatcher: Dispatcher
  /** How long the origin may take until the headers of an answer. */
  readonly timeoutMs: number
  readonly shares: Shares
  readonly buffers: BodyBuffers
  /** Whether other callers wait for what a slow client of `caller` holds: a connection, or memory. */
  isWanted(caller: string): boolean
  close(): Promise<void>
}

/** Bytes a second. A body of the origin that is slower than this for three times the timeout is requested again, or given up. */
const ORIGIN_FLOOR = 1024

/**
 * `timeoutMs` of a request whose answer can be replaced by a stored one. It leaves time to send that one: huggingface_hub
 * gives up a silent answer after 10 s.
 */
export const FALLBACK_TIMEOUT_MS = 4_000

interface OriginOptions {
  readonly policy: RedirectPolicy
  readonly timeoutMs: number
  readonly connections: number
  /** The Via value of this mirror, by which a loop of mirrors is detected. */
  readonly via: string
  readonly observer: Observer
  readonly now: () => number
  /** Called with who waits for connections, and how long. */
  readonly onWait?: (report: WaitReport) => void
  readonly dispatcher?: Dispatcher
  /** By default none. */
  readonly proxies?: Proxies
  /** See Reachability. */
  readonly onReachabilityChange?: (trouble: MirrorError | undefined) => void
  /** See followMoves. */
  readonly onMoved?: (place: string) => void
}

export function createOriginClient(options: OriginOptions): OriginClient {
  const { policy, observer, now, timeoutMs, connections, proxies = DIRECT } = options
  const dispatcher = options.dispatcher ?? createDispatcher({ proxies, connections, timeoutMs })
  const floor = { bytesPerSecond: ORIGIN_FLOOR, graceMs: 3 * timeoutMs }
  const sender = dispatcher.compose(keepConnectionAfterRedirects, withFloor(floor, now))
  const threads = options.dispatcher === undefined ? createThreads(timeoutMs, floor) : undefined
  const shares = new Shares({ connections, now, observer, onNews: options.onWait })
  const buffers = new BodyBuffers()
  const reachability = new Reachability({ now, observer, onChange: options.onReachabilityChange })
  const quota = new Quota({ base: policy.base, now, observer })

  function observeAnswer(quotaKey: QuotaKey, status: number, headers: HeaderBag): HeaderBag {
    const wait = quota.observe(quotaKey, status, headers)
    return wait === undefined ? headers : { ...headers, ...waitHeaders(wait) }
  }

  async function send(request: OriginRequest): Promise<OriginAnswer> {
    const { url, kind } = request
    const quotaKey = { url, authorization: credentialFor(policy, request) }
    const mayWait = request.timeoutMs === undefined
    const wait = await quota.admit(quotaKey, { mayWait, signal: request.signal })
    if (wait !== undefined) return waitAnswer(wait)
    const cameAt = now()
    const permit = await shares.acquire(wantedBy(request))
    const startedAt = now()
    const leftMs = (request.timeoutMs ?? timeoutMs) - (mayWait ? 0 : startedAt - cameAt)
    request.requester.onOriginRequest?.()
    try {
      const limitMs = request.body instanceof Readable ? undefined : leftMs
      const { statusCode, headers, body } = await withDeadline(limitMs, request.signal, (signal) => {
        const fields = headersFor(request, quotaKey.authorization, options.via)
        return withPermit(permit, signal, async () => {
          const isForThread = isLongPull(request, fields) && proxies.of(url) === undefined
          const received = isForThread ? await threads?.fetch(url, fields, signal) : undefined
          return received ?? sender.request(inUndici(request, fields, { signal, timeoutMs }))
        })
      })
      observer.originRequest(kind, statusCode, (now() - startedAt) / 1000)
      if (mayCarryCredential(policy, url)) reachability.reached()
      return { status: statusCode, headers: observeAnswer(quotaKey, statusCode, headers), body }
    } catch (error) {
      if (request.signal?.aborted === true) throw request.signal.reason
      observer.originRequest(kind, 0, (now() - startedAt) / 1000)
      const failure = originFailure(error, url, policy.base.host)
      // Our own lack of descriptors says nothing about the origin.
      if (!mayCarryCredential(policy, url) || failure.code === 'overloaded') throw failure
      throw reachability.failed(failure, startedAt)
    }
  }

  return {
    policy,
    send: followMoves(
      async (request) => decodeBody(await send(request), request.method),
      policy,
      options.onMoved,
    ),
    observeAnswer,
    async admit(quotaKey, signal) {
      const wait = await quota.admit(quotaKey, { mayWait: true, signal })
      return wait === undefined ? undefined : waitAnswer(wait)
    },
    hasSpareQuota: (quotaKey) => quota.hasSpare(quotaKey),
    reservedQuotaMs: (authorization) => quota.reservedMs(authorization),
    dispatcher: dispatcher.compose(allowSilentEventStreams(timeoutMs)),
    timeoutMs,
    shares,
    buffers,
    isWanted: (caller) => buffers.isLow || shares.isWanted('relay', caller),
    // A base path of the origin (a mirror below a prefix) stands before every target.
    url: (target) => new URL(withoutTrailingSlash(policy.base.pathname) + target, policy.base),
    isRecentlyUnreachable: () => reachability.isRecentlyUnreachable,
    unreachableReason: () => reachability.reason,
    async close() {
      await Promise.all([dispatcher.destroy(), threads?.close()])
    },
  }
}

function createThreads(timeoutMs: number, floor: Floor): BodyThreads {
  return new BodyThreads({ connectMs: Math.min(CONNECT_TIMEOUT_MS, timeoutMs), silenceMs: timeoutMs, floor })
}

/**
 * Whether a request is worth another thread: it fetches a long body for the store, over TLS. It has no Authorization field: no
 * credential leaves this thread.
 */
function isLongPull(
  { kind, method, url, lane, threadBytes = 0 }: OriginRequest,
  fields: Readonly<Record<string, string>>,
): boolean {
  const isPull = kind === 'cdn' && method === 'GET' && lane === 'pull'
  const isPlain = fields['authorization'] === undefined && url.protocol === 'https:'
  return isPull && isPlain && threadBytes >= LONG_BODY_BYTES
}

/** The request as undici takes it. */
function inUndici(
  { url, method, body, answerTimeoutMs }: OriginRequest,
  headers: Record<string, string>,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Dispatcher.RequestOptions {
  const path = `${url.pathname}${url.search}`
  const headersTimeout = answerTimeoutMs ?? timeoutMs
  const limits = { signal, headersTimeout, bodyTimeout: timeoutMs }
  // All that is asked here reads, also by POST.
  return { origin: url.origin, path, method, headers, body: body ?? null, idempotent: true, ...limits }
}

function credentialFor(policy: RedirectPolicy, { url, requester }: OriginRequest): string | undefined {
  return mayCarryCredential(policy, url) ? requester.authorization : undefined
}

function headersFor(
  { requester, headers }: OriginRequest,
  credential: string | undefined,
  ownVia: string,
): Record<string, string> {
  const via = appendVia(requester.forward['via'], ownVia)
  const known = { 'accept-encoding': 'identity', ...requester.forward, ...headers, via }
  return credential === undefined ? known : { ...known, authorization: credential }
}

/** In the forms that all clients read: Python reads RateLimit, the others Retry-After. A backoff of the mirror's own is no quota. */
function waitHeaders({ bucket, seconds, isBackoff }: QuotaWait): Record<string, string> {
  if (isBackoff) return { 'retry-after': String(seconds) }
  return { 'retry-after': String(seconds), ratelimit: `"${bucket}";r=0;t=${seconds}` }
}

const BACKOFF_MESSAGE = `${TOO_MANY} It pauses before the next request.`

/** The 429 that the Hub would send. */
function waitAnswer(wait: QuotaWait): OriginAnswer {
  const message = wait.isBackoff
    ? BACKOFF_MESSAGE
    : 'The Hub asked the mirror to pause before the next request.'
  const body = Buffer.from(JSON.stringify({ error: message }))
  return {
    status: 429,
    headers: {
      ...waitHeaders(wait),
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(body.length),
      'x-error-message': message,
    },
    body: Object.assign(Readable.from([body]), { dump: () => Promise.resolve() }),
  }
}

class OutOfPatience extends Error {
  readonly code = 'PATIENCE_TIMEOUT'

  constructor() {
    super('no answer in time')
    this.name = 'OutOfPatience'
  }
}

/**
 * Waits at most `ms` for the promise of `start`. Undici's own limits are not enough: they start again with each interim
 * answer (RFC 9110 §15.2) and each piece of a header, and a request without a connection sees its signal only when it has one.
 * Only the wait for the promise is limited. The signal stays in force for the body that it resolves with.
 */
async function withDeadline<T>(
  ms: number | undefined,
  given: AbortSignal | undefined,
  start: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const signal = given === undefined ? late.signal : AbortSignal.any([given, late.signal])
  const timer = ms === undefined ? undefined : setTimeout(() => late.abort(new OutOfPatience()), ms)
  let abort = (): void => {}
  const over = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([start(signal), over])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}

type Answered = Pick<Dispatcher.ResponseData, 'statusCode'> & Pick<OriginAnswer, 'headers' | 'body'>

/** Releases the permit when the request fails or its body has ended. An answer that comes after `signal` is dropped. */
async function withPermit(
  permit: ConnectionPermit,
  signal: AbortSignal,
  start: () => Promise<Answered>,
): Promise<Answered> {
  try {
    const answer = await start()
    answer.body.once('close', () => permit.release())
    // Without a listener, a body that fails late would end the process.
    answer.body.on('error', () => undefined)
    if (signal.aborted) answer.body.destroy()
    return answer
  } catch (error) {
    permit.release()
    throw error
  }
}

function wantedBy(request: OriginRequest): ConnectionRequest {
  const { url, requester, lane = laneOf(request), timeoutMs = QUEUE_TIMEOUT_MS, signal } = request
  const { waitMs = Math.min(QUEUE_TIMEOUT_MS, timeoutMs) } = request
  return { host: url.origin, lane, caller: requester.caller ?? '', waitMs, signal }
}

function laneOf({ kind, method }: OriginRequest): Lane {
  return method === 'HEAD' || (kind !== 'body' && kind !== 'cdn') ? 'question' : 'relay'
}

/** Appends to an existing Via (RFC 9110 §7.6.3), so that a mirror further back detects a loop through several mirrors. */
export function appendVia(before: string | undefined, own: string): string {
  return before === undefined ? own : `${before}, ${own}`
}
