// The messages between the main process and its workers, over the channel that Node opens between a process and its child.
// Requests and answers go over the private socket (header-fields.ts).

import type { Repo } from '../hub/names.ts'
import type { HandoffResult } from '../server/body/handoff.ts'
import type { ClientLists } from '../server/clients.ts'
import type { TlsKeys } from '../server/tls-server.ts'
import type { PromisedCommit } from './worker/cache.ts'
import type { ReportBatch } from './worker/report.ts'

/** The settings of a worker that may change while it runs. */
export type WorkerChange = Pick<WorkerSettings, 'clients' | 'logLevel'>

/** All settings that a worker knows. The key for TLS is the only secret among them. */
export interface WorkerSettings {
  readonly basePath: string
  readonly trustProxy: readonly string[]
  readonly clients: ClientLists
  readonly cacheDir: string
  /** Bound of the memory for bodies that it may repeat. */
  readonly memoryBytes: number
  readonly logLevel: string
  readonly isAudited: boolean
  /** Where the main process listens. */
  readonly socketPath: string
  /** The Via entry of the mirror's requests to the origin: a request that carries it has come back. */
  readonly via: string
  readonly runKey: Uint8Array
  /** What handshakes with clients use; undefined if clients speak plain HTTP. */
  readonly tls: TlsKeys | undefined
}

export type ToWorker =
  | { readonly kind: 'start'; readonly settings: WorkerSettings }
  /** Comes with the connection of a client. */
  | { readonly kind: 'connection' }
  /** Drop all cached answers about the repo, and acknowledge. */
  | { readonly kind: 'invalidate'; readonly repo: Repo; readonly sequence: number }
  /** Use these settings from now on, drop all cached answers, and acknowledge. */
  | { readonly kind: 'change'; readonly settings: WorkerChange; readonly sequence: number }
  /** Use these keys for the handshakes of connections that follow. */
  | { readonly kind: 'tls'; readonly tls: TlsKeys }
  /** The mirror is about to stop: serve on, let every answer end its connection, and acknowledge. */
  | { readonly kind: 'leave'; readonly sequence: number }
  /** No connections will follow: report `drained` when the last answer has ended. */
  | { readonly kind: 'drain' }
  /** Exit. All messages that the worker sent have been received. */
  | { readonly kind: 'exit' }
  /** End all connections now. */
  | { readonly kind: 'cut' }

export type FromWorker =
  /** The process runs, and waits for `start`. */
  | { readonly kind: 'ready' }
  /** It takes connections from now on. */
  | { readonly kind: 'serving' }
  /** It has received the oldest connection that it had not acknowledged yet. */
  | { readonly kind: 'took' }
  /** What it has sent of an offered file. */
  | { readonly kind: 'sent'; readonly id: number; readonly result: HandoffResult }
  /** Commits that it has promised to clients by answering a HEAD of a branch. */
  | { readonly kind: 'promises'; readonly promises: readonly PromisedCommit[] }
  /** The acknowledgement of `invalidate`, `change` or `leave` with the same sequence number. */
  | { readonly kind: 'acknowledged'; readonly sequence: number }
  /** Log lines, counts and audit entries of requests that it has answered itself. */
  | { readonly kind: 'report'; readonly batch: ReportBatch }
  /** Its last message: all answers have ended. */
  | { readonly kind: 'drained' }
