import fc from 'fast-check'
import { expect, it } from 'vitest'
import { BodyBuffers, bufferBody, SHORT_BODY_BYTES } from '../../../../src/origin/connections/body-buffers.ts'

it('buffered bodies never exceed their limit, nor three quarters of it for one caller, and release all of it', () => {
  const limit = 8 * SHORT_BODY_BYTES
  const want = fc.record({
    caller: fc.constantFrom('a', 'b', 'c'),
    bytes: fc.integer({ min: 0, max: 2 * SHORT_BODY_BYTES }),
    gives: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(want, { maxLength: 100 }), (wants) => {
      const buffers = new BodyBuffers(limit)
      let held: { caller: string; bytes: number; release: () => void }[] = []
      const sum = (caller?: string) =>
        held
          .filter((one) => caller === undefined || one.caller === caller)
          .reduce((all, one) => all + one.bytes, 0)
      for (const { caller, bytes, gives } of wants) {
        const first = held[0]
        if (gives && first !== undefined) {
          held = held.slice(1)
          first.release()
          first.release()
        }
        const release = buffers.reserve(caller, bytes)
        if (bytes > SHORT_BODY_BYTES) expect(release).toBeUndefined()
        if (release !== undefined) held.push({ caller, bytes, release })
        expect(sum()).toBeLessThanOrEqual(limit)
        expect(sum(caller)).toBeLessThanOrEqual((limit * 3) / 4 + SHORT_BODY_BYTES)
        expect(buffers.isLow).toBe(sum() > (limit * 3) / 4)
      }
      for (const { release } of held) release()
      expect(buffers.reserve('d', SHORT_BODY_BYTES)).toBeDefined()
      expect(buffers.isLow).toBe(false)
    }),
  )
})

it('a buffered body is read before its reader takes it, yields each chunk as it comes, and is released with its reader', async () => {
  const seen: string[] = []
  let over = (): void => {}
  const isOver = new Promise<void>((resolve) => (over = resolve))
  async function* chunks() {
    for (const text of ['a', 'b', 'c']) {
      seen.push(text)
      yield Buffer.from(text)
    }
    over()
  }
  let released = 0
  const all = bufferBody(chunks(), () => (released += 1))
  expect(String((await all.next()).value)).toBe('a')
  await isOver
  expect([seen, released]).toEqual([['a', 'b', 'c'], 0])
  expect([String((await all.next()).value), String((await all.next()).value)]).toEqual(['b', 'c'])
  expect((await all.next()).done).toBe(true)
  expect(released).toBe(1)
  const left = bufferBody(chunks(), () => (released += 1))
  await left.next()
  await left.return()
  expect(released).toBe(2)
})

it('a buffered body fails after the chunks that came before the failure', async () => {
  async function* chunks() {
    yield Buffer.from('a')
    throw new Error('cut')
  }
  const all = bufferBody(chunks(), () => undefined)
  expect(String((await all.next()).value)).toBe('a')
  await expect(all.next()).rejects.toThrow('cut')
})
