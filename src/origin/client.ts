// One method, one request, one hop. The only place that speaks HTTP to the origin; every request passes through
// `send`, which decides whether the credential goes along. Knows nothing of repos.

import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { MirrorError } from '../errors.ts'
import type { HeaderBag } from '../http/headers.ts'
import { DIRECT, type Proxies } from '../http/proxies.ts'
import { TOO_MANY } from '../hub/refusal.ts'
import type { Observer, OriginKind } from '../telemetry/observer.ts'
import { createDispatcher } from './dispatcher.ts'
import { withoutCoding } from './encoding.ts'
import { patientWithEvents } from './events.ts'
import { originFailure } from './failure.ts'
import { keepAfterRedirects } from './heads.ts'
import { followMoves } from './move.ts'
import { type Asked, Quota, type Spent } from './quota.ts'
import { mayCarryCredential, type RedirectPolicy } from './redirect.ts'
import { Suspicion } from './suspicion.ts'

/** Who asks, and what the Hub may learn of it. */
export interface Asker {
  /** The caller's Authorization field as it came. */
  readonly authorization: string | undefined
  /** Headers of the caller that the Hub counts by: user agent, download counter. Never credentials. */
  readonly forward: Readonly<Record<string, string>>
  /** Counts the question for the log line of the request. */
  readonly onTrip?: () => void
  /** Told of every redirect within the origin before it is taken; throws where it must not be. */
  readonly onRedirect?: ((url: URL) => void) | undefined
}

export interface OriginRequest {
  readonly kind: OriginKind
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT'
  readonly url: URL
  readonly asker: Asker
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer | Readable
  readonly signal?: AbortSignal
  /** Shorter patience than the configured one; not for the end of a rate limit either. */
  readonly timeoutMs?: number
  /** How long an answer may take after the request has gone out, where the configured patience is too short for it. */
  readonly answerTimeoutMs?: number
}

export interface OriginAnswer {
  readonly status: number
  readonly headers: HeaderBag
  /** Decoded where it came encoded. Must be read to the end or destroyed, else the connection is lost to the pool. */
  readonly body: Readable & { dump(): Promise<void> }
}

export interface OriginClient {
  readonly policy: RedirectPolicy
  /**
   * Sends one request and follows nothing but a move of the whole origin (see followMoves). Throws origin_unreachable or origin_timeout. Whoever is out of quota at the
   * Hub gets a 429 without a question; every 429 says when to ask again, as far as the Hub has said it.
   */
  send(request: OriginRequest): Promise<OriginAnswer>
  /** The same for those who send by `dispatcher` themselves: an answer when the request may not leave. */
  admit(asked: Asked, signal: AbortSignal): Promise<OriginAnswer | undefined>
  /** And takes what their answer says of the quota. Returns its headers, those of a 429 with the time to wait. */
  heard(asked: Asked, status: number, headers: HeaderBag): HeaderBag
  /** The URL of a canonical target such as `/org/name/resolve/main/x`. */
  url(target: string): URL
  /** True for a few seconds after the origin could not be reached: whoever has something stored need not wait. */
  suspect(): boolean
  /** Why the origin could not be reached, in a sentence, for as long as it is suspect. It names no other host. */
  trouble(): string | undefined
  /** For those who pass requests on by themselves. It bears the silence of streams of events. */
  readonly dispatcher: Dispatcher
  close(): Promise<void>
}

export function createOriginClient(options: {
  readonly policy: RedirectPolicy
  readonly timeoutMs: number
  readonly connections: number
  /** Marks our requests so that a loop of mirrors can be told. */
  readonly via: string
  readonly observer: Observer
  readonly now: () => number
  readonly dispatcher?: Dispatcher
  /** By default none. */
  readonly proxies?: Proxies
  /** See Suspicion. */
  readonly onTurn?: (trouble: MirrorError | undefined) => void
  /** See followMoves. */
  readonly onMoved?: (place: string) => void
}): OriginClient {
  const { policy, observer, now } = options
  const dispatcher =
    options.dispatcher ??
    createDispatcher({
      proxies: options.proxies ?? DIRECT,
      connections: options.connections,
      timeoutMs: options.timeoutMs,
    })
  const sender = dispatcher.compose(keepAfterRedirects)
  const suspicion = new Suspicion({ now, observer, onTurn: options.onTurn })
  const quota = new Quota({ base: policy.base, now, observer })

  function heard(asked: Asked, status: number, headers: HeaderBag): HeaderBag {
    const spent = quota.heard(asked, status, headers)
    return spent === undefined ? headers : { ...headers, ...waitHeaders(spent) }
  }

  async function send(request: OriginRequest): Promise<OriginAnswer> {
    const { url, kind } = request
    const asked = { url, authorization: credentialFor(policy, request) }
    const patient = request.timeoutMs === undefined
    const spent = await quota.admit(asked, { patient, signal: request.signal })
    if (spent !== undefined) return spentAnswer(spent)
    const startedAt = now()
    request.asker.onTrip?.()
    try {
      const { statusCode, headers, body } = await withPatience(request, (signal) =>
        sender.request({
          origin: url.origin,
          path: `${url.pathname}${url.search}`,
          method: request.method,
          headers: headersFor(request, asked.authorization, options.via),
          body: request.body ?? null,
          // All that is asked here reads, also by POST.
          idempotent: true,
          signal,
          headersTimeout: request.answerTimeoutMs ?? options.timeoutMs,
          bodyTimeout: options.timeoutMs,
        }),
      )
      // A body that fails after nobody listens any more must not end the process.
      body.on('error', () => undefined)
      observer.originRequest(kind, statusCode, (now() - startedAt) / 1000)
      if (mayCarryCredential(policy, url)) suspicion.clear()
      return { status: statusCode, headers: heard(asked, statusCode, headers), body }
    } catch (error) {
      if (request.signal?.aborted === true) throw request.signal.reason
      observer.originRequest(kind, 0, (now() - startedAt) / 1000)
      const failure = originFailure(error, url, policy.base.host)
      // Our own lack of descriptors says nothing about the origin.
      if (!mayCarryCredential(policy, url) || failure.code === 'overloaded') throw failure
      throw suspicion.raise(failure, startedAt)
    }
  }

  return {
    policy,
    send: followMoves(
      async (request) => withoutCoding(await send(request), request.method),
      policy,
      options.onMoved,
    ),
    heard,
    async admit(asked, signal) {
      const spent = await quota.admit(asked, { patient: true, signal })
      return spent === undefined ? undefined : spentAnswer(spent)
    },
    dispatcher: dispatcher.compose(patientWithEvents(options.timeoutMs)),
    // A base path of the origin (a mirror below a prefix) stands before every target.
    url: (target) => new URL(policy.base.pathname.replace(/\/$/, '') + target, policy.base),
    suspect: () => suspicion.isRaised,
    trouble: () => suspicion.trouble,
    close: () => dispatcher.destroy(),
  }
}

function credentialFor(policy: RedirectPolicy, { url, asker }: OriginRequest): string | undefined {
  return mayCarryCredential(policy, url) ? asker.authorization : undefined
}

function headersFor(
  { asker, headers }: OriginRequest,
  credential: string | undefined,
  ownVia: string,
): Record<string, string> {
  const via = appendVia(asker.forward['via'], ownVia)
  const known = { 'accept-encoding': 'identity', ...asker.forward, ...headers, via }
  return credential === undefined ? known : { ...known, authorization: credential }
}

/** In the forms that all clients read: Python takes RateLimit, the others Retry-After. A rest of the mirror's own is no quota. */
function waitHeaders({ bucket, seconds, isRest }: Spent): Record<string, string> {
  if (isRest) return { 'retry-after': String(seconds) }
  return { 'retry-after': String(seconds), ratelimit: `"${bucket}";r=0;t=${seconds}` }
}

const RESTS = `${TOO_MANY} It waits a while before it asks again.`

/** What the Hub would say. */
function spentAnswer(spent: Spent): OriginAnswer {
  const message = spent.isRest ? RESTS : 'The Hub has asked to wait before the next request.'
  const body = Buffer.from(JSON.stringify({ error: message }))
  return {
    status: 429,
    headers: {
      ...waitHeaders(spent),
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
 * Waits for the headers of an answer no longer than `timeoutMs`, if given. The timeouts of a connection begin with it:
 * a request that waits for a free one waits as long as those before it take, and hears of its signal only then.
 */
async function withPatience<T>(
  request: OriginRequest,
  start: (signal: AbortSignal | null) => Promise<T>,
): Promise<T> {
  const { signal, timeoutMs } = request
  if (timeoutMs === undefined) return start(signal ?? null)
  const late = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const reason = new OutOfPatience()
      late.abort(reason)
      reject(reason)
    }, timeoutMs)
  })
  try {
    return await Promise.race([
      start(signal === undefined ? late.signal : AbortSignal.any([signal, late.signal])),
      over,
    ])
  } finally {
    clearTimeout(timer)
  }
}

/** RFC 9110 §7.6.3: to what stands there, so that a mirror further back sees itself in a circle of several. */
export function appendVia(before: string | undefined, own: string): string {
  return before === undefined ? own : `${before}, ${own}`
}
