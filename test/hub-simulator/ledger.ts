// Every request the simulator saw, in order of arrival, for tests to assert on and to wait for.
// An entry is there before any fault plays and is completed when the answer ends. It judges nothing.

import type { IncomingHttpHeaders } from 'node:http'

export type ServerName = 'hub' | 'cdn' | 'datasets-server'

/** One request. Fields that the answer decides change until `done`. */
export interface LedgerEntry {
  readonly server: ServerName
  readonly method: string
  /** The request target as it stood on the wire. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** Epoch ms of arrival. */
  readonly at: number
  /** 0 until (and unless) a status line was sent. */
  status: number
  /** Body bytes handed to the connection; encoded bytes where the body is encoded. */
  bytesSent: number
  /** Whether the body is the bytes of a file, not of a message or a document. */
  isFile: boolean
  /** The answer did not reach its end, whichever side broke it. */
  aborted: boolean
  done: boolean
}

/** Which entries are meant: all named fields must fit. */
export type LedgerFilter =
  | ((entry: LedgerEntry) => boolean)
  | {
      readonly server?: ServerName
      readonly method?: string
      readonly url?: RegExp | string
      readonly status?: number
    }

interface Waiter {
  readonly isDue: () => boolean
  readonly settle: () => void
}

/** The list of requests of one simulator. */
export class Ledger {
  #entries: LedgerEntry[] = []
  #waiters = new Set<Waiter>()

  /** Registers a request at arrival; for the servers. */
  arrive(request: Pick<LedgerEntry, 'server' | 'method' | 'url' | 'headers'>): LedgerEntry {
    const entry = {
      ...request,
      at: Date.now(),
      status: 0,
      bytesSent: 0,
      isFile: false,
      aborted: false,
      done: false,
    }
    this.#entries.push(entry)
    this.#wake()
    return entry
  }

  /** Completes an entry; for the servers. */
  finish(entry: LedgerEntry, aborted: boolean): void {
    entry.aborted = aborted
    entry.done = true
    this.#wake()
  }

  /** Forgets everything seen so far. Requests under way stay unlisted. */
  clear(): void {
    this.#entries = []
  }

  requests(filter: LedgerFilter = () => true): readonly LedgerEntry[] {
    return this.#entries.filter((entry) => fits(entry, filter))
  }

  /** The GETs that sent bytes of a file, from either server. */
  bodyRequests(filter: LedgerFilter = () => true): readonly LedgerEntry[] {
    return this.requests(filter).filter(
      (entry) => entry.method === 'GET' && entry.isFile && entry.bytesSent > 0,
    )
  }

  /** Bytes of files sent, by one server or by both. */
  bytes(server?: ServerName): number {
    return this.bodyRequests(server === undefined ? undefined : { server }).reduce(
      (sum, entry) => sum + entry.bytesSent,
      0,
    )
  }

  /** The credential a request carried (the token of a Bearer header, else the header as it is). */
  credential(entry: LedgerEntry): string | undefined {
    const header = entry.headers.authorization
    return header === undefined ? undefined : header.replace(/^Bearer\s+/i, '')
  }

  /** Resolves with the fitting entries as soon as `count` of them have arrived. */
  whenSeen(filter: LedgerFilter, count = 1): Promise<readonly LedgerEntry[]> {
    return this.#when(() => this.requests(filter), count)
  }

  /** Resolves with the fitting entries as soon as `count` of them have ended. */
  whenDone(filter: LedgerFilter, count = 1): Promise<readonly LedgerEntry[]> {
    return this.#when(() => this.requests(filter).filter((entry) => entry.done), count)
  }

  /** Wakes those who wait, when bytes moved; for the servers. */
  progress(): void {
    this.#wake()
  }

  /** Resolves as soon as the files' bytes of the fitting entries reach `bytes`. */
  async whenBytes(filter: LedgerFilter, bytes: number): Promise<void> {
    const sum = () => this.bodyRequests(filter).reduce((total, entry) => total + entry.bytesSent, 0)
    await this.#until(() => sum() >= bytes)
  }

  async #when(list: () => readonly LedgerEntry[], count: number): Promise<readonly LedgerEntry[]> {
    await this.#until(() => list().length >= count)
    return list()
  }

  #until(isDue: () => boolean): Promise<void> {
    if (isDue()) return Promise.resolve()
    return new Promise((settle) => {
      this.#waiters.add({ isDue, settle })
    })
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (!waiter.isDue()) continue
      this.#waiters.delete(waiter)
      waiter.settle()
    }
  }
}

function fits(entry: LedgerEntry, filter: LedgerFilter): boolean {
  if (typeof filter === 'function') return filter(entry)
  const { server, method, url, status } = filter
  if (server !== undefined && entry.server !== server) return false
  if (method !== undefined && entry.method !== method) return false
  if (status !== undefined && entry.status !== status) return false
  if (url === undefined) return true
  return typeof url === 'string' ? entry.url.includes(url) : url.test(entry.url)
}
