import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { ByteSource } from '../../../src/mirror/answer.ts'
import { ReadBuffers } from '../../../src/server/body/read-buffers.ts'
import { type BufferLease, SharedReads } from '../../../src/server/body/shared-reads.ts'

const PIECE = 16
const BUDGET = 4 * PIECE
/** So many streams need not share. */
const FEW = 4
const SIZE = 16 * PIECE
const CONTENT = Buffer.from(Array.from({ length: SIZE }, (_, index) => index))

interface Asked {
  readonly position: number
  readonly length: number
}

/** A file with its readers. It records the reads of the disk, and answers on request or at once. */
function makeFile() {
  const asked: Asked[] = []
  const file = {}
  const disk: { answer: (asked: Asked) => Promise<number> } = {
    answer: ({ length }) => Promise.resolve(length),
  }
  const source = (end = SIZE): ByteSource => ({
    range: { start: 0, end },
    file,
    waitFor: () => Promise.resolve(end),
    async read(buffer, offset, length, position) {
      asked.push({ position, length })
      const read = await disk.answer({ position, length })
      CONTENT.copy(buffer, offset, position, position + read)
      return read
    },
    close: () => Promise.resolve(),
  })
  return { asked, disk, source }
}

/** Shared reads among more streams than few, and the buffers that are leased to them. */
function makeReads() {
  const buffers = new ReadBuffers()
  for (let stream = 0; stream <= FEW; stream += 1) buffers.register()
  const held = new Set<Buffer>()
  const faults: string[] = []
  onTestFinished(() => expect(faults).toEqual([]))
  const take = buffers.acquire.bind(buffers)
  const give = buffers.release.bind(buffers)
  vi.spyOn(buffers, 'acquire').mockImplementation((sizeBytes) => {
    const buffer = take(sizeBytes)
    if (held.has(buffer)) faults.push('lent while it is held')
    held.add(buffer)
    return buffer
  })
  vi.spyOn(buffers, 'release').mockImplementation((buffer) => {
    if (!held.delete(buffer)) faults.push('given back twice')
    give(buffer)
  })
  const reads = new SharedReads(buffers, { pieceBytes: PIECE, budgetBytes: BUDGET })
  return { reads, buffers, held, faults }
}

/** A crowd at the beginning of one file: a stream wants each part. */
function makeCrowd() {
  const { reads, buffers, held } = makeReads()
  const { asked, disk, source } = makeFile()
  const leave = [0, 1].map(() => reads.register(source(), { position: 0, end: SIZE }))
  const at = async (position: number, end = SIZE): Promise<BufferLease> => {
    const lent = await reads.read(source(), { position, end })
    if (lent === undefined) throw new Error('nothing was lent')
    return lent
  }
  return { reads, buffers, held, asked, disk, source, leave, at }
}

const sent = { sent: true }

describe('a piece of a file with several readers', () => {
  it('is read once for all readers that ask at the same time', async () => {
    const { asked, held, at } = makeCrowd()
    const lent = await Promise.all([at(0), at(0), at(5)])
    expect(lent.map(({ bytes }) => [...bytes])).toEqual([
      [...CONTENT.subarray(0, PIECE)],
      [...CONTENT.subarray(0, PIECE)],
      [...CONTENT.subarray(5, PIECE)],
    ])
    expect(asked).toEqual([{ position: 0, length: PIECE }])
    expect(held.size).toBe(1)
  })

  it('is kept for readers that follow, and released when none does', async () => {
    const { asked, held, leave, at } = makeCrowd()
    const first = await at(0)
    first.release(sent)
    const second = await at(0)
    expect(asked).toHaveLength(1)
    second.release(sent)
    for (const each of leave) each()
    expect(held.size).toBe(0)
  })

  it('is not kept for readers that have passed it, are too far behind, or end before it', async () => {
    const { reads, held } = makeReads()
    const { source } = makeFile()
    const position = 2 * BUDGET
    for (const reader of [
      { position: position + PIECE, end: SIZE },
      { position: position - BUDGET, end: SIZE },
      { position: position - PIECE, end: position },
    ])
      reads.register(source(), reader)
    const lent = await reads.read(source(), { position, end: SIZE })
    expect(held.size).toBe(1)
    lent?.release(sent)
    expect(held.size).toBe(0)
  })

  it('has only what is available yet, and gives each reader no more than its own range', async () => {
    const { asked, at } = makeCrowd()
    expect((await at(0, 6)).bytes).toHaveLength(6)
    // More has landed since: read from where the next one stands.
    expect([...(await at(6, 12)).bytes]).toEqual([...CONTENT.subarray(6, 12)])
    // Others may have all of it.
    expect([...(await at(7, 9)).bytes]).toEqual([...CONTENT.subarray(7, 9)])
    expect([...(await at(0, SIZE)).bytes]).toEqual([...CONTENT.subarray(0, PIECE)])
    expect(asked).toEqual([
      { position: 0, length: 6 },
      { position: 6, length: 6 },
      { position: 0, length: PIECE },
    ])
  })

  it('is replaced by a piece of the same block that has more of it', async () => {
    const { held, at } = makeCrowd()
    const less = await at(0, 6)
    less.release(sent)
    const more = await at(6)
    expect(held.size).toBe(1)
    expect([...more.bytes]).toEqual([...CONTENT.subarray(6, PIECE)])
  })

  it('fails for all waiting readers if it cannot be read, and is read again for the next one', async () => {
    const { asked, disk, held, at } = makeCrowd()
    const broken = new Error('the disk')
    disk.answer = () => Promise.reject(broken)
    const outcomes = await Promise.allSettled([at(0), at(0)])
    expect(outcomes).toEqual([
      { status: 'rejected', reason: broken },
      { status: 'rejected', reason: broken },
    ])
    expect(asked).toHaveLength(1)
    expect(held.size).toBe(0)
    disk.answer = ({ length }) => Promise.resolve(length)
    expect([...(await at(0)).bytes]).toEqual([...CONTENT.subarray(0, PIECE)])
  })

  it('is leased as far as it goes if the read came short, and a reader beyond that reads by itself', async () => {
    const { disk, held, reads, source, at } = makeCrowd()
    disk.answer = () => Promise.resolve(4)
    const [lent, beyond] = await Promise.all([at(0), reads.read(source(), { position: 4, end: SIZE })])
    expect([...lent.bytes]).toEqual([...CONTENT.subarray(0, 4)])
    expect(beyond).toBe(undefined)
    disk.answer = ({ length }) => Promise.resolve(length)
    expect([...(await at(4)).bytes]).toEqual([...CONTENT.subarray(4, PIECE)])
    lent.release(sent)
    expect(held.size).toBe(1)
  })

  it('is still leased after a failed write, and its buffer is never reused', async () => {
    const { buffers, held, leave, asked, at } = makeCrowd()
    const [one, other] = await Promise.all([at(0), at(0)])
    one.release({ sent: false })
    other.release(sent)
    const third = await at(0)
    expect(asked).toHaveLength(1)
    expect(third.bytes.buffer === one.bytes.buffer).toBe(true)
    third.release(sent)
    for (const each of leave) each()
    // The code that wrote it holds it for good.
    expect(held.size).toBe(1)
    expect(buffers.acquire(PIECE).buffer === one.bytes.buffer).toBe(false)
  })
})

describe('no buffer is shared', () => {
  it('by the only reader of a file, nor by readers of different files', () => {
    const { reads } = makeReads()
    const sources = [makeFile().source(), makeFile().source()]
    for (const source of sources) reads.register(source, { position: 0, end: SIZE })
    for (const source of sources) expect(reads.read(source, { position: 0, end: SIZE })).toBe(undefined)
  })

  it('by sources that name no file', () => {
    const { reads } = makeReads()
    const { file: _, ...source } = makeFile().source()
    const other = { ...source }
    for (const each of [source, other]) reads.register(each, { position: 0, end: SIZE })
    expect(reads.read(source, { position: 0, end: SIZE })).toBe(undefined)
  })

  it('while there are few streams in total', () => {
    const buffers = new ReadBuffers()
    const reads = new SharedReads(buffers)
    const { source } = makeFile()
    for (let stream = 0; stream < FEW; stream += 1) {
      buffers.register()
      reads.register(source(), { position: 0, end: SIZE })
    }
    expect(reads.read(source(), { position: 0, end: SIZE })).toBe(undefined)
    buffers.register()
    expect(reads.read(source(), { position: 0, end: SIZE })).toBeInstanceOf(Promise)
  })

  it('beyond the budget, until a lease is released; the piece that was released first is dropped first', async () => {
    const { reads, asked, source, held, at } = makeCrowd()
    const lent = await Promise.all([0, 1, 2, 3].map((piece) => at(piece * PIECE)))
    const further = { position: 4 * PIECE, end: SIZE }
    expect(reads.read(source(), further)).toBe(undefined)
    lent[2]?.release(sent)
    lent[0]?.release(sent)
    const fifth = await at(4 * PIECE)
    expect(held.size).toBe(BUDGET / PIECE)
    asked.length = 0
    await at(0)
    expect(asked).toEqual([])
    fifth.release(sent)
    await at(2 * PIECE)
    expect(asked).toEqual([{ position: 2 * PIECE, length: PIECE }])
  })
})

describe('readers that come, stay and go at random', () => {
  it('get the right bytes, from buffers that nothing else writes to, within the budget, and leave nothing behind', async () => {
    const step = fc.record({
      reader: fc.nat(5),
      act: fc.constantFrom('read', 'read', 'read', 'release', 'release', 'jump', 'leave', 'fail'),
      to: fc.nat(SIZE - 1),
      wait: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 100, maxLength: 200 }), async (steps) => {
        const { reads, held, faults } = makeReads()
        const { disk, source } = makeFile()
        const readers = Array.from({ length: 6 }, () => ({
          place: { position: 0, end: SIZE },
          source: source(),
          leave: undefined as (() => void) | undefined,
          lent: [] as BufferLease[],
          reading: [] as Promise<void>[],
        }))
        const isRight = ({ bytes }: BufferLease): boolean =>
          bytes.equals(CONTENT.subarray(bytes[0] ?? 0, (bytes[0] ?? 0) + bytes.length))
        for (const { reader: index, act, to, wait } of steps) {
          const reader = readers[index]
          if (reader === undefined) throw new Error('no such reader')
          reader.leave ??= reads.register(reader.source, reader.place)
          disk.answer = async ({ length }) => {
            if (act === 'fail') throw new Error('the disk')
            return length
          }
          if (act === 'read' || act === 'fail') {
            const { position } = reader.place
            const reading = reads.read(reader.source, { position, end: Math.min(SIZE, position + 1 + to) })
            const taken = (async () => {
              const lent = await reading
              if (lent === undefined) return
              if (lent.bytes[0] !== position) faults.push('bytes of another place')
              reader.lent.push(lent)
              reader.place.position = (position + lent.bytes.length) % SIZE
            })().catch(() => undefined)
            reader.reading.push(taken)
          } else if (act === 'release') reader.lent.shift()?.release(sent)
          else if (act === 'jump') reader.place.position = to
          else {
            reader.leave()
            reader.leave = undefined
          }
          if (wait) await Promise.all(readers.flatMap(({ reading }) => reading))
          expect(held.size * PIECE).toBeLessThanOrEqual(BUDGET)
          expect(readers.flatMap(({ lent }) => lent).every(isRight)).toBe(true)
        }
        await Promise.all(readers.flatMap(({ reading }) => reading))
        for (const { lent } of readers) for (const each of lent) each.release(sent)
        for (const { leave } of readers) leave?.()
        expect(held.size).toBe(0)
        expect(faults).toEqual([])
      }),
    )
  })
})
