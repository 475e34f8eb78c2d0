import { expect, it, vi } from 'vitest'
import { Pace } from '../../../src/commands/prefetch/pace.ts'

const { signal } = new AbortController()

/** A clock that moves only by waiting. */
function waitingClock() {
  const clock = {
    at: 0,
    now: () => clock.at,
    wait: (ms: number) => {
      clock.at += ms
      return Promise.resolve()
    },
  }
  return clock
}

it('what is taken is never more than the rate and one piece, also after a pause', async () => {
  const clock = waitingClock()
  const pace = new Pace(() => 1_000_000, clock)
  const taken: { at: number; bytes: number }[] = []
  for (let count = 0; count < 40; count += 1) {
    if (count === 20) clock.at += 60_000
    const bytes = count % 2 === 0 ? 250_000 : 1_000_000
    await pace.take(bytes, signal)
    taken.push({ at: clock.at, bytes })
  }
  for (const [first, { at: from }] of taken.entries()) {
    let sum = 0
    for (const { at, bytes } of taken.slice(first)) {
      // All that was taken before the last piece has had its time.
      expect(sum).toBeLessThanOrEqual((at - from) * 1_000 + 1e-3)
      sum += bytes
    }
  }
  expect(clock.at).toBeLessThan(60_000 + 26_000)
})

it('several that take at once come one after the other', async () => {
  const clock = waitingClock()
  const pace = new Pace(() => 1_000, clock)
  const times: number[] = []
  await Promise.all([1, 2, 3].map(() => pace.take(500, signal).then(() => times.push(clock.at))))
  expect(times).toEqual([0, 500, 1000])
})

it('what was not transferred does not count, and the piece that waits goes on', async () => {
  const waits: number[] = []
  const pace = new Pace(() => 1_000, {
    now: () => 0,
    wait: (ms, ended) => {
      waits.push(ms)
      return new Promise((_, reject) => {
        ended.addEventListener('abort', () => reject(ended.reason as Error), { once: true })
      })
    },
  })
  await pace.take(4_000, signal)
  const second = pace.take(500, signal)
  await vi.waitFor(() => expect(waits).toEqual([4_000]))
  // A quarter has come.
  pace.giveBack(3_000)
  await vi.waitFor(() => expect(waits).toEqual([4_000, 1_000]))
  pace.giveBack(1_000)
  await second
})

it('a piece that is given up while it waits does not hold back those behind it', async () => {
  const given = new AbortController()
  const clock = waitingClock()
  const pace = new Pace(() => 1_000, {
    now: () => clock.at,
    wait: (ms, ended) => (ended.aborted ? Promise.reject(ended.reason as Error) : clock.wait(ms)),
  })
  await pace.take(500, signal)
  given.abort(new Error('given up'))
  const up = pace.take(500, given.signal)
  const next = pace.take(500, signal)
  await expect(up).rejects.toThrow('given up')
  await next
  expect(clock.at).toBe(500)
})

it('without a limit nothing waits, and nothing is cut into pieces', async () => {
  const pace = new Pace(() => undefined, { now: () => 0, wait: () => Promise.reject(new Error('waited')) })
  await pace.take(1e12, signal)
  await pace.take(1e12, signal)
  expect(pace.pieceBytes).toBeUndefined()
})

it('pieces are whole blocks of 256 KiB', () => {
  const pieces = [10_000, 1_000_000, 1e10].map((rate) => new Pace(() => rate, waitingClock()).pieceBytes ?? 0)
  expect(pieces).toEqual([262_144, 15 * 262_144, 67_108_864])
})
