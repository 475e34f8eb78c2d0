// Whether the origin can be reached, by the last request to it, and for how long it could not. Knows no request.

import { MirrorError } from '../errors.ts'
import type { Observer } from '../telemetry/observer.ts'

/** After a failure to connect, stored answers are served without asking for this long. */
const SUSPECT_MS = 5_000

export class Suspicion {
  readonly #now: () => number
  readonly #observer: Observer
  readonly #onTurn: ((trouble: MirrorError | undefined) => void) | undefined
  #until = 0
  #trouble: MirrorError | undefined
  // When the first question left that had no answer, since one had.
  #awaySince: number | undefined

  /** `onTurn` hears when the origin goes away, or for another reason than before, and when it answers again. */
  constructor(options: {
    readonly now: () => number
    readonly observer: Observer
    readonly onTurn: ((trouble: MirrorError | undefined) => void) | undefined
  }) {
    this.#now = options.now
    this.#observer = options.observer
    this.#onTurn = options.onTurn
  }

  /** The origin has answered. */
  clear(): void {
    this.#until = 0
    this.#awaySince = undefined
    this.#observer.originUp(true)
    this.#turn(undefined)
  }

  /** It could not be reached, when asked at `askedAt`. Returns the same error, which says how long it has been away. */
  raise(trouble: MirrorError, askedAt: number): MirrorError {
    const now = this.#now()
    this.#until = now + SUSPECT_MS
    this.#awaySince ??= askedAt
    this.#observer.originUp(false)
    this.#turn(trouble)
    const { code, message, cause, detail } = trouble
    const awaySeconds = Math.floor((now - this.#awaySince) / 1000)
    return new MirrorError(code, { message, cause, detail: { ...detail, awaySeconds } })
  }

  /** True for a few seconds after a failure. */
  get isRaised(): boolean {
    return this.#until > this.#now()
  }

  /** Why, in a sentence, for as long as `isRaised`. */
  get trouble(): string | undefined {
    return this.isRaised ? this.#trouble?.message : undefined
  }

  #turn(trouble: MirrorError | undefined): void {
    if (this.#trouble?.message === trouble?.message) return
    this.#trouble = trouble
    this.#onTurn?.(trouble)
  }
}
