// What a worker has answered by itself, reported to the main process in batches. The main process writes the log lines,
// since lines of several writers would be mixed up, and adds the counts, so that there is one set of metrics.

import type { AccessEvent, Auditor } from '../../telemetry/audit.ts'
import type { AccessResult, Observer, TlsFailure } from '../../telemetry/observer.ts'

type RequestDone = Parameters<Observer['requestDone']>[0]

export interface ReportBatch {
  /** Complete lines of the log. */
  readonly lines: string
  readonly done: readonly RequestDone[]
  readonly decided: readonly AccessResult[]
  readonly audited: readonly AccessEvent[]
  readonly failedHandshakes: readonly TlsFailure[]
}

/** A line or count waits no longer than this. */
const MAX_WAIT_MS = 20
/** A batch of this size is sent without waiting. */
const FULL_BATCH = 512

export class Reporter {
  readonly #send: (batch: ReportBatch) => void
  #lines = ''
  #done: RequestDone[] = []
  #decided: AccessResult[] = []
  #audited: AccessEvent[] = []
  #failedHandshakes: TlsFailure[] = []
  #count = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: { readonly isAudited: boolean; readonly send: (batch: ReportBatch) => void }) {
    this.auditor = { isOn: options.isAudited, access: (event) => void this.#audited.push(event) }
    this.#send = options.send
  }

  /** The destination of the worker's logger. */
  readonly destination = {
    write: (lines: string): void => {
      this.#lines += lines
      this.#more()
    },
  }

  readonly observer: Pick<Observer, 'requestDone' | 'accessDecided' | 'tlsFailed'> = {
    requestDone: (event) => {
      this.#done.push(event)
      this.#more()
    },
    accessDecided: (result) => {
      this.#decided.push(result)
    },
    tlsFailed: (reason) => {
      this.#failedHandshakes.push(reason)
      this.#more()
    },
  }

  readonly auditor: Pick<Auditor, 'access' | 'isOn'>

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#count = 0
    const batch = {
      lines: this.#lines,
      done: this.#done,
      decided: this.#decided,
      audited: this.#audited,
      failedHandshakes: this.#failedHandshakes,
    }
    if (batch.lines === '' && batch.done.length === 0 && batch.failedHandshakes.length === 0) return
    this.#lines = ''
    this.#done = []
    this.#decided = []
    this.#audited = []
    this.#failedHandshakes = []
    this.#send(batch)
  }

  #more(): void {
    this.#count += 1
    // In the next turn: the decision and the log line of the same request are added after this.
    if (this.#count === FULL_BATCH) setImmediate(() => this.flush())
    this.#timer ??= setTimeout(() => this.flush(), MAX_WAIT_MS)
  }
}
