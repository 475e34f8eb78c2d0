// The order of those who wait, by a model that only counts.

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { FairQueue } from '../../../../src/origin/connections/fair-queue.ts'

const everybody = () => true
const CALLERS = ['a', 'b', 'c', 'd'] as const

it('callers are served in turn, and each in the order of its arrival', () => {
  const queue = new FairQueue<string>()
  for (const item of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2']) queue.add(item.charAt(0), item)
  const served = Array.from({ length: 7 }, () => queue.next(everybody))
  expect(served).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3', undefined])
  expect([queue.size, queue.callers]).toEqual([0, 0])
})

it('callers that may not go are skipped, and keep their place', () => {
  const queue = new FairQueue<string>()
  for (const item of ['a1', 'b1', 'c1']) queue.add(item.charAt(0), item)
  expect(queue.next((caller) => caller !== 'a')).toBe('b1')
  expect(queue.next(everybody)).toBe('a1')
})

it('no caller waits for more than one turn of each other caller, whatever comes and goes', () => {
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('add' as const), caller: fc.constantFrom(...CALLERS) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('next' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), pick: fc.nat() }) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new FairQueue<{ readonly caller: string; readonly number: number }>()
      let waiting: { readonly caller: string; readonly number: number }[] = []
      // How many turns others have had since a caller that waits had one, by caller.
      const passed = new Map<string, Map<string, number>>()
      for (const [number, each] of steps.entries()) {
        if (each.do === 'add') {
          const item = { caller: each.caller, number }
          if (!waiting.some(({ caller }) => caller === each.caller)) passed.set(each.caller, new Map())
          queue.add(item.caller, item)
          waiting.push(item)
        } else if (each.do === 'leave') {
          const item = waiting[each.pick % Math.max(1, waiting.length)]
          if (item === undefined) continue
          queue.remove(item.caller, item)
          queue.remove(item.caller, item)
          waiting = waiting.filter((other) => other !== item)
        } else {
          const item = queue.next(everybody)
          expect(item === undefined).toBe(waiting.length === 0)
          if (item === undefined) continue
          expect(item).toBe(waiting.find(({ caller }) => caller === item.caller))
          waiting = waiting.filter((other) => other !== item)
          passed.set(item.caller, new Map())
          for (const caller of new Set(waiting.map((other) => other.caller))) {
            if (caller === item.caller) continue
            const turns = passed.get(caller) ?? new Map<string, number>()
            turns.set(item.caller, (turns.get(item.caller) ?? 0) + 1)
            passed.set(caller, turns)
            expect(turns.get(item.caller)).toBeLessThanOrEqual(1)
          }
        }
        expect(queue.size).toBe(waiting.length)
        expect(queue.callers).toBe(new Set(waiting.map(({ caller }) => caller)).size)
      }
    }),
  )
})

it('the newest permit of the caller with most is named, to callers with clearly less', () => {
  const queue = new FairQueue<string>()
  for (const item of ['a1', 'a2', 'a3', 'b1']) queue.add(item.charAt(0), item)
  expect(queue.lastOfLongest('c')).toBe('a3')
  expect(queue.lastOfLongest('b')).toBe('a3')
  queue.remove('a', 'a3')
  expect(queue.lastOfLongest('b')).toBeUndefined()
  expect(queue.lastOfLongest('a')).toBeUndefined()
})
