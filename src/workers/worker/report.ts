// What a worker has done by itself, told to the main process in batches: there the lines are written, since those of
// several writers would run into each other, and the counts added, so that there is one truth.

import type { AccessEvent, Auditor } from '../../telemetry/audit.ts'
import type { AccessResult, Observer } from '../../telemetry/observer.ts'

type RequestDone = Parameters<Observer['requestDone']>[0]

export interface AccountBatch {
  /** Whole lines of the log. */
  readonly lines: string
  readonly done: readonly RequestDone[]
  readonly decided: readonly AccessResult[]
  readonly audited: readonly AccessEvent[]
}

/** Nothing waits longer than this. */
const WAIT_MS = 20
const ENOUGH = 512

export class Accounts {
  readonly #send: (batch: AccountBatch) => void
  #lines = ''
  #done: RequestDone[] = []
  #decided: AccessResult[] = []
  #audited: AccessEvent[] = []
  #count = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: { readonly isAudited: boolean; readonly send: (batch: AccountBatch) => void }) {
    this.auditor = { isOn: options.isAudited, access: (event) => void this.#audited.push(event) }
    this.#send = options.send
  }

  /** Where a logger writes. */
  readonly destination = {
    write: (lines: string): void => {
      this.#lines += lines
      this.#more()
    },
  }

  readonly observer: Pick<Observer, 'requestDone' | 'accessDecided'> = {
    requestDone: (event) => {
      this.#done.push(event)
      this.#more()
    },
    accessDecided: (result) => {
      this.#decided.push(result)
    },
  }

  readonly auditor: Pick<Auditor, 'access' | 'isOn'>

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#count = 0
    const batch = { lines: this.#lines, done: this.#done, decided: this.#decided, audited: this.#audited }
    if (batch.lines === '' && batch.done.length === 0) return
    this.#lines = ''
    this.#done = []
    this.#decided = []
    this.#audited = []
    this.#send(batch)
  }

  #more(): void {
    this.#count += 1
    // Not before its decision and its line are there, too.
    if (this.#count === ENOUGH) setImmediate(() => this.flush())
    this.#timer ??= setTimeout(() => this.flush(), WAIT_MS)
  }
}
