// The routes by which commands bring content into the store, below /-/intake/. They exist on the control socket only: for
// every other request they are not there. What they take is read in mirror/intake-requests.ts.

import type { FastifyInstance } from 'fastify'
import { MirrorError } from '../errors.ts'
import type { Intake } from '../mirror/intake.ts'
import { answerIntake } from '../mirror/intake-requests.ts'
import { isFromControl } from './control.ts'
import { recordOf } from './request-record.ts'

/** A command that was stopped would hold the file that it brings. */
const IDLE_MS = 60_000

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
        const { socket } = request.raw
        const stalled = (): void => void socket.destroy()
        socket.setTimeout(IDLE_MS, stalled)
        const stopWatching = (): void => {
          socket.setTimeout(0)
          socket.off('timeout', stalled)
        }
        request.raw.once('end', stopWatching)
        try {
          const { about } = request.query
          const { status, value } = await answerIntake(intake, request.params.action, {
            about: typeof about === 'string' ? about : '',
            body: request.raw,
          })
          return await reply.code(status).header('cache-control', 'no-store').send(value)
        } finally {
          stopWatching()
        }
      },
    })
    done()
  })
}
