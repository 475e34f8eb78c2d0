// The workers as the main process sees them: started, replaced when they end unasked, told to drain. It knows nothing
// of requests.

import { type ChildProcess, fork } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { DestinationStream, Logger } from 'pino'
import type { Repo } from '../../hub/names.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import { arrivalsRead } from '../../server/leaving.ts'
import type { Auditor } from '../../telemetry/audit.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { FromWorker, ToWorker, WorkerChange, WorkerSettings } from '../messages.ts'
import { sharedMs } from '../peer.ts'
import type { AccountBatch } from '../worker/report.ts'
import { Door } from './listener.ts'
import type { WorkerLink } from './worker-link.ts'

export interface PoolOptions {
  readonly count: number
  readonly settings: WorkerSettings
  readonly link: WorkerLink
  readonly mirror: Pick<Mirror, 'pin'>
  readonly observer: Observer
  readonly auditor: Auditor
  readonly logger: Logger
  /** Where the lines of the workers' logs go. */
  readonly destination: DestinationStream
}

export interface Pool {
  /** Where clients connect. */
  readonly port: number
  /** Resolves when all workers go by these settings, and repeat nothing of before. */
  change(settings: WorkerChange): Promise<void>
  /** The mirror is about to stop: workers go on, and every answer ends its connection. */
  leave(): void
  /** No new connections; resolves when the last worker has ended. */
  drain(): Promise<void>
  /** Ends what is still under way, now. */
  cut(): void
}

/** After it a worker repeats less, and says so. */
type Forgetting = Extract<ToWorker, { readonly turn: number }>

/** Of a process that the system would not start: why. */
type ExitCode = number | string | null

/** As the main process sees it. */
interface Worker {
  readonly process: ChildProcess
  /** Connections that it was given and has not taken yet, in order. */
  readonly given: Socket[]
  /** The first of them at the last look, and how many looks before found the same. */
  untaken: Socket | undefined
  looks: number
  /** What it has not said yet to have forgotten. */
  readonly forgetting: Map<number, () => void>
  /** It may know something by now. */
  isTold: boolean
  /** When it began to take connections. */
  servingSince: number | undefined
}

/** A worker that ends sooner than this after it listened may do so again at once: the next one waits. */
const LASTING_MS = 10_000
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 10_000
/** A worker that has not said by then that it has forgotten what it must is killed: nobody is answered before. */
const FORGET_WITHIN_MS = 2_000
/**
 * A worker that has not taken a connection within so many looks is killed, so that another one gets it. Looks, since they
 * stand still together with this process, where time goes on.
 */
const LOOK_MS = 1_000
const LAST_LOOK = 10
/** What a worker has to end by itself when its connections are cut. */
const CUT_GRACE_MS = 2_000

/** How long after its end a process may have something left to be heard: a channel can stay open for ever. */
const LAST_WORDS_MS = 500

/**
 * Listens and starts the workers; resolves when all of them take connections. Rejects with what the system says of
 * the port, and leaves none behind.
 */
export async function startPool(
  where: { readonly host: string; readonly port: number },
  options: PoolOptions,
): Promise<Pool> {
  const pool = new WorkerPool(options)
  await pool.listen(where.host, where.port)
  options.link.onForget((repo) => pool.forget(repo))
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
  #settings: WorkerSettings
  readonly #door: Door
  readonly #workers = new Set<Worker>()
  // Connections that nobody can take at the moment.
  readonly #waiting: Socket[] = []
  #port = 0
  #turn = 0
  #waitMs = FIRST_WAIT_MS
  #isLeaving = false
  #isEnding = false
  #whenEmpty: (() => void) | undefined

  constructor(options: PoolOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#door = new Door((socket) => this.#deal(socket), options.logger)
    setInterval(() => this.#look(), LOOK_MS).unref()
  }

  get port(): number {
    return this.#port
  }

  async listen(host: string, port: number): Promise<void> {
    this.#port = await this.#door.listen(host, port)
  }

  /** Starts one; resolves when it takes connections. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      let child: ChildProcess
      try {
        child = fork(fileURLToPath(new URL('../worker/worker.js', import.meta.url)), {
          serialization: 'advanced',
          env: workerEnvironment(process.env),
        })
      } catch (error) {
        // Of some reasons Node tells so, and of others by an event.
        this.#replace({ pid: undefined, code: reasonOf(error as Error), signal: null }, undefined)
        reject(error as Error)
        return
      }
      const worker: Worker = {
        process: child,
        given: [],
        untaken: undefined,
        looks: 0,
        forgetting: new Map(),
        isTold: false,
        servingSince: undefined,
      }
      this.#workers.add(worker)
      child.on('message', (message: FromWorker) => {
        if (message.kind === 'serving') resolve()
        this.#hear(worker, message)
      })
      whenEnded(child, (code, signal) => {
        this.#ended(worker, code, signal)
        reject(new Error(`a worker ended with ${signal ?? code}`))
      })
    })
  }

  #hear(worker: Worker, message: FromWorker): void {
    const { link, mirror } = this.#options
    switch (message.kind) {
      case 'ready':
        worker.isTold = true
        send(worker, { kind: 'start', settings: this.#settings })
        break
      case 'serving':
        worker.servingSince = performance.now()
        this.#count()
        if (this.#isLeaving) send(worker, { kind: 'leave' })
        if (this.#isEnding) send(worker, { kind: 'drain' })
        for (const socket of this.#waiting.splice(0)) this.#deal(socket)
        break
      case 'took':
        // The worker's own descriptor keeps the connection.
        worker.given.shift()?.destroy()
        break
      case 'forgotten':
        worker.forgetting.get(message.turn)?.()
        break
      case 'taken':
        link.handoff.settle(message.id, message.taken)
        break
      case 'pins':
        for (const { client, answer, at } of message.pins)
          mirror.pin(client, answer, Math.max(0, sharedMs() - at))
        break
      case 'accounts':
        keepAccounts(message.batch, this.#options)
        break
      case 'drained':
        break
      default:
        message satisfies never
    }
  }

  /** Gives a connection to the worker whose turn it is, of those that are quickest to take what they are given. */
  #deal(socket: Socket): void {
    let worker: Worker | undefined
    for (const other of this.#workers) {
      if (other.servingSince === undefined || !other.process.connected) continue
      if (worker === undefined || other.given.length < worker.given.length) worker = other
    }
    if (worker === undefined) {
      this.#waiting.push(socket)
      return
    }
    // As the last one: the next connection is for the next worker.
    this.#workers.delete(worker)
    this.#workers.add(worker)
    worker.given.push(socket)
    const message: ToWorker = { kind: 'connection' }
    // What a worker that has ended did not take is for the next one.
    worker.process.send(message, socket, { keepOpen: true }, () => undefined)
  }

  /** Whether all of them still take what they are given. */
  #look(): void {
    for (const worker of this.#workers) {
      const [first] = worker.given
      worker.looks = first !== undefined && first === worker.untaken ? worker.looks + 1 : 0
      worker.untaken = first
      if (worker.looks === LAST_LOOK) this.#killStuck(worker)
    }
  }

  #killStuck({ process: child }: Worker): void {
    this.#options.logger.error({ pid: child.pid }, 'a worker does not respond; the main process kills it')
    child.kill('SIGKILL')
  }

  #ended(worker: Worker, code: ExitCode, signal: string | null): void {
    const { servingSince, process: child } = worker
    this.#workers.delete(worker)
    this.#count()
    for (const socket of worker.given) {
      if (this.#isEnding) socket.destroy()
      else this.#deal(socket)
    }
    // It repeats nothing any more.
    for (const forgotten of worker.forgetting.values()) forgotten()
    if (!this.#isEnding) this.#replace({ pid: child.pid, code, signal }, servingSince)
    else if (this.#workers.size === 0) this.#whenEmpty?.()
  }

  #count(): void {
    const serving = [...this.#workers].filter(({ servingSince }) => servingSince !== undefined)
    this.#options.observer.workers(serving.length)
  }

  #replace(
    ended: {
      readonly pid: number | undefined
      readonly code: ExitCode
      readonly signal: string | null
    },
    servingSince: number | undefined,
  ): void {
    const { logger, observer } = this.#options
    observer.workerLost()
    const hasLasted = servingSince !== undefined && performance.now() - servingSince >= LASTING_MS
    const waitMs = hasLasted ? FIRST_WAIT_MS : this.#waitMs
    this.#waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)
    logger.warn({ ...ended, waitMs }, 'a worker ended; another one replaces it')
    setTimeout(() => {
      // Its end is told of as that of any other.
      if (!this.#isEnding) this.start().catch(() => undefined)
    }, waitMs)
  }

  /** Resolves when no worker repeats anything about the repo. */
  async forget(repo: Repo): Promise<void> {
    await this.#tellAll((turn) => ({ kind: 'forget', repo, turn }))
  }

  async change(settings: WorkerChange): Promise<void> {
    // For those that start later, too.
    this.#settings = { ...this.#settings, ...settings }
    await this.#tellAll((turn) => ({ kind: 'change', settings, turn }))
  }

  async #tellAll(make: (turn: number) => Forgetting): Promise<void> {
    this.#turn += 1
    const message = make(this.#turn)
    const told = [...this.#workers].filter(({ isTold }) => isTold)
    await Promise.all(told.map((worker) => this.#forgotten(worker, message)))
  }

  #forgotten(worker: Worker, message: Forgetting): Promise<void> {
    return new Promise((resolve) => {
      const late = setTimeout(() => this.#killStuck(worker), FORGET_WITHIN_MS)
      worker.forgetting.set(message.turn, () => {
        clearTimeout(late)
        worker.forgetting.delete(message.turn)
        resolve()
      })
      send(worker, message)
    })
  }

  leave(): void {
    this.#isLeaving = true
    for (const worker of this.#workers) if (worker.servingSince !== undefined) send(worker, { kind: 'leave' })
  }

  async drain(): Promise<void> {
    await arrivalsRead()
    this.#isEnding = true
    this.#door.close()
    for (const socket of this.#waiting) socket.destroy()
    const empty = new Promise<void>((resolve) => {
      this.#whenEmpty = resolve
    })
    for (const worker of this.#workers) if (worker.servingSince !== undefined) send(worker, { kind: 'drain' })
    if (this.#workers.size > 0) await empty
  }

  cut(): void {
    for (const worker of this.#workers) send(worker, { kind: 'cut' })
    setTimeout(() => this.kill(), CUT_GRACE_MS).unref()
  }

  kill(): void {
    this.#isEnding = true
    this.#door.close()
    for (const worker of this.#workers) worker.process.kill('SIGKILL')
  }
}

/** What a runtime heeds. Settings come as a message, and secrets, which stand in the environment, not at all. */
function workerEnvironment(own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isHeeded = /^(?:NODE|UV|LD|MALLOC|LC|OPENSSL)_|^(?:PATH|LANG|TZ)$/
  return Object.fromEntries(Object.entries(own).filter(([name]) => isHeeded.test(name)))
}

/** Writes and counts what a worker has done by itself. */
export function keepAccounts(
  { lines, done, decided, audited }: AccountBatch,
  { destination, observer, auditor }: Pick<PoolOptions, 'destination' | 'observer' | 'auditor'>,
): void {
  if (lines !== '') destination.write(lines)
  for (const event of done) observer.requestDone(event)
  for (const result of decided) observer.accessDecided(result)
  for (const event of audited) auditor.access(event)
}

/** Calls back when the process has ended and everything that it had said was heard, or when it could not be started. */
function whenEnded(child: ChildProcess, done: (code: ExitCode, signal: string | null) => void): void {
  child.on('error', (error: NodeJS.ErrnoException) => {
    if (child.pid === undefined) done(reasonOf(error), null)
  })
  child.once('exit', (code, signal) => {
    const end = (): void => {
      clearTimeout(late)
      child.off('disconnect', end)
      done(code, signal)
    }
    const late = setTimeout(end, LAST_WORDS_MS)
    if (child.channel !== undefined && child.channel !== null) child.once('disconnect', end)
  })
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message
}

function send({ process: child }: Worker, message: ToWorker): void {
  // One that has just ended hears nothing, and whoever waits for it hears of its end.
  if (child.connected) child.send(message, () => undefined)
}
