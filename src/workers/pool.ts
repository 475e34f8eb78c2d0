// The workers as the main process sees them: started, replaced when they end unasked, told to drain. It knows nothing
// of requests.

import cluster, { type Worker } from 'node:cluster'
import { fileURLToPath } from 'node:url'
import type { DestinationStream, Logger } from 'pino'
import type { Offers } from '../server/peer.ts'
import type { Observer } from '../telemetry/observer.ts'
import type { FromWorker, ToWorker, WorkerSettings } from './messages.ts'

export interface PoolOptions {
  readonly count: number
  readonly settings: WorkerSettings
  readonly offers: Offers
  readonly observer: Observer
  readonly logger: Logger
  /** Where the lines of the workers' logs go. */
  readonly destination: DestinationStream
}

export interface Pool {
  /** Where clients connect. */
  readonly port: number
  /** No new connections; resolves when the last worker has ended. */
  drain(): Promise<void>
  /** Ends what is still under way, now. */
  cut(): void
}

/** A worker that ends sooner than this after it listened may do so again at once: the next one waits. */
const LASTING_MS = 10_000
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 10_000
/** What a worker has to end by itself when its connections are cut. */
const CUT_GRACE_MS = 2_000

/** A worker of the first round could not listen. */
export class CannotListen extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'CannotListen'
  }
}

/** Starts the workers; resolves when all of them listen. Rejects with CannotListen, and leaves none behind. */
export async function startPool(options: PoolOptions): Promise<Pool> {
  cluster.setupPrimary({
    exec: fileURLToPath(new URL('./worker.js', import.meta.url)),
    args: [],
    serialization: 'advanced',
  })
  const pool = new WorkerPool(options)
  try {
    await Promise.all(Array.from({ length: options.count }, () => pool.start()))
  } catch (error) {
    pool.kill()
    throw error
  }
  return pool
}

class WorkerPool implements Pool {
  readonly #options: PoolOptions
  readonly #listening = new Set<Worker>()
  readonly #running = new Set<Worker>()
  #port: number | undefined
  #waitMs = FIRST_WAIT_MS
  #isEnding = false
  #whenEmpty: (() => void) | undefined

  constructor(options: PoolOptions) {
    this.#options = options
  }

  get port(): number {
    return this.#port ?? this.#options.settings.port
  }

  /** Starts one; resolves when it listens. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const worker = cluster.fork()
      this.#running.add(worker)
      let listenedAt: number | undefined
      worker.on('message', (message: FromWorker) => {
        switch (message.kind) {
          case 'ready':
            send(worker, { kind: 'start', settings: this.#settings() })
            break
          case 'listening':
            this.#port = message.port
            listenedAt = performance.now()
            this.#listening.add(worker)
            this.#options.observer.workers(this.#listening.size)
            if (this.#isEnding) send(worker, { kind: 'drain' })
            resolve()
            break
          case 'failed':
            reject(new CannotListen(message.reason))
            break
          case 'taken':
            this.#options.offers.settle(message.id, message.taken)
            break
          case 'log':
            this.#options.destination.write(message.lines)
            break
          case 'drained':
            break
          default:
            message satisfies never
        }
      })
      whenEnded(worker, (code, signal) => {
        this.#running.delete(worker)
        this.#listening.delete(worker)
        this.#options.observer.workers(this.#listening.size)
        reject(new CannotListen(`a worker ended with ${signal ?? code}`))
        if (this.#isEnding) {
          if (this.#running.size === 0) this.#whenEmpty?.()
        } else if (this.#port !== undefined) {
          this.#replace({ pid: worker.process.pid, code, signal, listenedAt })
        }
      })
    })
  }

  async drain(): Promise<void> {
    this.#isEnding = true
    const empty = new Promise<void>((resolve) => {
      this.#whenEmpty = resolve
    })
    if (this.#running.size === 0) return
    for (const worker of this.#listening) send(worker, { kind: 'drain' })
    await empty
  }

  cut(): void {
    for (const worker of this.#running) send(worker, { kind: 'cut' })
    setTimeout(() => this.kill(), CUT_GRACE_MS).unref()
  }

  kill(): void {
    this.#isEnding = true
    for (const worker of this.#running) worker.process.kill('SIGKILL')
  }

  #settings(): WorkerSettings {
    const { settings } = this.#options
    // The system chose the port for the first ones. While one of them is there its port is shared by asking for any.
    return this.#port === undefined || this.#listening.size > 0 ? settings : { ...settings, port: this.#port }
  }

  #replace(ended: {
    readonly pid: number | undefined
    readonly code: number | null
    readonly signal: string | null
    readonly listenedAt: number | undefined
  }): void {
    const { listenedAt, ...fields } = ended
    const { logger, observer } = this.#options
    observer.workerLost()
    const hasLasted = listenedAt !== undefined && performance.now() - listenedAt >= LASTING_MS
    if (hasLasted) this.#waitMs = FIRST_WAIT_MS
    const waitMs = this.#waitMs
    this.#waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)
    logger.warn({ ...fields, waitMs }, 'a worker ended; another one takes its place')
    setTimeout(() => {
      if (this.#isEnding) return
      this.start().catch((error: unknown) => {
        if (!this.#isEnding) logger.error({ err: error }, 'a worker cannot serve')
      })
    }, waitMs)
  }
}

/** Calls back when the process has ended and everything that it had said was heard. */
function whenEnded(worker: Worker, done: (code: number | null, signal: string | null) => void): void {
  let status: readonly [number | null, string | null] | undefined
  let isSilent = false
  const look = (): void => {
    if (status !== undefined && isSilent) done(...status)
  }
  worker.once('exit', (code: number | null, signal: string | null) => {
    status = [code, signal]
    look()
  })
  worker.once('disconnect', () => {
    isSilent = true
    look()
  })
}

function send(worker: Worker, message: ToWorker): void {
  // One that has just ended hears nothing, and whoever waits for it hears of its end.
  if (worker.isConnected()) worker.send(message, () => undefined)
}
