// The Hub's rate limits, as its answers report them: which credential has used up which bucket, and until when. A request of
// a credential out of quota waits here, or gets its 429 without a request to the Hub: to ask before the reported time only
// makes it longer. This file sends nothing. It knows credentials by a fingerprint that means nothing outside this process.

import { createHmac, randomBytes } from 'node:crypto'
import { withoutTrailingSlash } from '../http/base-url.ts'
import { type HeaderBag, headerValue } from '../http/headers.ts'
import { waitMsOf } from '../http/retry-after.ts'
import { readRefusal } from '../hub/refusal.ts'
import { MemoryCache } from '../memory.ts'
import type { Observer } from '../telemetry/observer.ts'

/** A request as the origin will see it. */
export interface QuotaKey {
  readonly url: URL
  /** As it will be sent. Undefined for an anonymous request, and for every CDN. */
  readonly authorization: string | undefined
}

/** For how long no request with this credential may be sent to this bucket. */
export interface QuotaWait {
  /** As the Hub names it: `api`, `resolvers`, `pages`; `cdn` for hosts that a redirect led to. */
  readonly bucket: string
  readonly seconds: number
  /** No answer has named a time: the mirror has chosen it. */
  readonly isBackoff?: true
}

/** The longest wait within a request: huggingface_hub gives up a silent answer after 10 s, and would itself retry a second late. */
const LONGEST_WAIT_MS = 2_000
/** A longer queue than this would be out of quota again before its end. */
const MAX_WAITING = 64
/** The longest time that one header can stop the mirror for. The Hub's windows are five minutes. */
const LONGEST_REPORTED_MS = 3_600_000
const GATES_BYTES = 4 * 1024 * 1024
/** The backoff after a 429 that names no time: a random part between half and all of it, and twice as long each time. */
const FIRST_BACKOFF_MS = 5_000
const LONGEST_BACKOFF_MS = 300_000
/** After a backoff one request is sent first. The others wait this long for its result. */
const TRIAL_MS = 1_000
/** Three buckets of the Hub, and the CDNs. */
const BACKOFFS_BYTES = 1024 * 1024
/** One entry for each credential and bucket. An evicted one counts as a bucket with requests left. */
const LEVELS_BYTES = 1024 * 1024
/** The part of a window that is left for requests of callers. */
const RESERVE = 0.1

/** What the Hub has last reported of a window. */
interface Level {
  readonly isLow: boolean
  /** The end of the window. */
  readonly until: number
}

interface Waiter {
  readonly settle: (usedUp: QuotaWait | undefined) => void
}

/** A backoff after consecutive 429s that named no time. */
interface Backoff {
  readonly bucket: string
  readonly inARow: number
  readonly until: number
}

/** One bucket of one credential that is used up, or for which the mirror backs off. */
interface Gate {
  readonly bucket: string
  readonly isBackoff: boolean
  opensAt: number
  timer: NodeJS.Timeout | undefined
  /** In the order of their arrival, in which they are also sent. */
  readonly waiting: Set<Waiter>
}

export class Quota {
  readonly #origin: string
  readonly #basePath: string
  readonly #now: () => number
  readonly #observer: Observer
  readonly #key = randomBytes(32)
  // An evicted entry costs one request that the Hub refuses.
  readonly #gates = new MemoryCache<Gate>({ maxBytes: GATES_BYTES })
  readonly #backoffs = new MemoryCache<Backoff>({ maxBytes: BACKOFFS_BYTES })
  readonly #levels = new MemoryCache<Level>({ maxBytes: LEVELS_BYTES })
  readonly #random: () => number

  constructor(options: {
    readonly base: URL
    /** Milliseconds that never step back. */
    readonly now: () => number
    readonly observer: Observer
    /** From 0 up to 1; by default `Math.random`. */
    readonly random?: () => number
  }) {
    this.#random = options.random ?? Math.random
    this.#origin = options.base.origin
    this.#basePath = withoutTrailingSlash(options.base.pathname)
    this.#now = options.now
    this.#observer = options.observer
  }

  /**
   * Resolves with undefined when the request may be sent, at once or after a short wait in the order of arrival;
   * otherwise with what is used up. With `mayWait: false` it never waits. Rejects with the reason of `signal`.
   */
  async admit(
    key: QuotaKey,
    options: { readonly mayWait: boolean; readonly signal?: AbortSignal | undefined },
  ): Promise<QuotaWait | undefined> {
    let waited = false
    for (const name of this.#gatesOf(key)) {
      // After a wait the gate is checked again: meanwhile the Hub may have refused a request that had left before.
      for (let gate = this.#closedGate(name); gate !== undefined; gate = this.#closedGate(name)) {
        const waits = options.mayWait && !waited && gate.waiting.size < MAX_WAITING
        const usedUp =
          waits && this.#leftMs(gate) <= LONGEST_WAIT_MS
            ? await this.#wait(name, gate, options.signal)
            : this.#usedUp(gate)
        if (usedUp !== undefined) {
          this.#observer.quotaHeld('refused')
          return usedUp
        }
        waited = true
      }
      // Nothing has been awaited since the gate was found open, so exactly one request passes before the gate closes
      // for the trial.
      const backoff = this.#backoffs.get(name)
      if (backoff !== undefined) this.#closeGate(name, backoff.bucket, { ms: TRIAL_MS, isBackoff: true })
    }
    if (waited) this.#observer.quotaHeld('waited')
    return undefined
  }

  /**
   * Updates the gates from an answer. Returns what is used up when the answer is a 429. Where that names no time, the mirror
   * chooses one itself, longer each time until another status is answered.
   */
  observe(key: QuotaKey, status: number, headers: HeaderBag): QuotaWait | undefined {
    const reported = usedUpBuckets(headers)
    if (this.#isOrigin(key.url)) this.#noteLevels(key, headers)
    if (status !== 429) {
      this.#endBackoffs(key)
      if (this.#isOrigin(key.url)) for (const { bucket, ms } of reported) this.#close(key, bucket, ms)
      return undefined
    }
    const after = waitMsOf(headers, Date.now()) ?? 0
    const ms = Math.min(LONGEST_REPORTED_MS, Math.max(after, ...reported.map((each) => each.ms)))
    const [own = 'pages'] = this.#bucketsOf(key.url)
    if (ms <= 0) return this.#backOff(key, own, readRefusal(status, headers, NO_BODY).isForeign === true)
    for (const bucket of new Set([own, ...reported.map((each) => each.bucket)])) this.#close(key, bucket, ms)
    return {
      bucket: this.#isOrigin(key.url) ? (reported[0]?.bucket ?? own) : own,
      seconds: Math.ceil(ms / 1000),
    }
  }

  /**
   * Whether the mirror may send a request of its own that no caller has asked for. False while requests are held back, and in
   * the last tenth of a window: that is for callers.
   */
  hasSpare(key: QuotaKey): boolean {
    if (this.#gatesOf(key).some((name) => this.#closedGate(name) !== undefined)) return false
    return this.#bucketsOf(key.url).every((bucket) => {
      const level = this.#levels.get(this.#gateName(key, bucket))
      return level === undefined || !level.isLow || level.until <= this.#now()
    })
  }

  /**
   * For how many ms the last tenth of a window of files or of the API is left for callers: of this credential, or of visitors, since the
   * mirror proves without a credential that repos are public. 0 if that of none is.
   */
  reservedMs(authorization: string | undefined): number {
    const names = ['api', 'resolvers'].flatMap((bucket) =>
      [authorization, undefined].map((who) => this.#originName(who, bucket)),
    )
    const levels = names.map((name) => this.#levels.get(name))
    return Math.max(0, ...levels.map((level) => (level?.isLow === true ? level.until - this.#now() : 0)))
  }

  #noteLevels(key: QuotaKey, headers: HeaderBag): void {
    for (const { bucket, left, quota, ms } of levelsOf(headers)) {
      const isLow = left <= quota * RESERVE
      this.#levels.set(this.#gateName(key, bucket), { isLow, until: this.#now() + ms })
    }
  }

  /** The Hub counts by credential. Any other server counts by address, which all callers of this mirror share. */
  #backOff(key: QuotaKey, bucket: string, isForeign: boolean): QuotaWait {
    const name = isForeign ? this.#sharedName(key, bucket) : this.#gateName(key, bucket)
    const before = this.#backoffs.get(name)
    const now = this.#now()
    // The answer to a request that had left before the backoff began.
    const isLate = before !== undefined && now < before.until
    if (!isLate) {
      const inARow = (before?.inARow ?? 0) + 1
      const bound = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (inARow - 1))
      const ms = Math.ceil((bound / 2) * (1 + this.#random()))
      this.#backoffs.set(name, { bucket, inARow, until: now + ms })
      this.#closeGate(name, bucket, { ms, isBackoff: true })
    }
    const leftMs = (this.#backoffs.get(name)?.until ?? now) - now
    return { bucket, seconds: Math.max(1, Math.ceil(leftMs / 1000)), isBackoff: true }
  }

  /** Ends backoffs after any answer but 429 to a request that left after them. */
  #endBackoffs(key: QuotaKey): void {
    if (this.#backoffs.count === 0) return
    for (const name of this.#gatesOf(key)) {
      const backoff = this.#backoffs.get(name)
      if (backoff === undefined || this.#now() < backoff.until) continue
      this.#backoffs.delete(name)
      const gate = this.#gates.get(name)
      if (gate?.isBackoff === true) this.#open(name, gate)
    }
  }

  #close(key: QuotaKey, bucket: string, reportedMs: number): void {
    this.#closeGate(this.#gateName(key, bucket), bucket, { ms: reportedMs, isBackoff: false })
  }

  #closeGate(name: string, bucket: string, how: { readonly ms: number; readonly isBackoff: boolean }): void {
    const { ms, isBackoff } = how
    const opensAt = this.#now() + Math.min(LONGEST_REPORTED_MS, ms)
    const gate = this.#gates.get(name)
    if (gate === undefined) {
      if (ms > 0) this.#gates.set(name, { bucket, isBackoff, opensAt, timer: undefined, waiting: new Set() })
      return
    }
    // A late answer may describe a window that is over: the longest reported time counts.
    if (opensAt <= gate.opensAt) return
    gate.opensAt = opensAt
    if (gate.waiting.size === 0) return
    if (this.#leftMs(gate) <= LONGEST_WAIT_MS) this.#arm(name, gate)
    else this.#release(gate, this.#usedUp(gate))
  }

  #closedGate(name: string): Gate | undefined {
    const gate = this.#gates.get(name)
    // Waiting requests go first, though their timer may be a little late.
    if (gate === undefined || this.#leftMs(gate) > 0 || gate.waiting.size > 0) return gate
    this.#gates.delete(name)
    return undefined
  }

  #wait(name: string, gate: Gate, signal: AbortSignal | undefined): Promise<QuotaWait | undefined> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error)
        return
      }
      const leave = (): void => {
        gate.waiting.delete(waiter)
        reject(signal?.reason as Error)
      }
      const waiter: Waiter = {
        settle(usedUp) {
          signal?.removeEventListener('abort', leave)
          resolve(usedUp)
        },
      }
      signal?.addEventListener('abort', leave, { once: true })
      gate.waiting.add(waiter)
      if (gate.timer === undefined) this.#arm(name, gate)
    })
  }

  #arm(name: string, gate: Gate): void {
    clearTimeout(gate.timer)
    // Timers may fire a little early, and a request before the reported time would be refused.
    gate.timer = setTimeout(() => this.#open(name, gate), Math.ceil(this.#leftMs(gate)) + 2)
  }

  #open(name: string, gate: Gate): void {
    if (this.#gates.get(name) === gate) this.#gates.delete(name)
    this.#release(gate, undefined)
  }

  #release(gate: Gate, usedUp: QuotaWait | undefined): void {
    clearTimeout(gate.timer)
    gate.timer = undefined
    const waiting = [...gate.waiting]
    gate.waiting.clear()
    for (const waiter of waiting) waiter.settle(usedUp)
  }

  #leftMs(gate: Gate): number {
    return gate.opensAt - this.#now()
  }

  #usedUp(gate: Gate): QuotaWait {
    const { bucket, isBackoff } = gate
    const seconds = Math.max(1, Math.ceil(this.#leftMs(gate) / 1000))
    return { bucket, seconds, ...(isBackoff ? { isBackoff } : {}) }
  }

  #isOrigin(url: URL): boolean {
    return url.origin === this.#origin
  }

  #gatesOf(key: QuotaKey): readonly string[] {
    if (this.#gates.count + this.#backoffs.count === 0) return []
    const buckets = this.#bucketsOf(key.url)
    const names = buckets.flatMap((bucket) => [this.#gateName(key, bucket), this.#sharedName(key, bucket)])
    return [...new Set(names)]
  }

  #bucketsOf(url: URL): readonly string[] {
    return this.#isOrigin(url) ? bucketsOf(url.pathname.slice(this.#basePath.length)) : ['cdn']
  }

  #gateName(key: QuotaKey, bucket: string): string {
    // A CDN knows no credential: it counts what comes from this mirror.
    if (!this.#isOrigin(key.url)) return `cdn ${key.url.host}`
    return this.#originName(key.authorization, bucket)
  }

  #originName(authorization: string | undefined, bucket: string): string {
    if (authorization === undefined) return `anonymous ${bucket}`
    return `${createHmac('sha256', this.#key).update(authorization).digest('base64url')} ${bucket}`
  }

  #sharedName(key: QuotaKey, bucket: string): string {
    return this.#isOrigin(key.url) ? `shared ${bucket}` : this.#gateName(key, bucket)
  }
}

const NO_BODY = Buffer.alloc(0)

/**
 * The buckets of the Hub that a path may count towards, the narrowest first: a refusal without a name is about that
 * one. Who-am-I has a strict limit of its own, and also counts as a part of the API.
 */
export function bucketsOf(path: string): readonly string[] {
  if (/^\/+api\/+whoami/.test(path)) return ['whoami', 'api']
  // Files from their pinned address count like those from the address that leads there.
  if (/^\/+api\/+resolve-cache\//.test(path)) return ['resolvers']
  if (/^\/+api(?:\/|$)/.test(path)) return ['api']
  return path.includes('/resolve/') ? ['resolvers'] : ['pages']
}

/** The buckets that a field such as `RateLimit: "resolvers";r=0;t=172` reports as used up, and for how long. */
function usedUpBuckets(headers: HeaderBag): { readonly bucket: string; readonly ms: number }[] {
  const text = headerValue(headers, 'ratelimit')?.slice(0, 500) ?? ''
  const found = text.matchAll(/"(\w{1,32})"\s*;\s*r\s*=\s*0+\s*;\s*t\s*=\s*(\d{1,6})(?!\d)/g)
  return [...found].map(([, bucket = '', seconds]) => ({ bucket, ms: Number(seconds) * 1000 }))
}

/** What `RateLimit` reports as left of each window, in requests, of how many (`RateLimit-Policy`), and until when. */
function levelsOf(headers: HeaderBag): readonly {
  readonly bucket: string
  readonly left: number
  readonly quota: number
  readonly ms: number
}[] {
  const text = headerValue(headers, 'ratelimit')?.slice(0, 500)
  const policy = headerValue(headers, 'ratelimit-policy')?.slice(0, 500)
  if (text === undefined || policy === undefined) return []
  const quotas = new Map(
    [...policy.matchAll(/"(\w{1,32})"\s*;\s*q=(\d{1,9})(?!\d)/g)].map(([, name = '', q]) => [
      name,
      Number(q),
    ]),
  )
  const found = text.matchAll(/"(\w{1,32})"\s*;\s*r\s*=\s*(\d{1,9})\s*;\s*t\s*=\s*(\d{1,6})(?!\d)/g)
  return [...found].flatMap(([, bucket = '', left, seconds]) => {
    const quota = quotas.get(bucket)
    const ms = Math.min(LONGEST_REPORTED_MS, Number(seconds) * 1000)
    return quota === undefined ? [] : [{ bucket, left: Number(left), quota, ms }]
  })
}
