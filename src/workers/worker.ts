// A worker: takes clients' connections, hands their requests to the main process and the answers back, and sends
// stored files by itself. It holds no secret and no state that must outlive it, and ends with the main process.

import { rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { getSystemErrorMap } from 'node:util'
import { createLogger } from '../telemetry/log.ts'
import { createAnswerer } from './answerer.ts'
import type { Forwarder } from './forward.ts'
import { createFront, type Front } from './front.ts'
import { LineBatch } from './line-batch.ts'
import type { FromWorker, ToWorker, WorkerSettings } from './messages.ts'

const lines = new LineBatch((text) => tell({ kind: 'log', lines: text }))
let front: Front | undefined
let forwarder: Forwarder | undefined
let socketPath: string | undefined
let mayEnd = false

// A terminal signals the whole group: when to end is for the main process to say.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGUSR2'] as const) process.on(signal, () => undefined)
process.on('exit', () => {
  // Node ends a worker whose main process has gone, which then had no time to tidy up.
  if (!mayEnd && socketPath !== undefined && !process.connected)
    rmSync(dirname(socketPath), { recursive: true, force: true })
})
process.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'start':
      void start(message.settings)
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

async function start(settings: WorkerSettings): Promise<void> {
  const logger = createLogger({ level: settings.logLevel, destination: { write: (line) => lines.add(line) } })
  process.on('unhandledRejection', (error) => {
    // As in the main process: one request must not end all others.
    logger.error({ err: error }, 'unhandled rejection')
  })
  socketPath = settings.socketPath
  const answerer = createAnswerer(settings, {
    logger,
    tellTaken: (id, taken) => tell({ kind: 'taken', id, taken }),
  })
  forwarder = answerer
  front = createFront((exchange) => answerer.forward(exchange))
  try {
    tell({ kind: 'listening', port: await front.listen(settings.host, settings.port) })
  } catch (error) {
    end({ kind: 'failed', reason: describe(error) })
  }
}

async function drain(): Promise<void> {
  await front?.close()
  await forwarder?.idle()
  end({ kind: 'drained' })
}

/** Ends when everything has been told, `last` at the end. */
function end(last: FromWorker): void {
  mayEnd = true
  lines.flush()
  process.send?.(last, undefined, undefined, () => process.exit(0))
}

/** In the words of a process that listens for itself: the main process has tried on behalf of this one. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, errno, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number }
  const [, words] = getSystemErrorMap().get(errno ?? 0) ?? []
  if (address === undefined || words === undefined) return error.message
  return `listen ${code}: ${words} ${address}${port === undefined ? '' : `:${port}`}`
}

function tell(message: FromWorker): void {
  // Without a main process there is nobody to tell, and no reason to stay.
  if (process.connected) process.send?.(message)
}
