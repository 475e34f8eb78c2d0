// Receives long bodies over TLS on other threads (body-worker.ts is the thread's side): to connect, to decrypt and to write
// takes the time of a core, which all other requests would wait for. What is requested, and where it goes, is decided
// here: a thread is given one URL and the fields of one request, and never a credential. It follows no redirect.
//
// No byte of a body comes to this thread. The thread writes it to a sink, and says how much is there. It writes nothing
// before this thread has seen the head and said where the bytes belong, and its work has ended only when it has said that
// it writes no more, or is gone. A thread that ends fails the bodies that it was receiving, and the next body gets a new one.

import { availableParallelism } from 'node:os'
import { Readable } from 'node:stream'
import { Worker } from 'node:worker_threads'
import { builtFile } from '../../built-file.ts'
import type { HeaderBag } from '../../http/headers.ts'
import type { OriginAnswer } from '../origin-answer.ts'
import { getHead } from './answer-head.ts'
import type { BodyLimits, BodyReply, BodyRequest } from './messages.ts'
import { SinkFailed } from './sink.ts'
import { ThreadBody, ThreadFailed } from './thread-body.ts'

/** A shorter body costs less on the main thread than the messages cost, and a thread need not be started for it. */
export const LONG_BODY_BYTES = 4 * 1024 * 1024
/**
 * A thread has this many bodies before the next thread starts. The connections of one file fill no more than one thread: what
 * it receives is hashed by one thread as well, at the same speed. To start one takes a tenth of a second of CPU.
 */
export const BODIES_EACH = 6
/** More threads than this receive more than a mirror can hash and send. */
const MAX_THREADS = 4
/** After a thread could not be started, for lack of memory or threads for example, the main thread does the work for so long. */
const START_AGAIN_MS = 60_000

/** An answer of the origin, in the form of undici. The body of a 200 or 206 is a ThreadBody. */
interface ThreadAnswer {
  readonly statusCode: number
  readonly headers: HeaderBag
  readonly body: OriginAnswer['body']
}

/** A body that the thread has been asked for, until it has said that it is done with it. */
interface Transfer {
  readonly resolve: (answer: ThreadAnswer | undefined) => void
  readonly reject: (error: Error) => void
  body?: ThreadBody
}

export class BodyThreads {
  readonly #limits: BodyLimits
  readonly #maxThreads: number
  readonly #threads: Thread[] = []
  #isClosed = false
  /** By the monotonic clock; 0 while no start has failed. */
  #noStartBeforeMs = 0

  constructor(limits: BodyLimits, maxThreads = Math.min(MAX_THREADS, availableParallelism())) {
    this.#limits = limits
    this.#maxThreads = maxThreads
  }

  /**
   * Sends a GET for `url` (https). Returns undefined where the request or its answer is one that undici must handle, or where no
   * thread can be started; then nothing of the answer was taken. Rejects with the reason of `signal`, or with an error with the code
   * of Node, or one that ends with `_TIMEOUT`. The caller must write the body to a sink, or destroy it; `signal` destroys it as well.
   */
  async fetch(
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<ThreadAnswer | undefined> {
    const head = getHead(url, headers)
    if (head === undefined || this.#isClosed) return undefined
    return this.#thread()?.fetch({ origin: url.origin, head, limits: this.#limits }, signal)
  }

  /** Ends all threads. Bodies under way fail. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()))
  }

  /** The one with the least to do; a new one while all have enough to do. Undefined where there is none and none can start. */
  #thread(): Thread | undefined {
    const [least] = [...this.#threads].sort((one, other) => one.transfers - other.transfers)
    if (least !== undefined && (least.transfers < BODIES_EACH || this.#threads.length >= this.#maxThreads))
      return least
    if (performance.now() < this.#noStartBeforeMs) return least
    try {
      const started = new Thread((hasStarted) => {
        const index = this.#threads.indexOf(started)
        if (index >= 0) this.#threads.splice(index, 1)
        if (!hasStarted) this.#onNoStart()
      })
      this.#threads.push(started)
      return started
    } catch {
      this.#onNoStart()
      return least
    }
  }

  #onNoStart(): void {
    this.#noStartBeforeMs = performance.now() + START_AGAIN_MS
  }
}

class Thread {
  readonly #worker: Worker
  readonly #transfers = new Map<number, Transfer>()
  #lastId = 0
  #hasStarted = false

  /** Throws if the system refuses a thread. `onEnded` learns whether the thread has ever replied. */
  constructor(onEnded: (hasStarted: boolean) => void) {
    this.#worker = new Worker(builtFile('origin/threads/body-worker.js'))
    this.#worker.unref()
    this.#worker.on('message', (reply: BodyReply) => {
      this.#hasStarted = true
      this.#onReply(reply)
    })
    let reason = 'it has ended'
    this.#worker.on('error', (error) => {
      reason = error instanceof Error ? error.message : String(error)
    })
    this.#worker.once('exit', () => {
      onEnded(this.#hasStarted)
      const error = new ThreadFailed('THREAD_ENDED', `the thread that received the body failed: ${reason}`)
      for (const [id, { resolve }] of this.#transfers) {
        if (this.#hasStarted) this.#over(id, error)
        else resolve(undefined)
      }
      this.#transfers.clear()
    })
  }

  get transfers(): number {
    return this.#transfers.size
  }

  fetch(
    request: { readonly origin: string; readonly head: string; readonly limits: BodyLimits },
    signal: AbortSignal,
  ): Promise<ThreadAnswer | undefined> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error)
        return
      }
      const leave = (): void => {
        const { body } = this.#transfers.get(id) ?? {}
        if (body === undefined) this.#send({ kind: 'end', id })
        else body.destroy(signal.reason as Error)
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', leave, { once: true })
      const stop = (): void => signal.removeEventListener('abort', leave)
      this.#transfers.set(id, {
        resolve: (answer) => {
          if (answer?.body instanceof ThreadBody) answer.body.once('close', stop)
          else stop()
          resolve(answer)
        },
        reject: (error) => {
          stop()
          reject(error)
        },
      })
      this.#send({ kind: 'fetch', id, ...request })
    })
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #onReply(reply: BodyReply): void {
    if (reply.kind === 'written') {
      for (const [id, bytes] of reply.bytes) this.#transfers.get(id)?.body?.written(bytes)
      return
    }
    const { id } = reply
    const transfer = this.#transfers.get(id)
    if (transfer === undefined) return
    switch (reply.kind) {
      case 'head': {
        const body = new ThreadBody({
          write: (target) => this.#send({ kind: 'write', id, ...target }),
          end: () => this.#send({ kind: 'end', id }),
        })
        transfer.body = body
        transfer.resolve({ statusCode: reply.status, headers: reply.headers, body })
        break
      }
      case 'short': {
        const body = Readable.from([Buffer.from(reply.bytes)])
        this.#transfers.delete(id)
        const dump = (): Promise<void> => Promise.resolve(void body.destroy())
        transfer.resolve({
          statusCode: reply.status,
          headers: reply.headers,
          body: Object.assign(body, { dump }),
        })
        break
      }
      case 'done':
        this.#over(id)
        break
      case 'ended':
        this.#over(id, new ThreadFailed('ABORT_ERR', 'the body was given up'))
        break
      case 'unusual':
        this.#transfers.delete(id)
        transfer.resolve(undefined)
        break
      case 'failed':
        this.#over(id, new ThreadFailed(reply.code, reply.message))
        break
      case 'sink-failed': {
        const { message, ...fields } = reply.error
        this.#over(id, new SinkFailed(Object.assign(new Error(message), fields)))
        break
      }
      default:
        reply satisfies never
    }
  }

  /** The thread writes no more of this body. */
  #over(id: number, error?: Error): void {
    const transfer = this.#transfers.get(id)
    this.#transfers.delete(id)
    if (transfer?.body !== undefined) transfer.body.stopped(error)
    else if (error !== undefined) transfer?.reject(error)
  }

  #send(request: BodyRequest): void {
    this.#worker.postMessage(request)
  }
}
