// A worker: takes clients' connections, hands their requests to the main process and the answers back, and sends
// stored files by itself. It holds no secret and no state that must outlive it, and ends with the main process.

import { rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import { createLogger } from '../../telemetry/log.ts'
import { setRunKey } from '../../telemetry/run-key.ts'
import type { FromWorker, ToWorker, WorkerSettings } from '../messages.ts'
import { type Answerer, createAnswerer } from './app.ts'
import { Accounts } from './report.ts'
import { createFront, type Front } from './server.ts'

let front: Front | undefined
let answerer: Answerer | undefined
let logger: Logger | undefined
let socketPath: string | undefined

// A terminal signals the whole group: when to end is for the main process to say.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => undefined)
process.on('disconnect', () => {
  // A main process that ends in order waits for its workers; this one had no time to tidy up.
  if (socketPath !== undefined) rmSync(dirname(socketPath), { recursive: true, force: true })
  process.exit()
})
process.on('message', (message: ToWorker, connection?: Socket) => {
  switch (message.kind) {
    case 'start':
      start(message.settings)
      break
    case 'connection':
      tell({ kind: 'took' })
      // None where the client has left meanwhile.
      if (connection !== undefined) front?.take(connection)
      break
    case 'forget':
      answerer?.forget(message.repo)
      tell({ kind: 'forgotten', turn: message.turn })
      break
    case 'change':
      if (logger !== undefined) logger.level = message.settings.logLevel
      answerer?.change(message.settings.clients)
      tell({ kind: 'forgotten', turn: message.turn })
      break
    case 'leave':
      front?.leave()
      break
    case 'drain':
      void drain()
      break
    case 'cut':
      front?.cut()
      break
    default:
      message satisfies never
  }
})
tell({ kind: 'ready' })

function start(settings: WorkerSettings): void {
  setRunKey(settings.runKey)
  const { isAudited } = settings
  const accounts = new Accounts({ isAudited, send: (batch) => tell({ kind: 'accounts', batch }) })
  const log = createLogger({ level: settings.logLevel, destination: accounts.destination })
  process.on('unhandledRejection', (error) => {
    // As in the main process: one request must not end all others.
    log.error({ err: error }, 'unhandled rejection')
  })
  socketPath = settings.socketPath
  logger = log
  answerer = createAnswerer(settings, {
    logger: log,
    accounts,
    monotonic: () => performance.now(),
    tellTaken: (id, taken) => tell({ kind: 'taken', id, taken }),
    tellPins: (pins) => tell({ kind: 'pins', pins }),
  })
  front = createFront(answerer)
  tell({ kind: 'serving' })
}

async function drain(): Promise<void> {
  await front?.close()
  await answerer?.idle()
  // When this has been told, everything has.
  process.send?.({ kind: 'drained' } satisfies FromWorker, undefined, undefined, () => process.exit(0))
}

function tell(message: FromWorker): void {
  // Without a main process there is nobody to tell, and no reason to stay.
  // The one that has just been killed is told of by `disconnect`; a failed word to it is no error of this process.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined)
}
