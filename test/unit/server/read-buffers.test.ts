import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReadBuffers } from '../../../src/server/body/read-buffers.ts'

const KIB = 1024
const MIB = 1024 * KIB
/** A stream that has sent so much has a client that reads. */
const PROVEN = 16 * MIB

/** What a stream may read at once when it is one of so many. */
function sizeAmong(streams: number, sentBytes: number): number {
  const buffers = new ReadBuffers()
  for (let stream = 0; stream < streams; stream += 1) buffers.register()
  return buffers.sizeFor(sentBytes)
}

describe('a read of a stored file', () => {
  it.each([
    [1, 0, 2 * MIB],
    [4, 0, 2 * MIB],
    [5, 0, 128 * KIB],
    [5, PROVEN - 1, 128 * KIB],
    [64, 0, 128 * KIB],
    [65, 0, 64 * KIB],
    [200, 0, 32 * KIB],
    [2000, 0, 8 * KIB],
    [10_000, 0, 8 * KIB],
    [1, PROVEN, 2 * MIB],
    [24, PROVEN, 2 * MIB],
    [25, PROVEN, MIB],
    [48, PROVEN, MIB],
    [49, PROVEN, 512 * KIB],
    [200, PROVEN, 128 * KIB],
    [10_000, PROVEN, 8 * KIB],
  ])('of one of %i streams that has sent %i bytes is of %i bytes', (streams, sentBytes, sizeBytes) => {
    expect(sizeAmong(streams, sentBytes)).toBe(sizeBytes)
  })

  it('is never so large that all streams together exceed their budget, except at the smallest size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4000 }), fc.nat(64 * MIB), (streams, sentBytes) => {
        const sizeBytes = sizeAmong(streams, sentBytes)
        const bound = sentBytes < PROVEN && streams > 4 ? 8 * MIB : 48 * MIB
        expect(Number.isInteger(Math.log2(sizeBytes))).toBe(true)
        if (sizeBytes > 8 * KIB) expect(sizeBytes * streams).toBeLessThanOrEqual(bound)
      }),
    )
  })

  it('grows again when other streams have ended', () => {
    const buffers = new ReadBuffers()
    const leave = Array.from({ length: 1000 }, () => buffers.register())
    expect(buffers.sizeFor(PROVEN)).toBe(32 * KIB)
    for (const each of leave.slice(1)) each()
    expect(buffers.sizeFor(PROVEN)).toBe(2 * MIB)
  })

  it('runs ahead of the sending only for a client that has shown that it reads, unless there are few streams', () => {
    const buffers = new ReadBuffers()
    for (let stream = 0; stream < 4; stream += 1) buffers.register()
    expect(buffers.readsAhead(0)).toBe(true)
    buffers.register()
    expect([0, PROVEN - 1, PROVEN].map((sent) => buffers.readsAhead(sent))).toEqual([false, false, true])
  })
})

describe('buffers', () => {
  it('are reused, by one stream at a time', () => {
    const buffers = new ReadBuffers()
    const [one, two] = [buffers.acquire(MIB), buffers.acquire(MIB)]
    expect(one === two).toBe(false)
    buffers.release(one)
    expect(buffers.acquire(MIB) === one).toBe(true)
    expect(buffers.acquire(MIB) === one).toBe(false)
  })

  it('have the requested size, whatever was released before', () => {
    const buffers = new ReadBuffers()
    buffers.release(buffers.acquire(MIB))
    expect([8 * KIB, 64 * KIB, MIB].map((size) => buffers.acquire(size).length)).toEqual([
      8 * KIB,
      64 * KIB,
      MIB,
    ])
  })

  it('own their memory: a buffer in use keeps no other alive', () => {
    const { buffer, byteOffset } = new ReadBuffers().acquire(8 * KIB)
    expect([buffer.byteLength, byteOffset]).toEqual([8 * KIB, 0])
  })

  it('are kept in limited number when many streams have ended', () => {
    const buffers = new ReadBuffers()
    const crowd = Array.from({ length: 500 }, () => buffers.acquire(128 * KIB))
    for (const each of crowd) buffers.release(each)
    const known = new Set<Buffer>(crowd)
    const again = Array.from({ length: 500 }, () => buffers.acquire(128 * KIB))
    expect(again.filter((each) => known.has(each))).toHaveLength(8)
  })
})
