// The worker processes as the main process sees them: it starts them, replaces those that exit unexpectedly, deals out
// connections, and drains them. It does not know requests.

import { type ChildProcess, fork } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { DestinationStream, Logger } from 'pino'
import { builtFile } from '../../built-file.ts'
import type { Repo } from '../../hub/names.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import { arrivalsRead } from '../../server/shutdown.ts'
import type { TlsKeys } from '../../server/tls-server.ts'
import type { Auditor } from '../../telemetry/audit.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { sharedMs } from '../header-fields.ts'
import type { FromWorker, ToWorker, WorkerChange, WorkerSettings } from '../messages.ts'
import type { ReportBatch } from '../worker/report.ts'
import { Listener } from './listener.ts'
import type { WorkerLink } from './worker-link.ts'

export interface PoolOptions {
  readonly count: number
  readonly settings: WorkerSettings
  /** What handshakes that begin now use; undefined if clients speak plain HTTP. */
  readonly tls: (() => TlsKeys) | undefined
  readonly link: WorkerLink
  readonly mirror: Pick<Mirror, 'recordHeadCommit'>
  readonly observer: Observer
  readonly auditor: Auditor
  readonly logger: Logger
  /** Gets the log lines of the workers. */
  readonly destination: DestinationStream
}

export interface Pool {
  /** The port that clients connect to. */
  readonly port: number
  /** Resolves when all workers use these settings and have dropped their cached answers. */
  change(settings: WorkerChange): Promise<void>
  /** The mirror is about to stop: workers serve on, and every answer ends its connection. */
  leave(): void
  /** Accepts no more connections. Resolves when the last worker has exited. */
  drain(): Promise<void>
  /** Ends all connections now. */
  cut(): void
}

/** A message that a worker acknowledges, because what follows must find it done. */
type Acknowledged = Extract<ToWorker, { readonly sequence: number }>

/** An exit status; the error code of a process that the system did not start. */
type ExitCode = number | string | null

/** One worker process. */
interface Worker {
  readonly process: ChildProcess
  /** Connections that were sent to it and that it has not acknowledged yet, in order. */
  readonly given: Socket[]
  /** The first of them at the last check, and for how many checks it has been the first. */
  firstGiven: Socket | undefined
  checks: number
  /** Called when it acknowledges the message with this sequence number, or exits. */
  readonly unacknowledged: Map<number, () => void>
  /** It was sent its settings, so that it may have cached answers. */
  hasStarted: boolean
  /** Since when it takes connections (`performance.now`). */
  servingSince: number | undefined
}

/** A worker that exits sooner than this is replaced after a pause, which grows each time. */
const LASTING_MS = 10_000
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 10_000
/** A worker that does not acknowledge an invalidation within this time is killed, since no request is answered until then. */
const ACKNOWLEDGE_WITHIN_MS = 2_000
/**
 * A worker that has not accepted a connection for this many checks is killed, and the connection goes to another one. Checks
 * are counted, not time, so that a pause of this process is not taken for one of the worker.
 */
const CHECK_MS = 1_000
const MAX_CHECKS = 10
/** How long a worker has to exit by itself after its connections were cut. */
const CUT_GRACE_MS = 2_000

/** How long after its exit the last messages of a process are waited for. Its channel may never close. */
const LAST_MESSAGES_MS = 500

/**
 * Listens and starts the workers. Resolves when all of them take connections. Rejects when the port cannot be used or a
 * worker does not start; then no worker is left running.
 */
export async function startPool(
  where: { readonly host: string; readonly port: number },
  options: PoolOptions,
): Promise<Pool> {
  const pool = new WorkerPool(options)
  await pool.listen(where.host, where.port)
  options.link.onInvalidate((repo) => pool.invalidate(repo))
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
  readonly #listener: Listener
  readonly #workers = new Set<Worker>()
  // Connections that wait for a worker to serve.
  readonly #waiting: Socket[] = []
  #port = 0
  #sequence = 0
  #waitMs = FIRST_WAIT_MS
  #isLeaving = false
  // Resolves when all workers let every answer end its connection.
  #left = Promise.resolve()
  #isEnding = false
  #whenEmpty: (() => void) | undefined

  constructor(options: PoolOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#listener = new Listener((socket) => this.#deal(socket), options.logger)
    setInterval(() => this.#check(), CHECK_MS).unref()
  }

  get port(): number {
    return this.#port
  }

  async listen(host: string, port: number): Promise<void> {
    this.#port = await this.#listener.listen(host, port)
  }

  /** Starts a worker. Resolves when it takes connections, rejects when it exits before. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      let child: ChildProcess
      try {
        child = fork(fileURLToPath(builtFile('workers/worker/worker.js')), {
          serialization: 'advanced',
          env: workerEnvironment(process.env),
        })
      } catch (error) {
        // Node throws some errors of the system, and reports others by an event.
        this.#replace({ pid: undefined, code: reasonOf(error as Error), signal: null }, undefined)
        reject(error as Error)
        return
      }
      const worker: Worker = {
        process: child,
        given: [],
        firstGiven: undefined,
        checks: 0,
        unacknowledged: new Map(),
        hasStarted: false,
        servingSince: undefined,
      }
      this.#workers.add(worker)
      child.on('message', (message: FromWorker) => {
        if (message.kind === 'serving') resolve()
        this.#receive(worker, message)
      })
      whenEnded(child, (code, signal) => {
        this.#ended(worker, code, signal)
        reject(new Error(`a worker ended with ${signal ?? code}`))
      })
    })
  }

  #receive(worker: Worker, message: FromWorker): void {
    const { link, mirror } = this.#options
    switch (message.kind) {
      case 'ready':
        worker.hasStarted = true
        send(worker, { kind: 'start', settings: this.#settings })
        break
      case 'serving':
        worker.servingSince = performance.now()
        this.#count()
        if (this.#isLeaving) this.#left = this.#sendLeave()
        if (this.#isEnding) send(worker, { kind: 'drain' })
        for (const socket of this.#waiting.splice(0)) this.#deal(socket)
        break
      case 'took':
        // The worker has a descriptor of its own, which keeps the connection open.
        worker.given.shift()?.destroy()
        break
      case 'acknowledged':
        worker.unacknowledged.get(message.sequence)?.()
        break
      case 'sent':
        link.handoff.settle(message.id, message.result)
        break
      case 'promises':
        for (const { client, answer, at } of message.promises)
          mirror.recordHeadCommit(client, answer, Math.max(0, sharedMs() - at))
        break
      case 'report':
        recordReport(message.batch, this.#options)
        break
      case 'drained':
        send(worker, { kind: 'exit' })
        break
      default:
        message satisfies never
    }
  }

  /** Sends a connection to a worker: one with the fewest unacknowledged connections, and of these in turn. */
  #deal(socket: Socket): void {
    this.#sendKeys()
    let worker: Worker | undefined
    for (const other of this.#workers) {
      if (other.servingSince === undefined || !other.process.connected) continue
      if (worker === undefined || other.given.length < worker.given.length) worker = other
    }
    if (worker === undefined) {
      this.#waiting.push(socket)
      return
    }
    // It moves to the end of the set, so that the next connection goes to another worker.
    this.#workers.delete(worker)
    this.#workers.add(worker)
    worker.given.push(socket)
    const message: ToWorker = { kind: 'connection' }
    // When the worker has exited, `#ended` sends its connections to another one.
    worker.process.send(message, socket, { keepOpen: true }, () => undefined)
  }

  /** Sends the keys for TLS to all workers if they have changed. Messages arrive in order, so connections that follow use them. */
  #sendKeys(): void {
    const tls = this.#options.tls?.()
    if (tls === undefined || tls === this.#settings.tls) return
    // Workers that start later get them, too.
    this.#settings = { ...this.#settings, tls }
    for (const worker of this.#workers) if (worker.hasStarted) send(worker, { kind: 'tls', tls })
  }

  /** Kills workers that do not accept their connections. */
  #check(): void {
    for (const worker of this.#workers) {
      const [first] = worker.given
      worker.checks = first !== undefined && first === worker.firstGiven ? worker.checks + 1 : 0
      worker.firstGiven = first
      if (worker.checks === MAX_CHECKS) this.#killStuck(worker)
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
    // Its cache has gone with it.
    for (const acknowledge of worker.unacknowledged.values()) acknowledge()
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
      // Its exit is logged like that of any other worker.
      if (!this.#isEnding) this.start().catch(() => undefined)
    }, waitMs)
  }

  /** Resolves when every worker has dropped its answers about the repo. */
  async invalidate(repo: Repo): Promise<void> {
    await this.#sendAll((sequence) => ({ kind: 'invalidate', repo, sequence }))
  }

  async change(settings: WorkerChange): Promise<void> {
    // Workers that start later get them, too.
    this.#settings = { ...this.#settings, ...settings }
    await this.#sendAll((sequence) => ({ kind: 'change', settings, sequence }))
  }

  async #sendAll(make: (sequence: number) => Acknowledged): Promise<void> {
    this.#sequence += 1
    const message = make(this.#sequence)
    const started = [...this.#workers].filter(({ hasStarted }) => hasStarted)
    await Promise.all(started.map((worker) => this.#acknowledged(worker, message)))
  }

  #acknowledged(worker: Worker, message: Acknowledged): Promise<void> {
    return new Promise((resolve) => {
      const late = setTimeout(() => this.#killStuck(worker), ACKNOWLEDGE_WITHIN_MS)
      worker.unacknowledged.set(message.sequence, () => {
        clearTimeout(late)
        worker.unacknowledged.delete(message.sequence)
        resolve()
      })
      send(worker, message)
    })
  }

  leave(): void {
    this.#isLeaving = true
    this.#left = this.#sendLeave()
  }

  #sendLeave(): Promise<void> {
    return this.#sendAll((sequence) => ({ kind: 'leave', sequence }))
  }

  async drain(): Promise<void> {
    // Otherwise a client that sees the port closed could still get an answer that keeps its connection.
    await this.#left
    await arrivalsRead()
    this.#isEnding = true
    this.#listener.close()
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
    this.#listener.close()
    for (const worker of this.#workers) worker.process.kill('SIGKILL')
  }
}

/**
 * The variables that Node and the system libraries read. Settings are sent as a message. Secrets, which the environment of
 * the main process may hold, are not passed on.
 */
function workerEnvironment(own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isPassedOn = /^(?:NODE|UV|LD|MALLOC|LC|OPENSSL)_|^(?:PATH|LANG|TZ)$/
  return Object.fromEntries(Object.entries(own).filter(([name]) => isPassedOn.test(name)))
}

/** Writes the log lines and audit entries of a worker, and adds its counts. */
export function recordReport(
  { lines, done, decided, audited, failedHandshakes }: ReportBatch,
  { destination, observer, auditor }: Pick<PoolOptions, 'destination' | 'observer' | 'auditor'>,
): void {
  if (lines !== '') destination.write(lines)
  for (const event of done) observer.requestDone(event)
  for (const result of decided) observer.accessDecided(result)
  for (const event of audited) auditor.access(event)
  for (const reason of failedHandshakes) observer.tlsFailed(reason)
}

/** Calls `done` once: when the process has exited and its last messages have been received, or when it could not be started. */
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
    const late = setTimeout(end, LAST_MESSAGES_MS)
    if (child.channel !== undefined && child.channel !== null) child.once('disconnect', end)
  })
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message
}

function send({ process: child }: Worker, message: ToWorker): void {
  // A process that has just exited gets no message. `whenEnded` reports its exit to those that wait for an answer.
  if (child.connected) child.send(message, () => undefined)
}
