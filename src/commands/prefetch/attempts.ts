// Asks again what may succeed later: after a rate limit of the Hub, or while it cannot be reached for a moment.

import { QUOTA_LEFT } from '../../server/control.ts'
import { type Again, AnswerBroken, againOf, type ControlClient, type Reply } from './control-client.ts'
import { type PaceClock, SYSTEM_CLOCK } from './pace.ts'
import { MirrorGone } from './silence.ts'

/** The waits before the second and later tries, where the answer names no time. */
const WAITS_MS = [1_000, 2_000, 4_000, 8_000] as const
/** The Hub counts by windows of five minutes. */
const LONGEST_WAIT_MS = 310_000
/** So many failures in a row mean that something is wrong for longer. Each further try then is the only one. */
export const FAILURES_IN_A_ROW = 8

/** What one try has brought. */
export interface Attempt<T> extends Again {
  readonly value: T
}

/** Called with a line about a long wait, and with the reason for the wait. */
type Say = (line: string, reason: 'rate-limit' | 'quota') => void

/** Counts failures for all that is asked by one command, or by one run for a pin. */
export class Attempts {
  readonly #say: Say
  readonly #clock: PaceClock
  /** How long may still be waited, but for the quota. */
  #leftMs: number
  /** The end of the waits that are under way, but for the quota. */
  #waitsUntil = Number.NEGATIVE_INFINITY
  #failures = 0
  #saidUntil = Number.NEGATIVE_INFINITY

  /** `ownWaitsMs` bounds the sum of all waits but those for the quota. */
  constructor(
    say: Say,
    {
      ownWaitsMs = Number.POSITIVE_INFINITY,
      clock = SYSTEM_CLOCK,
    }: { readonly ownWaitsMs?: number; readonly clock?: PaceClock } = {},
  ) {
    this.#say = say
    this.#clock = clock
    this.#leftMs = ownWaitsMs
  }

  /** Whether so much has failed in a row that something is wrong for longer. */
  get hasFailed(): boolean {
    return this.#failures >= FAILURES_IN_A_ROW
  }

  /** Resolves with the result of the last try. Rejects as `attempt` does; AnswerBroken only if the last try does. */
  async run<T>(attempt: () => Promise<Attempt<T>>, signal: AbortSignal): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      const waitMs = this.hasFailed ? undefined : WAITS_MS[tries]
      try {
        const { value, retryMs, isForQuota = false, isQuotaLeft } = await attempt()
        if (retryMs === undefined) {
          this.#failures = 0
          return value
        }
        const longerMs = waitMs === undefined ? undefined : Math.max(retryMs, waitMs)
        if (longerMs === undefined || !(isForQuota || this.#mayWait(longerMs))) {
          this.#failures += 1
          return value
        }
        await this.#wait(longerMs, signal, isQuotaLeft)
      } catch (error) {
        if (!(error instanceof AnswerBroken)) throw error
        if (waitMs === undefined || !this.#mayWait(waitMs)) {
          this.#failures += 1
          throw error
        }
        await this.#wait(waitMs, signal)
      }
    }
  }

  /** Takes a wait from what is left, if it is enough. Waits at the same time count once. */
  #mayWait(ms: number): boolean {
    const now = this.#clock.now()
    const moreMs = Math.max(0, now + ms - Math.max(now, this.#waitsUntil))
    if (ms > LONGEST_WAIT_MS || moreMs > this.#leftMs) return false
    this.#leftMs -= moreMs
    this.#waitsUntil = Math.max(this.#waitsUntil, now + ms)
    return true
  }

  async #wait(ms: number, signal: AbortSignal, isQuotaLeft = false): Promise<void> {
    const waitMs = Math.min(ms, LONGEST_WAIT_MS)
    const until = this.#clock.now() + waitMs
    // Eight requests wait at once.
    if (waitMs > 10_000 && until > this.#saidUntil + 10_000) {
      this.#saidUntil = until
      if (isQuotaLeft)
        this.#say(`${QUOTA_LEFT}: this goes on at ${new Date(Date.now() + waitMs).toISOString()}`, 'quota')
      else this.#say(`the Hub asks to wait: it is asked again in ${Math.ceil(waitMs / 1000)} s`, 'rate-limit')
    }
    await this.#clock.wait(waitMs, signal)
  }
}

/** With what a command asks. */
export interface Asking {
  readonly client: ControlClient
  readonly attempts: Attempts
  readonly signal: AbortSignal
}

/** Resolves with the last answer, which may be a refusal. Rejects with MirrorGone, and with the reason of the signal. */
export async function askAgain(
  target: string,
  { client, attempts, signal }: Asking,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  try {
    return await attempts.run(async () => {
      const value = await client.ask(target, { signal, headers })
      return { value, ...againOf(value) }
    }, signal)
  } catch (error) {
    if (error instanceof AnswerBroken) throw new MirrorGone(error)
    throw error
  }
}
