// Decides which requests may have a connection to the origin now, and which must wait. All callers share the few connections
// to one host. Each kind of request leaves room for the quicker kinds, and each caller for other callers. Waiting requests are
// served in turn. This file opens no connection; it only counts them.

import { MirrorError } from '../../errors.ts'
import { LANES, type Lane, type Observer, type WaitResult } from '../../telemetry/observer.ts'
import { FairQueue } from './fair-queue.ts'

/** The right to use one connection. */
export interface ConnectionPermit {
  /**
   * Continues as a `relay`, because the body turns out to be long. Throws as `acquire` where that lane has no room now: a
   * request never waits for a connection while it holds another.
   */
  becomeRelay(): void
  /** Gives the connection back. Only the first call counts. */
  release(): void
}

export interface ConnectionRequest {
  /** The origin of the URL: the connections of each host are counted apart. */
  readonly host: string
  readonly lane: Lane
  /** Whose share the connection counts towards. It is logged, so it must hold no credential. */
  readonly caller: string
  /** How long the request may wait. The default is QUEUE_TIMEOUT_MS. */
  readonly waitMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** Who waits for what, for a line of the log. */
export interface WaitReport {
  readonly host: string
  readonly lane: Lane
  readonly result: WaitResult
  readonly waitedMs: number
  readonly caller: string
  /** How many connections the caller holds in this lane. */
  readonly held: number
  /** How many all callers hold in this lane, and how many requests of how many callers wait for it. */
  readonly inUse: number
  readonly waiting: number
  readonly callersWaiting: number
}

/** Less than the 10 s for which huggingface_hub waits for headers. */
export const QUEUE_TIMEOUT_MS = 8_000
/** A caller may hold this many times what is free: three quarters when it is alone, and less the more callers there are. */
const SHARE = 3
const MAX_WAITING_OF_CALLER = 64
const MAX_WAITING = 4_096
/** Shorter waits are not reported, and reports are at least NEWS_EVERY_MS apart. */
const NEWS_FROM_MS = 1_000
const NEWS_EVERY_MS = 10_000

/**
 * Whether a caller that holds `held` units of a shared resource may have more, when `free` units are free. It always leaves a
 * part for callers that have none yet (the rule of dynamic thresholds, Choudhury and Hahne 1998).
 */
export function isWithinShare(held: number, free: number): boolean {
  return free >= 1 && held < SHARE * free
}

interface Waiter {
  readonly wanted: ConnectionRequest
  readonly since: number
  settle(result: WaitResult): void
}

type Counts = Record<Lane, number>

export class Shares {
  readonly #connections: number
  readonly #now: () => number
  readonly #observer: Observer
  readonly #onNews: ((report: WaitReport) => void) | undefined
  readonly #hosts = new Map<string, Host>()
  #lastNewsAt = Number.NEGATIVE_INFINITY

  /** `connections`: to one host, at least one. `onNews` is called for long waits, at most once in 10 s. */
  constructor(options: {
    readonly connections: number
    readonly now: () => number
    readonly observer: Observer
    readonly onNews?: ((report: WaitReport) => void) | undefined
  }) {
    this.#connections = options.connections
    this.#now = options.now
    this.#observer = options.observer
    this.#onNews = options.onNews
  }

  /**
   * Resolves when the request may have a connection. The caller must release the permit. Rejects:
   * - with the reason of the signal, as soon as that aborts;
   * - with `client_limited` where the caller has too many waiting requests, or waited in vain for a relay while it held others;
   * - with `overloaded` where the request waited in vain, or the queue is full.
   */
  async acquire(wanted: ConnectionRequest): Promise<ConnectionPermit> {
    wanted.signal?.throwIfAborted()
    const host = this.#hostOf(wanted.host)
    if (!host.hasWaiting(wanted.lane) && host.mayHave(wanted)) return this.#permit(host, wanted)
    const waiting = host.queues[wanted.lane]
    if (waiting.countOf(wanted.caller) >= MAX_WAITING_OF_CALLER || waiting.size >= MAX_WAITING) {
      // The caller with the most waiting requests loses one to those with fewer.
      const displaced =
        waiting.countOf(wanted.caller) < MAX_WAITING_OF_CALLER && waiting.lastOfLongest(wanted.caller)
      if (!displaced) {
        this.#report(host, wanted, 'refused', 0)
        throw this.#failure(host, wanted, 'refused')
      }
      displaced.settle('refused')
    }
    return this.#wait(host, wanted)
  }

  /** Whether callers other than `caller` wait in a lane, at any host. */
  isWanted(lane: Lane, caller: string): boolean {
    for (const host of this.#hosts.values()) if (host.queues[lane].hasOtherThan(caller)) return true
    return false
  }

  #wait(host: Host, wanted: ConnectionRequest): Promise<ConnectionPermit> {
    const queue = host.queues[wanted.lane]
    const { signal, lane } = wanted
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        wanted,
        since: this.#now(),
        settle: (result) => {
          clearTimeout(late)
          signal?.removeEventListener('abort', leave)
          queue.remove(wanted.caller, waiter)
          this.#observer.originWaiting(lane, -1)
          this.#report(host, wanted, result, this.#now() - waiter.since)
          if (result === 'granted') resolve(this.#permit(host, wanted))
          else if (result === 'left') reject(signal?.reason as Error)
          else reject(this.#failure(host, wanted, result))
          // The request that left may have been ahead of others that may have a connection.
          if (result !== 'granted') this.#serve(host)
        },
      }
      const leave = (): void => waiter.settle('left')
      const late = setTimeout(() => waiter.settle('late'), wanted.waitMs ?? QUEUE_TIMEOUT_MS)
      signal?.addEventListener('abort', leave, { once: true })
      queue.add(wanted.caller, waiter)
      this.#observer.originWaiting(lane, 1)
      // This request may be the first that can have a free connection: the others may wait for their own share.
      this.#serve(host)
    })
  }

  #permit(host: Host, { lane, caller }: ConnectionRequest): ConnectionPermit {
    let held: Lane | undefined = lane
    host.take(lane, caller)
    this.#observer.originInUse(lane, 1)
    return {
      becomeRelay: () => {
        if (held === undefined || held === 'relay') return
        const relay: ConnectionRequest = { host: host.name, lane: 'relay', caller }
        host.release(held, caller)
        const isFree = !host.hasWaiting('relay') && host.mayHave(relay)
        host.take(isFree ? 'relay' : held, caller)
        if (!isFree) {
          this.#report(host, relay, 'refused', 0)
          throw this.#failure(host, relay, 'late')
        }
        this.#observer.originInUse(held, -1)
        held = 'relay'
        this.#observer.originInUse(held, 1)
        this.#serve(host)
      },
      release: () => {
        if (held === undefined) return
        host.release(held, caller)
        this.#observer.originInUse(held, -1)
        held = undefined
        this.#serve(host)
        if (host.isIdle) this.#hosts.delete(host.name)
      },
    }
  }

  /** Gives what is free to those who wait: the lanes in turn, and in each lane the callers in turn. */
  #serve(host: Host): void {
    for (let lane = host.nextLane(); lane !== undefined; lane = host.nextLane()) {
      const waiter = host.queues[lane].next((caller) => host.mayHave({ lane, caller }))
      // `nextLane` names only lanes that have one.
      if (waiter === undefined) return
      waiter.settle('granted')
    }
  }

  #hostOf(name: string): Host {
    const host = this.#hosts.get(name) ?? new Host(name, this.#connections)
    this.#hosts.set(name, host)
    return host
  }

  #failure(host: Host, { lane, caller }: ConnectionRequest, result: 'late' | 'refused'): MirrorError {
    const isOwn =
      result === 'refused'
        ? host.queues[lane].countOf(caller) >= MAX_WAITING_OF_CALLER
        : // What others may have joined must not blame them for the share of the one who started it.
          lane === 'relay' && host.heldBy(caller, lane) > 0
    return shareFailure(isOwn ? 'caller' : 'all', lane, host.queues[lane].size)
  }

  #report(host: Host, { lane, caller }: ConnectionRequest, result: WaitResult, waitedMs: number): void {
    this.#observer.originWaited(lane, result, waitedMs / 1000)
    const isNews = result === 'late' || result === 'refused' || waitedMs >= NEWS_FROM_MS
    if (!isNews || result === 'left' || this.#now() - this.#lastNewsAt < NEWS_EVERY_MS) return
    this.#lastNewsAt = this.#now()
    this.#onNews?.({
      host: host.name,
      lane,
      result,
      waitedMs: Math.round(waitedMs),
      caller,
      held: host.heldBy(caller, lane),
      inUse: host.held[lane],
      waiting: host.queues[lane].size,
      callersWaiting: host.queues[lane].callers,
    })
  }
}

/** The connections of one host. */
class Host {
  readonly name: string
  readonly held: Counts = { question: 0, pull: 0, passage: 0, relay: 0 }
  readonly queues: Record<Lane, FairQueue<Waiter>> = {
    question: new FairQueue(),
    pull: new FairQueue(),
    passage: new FairQueue(),
    relay: new FairQueue(),
  }
  readonly #limits: Counts
  readonly #callers = new Map<string, Counts>()
  #lastLane = 0

  constructor(name: string, connections: number) {
    this.name = name
    this.#limits = {
      question: connections,
      pull: Math.max(1, Math.floor((connections * 3) / 4)),
      passage: Math.max(1, Math.floor((connections * 5) / 8)),
      relay: Math.max(1, Math.floor(connections / 2)),
    }
  }

  get isIdle(): boolean {
    return this.#callers.size === 0 && LANES.every((lane) => this.queues[lane].size === 0)
  }

  hasWaiting(lane: Lane): boolean {
    return this.queues[lane].size > 0
  }

  heldBy(caller: string, lane: Lane): number {
    return this.#callers.get(caller)?.[lane] ?? 0
  }

  mayHave({ lane, caller }: Pick<ConnectionRequest, 'lane' | 'caller'>): boolean {
    return isWithinShare(this.heldBy(caller, lane), this.#free(lane))
  }

  take(lane: Lane, caller: string): void {
    this.#count(lane, caller, 1)
  }

  release(lane: Lane, caller: string): void {
    this.#count(lane, caller, -1)
  }

  /** A lane with a waiting request that may have a connection now. The lanes take turns, so that none is left out. */
  nextLane(): Lane | undefined {
    for (let step = 1; step <= LANES.length; step += 1) {
      const index = (this.#lastLane + step) % LANES.length
      const lane = LANES[index]
      if (lane === undefined || this.#free(lane) < 1) continue
      if (!this.queues[lane].some((caller) => this.mayHave({ lane, caller }))) continue
      this.#lastLane = index
      return lane
    }
    return undefined
  }

  /**
   * How many more connections a lane may have. Each limit applies to a lane and all slower lanes together: they never
   * take what is kept for the quicker ones, which may take what they leave.
   */
  #free(lane: Lane): number {
    let together = 0
    let free = Number.POSITIVE_INFINITY
    for (let index = LANES.length - 1; index >= 0; index -= 1) {
      const each = LANES[index] ?? lane
      together += this.held[each]
      if (index <= LANES.indexOf(lane)) free = Math.min(free, this.#limits[each] - together)
    }
    return free
  }

  #count(lane: Lane, caller: string, by: 1 | -1): void {
    this.held[lane] += by
    const counts = this.#callers.get(caller) ?? { question: 0, pull: 0, passage: 0, relay: 0 }
    counts[lane] += by
    if (LANES.every((each) => counts[each] === 0)) this.#callers.delete(caller)
    else this.#callers.set(caller, counts)
  }
}

const OWN_SHARE =
  'You have too many simultaneous transfers through this mirror. Let some of them finish, or wait. This limit is of the mirror, not of the Hub.'
const NO_CONNECTION =
  'All connections of this mirror to the Hub are in use, and other requests already wait for one. Try again in a moment.'

/** The error for a request that got no connection: whose share is used up and, for the caller's own, when to come back. */
function shareFailure(whose: 'caller' | 'all', lane: Lane, waiting: number): MirrorError {
  const reason = `no connection for a ${lane}`
  if (whose === 'all') return new MirrorError('overloaded', { message: NO_CONNECTION, detail: { reason } })
  // The longer the queue, the later a retry makes sense.
  const retryAfterSeconds = Math.min(60, 5 + Math.ceil(waiting / 16))
  return new MirrorError('client_limited', { message: OWN_SHARE, detail: { reason, retryAfterSeconds } })
}
