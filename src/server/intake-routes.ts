// The routes by which commands bring content into the store, below /-/intake/. They exist on the control socket only: for
// every other request they are not there. What they take is read in mirror/intake-requests.ts.

import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { MirrorError } from '../errors.ts'
import type { Intake } from '../mirror/intake.ts'
import { answerIntake } from '../mirror/intake-requests.ts'
import { isFromControl } from './control.ts'
import { recordOf } from './request-record.ts'

/** A command that was stopped would hold the file that it brings. */
const IDLE_MS = 60_000

/** The body as it comes. Its connection ends if nothing comes for a while; the time does not run before the first read. */
async function* bodyOf(request: IncomingMessage): AsyncGenerator<Buffer, void, undefined> {
  const { socket } = request
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
        const { status, value } = await answerIntake(intake, request.params.action, {
          about: typeof about === 'string' ? about : '',
          body: bodyOf(request.raw),
        })
        // What is left of a body that is not taken would wait in the connection.
        if (!request.raw.readableEnded) void reply.header('connection', 'close')
        return reply.code(status).header('cache-control', 'no-store').send(value)
      },
    })
    done()
  })
}
