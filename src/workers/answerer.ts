// What a worker does with a request, joined: hands it on, and sends by itself what it is offered.

import type { Logger } from 'pino'
import type { Taken } from '../server/peer.ts'
import { ReadBuffers } from '../server/read-buffers.ts'
import { createLayout } from '../store/layout.ts'
import { createForwarder, type Forwarder } from './forward.ts'
import type { WorkerSettings } from './messages.ts'
import { takeOffer } from './offer.ts'

/** Answers exchanges of `createFront`. */
export function createAnswerer(
  settings: Pick<WorkerSettings, 'socketPath' | 'cacheDir'>,
  rooms: { readonly logger: Logger; readonly tellTaken: (id: number, taken: Taken) => void },
): Forwarder {
  const { logger, tellTaken } = rooms
  const options = {
    layout: createLayout(settings.cacheDir),
    buffers: new ReadBuffers(),
    tell: tellTaken,
    onTrouble: (error: unknown) => logger.warn({ err: error }, 'a worker cannot read a stored file'),
  }
  return createForwarder({
    socketPath: settings.socketPath,
    takeOffer: (offer, answer) => void takeOffer(offer, answer, options),
    onTrouble: (error) => logger.warn({ err: error }, 'a worker cannot reach the main process'),
  })
}
