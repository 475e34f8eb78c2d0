// How much work each caller may cause at the origin, counted by @fastify/rate-limit. What is served from the disk, or
// joins what others fetch, is no such work.

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Callers } from '../callers/caller.ts'
import { MirrorError } from '../errors.ts'
import { countingKey } from './clients.ts'

/** So many requests in so much time. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
}

type Caller = ReturnType<Callers['recognise']>['caller']

/** Counts a request of the caller. Rejects with client_limited when there were too many. */
export type OriginLimit = (request: FastifyRequest, caller: Caller) => Promise<void>

/**
 * A limit for each caller: by name for those who hold a mirror token, and by address for all others (of IPv6 by the
 * /64, which is one customer). All whose address a proxy does not clearly say share one. Not by Hub token: nobody here knows whether one is good, and whoever makes them up would
 * be a new caller with each.
 */
export async function createOriginLimit(
  server: FastifyInstance,
  settings: { readonly clientsRateLimit?: Rate | undefined },
): Promise<OriginLimit> {
  await server.register(rateLimit, { global: false })
  const keys = new WeakMap<FastifyRequest, string>()
  const count = server.createRateLimit({
    // Asked at each request: they may have changed since.
    max: () => settings.clientsRateLimit?.max ?? Number.MAX_SAFE_INTEGER,
    timeWindow: () => settings.clientsRateLimit?.windowMs ?? 1,
    keyGenerator: (request) => keys.get(request) ?? '',
  })
  return async (request, caller) => {
    if (settings.clientsRateLimit === undefined) return
    const isNamed = caller.kind === 'mirror-token'
    keys.set(request, isNamed ? `token ${caller.name}` : `address ${countingKey(caller.address)}`)
    const counted = await count(request)
    if (counted.isAllowed || !counted.isExceeded) return
    throw new MirrorError('client_limited', {
      detail: { retryAfterSeconds: Math.max(1, counted.ttlInSeconds) },
    })
  }
}
