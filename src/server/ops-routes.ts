// The routes of the mirror itself, for operators and their machines: health, readiness and metrics.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { MirrorError } from '../errors.ts'
import { mirrorBase } from './context.ts'
import {
  isFromControl,
  PINS_ROUTE,
  parseRemoved,
  REMOVED_ROUTE,
  type Removed,
  removedAnswer,
} from './control.ts'
import { recordOf } from './request-record.ts'

/** What the mirror can and cannot do at the moment. */
export interface Readiness {
  /** False when a load balancer should send requests elsewhere. */
  readonly ready: boolean
  readonly checks: Readonly<Record<string, Check>>
}

/** `ok` is null if the answer is not known: nothing has tried it yet. */
export interface Check {
  readonly ok: boolean | null
  readonly detail?: string
}

export interface OpsOptions {
  readonly readiness: () => Promise<Readiness>
  readonly metrics: { readonly contentType: string; text(): Promise<string> }
  /** What the mirror says about its pins, for JSON. Absent without a file of pins. */
  readonly pins?: (() => unknown) | undefined
  /** A command has removed this, and perhaps facts. Resolves when nothing in memory of what was stored is used any more. */
  readonly removed: (what: Removed) => Promise<void>
  readonly publicUrl: URL | undefined
  readonly basePath: string
}

/**
 * Registers /healthz, /readyz, /metrics and /-/doctor.py. Answers everything else below /-/ with 404, so that it never goes to the
 * Hub.
 */
export function registerOpsRoutes(server: FastifyInstance, options: OpsOptions): void {
  const method: ('GET' | 'HEAD')[] = ['GET', 'HEAD']
  const own = (
    url: string,
    answer: (request: FastifyRequest) => Promise<{ status: number; type: string; body: string }>,
  ): void => {
    server.route({
      method,
      url,
      handler: async (request, reply) => {
        const record = recordOf(request.raw)
        record.route = 'ops'
        record.outcome = 'own'
        const { status, type, body } = await answer(request)
        record.bytes += request.raw.method === 'HEAD' ? 0 : Buffer.byteLength(body)
        record.firstByteAt = performance.now()
        return reply
          .code(status)
          .header('x-request-id', record.id)
          .header('cache-control', 'no-store')
          .type(type)
          .send(body)
      },
    })
  }
  own('/healthz', async () => ({ status: 200, type: 'application/json', body: '{"status":"ok"}' }))
  own('/readyz', async () => {
    const readiness = await options.readiness()
    return { status: readiness.ready ? 200 : 503, type: 'application/json', body: JSON.stringify(readiness) }
  })
  own('/metrics', async () => ({
    status: 200,
    type: options.metrics.contentType,
    body: await options.metrics.text(),
  }))
  own(PINS_ROUTE, async ({ raw }) => {
    if (!isFromControl(raw) || options.pins === undefined) throw new MirrorError('not_found')
    return { status: 200, type: 'application/json', body: JSON.stringify(options.pins()) }
  })
  own(REMOVED_ROUTE, async ({ raw }) => {
    if (!isFromControl(raw)) throw new MirrorError('not_found')
    const removed = parseRemoved(raw.url ?? '')
    await options.removed(removed)
    return { status: 200, type: 'application/json', body: removedAnswer(removed) }
  })
  // A mirror below a path is asked below it as well: a proxy before it may pass nothing else on.
  const prefixes = options.basePath === '/' ? [''] : ['', options.basePath]
  for (const prefix of prefixes) {
    own(`${prefix}/-/doctor.py`, async (request) => {
      // Loaded on demand: few mirrors are ever asked for it.
      const { pythonDoctor } = await import('../doctor/python-source.ts')
      const body = pythonDoctor(mirrorBase(request, options))
      return { status: 200, type: 'text/x-python; charset=utf-8', body }
    })
  }
  for (const url of ['/-', '/-/*']) {
    server.all(url, async (request) => {
      recordOf(request.raw).route = 'ops'
      throw new MirrorError('not_found')
    })
  }
}
