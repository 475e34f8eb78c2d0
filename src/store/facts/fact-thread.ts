// Reads and changes the table of facts on another thread: a page that is not in memory, and a commit, wait for the disk, and
// would delay all requests. Changes that come while a commit is under way share the next one.

import { Worker } from 'node:worker_threads'
import type { FactBytes, FactChange, FactName } from './fact-table.ts'

export type FactRequest =
  | { readonly act: 'open'; readonly number: number }
  | { readonly act: 'read'; readonly number: number; readonly name: FactName }
  | {
      readonly act: 'change'
      readonly number: number
      readonly changes: readonly FactChange[]
      readonly limitBytes: number
    }
  | { readonly act: 'close'; readonly number: number }

export interface FactReply {
  readonly number: number
  readonly found?: { readonly bytes: Uint8Array; readonly usedAt: number } | undefined
  /** What all facts take now. */
  readonly sizeBytes?: number
  readonly error?: { readonly name: string; readonly message: string; readonly code: string | undefined }
}

interface Waiting {
  readonly resolve: (reply: FactReply) => void
  readonly reject: (error: Error) => void
}

export interface FactThreadOptions {
  readonly directory: string
  readonly readOnly: boolean
  /** The most that facts may take, in bytes. It is read at each commit. */
  readonly limitBytes: () => number
  /** Called with what facts take, whenever it may have changed. */
  readonly onBytes: (sizeBytes: number) => void
}

/**
 * The thread starts with the first request, also after `close`. Requests reject as FactTable throws. It ends by itself: a
 * thread that is terminated inside of LMDB aborts the process.
 */
export class FactThread {
  readonly #options: FactThreadOptions
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  /** The end of the thread before: its table must be closed before it is opened again. */
  #ending: Promise<void> | undefined
  #sawDamage = false
  #lastNumber = 0
  #committed: Promise<unknown> = Promise.resolve()
  #next: { readonly changes: FactChange[]; readonly done: Promise<void> } | undefined

  constructor(options: FactThreadOptions) {
    this.#options = options
  }

  /** Whether the table has turned out to be damaged. */
  get sawDamage(): boolean {
    return this.#sawDamage
  }

  /** Opens the table. Rejects when it cannot be opened. */
  async open(): Promise<void> {
    await this.#ask({ act: 'open' })
  }

  /** Undefined when there is no such fact. */
  async read(name: FactName): Promise<FactBytes | undefined> {
    const { found } = await this.#ask({ act: 'read', name })
    if (found === undefined) return undefined
    const { buffer, byteOffset, byteLength } = found.bytes
    return { bytes: Buffer.from(buffer, byteOffset, byteLength), usedAt: found.usedAt }
  }

  /** Makes a change, after all that were asked for before. It is durable when this resolves. */
  change(change: FactChange): Promise<void> {
    this.#next ??= this.#afterCommit()
    this.#next.changes.push(change)
    return this.#next.done
  }

  /** Resolves when every change has been made or has failed, and the table is closed. */
  async close(): Promise<void> {
    while (this.#next !== undefined) await this.#next.done.catch(() => undefined)
    await this.#committed
    const worker = this.#worker
    if (worker !== undefined && this.#ending === undefined) {
      // Its end is the answer, and rejects the request.
      const ended = this.#ask({ act: 'close' }).catch(() => undefined)
      this.#ending = ended.then(() => {
        this.#ending = undefined
      })
    }
    await this.#ending
  }

  /** Collects changes until the commit under way has ended, and then sends them. */
  #afterCommit(): { readonly changes: FactChange[]; readonly done: Promise<void> } {
    const changes: FactChange[] = []
    const done = this.#committed.then(async () => {
      this.#next = undefined
      await this.#ask({ act: 'change', changes, limitBytes: this.#options.limitBytes() })
    })
    this.#committed = done.catch(() => undefined)
    return { changes, done }
  }

  #ask(request: DistributiveOmit<FactRequest, 'number'>): Promise<FactReply> {
    if (this.#ending !== undefined) return this.#ending.then(() => this.#ask(request))
    const worker = (this.#worker ??= this.#start())
    this.#lastNumber += 1
    const number = this.#lastNumber
    // The process does not end while a request is under way.
    worker.ref()
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      worker.postMessage({ ...request, number })
    })
  }

  #start(): Worker {
    const { directory, readOnly } = this.#options
    // A thread cannot load TypeScript. When this file runs from source (tests, tsx), the built worker is used.
    const unbuilt = import.meta.url.endsWith('.ts')
    const worker = new Worker(
      new URL(unbuilt ? '../../../dist/store/facts/fact-worker.js' : './fact-worker.js', import.meta.url),
      { workerData: { directory, readOnly } },
    )
    worker.on('message', (reply: FactReply) => {
      const waiting = this.#waiting.get(reply.number)
      this.#waiting.delete(reply.number)
      if (this.#waiting.size === 0 && this.#ending === undefined) worker.unref()
      if (reply.sizeBytes !== undefined) this.#options.onBytes(reply.sizeBytes)
      if (reply.error?.name === 'DamagedFacts') this.#sawDamage = true
      if (reply.error === undefined) waiting?.resolve(reply)
      else waiting?.reject(Object.assign(new Error(reply.error.message), reply.error))
    })
    let failure: Error | undefined
    worker.on('error', (error) => {
      failure = error
    })
    worker.on('exit', () => {
      // The next request gets a new thread.
      if (this.#worker === worker) this.#worker = undefined
      const reason = failure ?? new Error('the thread for facts has ended')
      for (const { reject } of this.#waiting.values()) reject(reason)
      this.#waiting.clear()
    })
    return worker
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
