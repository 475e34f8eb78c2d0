// Receives long bodies over TLS on other threads (body-worker.ts is the thread's side): to connect, to decrypt and to cut the
// bytes into pieces takes the time of a core, which all other requests would wait for. What is requested is decided here:
// a thread is given one URL and the fields of one request, and never a credential. It follows no redirect.
//
// A body arrives in pieces. A thread has at most WINDOW_PIECES of them under way, so a reader that is slow holds up the peer.
// A thread that ends fails the bodies that it was receiving, and the next body gets a new thread.

import { availableParallelism } from 'node:os'
import { Readable } from 'node:stream'
import { Worker } from 'node:worker_threads'
import { builtFile } from '../../built-file.ts'
import type { HeaderBag } from '../../http/headers.ts'
import type { Floor } from '../connections/pace.ts'
import type { OriginAnswer } from '../origin-answer.ts'
import { getHead } from './answer-head.ts'

/** A shorter body costs less on the main thread than the messages cost, and a thread need not be started for it. */
export const LONG_BODY_BYTES = 4 * 1024 * 1024
/** Long enough that a message, a write and waking a thread cost little beside its bytes. */
export const PIECE_BYTES = 1024 * 1024
/** Pieces of one body that were sent and not taken. With those of all connections they bound the memory. */
export const WINDOW_PIECES = 2
/** More threads than this receive more than a mirror can hash and send. */
const MAX_THREADS = 4

export interface BodyLimits {
  readonly connectMs: number
  /** How long the peer may take until its head, and how long it may be silent within the body. */
  readonly silenceMs: number
  /** How slow the body may be. */
  readonly floor: Floor
}

export type BodyRequest =
  | {
      readonly kind: 'fetch'
      readonly id: number
      readonly origin: string
      /** The request as it is sent. */
      readonly head: string
      readonly limits: BodyLimits
    }
  /** The reader has taken a piece. */
  | { readonly kind: 'taken'; readonly id: number }
  /** Memory of a piece whose bytes are not needed any more. */
  | { readonly kind: 'memory'; readonly buffer: ArrayBuffer }
  /** The reader has left. */
  | { readonly kind: 'end'; readonly id: number }

export type BodyReply =
  | { readonly kind: 'head'; readonly id: number; readonly status: number; readonly headers: HeaderBag }
  | { readonly kind: 'piece'; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'done'; readonly id: number }
  /** The answer is one that only a complete parser of HTTP should read. */
  | { readonly kind: 'unusual'; readonly id: number }
  | { readonly kind: 'failed'; readonly id: number; readonly code: string; readonly message: string }

/** An answer of the origin, in the form of undici. */
interface ThreadAnswer {
  readonly statusCode: number
  readonly headers: HeaderBag
  readonly body: OriginAnswer['body']
}

class ThreadFailed extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'ThreadFailed'
    this.code = code
  }
}

interface Transfer {
  readonly onHead: (status: number, headers: HeaderBag, body: ThreadBody) => void
  readonly onUnusual: () => void
  readonly onFailed: (error: Error) => void
  body?: ThreadBody
}

/** By the memory of a piece: gives it back to the thread that it came from. */
const givers = new WeakMap<ArrayBufferLike, () => void>()

/**
 * Gives the memory of a chunk back to the thread that filled it, which fills it again: memory that is new for each piece
 * costs page faults and collections. The chunk is empty afterwards. Does nothing with other memory. To forget a chunk costs
 * no more than that.
 */
export function giveBack(chunk: Buffer): void {
  givers.get(chunk.buffer)?.()
}

export class BodyThreads {
  readonly #limits: BodyLimits
  readonly #maxThreads: number
  readonly #threads: Thread[] = []
  #isClosed = false

  constructor(limits: BodyLimits, maxThreads = Math.min(MAX_THREADS, availableParallelism())) {
    this.#limits = limits
    this.#maxThreads = maxThreads
  }

  /**
   * Sends a GET for `url` (https). Returns undefined where the request or its answer is one that undici must handle; then
   * nothing of the answer was taken. Rejects with the reason of `signal`, or with an error with the code of Node, or one
   * that ends with `_TIMEOUT`. The caller must read the body to its end or destroy it; `signal` destroys it as well.
   */
  async fetch(
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<ThreadAnswer | undefined> {
    const head = getHead(url, headers)
    if (head === undefined || this.#isClosed) return undefined
    return this.#thread().fetch({ origin: url.origin, head, limits: this.#limits }, signal)
  }

  /** Ends all threads. Bodies under way fail. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()))
  }

  /** The one with the least to do; a new one while all have something to do. */
  #thread(): Thread {
    const [least] = [...this.#threads].sort((one, other) => one.transfers - other.transfers)
    if (least !== undefined && (least.transfers === 0 || this.#threads.length >= this.#maxThreads))
      return least
    const started = new Thread(() => {
      const index = this.#threads.indexOf(started)
      if (index >= 0) this.#threads.splice(index, 1)
    })
    this.#threads.push(started)
    return started
  }
}

class Thread {
  readonly #worker: Worker
  readonly #transfers = new Map<number, Transfer>()
  #lastId = 0

  constructor(onEnded: () => void) {
    this.#worker = new Worker(builtFile('origin/threads/body-worker.js'))
    this.#worker.unref()
    this.#worker.on('message', (reply: BodyReply) => this.#onReply(reply))
    let reason = 'it has ended'
    this.#worker.on('error', (error) => {
      reason = error instanceof Error ? error.message : String(error)
    })
    this.#worker.once('exit', () => {
      onEnded()
      const error = new ThreadFailed('THREAD_ENDED', `the thread that received the body failed: ${reason}`)
      for (const id of this.#transfers.keys()) this.#fail(id, error)
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
      const leave = (): void => {
        const { body } = this.#transfers.get(id) ?? {}
        if (body === undefined) this.#leave(id)
        else body.destroy(signal.reason as Error)
        reject(signal.reason as Error)
      }
      if (signal.aborted) {
        reject(signal.reason as Error)
        return
      }
      signal.addEventListener('abort', leave, { once: true })
      const stop = (): void => signal.removeEventListener('abort', leave)
      this.#transfers.set(id, {
        onHead: (statusCode, headers, body) => {
          body.once('close', stop)
          resolve({ statusCode, headers, body })
        },
        onUnusual: () => {
          stop()
          resolve(undefined)
        },
        onFailed: (error) => {
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
    const { id } = reply
    const transfer = this.#transfers.get(id)
    // What comes after the reader has left is dropped.
    if (transfer === undefined) return
    switch (reply.kind) {
      case 'head': {
        const body = new ThreadBody({
          onTaken: () => this.#send({ kind: 'taken', id }),
          onLeft: () => this.#leave(id),
        })
        transfer.body = body
        transfer.onHead(reply.status, reply.headers, body)
        break
      }
      case 'piece': {
        const { buffer, byteOffset, byteLength } = reply.bytes
        if (buffer.byteLength === PIECE_BYTES) givers.set(buffer, () => this.#giveBack(buffer))
        transfer.body?.add(Buffer.from(buffer, byteOffset, byteLength))
        break
      }
      case 'done':
        this.#transfers.delete(id)
        transfer.body?.add(null)
        break
      case 'unusual':
        this.#transfers.delete(id)
        transfer.onUnusual()
        break
      case 'failed':
        this.#fail(id, new ThreadFailed(reply.code, reply.message))
        break
      default:
        reply satisfies never
    }
  }

  #giveBack(buffer: ArrayBuffer): void {
    givers.delete(buffer)
    if (buffer.byteLength > 0) this.#worker.postMessage({ kind: 'memory', buffer }, [buffer])
  }

  #fail(id: number, error: Error): void {
    const transfer = this.#transfers.get(id)
    this.#transfers.delete(id)
    if (transfer?.body === undefined) transfer?.onFailed(error)
    else transfer.body.add(error)
  }

  #leave(id: number): void {
    if (this.#transfers.delete(id)) this.#send({ kind: 'end', id })
  }

  #send(request: BodyRequest): void {
    this.#worker.postMessage(request)
  }
}

/** A body of which another thread sends the pieces. */
class ThreadBody extends Readable {
  readonly #pieces: (Buffer | Error | null)[] = []
  readonly #on: { readonly onTaken: () => void; readonly onLeft: () => void }
  #isWanted = false
  #wake: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined

  constructor(on: { readonly onTaken: () => void; readonly onLeft: () => void }) {
    super({ highWaterMark: 1 })
    this.#on = on
    // Without a listener, an error of an unread body would end the process.
    this.on('error', () => undefined)
  }

  /** Adds a piece. After null it has ended, and after an error it has failed, once the pieces before are taken. */
  add(piece: Buffer | Error | null): void {
    this.#pieces.push(piece)
    this.#wake?.resolve()
    if (this.#isWanted) this._read()
  }

  /** Gives the body up. */
  dump(): Promise<void> {
    this.destroy()
    return Promise.resolve()
  }

  /** Yields each piece as it has come: a stream would join them. */
  override async *[Symbol.asyncIterator](): NodeJS.AsyncIterator<Buffer, undefined> {
    try {
      for (;;) {
        const piece = this.#pieces.shift()
        if (piece === null) return
        if (piece instanceof Error) throw piece
        if (piece === undefined) await this.#more()
        else {
          this.#on.onTaken()
          yield piece
        }
      }
    } finally {
      this.destroy()
    }
  }

  /** Resolves when there is a piece. Rejects when the body has failed. */
  #more(): Promise<void> {
    if (this.errored !== null) throw this.errored
    if (this.destroyed) throw new ThreadFailed('ABORT_ERR', 'the body was given up')
    return new Promise((resolve, reject) => {
      this.#wake = { resolve, reject }
    })
  }

  override _read(): void {
    this.#isWanted = true
    while (this.#isWanted) {
      const piece = this.#pieces.shift()
      if (piece === undefined) return
      this.#isWanted = false
      if (piece instanceof Error) this.destroy(piece)
      else this.push(piece)
      if (Buffer.isBuffer(piece)) this.#on.onTaken()
    }
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#pieces.length = 0
    this.#on.onLeft()
    this.#wake?.reject(error ?? new ThreadFailed('ABORT_ERR', 'the body was given up'))
    callback(error)
  }
}
