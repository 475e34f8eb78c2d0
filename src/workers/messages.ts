// What the main process and its workers tell each other beside the requests: over the channel that Node opens between
// a process and its child.

import type { Repo } from '../hub/names.ts'
import type { HandoffResult } from '../server/body/handoff.ts'
import type { ClientLists } from '../server/clients.ts'
import type { Pin } from './worker/cache.ts'
import type { AccountBatch } from './worker/report.ts'

/** What may change of a worker's settings. */
export type WorkerChange = Pick<WorkerSettings, 'clients' | 'logLevel'>

/** All that a worker knows of the settings. */
export interface WorkerSettings {
  readonly basePath: string
  readonly trustProxy: readonly string[]
  readonly clients: ClientLists
  readonly cacheDir: string
  /** For bodies that it may repeat. */
  readonly memoryBytes: number
  readonly logLevel: string
  readonly isAudited: boolean
  /** Where the main process listens. */
  readonly socketPath: string
  /** What marks the mirror's requests to the origin. */
  readonly via: string
  readonly runKey: Uint8Array
}

export type ToWorker =
  | { readonly kind: 'start'; readonly settings: WorkerSettings }
  /** With the connection of a client. */
  | { readonly kind: 'connection' }
  /** Repeat nothing about the repo, and say when that is so. */
  | { readonly kind: 'forget'; readonly repo: Repo; readonly turn: number }
  /** Go by these from now on, repeat nothing of before, and say when that is so. */
  | { readonly kind: 'change'; readonly settings: WorkerChange; readonly turn: number }
  /** The mirror is about to stop: go on, and let every answer end its connection. */
  | { readonly kind: 'leave' }
  /** There are no new connections: end when the last answer has. */
  | { readonly kind: 'drain' }
  /** End now. */
  | { readonly kind: 'cut' }

export type FromWorker =
  /** It runs, and may be told to start. */
  | { readonly kind: 'ready' }
  /** It takes connections. */
  | { readonly kind: 'serving' }
  /** It has the connection that was given to it longest ago. */
  | { readonly kind: 'took' }
  /** What became of an offer. */
  | { readonly kind: 'taken'; readonly id: number; readonly taken: HandoffResult }
  | { readonly kind: 'pins'; readonly pins: readonly Pin[] }
  | { readonly kind: 'forgotten'; readonly turn: number }
  | { readonly kind: 'accounts'; readonly batch: AccountBatch }
  /** Its last word: all answers have ended. */
  | { readonly kind: 'drained' }
