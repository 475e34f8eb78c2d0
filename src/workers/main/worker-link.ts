// The main process's side of the worker protocol: the server that workers connect to, the hand-off of stored files, the
// answers that workers may cache, and the invalidation of these. No answer that reveals a change leaves the main process
// before every worker has dropped the stale ones.

import type { IncomingMessage, RequestListener, Server } from 'node:http'
import type { Socket } from 'node:net'
import { type Repo, repoKey } from '../../hub/names.ts'
import type { Invalidations } from '../../mirror/invalidations.ts'
import type { Intermediary, RepeatableAnswer } from '../../server/intermediary.ts'
import { MAX_HEADER_BYTES, openServer } from '../../server/limits.ts'
import { gateWrites, markEncrypted } from '../../server/node-http.ts'
import { adoptClient, CACHE_NOTE_FIELD, clientInFlight, formatCacheNote, sharedMs } from '../header-fields.ts'
import { WorkerHandoff } from './handoff.ts'

/** When so many repos are noted, those whose answers have expired are removed. */
const MAX_NOTED = 10_000

export class WorkerLink implements Intermediary {
  readonly handoff = new WorkerHandoff()
  readonly gate = new AnswerGate()
  readonly #monotonic: () => number
  readonly #mayRepeat: () => boolean
  readonly #speaksTls: boolean
  // Until when a worker may repeat an answer about a repo, at the latest.
  readonly #cached = new Map<string, { readonly repo: Repo; readonly until: number }>()
  #invalidateAll: (repo: Repo) => Promise<void> = () => Promise.resolve()

  constructor(options: {
    readonly monotonic: () => number
    /** False while there are rules: only the main process decides by them. */
    readonly mayRepeat: () => boolean
    /** Whether workers speak TLS with the clients. */
    readonly speaksTls: boolean
  }) {
    this.#monotonic = options.monotonic
    this.#mayRepeat = options.mayRepeat
    this.#speaksTls = options.speaksTls
  }

  /** `invalidateAll` resolves when every worker has dropped its answers about the repo. */
  onInvalidate(invalidateAll: (repo: Repo) => Promise<void>): void {
    this.#invalidateAll = invalidateAll
  }

  open(serve: RequestListener): Server {
    // A worker adds fields of its own to what its client has sent.
    const server = openServer((request, response) => {
      // It does not come from a worker, so the client is unknown.
      if (!adoptClient(request)) request.socket.destroy()
      else this.gate.whenOpen(() => serve(request, response))
    }, 2 * MAX_HEADER_BYTES)
    this.gate.watch(server)
    if (this.#speaksTls) server.on('connection', markEncrypted)
    return server
  }

  inFlight(request: IncomingMessage): number | undefined {
    return clientInFlight(request)
  }

  /** From this call on the workers must be notified when the answer may no longer be repeated. */
  noteFor(answer: RepeatableAnswer): readonly [string, string] | undefined {
    if (!this.#mayRepeat()) return undefined
    const { repo } = answer.route
    const key = repoKey(repo)
    if (this.#cached.size >= MAX_NOTED) this.#removeExpired()
    this.#cached.set(key, { repo, until: Math.max(answer.until, this.#cached.get(key)?.until ?? 0) })
    const at = sharedMs()
    const now = this.#monotonic()
    const ageMs = answer.askedAt === undefined ? undefined : now - answer.askedAt
    return [
      CACHE_NOTE_FIELD,
      formatCacheNote({ leftMs: answer.until - now, ageMs, commit: answer.commit }, at),
    ]
  }

  /** Makes every worker drop its answers about the repo. Until all have, no request is answered. */
  invalidate(repo: Repo): void {
    const key = repoKey(repo)
    const cached = this.#cached.get(key)
    if (cached === undefined) return
    this.#cached.delete(key)
    if (cached.until > this.#monotonic()) this.gate.closeDuring(this.#invalidateAll(repo))
  }

  /** The same for all repos. */
  invalidateRepos(): void {
    for (const { repo } of this.#cached.values()) this.invalidate(repo)
  }

  #removeExpired(): void {
    const now = this.#monotonic()
    for (const [key, { until }] of this.#cached) if (until <= now) this.#cached.delete(key)
  }
}

/** The link to the workers; undefined if the settings ask for a single process. */
export function linkWorkers(
  config: { readonly workers: number; readonly tlsCert?: unknown },
  deps: {
    readonly settings: { readonly policies: readonly unknown[] }
    readonly monotonic: () => number
    readonly invalidations: Pick<Invalidations, 'onInvalidate'>
  },
): WorkerLink | undefined {
  if (config.workers <= 1) return undefined
  const { settings, monotonic, invalidations } = deps
  const link = new WorkerLink({
    monotonic,
    mayRepeat: () => settings.policies.length === 0,
    speaksTls: config.tlsCert !== undefined,
  })
  invalidations.onInvalidate((what) => {
    // New settings are a message of their own to the workers.
    if (what === 'all') return
    if (typeof what === 'string') link.invalidateRepos()
    else link.invalidate(what)
  })
  return link
}

/** Holds back requests and answers of a server while other processes must be notified of something first. */
export class AnswerGate {
  #closers = 0
  #waiting: (() => void)[] = []

  /** While the gate is closed, no byte leaves by the connections that `server` accepts from now on. */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => gateWrites(socket, (write) => this.whenOpen(write)))
  }

  /** Closes the gate until `work` has settled. */
  closeDuring(work: Promise<void>): void {
    this.#closers += 1
    const over = (): void => {
      this.#closers -= 1
      if (this.#closers > 0) return
      const waiting = this.#waiting
      this.#waiting = []
      for (const go of waiting) this.whenOpen(go)
    }
    work.then(over, over)
  }

  /** Calls `go` at once, or when the gate opens, in the order of the calls. */
  whenOpen(go: () => void): void {
    if (this.#closers === 0) go()
    else this.#waiting.push(go)
  }
}
