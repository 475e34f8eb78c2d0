// How much work each caller may cause at the origin, counted by @fastify/rate-limit. What is served from the disk, or
// joins what others fetch, is no such work.

import rateLimit, { type FastifyRateLimitStore, type FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Caller } from '../callers/caller.ts'
import { MirrorError } from '../errors.ts'

/** So many requests in so much time. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
}

/** Whoever is forgotten for others may ask anew. */
const MAX_CALLERS = 50_000

/** Counts a request of the caller. Rejects with client_limited when there were too many. */
export type OriginLimit = (request: FastifyRequest, caller: Caller) => Promise<void>

/**
 * A limit for each caller: by name for those who hold a mirror token, and by address for all others (of IPv6 by the
 * /64, which is one customer). Not by Hub token: nobody here knows whether one is good, and whoever makes them up would
 * be a new caller with each. None where there is no rate. `monotonic` are milliseconds that never step back.
 */
export async function createOriginLimit(
  server: FastifyInstance,
  rate: Rate | undefined,
  monotonic: () => number,
): Promise<OriginLimit | undefined> {
  if (rate === undefined) return undefined
  await server.register(rateLimit, { global: false, store: windowsBy(monotonic) })
  const names = new WeakMap<FastifyRequest, string>()
  const options = { max: rate.max, timeWindow: rate.windowMs }
  const byAddress = server.createRateLimit({ ...options, ipv6Subnet: 64 })
  const byName = server.createRateLimit({ ...options, keyGenerator: (request) => names.get(request) ?? '' })
  return async (request, caller) => {
    const isNamed = caller.kind === 'mirror-token'
    if (isNamed) names.set(request, caller.name)
    const counted = await (isNamed ? byName : byAddress)(request)
    if (counted.isAllowed || !counted.isExceeded) return
    throw new MirrorError('client_limited', {
      detail: { retryAfterSeconds: Math.max(1, counted.ttlInSeconds) },
    })
  }
}

/** Counts for one window each. The plugin's own go by the wall clock: set back, it would make them as much longer. */
function windowsBy(now: () => number): FastifyRateLimitStoreCtor {
  return class Windows implements FastifyRateLimitStore {
    readonly #windows = new LRUCache<string, { count: number; readonly endsAt: number }>({ max: MAX_CALLERS })

    incr(...[key, callback, windowMs]: Parameters<FastifyRateLimitStore['incr']>): void {
      const at = now()
      const known = this.#windows.get(key)
      const window = known === undefined || known.endsAt <= at ? { count: 0, endsAt: at + windowMs } : known
      window.count += 1
      this.#windows.set(key, window)
      callback(null, { current: window.count, ttl: window.endsAt - at })
    }

    child(): FastifyRateLimitStore {
      return new Windows()
    }
  }
}
