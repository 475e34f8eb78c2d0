// Asks again what may succeed later: after a rate limit of the Hub, or while it cannot be reached for a moment.

import { setTimeout as delay } from 'node:timers/promises'
import { type Again, AnswerBroken, againOf, type ControlClient, type Reply } from './control-client.ts'
import { MirrorGone } from './silence.ts'

/** The waits before the second and later tries, where the answer names no time. */
const WAITS_MS = [1_000, 2_000, 4_000, 8_000] as const
/** The Hub counts by windows of five minutes. */
const LONGEST_WAIT_MS = 310_000
/** So many failures in a row mean that something is wrong for longer. Each further try then is the only one. */
const FAILURES_IN_A_ROW = 8

/** What one try has brought. */
export interface Attempt<T> extends Again {
  readonly value: T
}

/** Counts failures for all that is asked by one command. */
export class Attempts {
  readonly #say: (line: string) => void
  readonly #longestOwnWaitMs: number
  #failures = 0
  #saidUntil = 0

  /** `say` gets a line when a wait is long. `longestOwnWaitMs` bounds each wait but those for the quota: for longer ones no try follows. */
  constructor(say: (line: string) => void, longestOwnWaitMs = LONGEST_WAIT_MS) {
    this.#say = say
    this.#longestOwnWaitMs = longestOwnWaitMs
  }

  /** Resolves with the result of the last try. Rejects as `attempt` does; AnswerBroken only if the last try does. */
  async run<T>(attempt: () => Promise<Attempt<T>>, signal: AbortSignal): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      const mayRetry = tries < WAITS_MS.length && this.#failures < FAILURES_IN_A_ROW
      try {
        const { value, retryMs, isForQuota = false } = await attempt()
        if (retryMs === undefined) {
          this.#failures = 0
          return value
        }
        const isTooLong = !isForQuota && retryMs > this.#longestOwnWaitMs
        if (!mayRetry || isTooLong) {
          this.#failures += 1
          return value
        }
        await this.#wait(Math.max(retryMs, WAITS_MS[tries] ?? 0), signal)
      } catch (error) {
        if (!(error instanceof AnswerBroken) || !mayRetry) throw error
        await this.#wait(WAITS_MS[tries] ?? 0, signal)
      }
    }
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const waitMs = Math.min(ms, LONGEST_WAIT_MS)
    const until = performance.now() + waitMs
    // Eight requests wait at once.
    if (waitMs > 10_000 && until > this.#saidUntil + 10_000) {
      this.#saidUntil = until
      this.#say(`the Hub asks to wait: it is asked again in ${Math.ceil(waitMs / 1000)} s`)
    }
    await delay(waitMs, undefined, { signal })
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
