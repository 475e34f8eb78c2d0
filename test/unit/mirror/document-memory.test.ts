import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DocumentBody } from '../../../src/mirror/documents/document-body.ts'
import { DocumentMemory } from '../../../src/mirror/documents/document-memory.ts'
import { DocumentPlans, infoOf } from '../../../src/mirror/documents/document-plans.ts'

const NO_END = 1_000_000

describe('the memory for documents', () => {
  it('admits documents in the order of their requests, and gives no caller more than half while others wait', async () => {
    const memory = new DocumentMemory({ limitBytes: 100, maxWaitMs: NO_END })
    const order: string[] = []
    const enter = async (caller: string, bytes: number) => {
      const space = memory.open(caller)
      const leave = space.releaser()
      await space.grow(bytes)
      order.push(`${caller}${bytes}`)
      return leave
    }
    const first = await enter('a', 50)
    // Over its share, though there is space. Requests behind it are not delayed by that.
    const second = enter('a', 10)
    const third = await enter('b', 40)
    const fourth = enter('c', 30)
    const fifth = enter('d', 5)
    expect([order, memory.waiting, memory.takenBytes]).toEqual([['a50', 'b40'], 3, 90])
    third()
    await Promise.all([fourth, fifth])
    expect([order, memory.takenBytes]).toEqual([['a50', 'b40', 'c30', 'd5'], 85])
    first()
    await second
    expect([order.at(-1), memory.waiting]).toEqual(['a10', 0])
  })

  it('reports what is taken, and how many requests wait, at each change', async () => {
    const reports: string[] = []
    const memory = new DocumentMemory({
      limitBytes: 100,
      maxWaitMs: NO_END,
      observer: {
        documentMemoryChanged: ({ takenBytes, waiting }) =>
          reports.push(`${takenBytes} taken, ${waiting} wait`),
      },
    })
    const leave = await memory.hold(Buffer.alloc(80), 'a')
    const second = memory.hold(Buffer.alloc(40), 'b')
    leave()
    const leaveSecond = await second
    leaveSecond()
    expect(reports).toEqual([
      '80 taken, 0 wait',
      '80 taken, 1 wait',
      '0 taken, 1 wait',
      '40 taken, 0 wait',
      '0 taken, 0 wait',
    ])
  })

  it('takes one document of any size for a caller without another', async () => {
    const memory = new DocumentMemory({ limitBytes: 100, maxWaitMs: NO_END })
    const space = memory.open('a')
    for (const bytes of [10, 60, 100]) await space.grow(bytes)
    expect(memory.takenBytes).toBe(100)
  })

  it('is never exceeded, and is free when all documents are released', async () => {
    const visit = fc.record({
      caller: fc.constantFrom('a', 'b', 'c'),
      bytes: fc.integer({ min: 1, max: 100 }),
      stays: fc.integer({ min: 0, max: 5 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(visit, { maxLength: 30 }), async (visits) => {
        const memory = new DocumentMemory({ limitBytes: 100, maxWaitMs: NO_END })
        await Promise.all(
          visits.map(async ({ caller, bytes, stays }) => {
            const leave = await memory.hold(Buffer.alloc(bytes), caller)
            expect(memory.takenBytes).toBeLessThanOrEqual(100)
            for (let turn = 0; turn < stays; turn += 1) await Promise.resolve()
            leave()
            leave()
          }),
        )
        expect([memory.takenBytes, memory.waiting]).toEqual([0, 0])
      }),
      { numRuns: 200 },
    )
  })

  it('is refused to a request that has waited too long, and goes to those behind it', async () => {
    const memory = new DocumentMemory({ limitBytes: 100, maxWaitMs: 10 })
    const leave = await memory.hold(Buffer.alloc(60), 'a')
    const large = memory.hold(Buffer.alloc(80), 'b')
    await expect(large).rejects.toMatchObject({ code: 'overloaded' })
    expect(memory.waiting).toBe(0)
    leave()
    await memory.hold(Buffer.alloc(100), 'b')
  })
})

describe('a document that is being sent', () => {
  const body = Buffer.from(`[${'{"path":"a","xetHash":"b"},'.repeat(40_000)}{}]`)
  const plans = () =>
    new DocumentPlans({ client: { policy: { base: new URL('http://hub'), allowedHosts: [] } } })

  it('is scanned while other work is done, once for all requests', async () => {
    const looked = plans()
    let turns = 0
    let isOver = false
    const tick = (): void => {
      turns += 1
      if (!isOver) setImmediate(tick)
    }
    const all = Promise.all([looked.of(body, 'tree'), looked.of(body, 'tree')])
    tick()
    const [one, other] = await all
    isOver = true
    expect(one).toBe(other)
    expect(turns).toBeGreaterThan(2)
  })

  it('releases its memory once: at its end, or when it is closed, begun or not', async () => {
    const plan = await plans().of(body, 'tree')
    for (const taken of [0, 1, 1000]) {
      let released = 0
      const sent = new DocumentBody(body, plan, 'http://m', () => (released += 1))
      let length = 0
      for (let piece = 0; piece < taken; piece += 1) {
        const { done, value } = await sent.next()
        if (done === true) break
        length += value.length
      }
      if (taken === 1000)
        expect(length).toBe(Buffer.byteLength(body.toString().replaceAll(',"xetHash":"b"', '')))
      expect(released).toBe(taken === 1000 ? 1 : 0)
      await sent.return()
      expect(released).toBeGreaterThan(0)
    }
  })

  it('yields the same facts of a repo as its parsed info', async () => {
    const text =
      '{"id":"o/n","private":false,"gated":"auto","sha":"x","siblings":[{"sha":1}],"cardData":{"license":"mit"},"sha":"y"}'
    const info = Buffer.from(text)
    const { siblings: _siblings, ...rest } = JSON.parse(text) as Record<string, unknown>
    expect(infoOf(info, await plans().of(info, 'repo'))).toEqual(rest)
  })
})
