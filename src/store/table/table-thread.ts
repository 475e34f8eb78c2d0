// Reads and changes the table on another thread: a page that is not in memory, and a commit, wait for the disk, and would delay
// all requests. Changes that come while a commit is under way share the next one.

import { Worker } from 'node:worker_threads'
import { builtFile } from '../../built-file.ts'
import type { BlobKey } from '../digest.ts'
import type { FactKind } from '../store.ts'
import { type BlobRow, decodePage } from './blob-rows.ts'
import { decodeFactPage, type FactBytes, type FactName } from './fact-rows.ts'
import { asBuffer, type TableUsage } from './rows.ts'
import type { Change } from './table.ts'
import { isDamage } from './table-errors.ts'

/** The table that a request is about. A request opens it if it is not open. */
interface TableName {
  /** Different for each TableThread of the process. */
  readonly table: number
  readonly directory: string
  readonly readOnly: boolean
}

type TableAct =
  | { readonly act: 'open' }
  | { readonly act: 'read-fact'; readonly name: FactName }
  | { readonly act: 'read-blob'; readonly key: BlobKey }
  | { readonly act: 'list-blobs'; readonly after: BlobKey | undefined; readonly limit: number }
  | {
      readonly act: 'list-facts'
      readonly kind: FactKind
      readonly after: Uint8Array | undefined
      readonly limit: number
      readonly keyStart: Uint8Array | undefined
    }
  | { readonly act: 'is-complete' }
  | { readonly act: 'change'; readonly changes: readonly Change[]; readonly factLimitBytes: number }
  | { readonly act: 'close' }

export type TableRequest = TableAct & TableName & { readonly number: number }

export interface TableReply {
  readonly number: number
  /** A fact, a blob, or a page of rows or facts. */
  readonly bytes?: Uint8Array | undefined
  /** When the fact was last used. */
  readonly usedAt?: number | undefined
  readonly isComplete?: boolean | undefined
  readonly usage?: TableUsage | undefined
  /** What all facts take now. */
  readonly factBytes?: number
  readonly error?: { readonly name: string; readonly message: string; readonly code: string | undefined }
}

interface Waiting {
  readonly resolve: (reply: TableReply) => void
  readonly reject: (error: Error) => void
}

export interface TableThreadOptions {
  readonly directory: string
  readonly readOnly: boolean
}

/** How facts are bounded. */
export interface FactBounds {
  /** The most that facts may take, in bytes. It is read at each commit. */
  readonly limitBytes: () => number
  /** Called with what facts take, now and whenever it may have changed. */
  readonly onBytes: (factBytes: number) => void
}

let lastTable = 0

/**
 * A table on the thread that all tables of the process share. The first request opens the table, also after `close`. Requests
 * reject as Table throws.
 */
export class TableThread {
  readonly #name: TableName
  #isOpen = false
  #sawDamage = false
  #factBytes = 0
  #factBounds: FactBounds | undefined
  #committed: Promise<unknown> = Promise.resolve()
  #next: { readonly changes: Change[]; readonly done: Promise<void> } | undefined

  constructor({ directory, readOnly }: TableThreadOptions) {
    lastTable += 1
    this.#name = { table: lastTable, directory, readOnly }
  }

  /** Whether the table has turned out to be damaged. */
  get sawDamage(): boolean {
    return this.#sawDamage
  }

  /** Bounds what facts take, from the next commit on. */
  boundFacts(bounds: FactBounds): void {
    this.#factBounds = bounds
    bounds.onBytes(this.#factBytes)
  }

  /** Opens the table. Rejects when it cannot be opened. */
  async open(): Promise<TableUsage> {
    const { usage } = await this.#ask({ act: 'open' })
    return usage ?? { usedBytes: 0, fileBytes: 0 }
  }

  /** Undefined when there is no such fact. */
  async readFact(name: FactName): Promise<FactBytes | undefined> {
    const { bytes, usedAt = 0 } = await this.#ask({ act: 'read-fact', name })
    return bytes && { bytes: asBuffer(bytes), usedAt }
  }

  /** The bytes of a small blob, which are not verified yet. Undefined when they are not in the table. */
  async readBlob(key: BlobKey): Promise<Buffer | undefined> {
    const { bytes } = await this.#ask({ act: 'read-blob', key })
    return bytes && asBuffer(bytes)
  }

  /** What the table knows of up to `limit` blobs that follow `after`, ordered by algorithm and then by digest. */
  async listBlobs(after: BlobKey | undefined, limit: number): Promise<BlobRow[]> {
    const { bytes } = await this.#ask({ act: 'list-blobs', after, limit })
    return bytes === undefined ? [] : decodePage(asBuffer(bytes))
  }

  /**
   * Up to `limit` facts of a kind that follow `after`, the `place` of the last one before, in the order of their last use. A fact
   * that is used between two pages is on both. With `keyStart`, facts have no body, and those with other keys no bytes.
   */
  async listFacts(
    kind: FactKind,
    after: Uint8Array | undefined,
    limit: number,
    keyStart?: Uint8Array,
  ): Promise<ReturnType<typeof decodeFactPage>> {
    const { bytes } = await this.#ask({ act: 'list-facts', kind, after, limit, keyStart })
    return bytes === undefined ? [] : decodeFactPage(asBuffer(bytes))
  }

  /** Whether each blob of the store has a row. */
  async isComplete(): Promise<boolean> {
    return (await this.#ask({ act: 'is-complete' })).isComplete === true
  }

  /** Makes a change, after all that were asked for before. It is durable when this resolves. */
  change(change: Change): Promise<void> {
    this.#next ??= this.#afterCommit()
    this.#next.changes.push(change)
    return this.#next.done
  }

  /** Resolves when every change so far has been made or has failed. */
  async settled(): Promise<void> {
    while (this.#next !== undefined) await this.#next.done.catch(() => undefined)
    await this.#committed
  }

  /** Resolves when every change has been made or has failed, and the table is closed. */
  async close(): Promise<void> {
    await this.settled()
    if (!this.#isOpen) return
    this.#isOpen = false
    await thread.ask({ act: 'close', ...this.#name }).catch(() => undefined)
  }

  /** Collects changes until the commit under way has ended, and then sends them. */
  #afterCommit(): { readonly changes: Change[]; readonly done: Promise<void> } {
    const changes: Change[] = []
    const done = this.#committed.then(async () => {
      this.#next = undefined
      const factLimitBytes = this.#factBounds?.limitBytes() ?? Number.POSITIVE_INFINITY
      await this.#ask({ act: 'change', changes, factLimitBytes })
    })
    this.#committed = done.catch(() => undefined)
    return { changes, done }
  }

  async #ask(act: Exclude<TableAct, { readonly act: 'close' }>): Promise<TableReply> {
    this.#isOpen = true
    try {
      const reply = await thread.ask({ ...act, ...this.#name })
      if (reply.factBytes !== undefined) {
        this.#factBytes = reply.factBytes
        this.#factBounds?.onBytes(reply.factBytes)
      }
      return reply
    } catch (error) {
      if (isDamage(error)) this.#sawDamage = true
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

  ask(request: TableAct & TableName): Promise<TableReply> {
    const worker = (this.#worker ??= this.#start())
    this.#lastNumber += 1
    const number = this.#lastNumber
    // The process does not end while a request is under way.
    worker.ref()
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      worker.postMessage({ ...request, number } satisfies TableRequest)
    })
  }

  #start(): Worker {
    const worker = new Worker(builtFile('store/table/table-worker.js'))
    worker.on('message', (reply: TableReply) => {
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
      const reason = failure ?? new Error('the thread for the table has ended')
      for (const { reject } of this.#waiting.values()) reject(reason)
      this.#waiting.clear()
    })
    return worker
  }
}

const thread = new SharedThread()
