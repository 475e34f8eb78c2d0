// What may go wrong, as a script: each fault names the requests it strikes and what it does to them.
// Only the bookkeeping lives here; the damage is done where answers are written (exchange.ts, body.ts).

import type { IncomingHttpHeaders } from 'node:http'
import type { ServerName } from './ledger.ts'
import { parseRange } from './range.ts'

/** What a fault sees of a request. */
export interface SeenRequest {
  readonly server: ServerName
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** Its connection has carried another request before. */
  readonly isKept: boolean
}

/** The damage. Several may stand in one fault, and several faults may strike one request; later ones win. */
export interface Damage {
  /** Runs before the request is answered: move a ref, close a gate. */
  readonly onRequest?: (request: SeenRequest) => void | Promise<void>
  readonly delayMs?: number
  readonly resetBeforeHeaders?: true
  /** Ends the connection in order (FIN), and says nothing. */
  readonly endBeforeHeaders?: true
  /** Reads the whole body of the request before it answers. */
  readonly afterBody?: true
  /** Says nothing until `release()`, then answers. */
  readonly stallHeaders?: true
  readonly status?: {
    readonly code: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
  /** An answer of something before the Hub, in its own words: none of the fields that the Hub puts into each. */
  readonly edge?: {
    readonly code: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
  /** A redirect (302) to this URL, or to what the function makes of the request; `'self'` is a loop. */
  readonly redirectTo?: string | ((request: SeenRequest) => string)
  readonly rateLimit429?: { readonly retryAfter?: number | string; readonly rateLimit?: string }
  /** 200 with a login page, as hotel networks do. */
  readonly captivePortal?: true
  /** Head and body of a short answer leave together, as most servers send them. */
  readonly atOnce?: true
  /** Ends the connection behind the answer, whatever of the request is unread: with a FIN, or with a reset. */
  readonly thenClose?: 'fin' | 'rst'
  /** Ends the connection after so many body bytes, with a FIN unless `cutWith` says `rst`. */
  readonly cutAfterBytes?: number
  readonly cutWith?: 'fin' | 'rst'
  /** Stops after so many body bytes until `release()`, then goes on. */
  readonly stallAfterBytes?: number
  readonly dripBytesPerSecond?: number
  /** The announced length, or a function of the right one; the body keeps its own. */
  readonly contentLength?: number | ((real: number) => number)
  /** Flips the bits of the byte at this offset of the file. */
  readonly corruptAt?: number
  /** 200 with the whole file, whatever was asked. */
  readonly ignoreRange?: true
  /** 206 of a range beside the one asked for, honestly announced. */
  readonly wrongRange?: true
  /** Another ETag (and X-Linked-ETag) than the right one. */
  readonly etagFlip?: true
  readonly weakEtag?: true
  /** ETag and X-Linked-ETag without their quotes. */
  readonly bareEtag?: true
  /** Neither a length nor chunks: the end of the connection is the end of the body. */
  readonly noContentLength?: true
  /** Encodes every body, asked or not, ranges too. */
  readonly gzipAlways?: true
  /** On the hub: signs URLs that have expired. On the CDN: answers as if the URL had expired. */
  readonly expireSignedUrls?: true
  /** On the CDN: a URL signed for HEAD is refused to GET, and the other way round, as S3 does. */
  readonly methodBoundUrls?: true
  /** Headers beside the answer's own, such as a quota that ends with it. */
  readonly addHeaders?: Readonly<Record<string, string | string[]>>
  /** Behind every ETag and X-Linked-ETag, as `-gzip` of stages that compress. */
  readonly etagSuffix?: string
  readonly dropHeader?: string | readonly string[]
  /** So many bytes more than announced. */
  readonly extraBytes?: number
}

/** A fault and the requests it strikes. */
export interface Fault extends Damage {
  readonly where: ServerName
  /** Tested against the raw request target. */
  readonly match?: RegExp | ((request: SeenRequest) => boolean)
  readonly method?: string
  /** Only requests for this byte of a file: of several ranges at once, the one that holds it. */
  readonly asksFor?: number
  /** How many requests it strikes; default 1. */
  readonly times?: number
  /** How many fitting requests pass unharmed first; default 0. */
  readonly skip?: number
}

/** What `add` gives back. */
export interface FaultHandle {
  /** How many requests it has struck. */
  readonly struck: number
  remove(): void
}

interface Entry {
  readonly fault: Fault
  struck: number
  skipped: number
}

/** The faults of one simulator. */
export class Faults {
  #entries: Entry[] = []
  #stalled = new Set<() => void>()
  #watchers = new Set<{ readonly count: number; readonly settle: () => void }>()

  /** Scripts a fault. Faults are tried in the order of their adding. */
  add(fault: Fault): FaultHandle {
    const entry: Entry = { fault, struck: 0, skipped: 0 }
    this.#entries.push(entry)
    return {
      get struck() {
        return entry.struck
      },
      remove: () => {
        this.#entries = this.#entries.filter((other) => other !== entry)
      },
    }
  }

  /** Removes all faults, and lets stalled answers go on. */
  clear(): void {
    this.#entries = []
    this.release()
  }

  /** Lets every stalled answer go on. */
  release(): void {
    for (const resume of this.#stalled) resume()
  }

  /** Resolves as soon as `count` answers are stalled at once. */
  whenStalled(count = 1): Promise<void> {
    if (this.#stalled.size >= count) return Promise.resolve()
    return new Promise((settle) => {
      this.#watchers.add({ count, settle })
    })
  }

  /** Merges what strikes this request, and counts it; for the servers. */
  take(request: SeenRequest): Damage {
    let damage: Damage = {}
    for (const entry of this.#entries) {
      const { fault } = entry
      if (!strikes(fault, request)) continue
      if (entry.skipped < (fault.skip ?? 0)) {
        entry.skipped += 1
        continue
      }
      if (entry.struck >= (fault.times ?? 1)) continue
      entry.struck += 1
      damage = { ...damage, ...fault }
    }
    return damage
  }

  /** Waits for `release()`, or for `whenGone` (the caller left); for the servers. */
  async stall(whenGone: Promise<unknown>): Promise<void> {
    let resume: () => void = () => {}
    const released = new Promise<void>((settle) => {
      resume = settle
    })
    this.#stalled.add(resume)
    for (const watcher of this.#watchers) {
      if (this.#stalled.size < watcher.count) continue
      this.#watchers.delete(watcher)
      watcher.settle()
    }
    try {
      await Promise.race([released, whenGone])
    } finally {
      this.#stalled.delete(resume)
    }
  }
}

function strikes(fault: Fault, request: SeenRequest): boolean {
  if (fault.where !== request.server) return false
  if (fault.method !== undefined && fault.method !== request.method) return false
  if (fault.asksFor !== undefined && !asksFor(fault.asksFor, request.headers.range)) return false
  if (fault.match === undefined) return true
  return typeof fault.match === 'function' ? fault.match(request) : fault.match.test(request.url)
}

function asksFor(position: number, header: string | undefined): boolean {
  // Where a file ends is not known here; a range from its end is never meant.
  const range = parseRange(header, Number.POSITIVE_INFINITY)
  if (range === undefined) return true
  return range !== 'unsatisfiable' && position >= range.start && position < range.end
}
