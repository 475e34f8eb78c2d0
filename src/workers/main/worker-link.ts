// What the main process owes its workers, and they to it: offers of stored files, answers that they may repeat, and
// that no such answer is given any more once somebody has been told otherwise.

import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { ReadyAnswer } from '../../fast-path/response-cache.ts'
import { type Repo, repoKey } from '../../hub/names.ts'
import { gateWrites } from '../../server/node-http.ts'
import { formatReady, Offers, sharedMs } from '../peer.ts'

/** Repos whose answers have run out are struck off when there are so many. */
const TOLD_MANY = 10_000

export class WorkerLink {
  readonly offers = new Offers()
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

  /** The text that lets a worker repeat an answer. From here on it must be told when that ends. */
  ready(answer: ReadyAnswer): string | undefined {
    if (!this.#mayRepeat()) return undefined
    const key = repoKey(answer.route.repo)
    if (this.#told.size >= TOLD_MANY) this.#strikeOff()
    this.#told.set(key, Math.max(answer.until, this.#told.get(key) ?? 0))
    const at = sharedMs()
    const now = this.#monotonic()
    const ageMs = answer.askedAt === undefined ? undefined : now - answer.askedAt
    return formatReady({ leftMs: answer.until - now, ageMs, commit: answer.commit }, at)
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
