// Reads and changes the table of facts on another thread: a page that is not in memory, and a commit, wait for the disk, and
// would delay all requests. Changes that come while a commit is under way share the next one.

import { Worker } from 'node:worker_threads'
import { builtFile } from '../../built-file.ts'
import type { FactBytes, FactChange, FactName } from './fact-table.ts'

/** The table that a request is about. A request opens it if it is not open. */
interface TableName {
  /** Different for each FactThread of the process. */
  readonly table: number
  readonly directory: string
  readonly readOnly: boolean
}

type FactAct =
  | { readonly act: 'open' }
  | { readonly act: 'read'; readonly name: FactName }
  | { readonly act: 'change'; readonly changes: readonly FactChange[]; readonly limitBytes: number }
  | { readonly act: 'close' }

export type FactRequest = FactAct & TableName & { readonly number: number }

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

let lastTable = 0

/**
 * A table on the thread that all tables of the process share. The first request opens the table, also after `close`. Requests
 * reject as FactTable throws.
 */
export class FactThread {
  readonly #options: FactThreadOptions
  readonly #name: TableName
  #isOpen = false
  #sawDamage = false
  #committed: Promise<unknown> = Promise.resolve()
  #next: { readonly changes: FactChange[]; readonly done: Promise<void> } | undefined

  constructor(options: FactThreadOptions) {
    this.#options = options
    const { directory, readOnly } = options
    lastTable += 1
    this.#name = { table: lastTable, directory, readOnly }
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
    if (!this.#isOpen) return
    this.#isOpen = false
    await thread.ask({ act: 'close', ...this.#name }).catch(() => undefined)
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

  async #ask(act: Exclude<FactAct, { readonly act: 'close' }>): Promise<FactReply> {
    this.#isOpen = true
    try {
      const reply = await thread.ask({ ...act, ...this.#name })
      if (reply.sizeBytes !== undefined) this.#options.onBytes(reply.sizeBytes)
      return reply
    } catch (error) {
      if (error instanceof Error && error.name === 'DamagedFacts') this.#sawDamage = true
      throw error
    }
  }
}

/**
 * The thread starts with the first request, and stays: to start it and to load LMDB there takes a tenth of a second. It does not
 * keep the process alive. It is not terminated: that aborts the process if the thread is inside of LMDB.
 */
class SharedThread {
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  #lastNumber = 0

  ask(request: FactAct & TableName): Promise<FactReply> {
    const worker = (this.#worker ??= this.#start())
    this.#lastNumber += 1
    const number = this.#lastNumber
    // The process does not end while a request is under way.
    worker.ref()
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      worker.postMessage({ ...request, number } satisfies FactRequest)
    })
  }

  #start(): Worker {
    const worker = new Worker(builtFile('store/facts/fact-worker.js'))
    worker.on('message', (reply: FactReply) => {
      const waiting = this.#waiting.get(reply.number)
      this.#waiting.delete(reply.number)
      if (this.#waiting.size === 0) worker.unref()
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

const thread = new SharedThread()
