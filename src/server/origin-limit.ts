// Limits how many requests to the origin each caller may cause, counted by @fastify/rate-limit. Requests that are served
// from the disk, or that join a running download, do not count.

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Callers } from '../callers/caller.ts'
import { MirrorError } from '../errors.ts'
import { countingKey } from './clients.ts'

/** At most `max` requests in `windowMs`. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
}

type Caller = ReturnType<Callers['recognise']>['caller']

/** Counts a request of the caller. Rejects with client_limited when there are too many. */
export type OriginLimit = (request: FastifyRequest, caller: Caller) => Promise<void>

/**
 * One limit per caller: by name for holders of a mirror token, and by address for all others (for IPv6 by the /64,
 * which is one customer). Callers for whom a proxy names no clear address share one limit. Hub tokens are no key: the
 * mirror cannot know whether one is valid, and a client that makes them up would be a new caller with each.
 */
export async function createOriginLimit(
  server: FastifyInstance,
  settings: { readonly clientsRateLimit?: Rate | undefined },
): Promise<OriginLimit> {
  await server.register(rateLimit, { global: false })
  const keys = new WeakMap<FastifyRequest, string>()
  const count = server.createRateLimit({
    // Read at each request, since the settings may change.
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
