// The entry point of a worker process. A worker takes clients' connections, forwards their requests to the main process,
// and sends cached answers and stored files itself. It holds no token and no state that must outlive it, and exits with the
// main process. If the mirror speaks TLS itself, the handshakes are here, and the key for them is the only secret.

import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { TlsKeys } from '../../server/tls-server.ts'
import { createLogger } from '../../telemetry/log.ts'
import { setRunKey } from '../../telemetry/run-key.ts'
import type { FromWorker, ToWorker, WorkerSettings } from '../messages.ts'
import { removePrivateSocket } from '../private-socket.ts'
import { createWorkerApp, type WorkerApp } from './app.ts'
import { Reporter } from './report.ts'
import { createWorkerServer, type WorkerServer } from './server.ts'

let server: WorkerServer | undefined
let app: WorkerApp | undefined
let logger: Logger | undefined
let socketPath: string | undefined
// Replaced as a whole.
let tls: TlsKeys | undefined

// A terminal sends signals to the whole process group. The main process decides when its workers exit.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => undefined)
process.on('disconnect', () => {
  // A main process that exits in order waits for its workers. This one has left its socket behind.
  if (socketPath !== undefined) removePrivateSocket(socketPath)
  process.exit()
})
process.on('message', (message: ToWorker, connection?: Socket) => {
  switch (message.kind) {
    case 'start':
      start(message.settings)
      break
    case 'connection':
      send({ kind: 'took' })
      // There is none when the client has left meanwhile.
      if (connection !== undefined) server?.take(connection)
      break
    case 'invalidate':
      app?.invalidate(message.repo)
      send({ kind: 'acknowledged', sequence: message.sequence })
      break
    case 'change':
      if (logger !== undefined) logger.level = message.settings.logLevel
      app?.change(message.settings.clients)
      send({ kind: 'acknowledged', sequence: message.sequence })
      break
    case 'tls':
      tls = message.tls
      break
    case 'leave':
      server?.leave()
      send({ kind: 'acknowledged', sequence: message.sequence })
      break
    case 'drain':
      void drain()
      break
    case 'exit':
      process.exit(0)
      break
    case 'cut':
      server?.cut()
      break
    default:
      message satisfies never
  }
})
send({ kind: 'ready' })

function start(settings: WorkerSettings): void {
  setRunKey(settings.runKey)
  const { isAudited } = settings
  const reporter = new Reporter({ isAudited, send: (batch) => send({ kind: 'report', batch }) })
  const log = createLogger({ level: settings.logLevel, destination: reporter.destination })
  process.on('unhandledRejection', (error) => {
    // As in the main process: an error in one request must not end all others.
    log.error({ err: error }, 'unhandled rejection')
  })
  socketPath = settings.socketPath
  logger = log
  app = createWorkerApp(settings, {
    logger: log,
    reporters: reporter,
    monotonic: () => performance.now(),
    reportHandoff: (id, result) => send({ kind: 'sent', id, result }),
    reportPromises: (promises) => send({ kind: 'promises', promises }),
  })
  tls = settings.tls
  const first = tls
  server = createWorkerServer({
    ...app,
    // Only those that know the first keys get others.
    tls: first && { keys: () => tls ?? first, reporters: { logger: log, observer: reporter.observer } },
  })
  send({ kind: 'serving' })
}

async function drain(): Promise<void> {
  await server?.close()
  await app?.idle()
  // Messages arrive in order, so that all others have been received by then. The worker does not exit by itself: if the main
  // process has been killed meanwhile, no other process removes the socket.
  send({ kind: 'drained' })
}

function send(message: FromWorker): void {
  // A message to a main process that was just killed fails. That is no error of this process: `disconnect` follows.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined)
}
