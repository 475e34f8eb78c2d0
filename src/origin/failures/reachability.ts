// Keeps whether the last request could reach the origin, and since when the origin has been away.

import { MirrorError } from '../../errors.ts'
import type { Observer } from '../../telemetry/observer.ts'

/** After a failure to connect, stored answers are served without asking for this long. */
const SUSPECT_MS = 5_000

export class Reachability {
  readonly #now: () => number
  readonly #observer: Observer
  readonly #onChange: ((trouble: MirrorError | undefined) => void) | undefined
  #until = 0
  #trouble: MirrorError | undefined
  // When the first of the unanswered requests was sent; undefined while the origin answers.
  #awaySince: number | undefined

  /** `onChange` is called when the origin goes away, when the reason changes, and when the origin answers again. */
  constructor(options: {
    readonly now: () => number
    readonly observer: Observer
    readonly onChange: ((trouble: MirrorError | undefined) => void) | undefined
  }) {
    this.#now = options.now
    this.#observer = options.observer
    this.#onChange = options.onChange
  }

  /** The origin has answered. */
  reached(): void {
    this.#until = 0
    this.#awaySince = undefined
    this.#observer.originUp(true)
    this.#report(undefined)
  }

  /** Records that a request sent at `askedAt` could not reach the origin. Returns the error with the time it has been away. */
  failed(trouble: MirrorError, askedAt: number): MirrorError {
    const now = this.#now()
    this.#until = now + SUSPECT_MS
    this.#awaySince ??= askedAt
    this.#observer.originUp(false)
    this.#report(trouble)
    const { code, message, cause, detail } = trouble
    const awaySeconds = Math.floor((now - this.#awaySince) / 1000)
    return new MirrorError(code, { message, cause, detail: { ...detail, awaySeconds } })
  }

  /** True for a few seconds after a failure. */
  get isRecentlyUnreachable(): boolean {
    return this.#until > this.#now()
  }

  /** The reason in a sentence while `isRaised`; otherwise undefined. */
  get reason(): string | undefined {
    return this.isRecentlyUnreachable ? this.#trouble?.message : undefined
  }

  #report(trouble: MirrorError | undefined): void {
    if (this.#trouble?.message === trouble?.message) return
    this.#trouble = trouble
    this.#onChange?.(trouble)
  }
}
