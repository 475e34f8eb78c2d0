// What the main process owes its workers, and they to it: offers of stored files, answers that they may repeat, and
// that no such answer is given any more once somebody has been told otherwise.

import type { IncomingMessage, RequestListener, Server } from 'node:http'
import type { Socket } from 'node:net'
import { type Repo, repoKey } from '../../hub/names.ts'
import type { Intermediary, RepeatableAnswer } from '../../server/intermediary.ts'
import { MAX_HEADER_BYTES, openServer } from '../../server/limits.ts'
import { gateWrites } from '../../server/node-http.ts'
import { adoptPeer, formatReady, peerInFlight, READY_FIELD, sharedMs } from '../peer.ts'
import { WorkerHandoff } from './handoff.ts'

/** Repos whose answers have run out are struck off when there are so many. */
const TOLD_MANY = 10_000

export class WorkerLink implements Intermediary {
  readonly handoff = new WorkerHandoff()
  readonly hold = new Hold()
  readonly #monotonic: () => number
  readonly #mayRepeat: () => boolean
  // Up to when a worker may repeat an answer about a repo, at the latest.
  readonly #told = new Map<string, number>()
  #tellAll: (repo: Repo) => Promise<void> = () => Promise.resolve()

  constructor(options: {
    readonly monotonic: () => number
    /** Whether an answer that is ready is so for everybody: rules are for the main process. */
    readonly mayRepeat: () => boolean
  }) {
    this.#monotonic = options.monotonic
    this.#mayRepeat = options.mayRepeat
  }

  /** `tellAll` resolves when no worker repeats what it knew of the repo. */
  onForget(tellAll: (repo: Repo) => Promise<void>): void {
    this.#tellAll = tellAll
  }

  open(serve: RequestListener): Server {
    // A worker adds fields of its own to what its client has sent.
    const server = openServer((request, response) => {
      // Not from a worker: nothing says whose request it is.
      if (!adoptPeer(request)) request.socket.destroy()
      else this.hold.whenFree(() => serve(request, response))
    }, 2 * MAX_HEADER_BYTES)
    this.hold.watch(server)
    return server
  }

  inFlight(request: IncomingMessage): number | undefined {
    return peerInFlight(request)
  }

  /** From here on the workers must hear when the answer may not be repeated any more. */
  noteFor(answer: RepeatableAnswer): readonly [string, string] | undefined {
    if (!this.#mayRepeat()) return undefined
    const key = repoKey(answer.route.repo)
    if (this.#told.size >= TOLD_MANY) this.#strikeOff()
    this.#told.set(key, Math.max(answer.until, this.#told.get(key) ?? 0))
    const at = sharedMs()
    const now = this.#monotonic()
    const ageMs = answer.askedAt === undefined ? undefined : now - answer.askedAt
    return [READY_FIELD, formatReady({ leftMs: answer.until - now, ageMs, commit: answer.commit }, at)]
  }

  /** No worker may repeat what it knows of the repo. Until none does, nobody is answered anything. */
  forget(repo: Repo): void {
    const key = repoKey(repo)
    const until = this.#told.get(key)
    if (until === undefined) return
    this.#told.delete(key)
    if (until > this.#monotonic()) this.hold.during(this.#tellAll(repo))
  }

  #strikeOff(): void {
    const now = this.#monotonic()
    for (const [key, until] of this.#told) if (until <= now) this.#told.delete(key)
  }
}

/** Keeps back what a server says while others must hear something first. */
export class Hold {
  #holders = 0
  #waiting: (() => void)[] = []

  /** From now on nothing leaves by connections of `server` that are taken from now on while something is held. */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => gateWrites(socket, (write) => this.whenFree(write)))
  }

  /** Holds until `work` has settled. */
  during(work: Promise<void>): void {
    this.#holders += 1
    const over = (): void => {
      this.#holders -= 1
      if (this.#holders > 0) return
      const waiting = this.#waiting
      this.#waiting = []
      for (const go of waiting) this.whenFree(go)
    }
    work.then(over, over)
  }

  /** Runs `go` at once, or when nothing is held any more; in order. */
  whenFree(go: () => void): void {
    if (this.#holders === 0) go()
    else this.#waiting.push(go)
  }
}
