import { expect, it } from 'vitest'
import { SingleFlight } from '../../../src/mirror/single-flight.ts'

it('work runs once for all callers at the same time, and again afterwards', async () => {
  const flight = new SingleFlight<number>()
  let calls = 0
  let answer: (value: number) => void = () => {}
  const work = (): Promise<number> => {
    calls += 1
    return new Promise((resolve) => (answer = resolve))
  }
  const all = [flight.run('a', work), flight.run('a', work), flight.run('a', work)]
  expect(calls).toBe(1)
  answer(7)
  expect(await Promise.all(all)).toEqual([7, 7, 7])
  const again = flight.run('a', work)
  expect(calls).toBe(2)
  answer(8)
  expect(await again).toBe(8)
})

it('work with different keys runs separately', async () => {
  const flight = new SingleFlight<string>()
  const both = await Promise.all(['a', 'b'].map((key) => flight.run(key, () => Promise.resolve(key))))
  expect(both).toEqual(['a', 'b'])
})

it('a failure rejects all callers, and is not kept', async () => {
  const flight = new SingleFlight<number>()
  const fail = (): Promise<number> => Promise.reject(new Error('away'))
  const results = await Promise.allSettled([flight.run('a', fail), flight.run('a', fail)])
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await flight.run('a', () => Promise.resolve(1))).toBe(1)
})

it('work runs again for callers of another kind when a failure proves nothing about them', async () => {
  const flight = new SingleFlight<string>((error) => error === 'ours')
  let fail: (error: string) => void = () => {}
  const asked: string[] = []
  const ask = (name: string, kind: string) =>
    flight.run(
      'a',
      () => {
        asked.push(name)
        return Promise.resolve(name)
      },
      kind,
    )
  const first = flight.run('a', () => new Promise((_, reject) => (fail = reject)), 'old')
  const [alike, ...others] = [ask('alike', 'old'), ask('one', 'new'), ask('two', 'new')]
  fail('ours')
  await expect(first).rejects.toBe('ours')
  await expect(alike).rejects.toBe('ours')
  expect(await Promise.all(others)).toEqual(['one', 'one'])
  expect(asked).toEqual(['one'])
})
