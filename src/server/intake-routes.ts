// The routes by which commands bring content into the store, below /-/intake/. They exist on the control socket only: for
// every other request they are not there. What they take is read in mirror/intake-requests.ts.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { MirrorError } from '../errors.ts'
import type { Intake } from '../mirror/intake.ts'
import { answerIntake } from '../mirror/intake-requests.ts'
import { isFromControl } from './control.ts'
import { recordOf } from './request-record.ts'

/** A command that was stopped would hold the file that it brings. */
const IDLE_MS = 60_000
/** How often a command is looked for whose body is not read yet. */
const LOOK_EVERY_MS = 1_000

/**
 * Looks whether the command is still there, until the returned function is called. The end of a connection is noticed only by what
 * is read of it or written to it, and nothing is read while the body waits. Clients ignore a response of this status.
 */
function lookFor(response: ServerResponse): () => void {
  const timer = setInterval(() => {
    if (!response.headersSent && !response.destroyed) response.writeProcessing()
  }, LOOK_EVERY_MS)
  return () => clearInterval(timer)
}

/**
 * The body as it comes. Its connection ends if nothing comes for a while; the time does not run before the first read, which calls
 * `begin`.
 */
async function* bodyOf(request: IncomingMessage, begin: () => void): AsyncGenerator<Buffer, void, undefined> {
  const { socket } = request
  begin()
  const stalled = (): void => void socket.destroy()
  socket.setTimeout(IDLE_MS, stalled)
  try {
    // Not destroyed by a reader that stops early: the answer goes over the same connection.
    for await (const piece of request.iterator({ destroyOnReturn: false })) yield piece as Buffer
  } finally {
    socket.setTimeout(0)
    socket.off('timeout', stalled)
  }
}

/** Registers the routes. */
export async function registerIntake(server: FastifyInstance, intake: Intake): Promise<void> {
  await server.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    // The body is read by the handler, as it comes.
    scope.addContentTypeParser('*', (_request, _payload, ready) => ready(null))
    scope.route<{ Params: { action: string }; Querystring: { about?: unknown } }>({
      method: ['POST'],
      url: '/-/intake/:action',
      handler: async (request, reply) => {
        const record = recordOf(request.raw)
        record.route = 'ops'
        if (!isFromControl(request.raw)) throw new MirrorError('not_found')
        record.outcome = 'own'
        const { about } = request.query
        const endLook = lookFor(reply.raw)
        const { status, value } = await answerIntake(intake, request.params.action, {
          about: typeof about === 'string' ? about : '',
          body: bodyOf(request.raw, endLook),
          signal: record.signal,
        }).finally(endLook)
        // What is left of a body that is not taken would wait in the connection.
        if (!request.raw.readableEnded) void reply.header('connection', 'close')
        return reply.code(status).header('cache-control', 'no-store').send(value)
      },
    })
    done()
  })
}
