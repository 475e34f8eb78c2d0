import { describe, expect, it } from 'vitest'
import type { ByteSource } from '../../../src/mirror/answer.ts'
import { FileReads } from '../../../src/server/body/file-reads.ts'

const SIZE = 4 * 1024 * 1024

/** A file of zeros, and where it was read. */
function makeFile() {
  const readAt: number[] = []
  const file = {}
  const source: ByteSource = {
    range: { start: 0, end: SIZE },
    file,
    waitFor: () => Promise.resolve(SIZE),
    async read(_buffer, _offset, length, position) {
      readAt.push(position)
      return length
    },
    close: () => Promise.resolve(),
  }
  return { source, readAt }
}

/** So many streams of other files that streams of the same one share. */
function crowded(): FileReads {
  const reads = new FileReads()
  for (let count = 0; count < 8; count += 1) reads.register(makeFile().source, 0)
  return reads
}

describe('a stream that reads alone', () => {
  it('releases its buffer, except one that the kernel may still refer to', async () => {
    const reader = new FileReads().register(makeFile().source, 0)
    const first = await reader.read(0)
    first.release({ sent: true })
    const second = await reader.read(first.bytes.length)
    expect(second.bytes.buffer === first.bytes.buffer).toBe(true)
    second.release({ sent: false })
    const third = await reader.read(0)
    expect(third.bytes.buffer === first.bytes.buffer).toBe(false)
  })

  it('releases its buffer when the file ends early or cannot be read', async () => {
    const { source } = makeFile()
    let isBroken = true
    let lent: ArrayBufferLike | undefined
    const reader = new FileReads().register(
      {
        ...source,
        async read(buffer, _offset, length) {
          if (!isBroken) return length
          lent = buffer.buffer
          return 0
        },
      },
      0,
    )
    await expect(reader.read(0)).rejects.toThrow()
    isBroken = false
    expect((await reader.read(0)).bytes.buffer === lent).toBe(true)
  })
})

describe('streams of the same file', () => {
  it('read it once, and keep no piece that all of them have passed', async () => {
    const reads = crowded()
    const { source, readAt } = makeFile()
    const [first, second] = [reads.register(source, 0), reads.register(source, 0)]
    for (const reader of [first, second]) (await reader.read(0)).release({ sent: true })
    expect(readAt).toEqual([0])
    const third = reads.register(source, 0)
    ;(await third.read(0)).release({ sent: true })
    expect(readAt).toEqual([0, 0])
  })

  it('share nothing any more when all but one have ended', async () => {
    const reads = crowded()
    const { source } = makeFile()
    const [first, second] = [reads.register(source, 0), reads.register(source, 0)]
    const shared = await first.read(0)
    shared.release({ sent: true })
    second.leave()
    const alone = await first.read(shared.bytes.length)
    expect(alone.bytes.length).toBeLessThan(shared.bytes.length)
  })
})
