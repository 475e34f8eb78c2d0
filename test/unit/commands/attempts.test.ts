// Further tries of what has failed: how many, and for how long.

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Attempts, FAILURES_IN_A_ROW } from '../../../src/commands/prefetch/attempts.ts'
import { AnswerBroken } from '../../../src/commands/prefetch/control-client.ts'

const { signal } = new AbortController()

/** With a clock that does not wait: all that begins to wait in one turn does so at the same time. */
function open(ownWaitsMs: number): Attempts {
  let now = 0
  const wait = async (ms: number): Promise<void> => {
    const until = now + ms
    await setImmediate()
    now = Math.max(now, until)
  }
  return new Attempts(() => undefined, { ownWaitsMs, clock: { now: () => now, wait } })
}

/** Counts its tries, of which each fails in the same way. */
function failing(how: { readonly isBroken?: boolean; readonly retryMs?: number } = {}) {
  const counts = { tries: 0 }
  const attempt = (): Promise<{ value: string; retryMs: number }> => {
    counts.tries += 1
    if (how.isBroken === true) return Promise.reject(new AnswerBroken())
    return Promise.resolve({ value: 'failed', retryMs: how.retryMs ?? 0 })
  }
  return { counts, attempt }
}

describe('what fails for a reason of its own', () => {
  it.each([
    ['an answer that says so', {}],
    ['a broken connection', { isBroken: true }],
  ])('is waited for only as long as all waits together may take: %s', async (_name, how) => {
    // Enough for the first wait of a second, and for no other.
    const attempts = open(1_500)
    const tries: number[] = []
    for (let index = 0; index < 3; index += 1) {
      const { counts, attempt } = failing(how)
      await attempts.run(attempt, signal).catch(() => undefined)
      tries.push(counts.tries)
    }
    expect(tries).toEqual([2, 1, 1])
  })

  it('waits at the same time, which count once', async () => {
    const attempts = open(1_500)
    const all = Array.from({ length: 8 }, () => failing())
    await Promise.all(all.map(({ attempt }) => attempts.run(attempt, signal)))
    expect(all.map(({ counts }) => counts.tries)).toEqual(Array(8).fill(2))
  })

  it('is not tried again at all if the answer asks for longer', async () => {
    const attempts = open(20_000)
    const { counts, attempt } = failing({ retryMs: 300_000 })
    await attempts.run(attempt, signal)
    expect(counts.tries).toBe(1)
  })

  it('has failed for longer after so many failures in a row, until something succeeds', async () => {
    const attempts = open(0)
    const fail = () => attempts.run(failing().attempt, signal)
    for (let index = 1; index < FAILURES_IN_A_ROW; index += 1) await fail()
    expect(attempts.hasFailed).toBe(false)
    await fail()
    expect(attempts.hasFailed).toBe(true)
    await attempts.run(() => Promise.resolve({ value: 'done' }), signal)
    expect(attempts.hasFailed).toBe(false)
  })
})
