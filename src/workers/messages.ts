// What the main process and its workers tell each other beside the requests: over the channel that Node opens between
// a process and its child.

import type { Taken } from '../server/peer.ts'

/** All that a worker knows of the settings. */
export interface WorkerSettings {
  readonly host: string
  readonly port: number
  /** Where the main process listens. */
  readonly socketPath: string
  readonly cacheDir: string
  readonly logLevel: string
}

export type ToWorker =
  | { readonly kind: 'start'; readonly settings: WorkerSettings }
  /** Take no new connections, and end when the last answer has. */
  | { readonly kind: 'drain' }
  /** End now. */
  | { readonly kind: 'cut' }

export type FromWorker =
  /** It runs, and may be told to start. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'listening'; readonly port: number }
  /** It cannot listen, and ends. */
  | { readonly kind: 'failed'; readonly reason: string }
  /** What became of an offer. */
  | { readonly kind: 'taken'; readonly id: number; readonly taken: Taken }
  /** Its last word: all answers have ended. */
  | { readonly kind: 'drained' }
  /** Whole lines of the log. */
  | { readonly kind: 'log'; readonly lines: string }
