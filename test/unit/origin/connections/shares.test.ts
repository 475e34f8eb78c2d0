// Who gets a connection to the origin, and who waits, by properties that hold whatever comes and goes.

import { setMaxListeners } from 'node:events'
import fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import {
  type ConnectionPermit,
  isWithinShare,
  QUEUE_TIMEOUT_MS,
  Shares,
  type WaitReport,
} from '../../../../src/origin/connections/shares.ts'
import { LANES, type Lane, silentObserver, type WaitResult } from '../../../../src/telemetry/observer.ts'

const HOST = 'https://hub.test'

function setUp(connections: number) {
  const counts: Record<Lane, { used: number; waiting: number }> = {
    question: { used: 0, waiting: 0 },
    pull: { used: 0, waiting: 0 },
    passage: { used: 0, waiting: 0 },
    relay: { used: 0, waiting: 0 },
  }
  const results: WaitResult[] = []
  const news: WaitReport[] = []
  const shares = new Shares({
    connections,
    now: () => performance.now(),
    onNews: (report) => void news.push(report),
    observer: {
      ...silentObserver,
      originInUse: (lane, change) => void (counts[lane].used += change),
      originWaiting: (lane, change) => void (counts[lane].waiting += change),
      originWaited: (_lane, result) => void results.push(result),
    },
  })
  const ask = (
    lane: Lane,
    caller: string,
    more: { signal?: AbortSignal; host?: string; waitMs?: number } = {},
  ) => shares.acquire({ host: HOST, lane, caller, ...more })
  return { shares, counts, results, news, ask }
}

/** As many turns as a caller gets without waiting. */
async function fill(
  ask: ReturnType<typeof setUp>['ask'],
  lane: Lane,
  caller: string,
): Promise<ConnectionPermit[]> {
  const turns: ConnectionPermit[] = []
  for (;;) {
    const left = new AbortController()
    const turn = ask(lane, caller, { signal: left.signal })
    // A turn that is free is given in the same step, before this one.
    const got = await Promise.race([
      turn,
      new Promise<undefined>((resolve) => setImmediate(resolve, undefined)),
    ])
    if (got === undefined) {
      left.abort(new Error('left'))
      await expect(turn).rejects.toThrow('left')
      return turns
    }
    turns.push(got)
  }
}

it.each([
  [64, 48, 36, 30, 24],
  [16, 12, 9, 8, 6],
  [4, 3, 3, 2, 2],
  [1, 1, 1, 1, 1],
])(
  'of %i connections one caller alone has %i, %i, %i or %i, depending on their purpose',
  async (all, ...most) => {
    for (const [index, lane] of LANES.entries()) {
      const { ask, counts } = setUp(all)
      expect((await fill(ask, lane, 'a')).length).toBe(most[index])
      expect(counts[lane]).toEqual({ used: most[index], waiting: 0 })
    }
  },
)

it('permits for quick purposes stay free, however many callers want slow ones', async () => {
  const { ask, counts } = setUp(64)
  for (let caller = 0; caller < 200; caller += 1) await fill(ask, 'relay', `relay ${caller}`)
  expect(counts.relay.used).toBe(32)
  for (let caller = 0; caller < 200; caller += 1) await fill(ask, 'pull', `pull ${caller}`)
  expect([counts.relay.used, counts.pull.used]).toEqual([32, 16])
  for (let caller = 0; caller < 200; caller += 1) await fill(ask, 'question', `question ${caller}`)
  expect(counts.question.used).toBe(16)
})

it('the connections of each host are counted separately', async () => {
  const { ask } = setUp(1)
  const first = await ask('relay', 'a')
  const second = await ask('relay', 'a', { host: 'https://cdn.test' })
  first.release()
  second.release()
})

it('callers are served in turn, though one of them has asked for much more before', async () => {
  const { ask } = setUp(1)
  const order: string[] = []
  const first = await ask('relay', 'greedy')
  const wait = (caller: string) =>
    ask('relay', caller).then((turn) => {
      order.push(caller)
      turn.release()
    })
  const all = [...Array.from({ length: 20 }, () => wait('greedy')), wait('b'), wait('c')]
  first.release()
  await Promise.all(all)
  expect(order.slice(0, 3)).toEqual(['greedy', 'b', 'c'])
  expect(order.length).toBe(22)
})

it('no more permits are in use than allowed, no request waits that could have one, and callers without one are dropped', async () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('ask' as const),
        lane: fc.constantFrom(...LANES),
        caller: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('relay' as const), pick: fc.nat() }) },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.array(step, { maxLength: 80 }),
      async (all, steps) => {
        const { ask, counts } = setUp(all)
        interface Asked {
          lane: Lane
          readonly caller: string
          readonly left: AbortController
          turn: ConnectionPermit | undefined
        }
        let live: Asked[] = []
        const held = () => live.filter(({ turn }) => turn !== undefined)
        for (const each of steps) {
          if (each.do === 'ask') {
            const asked: Asked = {
              lane: each.lane,
              caller: each.caller,
              left: new AbortController(),
              turn: undefined,
            }
            live.push(asked)
            ask(each.lane, each.caller, { signal: asked.left.signal }).then(
              (turn) => (asked.turn = turn),
              () => undefined,
            )
          } else {
            const from = each.do === 'leave' ? live.filter(({ turn }) => turn === undefined) : held()
            const asked = from[each.pick % Math.max(1, from.length)]
            if (asked === undefined) continue
            if (each.do === 'relay') {
              try {
                asked.turn?.becomeRelay()
                asked.lane = 'relay'
              } catch {
                // There is no room for one more: it stays what it was.
              }
            } else {
              live = live.filter((other) => other !== asked)
              if (each.do === 'leave') asked.left.abort(new Error('left'))
              asked.turn?.release()
              asked.turn?.release()
            }
          }
          await new Promise((resolve) => setImmediate(resolve))
          const count = (lane: Lane, caller?: string) =>
            held().filter((one) => one.lane === lane && (caller === undefined || one.caller === caller))
              .length
          // What a lane and all that come after it may have together.
          const limits = { question: all, pull: (all * 3) / 4, passage: (all * 5) / 8, relay: all / 2 }
          const rest = (lane: Lane) => {
            const after = LANES.slice(LANES.indexOf(lane))
            return Math.max(1, Math.floor(limits[lane])) - after.reduce((sum, each) => sum + count(each), 0)
          }
          const free = (lane: Lane) => Math.min(...LANES.slice(0, LANES.indexOf(lane) + 1).map(rest))
          for (const lane of LANES) {
            const waiting = live.filter((one) => one.lane === lane && one.turn === undefined)
            expect(rest(lane)).toBeGreaterThanOrEqual(0)
            expect(counts[lane]).toEqual({ used: count(lane), waiting: waiting.length })
            for (const { caller } of waiting)
              expect(isWithinShare(count(lane, caller), free(lane))).toBe(false)
          }
        }
        for (const { left, turn } of live) {
          left.abort(new Error('over'))
          turn?.release()
        }
      },
    ),
    { numRuns: 150 },
  )
})

it('a wait ends when its time is over, and says whose share is used up and when to come back', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { ask, results, news, counts } = setUp(1)
  const held = await ask('relay', 'a')
  const own = ask('relay', 'a').catch((error: unknown) => error)
  const other = ask('relay', 'b').catch((error: unknown) => error)
  const patient = ask('relay', 'b', { waitMs: 60_000 }).catch((error: unknown) => error)
  await vi.advanceTimersByTimeAsync(QUEUE_TIMEOUT_MS - 1)
  expect(results).toEqual([])
  await vi.advanceTimersByTimeAsync(1)
  expect(await own).toMatchObject({ code: 'client_limited', detail: { retryAfterSeconds: 6 } })
  expect(await other).toMatchObject({ code: 'overloaded' })
  expect(results).toEqual(['late', 'late'])
  // One line says enough for a while.
  expect(news).toMatchObject([
    {
      lane: 'relay',
      result: 'late',
      waitedMs: QUEUE_TIMEOUT_MS,
      caller: 'a',
      held: 1,
      inUse: 1,
      waiting: 2,
    },
  ])
  held.release()
  expect(await patient).toHaveProperty('release')
  expect(counts.relay).toEqual({ used: 1, waiting: 0 })
})

it('no caller has more than its part of the queue, or pushes others out of it', async () => {
  const { ask, counts, results } = setUp(1)
  const held = await ask('relay', 'a')
  const left = new AbortController()
  setMaxListeners(0, left.signal)
  const asked = (caller: string) => ask('relay', caller, { signal: left.signal })
  const own = Array.from({ length: 64 }, () => asked('a'))
  await expect(asked('a')).rejects.toMatchObject({ code: 'client_limited' })
  const many = Array.from({ length: 63 }, (_, index) => Array.from({ length: 64 }, () => asked(`b${index}`)))
  expect(counts.relay.waiting).toBe(4096)
  // Full, and held by others: the newcomer gets a place of the caller that has many.
  const late = asked('new')
  const waiting = [...own, ...many.flat(), late]
  const outcomes = Promise.allSettled(waiting)
  expect(counts.relay.waiting).toBe(4096)
  expect(results.filter((result) => result === 'refused').length).toBe(2)
  left.abort(new Error('left'))
  expect((await outcomes).filter(({ status }) => status === 'rejected').length).toBe(waiting.length)
  await expect(late).rejects.toThrow('left')
  expect(counts.relay).toEqual({ used: 1, waiting: 0 })
  held.release()
})

it('a permit is wanted if other callers wait for it, and not if its own caller does', async () => {
  const { ask, shares } = setUp(1)
  const held = await ask('relay', 'a')
  const left = new AbortController()
  const own = ask('relay', 'a', { signal: left.signal }).catch(() => undefined)
  expect(shares.isWanted('relay', 'a')).toBe(false)
  const other = ask('relay', 'b', { signal: left.signal }).catch(() => undefined)
  expect([shares.isWanted('relay', 'a'), shares.isWanted('pull', 'a')]).toEqual([true, false])
  left.abort(new Error('left'))
  await Promise.all([own, other])
  expect(shares.isWanted('relay', 'a')).toBe(false)
  held.release()
})
