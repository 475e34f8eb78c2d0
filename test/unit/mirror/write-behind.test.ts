import { describe, expect, it } from 'vitest'
import { writeBehind } from '../../../src/mirror/downloads/write-behind.ts'

const MAX_PENDING_BYTES = 2 * 1024 * 1024

/** A promise that is settled from outside. */
function gate(): { opened: Promise<void>; open: () => void; fail: (error: Error) => void } {
  let open = (): void => {}
  let fail: (error: Error) => void = () => {}
  const opened = new Promise<void>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  return { opened, open, fail }
}

/** Lets everything run that can run now. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A number says that as many bytes were written elsewhere. */
async function* streamOf(
  ...chunks: readonly (string | number | Promise<void>)[]
): AsyncGenerator<Buffer | number> {
  for (const chunk of chunks) {
    if (typeof chunk === 'number') yield chunk
    else if (typeof chunk === 'string') yield Buffer.from(chunk)
    else await chunk
  }
}

/** A place that takes bytes as slowly as the test says. */
function place(
  start: number,
  limit = start + 1000,
): {
  written: string[]
  limit: number
  hold: Promise<void> | undefined
  most: number
  run: (stream: AsyncIterable<Buffer | number>) => Promise<void>
} {
  let busy = 0
  const state = {
    written: [] as string[],
    limit,
    hold: undefined as Promise<void> | undefined,
    most: 0,
    run: (stream: AsyncIterable<Buffer | number>) =>
      writeBehind(stream, {
        start,
        limit: () => state.limit,
        async write(position, chunks, length) {
          busy += 1
          state.most = Math.max(state.most, busy)
          try {
            await state.hold
            const text = Buffer.concat(chunks).toString()
            expect(text).toHaveLength(length)
            state.written.push(`${position}:${text}`)
          } finally {
            busy -= 1
          }
        },
        written(position, length) {
          state.written.push(`${position}+${length}`)
        },
      }),
  }
  return state
}

describe('writeBehind', () => {
  it('writes everything once, in order, from its start', async () => {
    const disk = place(100)
    await disk.run(streamOf('ab', 'cd', 'e'))
    const bytes = disk.written.map((write) => write.split(':')[1]).join('')
    expect(bytes).toBe('abcde')
    expect(disk.written[0]).toMatch(/^100:/)
    expect(disk.most).toBe(1)
  })

  it('collects the chunks that come during a write for the next one', async () => {
    const { opened, open } = gate()
    const disk = place(0)
    disk.hold = opened
    const running = disk.run(streamOf('ab', 'cd', 'ef'))
    await settle()
    open()
    await running
    expect(disk.written).toEqual(['0:ab', '2:cdef'])
    expect(disk.most).toBe(1)
  })

  it('writes a single chunk at once', async () => {
    const { opened, open } = gate()
    const disk = place(0)
    const running = disk.run(streamOf('ab', opened, 'cd'))
    await settle()
    expect(disk.written).toEqual(['0:ab'])
    open()
    await running
    expect(disk.written).toEqual(['0:ab', '2:cd'])
  })

  it('makes the stream wait when too many bytes wait for the disk', async () => {
    const { opened, open } = gate()
    const disk = place(0, 1e9)
    disk.hold = opened
    const chunk = 'x'.repeat(64 * 1024)
    let taken = 0
    const running = disk.run(
      (async function* () {
        for (; taken < 100; taken += 1) yield Buffer.from(chunk)
      })(),
    )
    await settle()
    await settle()
    expect(taken * chunk.length).toBeLessThanOrEqual(MAX_PENDING_BYTES)
    open()
    await running
    expect(disk.written.join('').replaceAll(/[^x]/g, '')).toHaveLength(100 * chunk.length)
  })

  it('takes no byte beyond its limit, and ends the stream there', async () => {
    let ended = false
    const disk = place(10, 15)
    await disk.run(
      (async function* () {
        try {
          for (const chunk of ['abc', 'def', 'ghi']) yield Buffer.from(chunk)
        } finally {
          ended = true
        }
      })(),
    )
    expect(disk.written.map((write) => write.split(':')[1]).join('')).toBe('abcde')
    expect(ended).toBe(true)
  })

  it('asks a stream that has sent everything for its end, which frees its connection', async () => {
    let asked = false
    await place(0, 4).run(
      (async function* () {
        yield Buffer.from('abcd')
        asked = true
      })(),
    )
    expect(asked).toBe(true)
  })

  it('ends at a limit that was moved, though no further chunk comes', async () => {
    const { opened, open } = gate()
    const disk = place(0, 100)
    const running = disk.run(streamOf('abcd', opened, 'efgh', new Promise(() => {})))
    await settle()
    disk.limit = 6
    open()
    await running
    expect(disk.written).toEqual(['0:abcd', '4:ef'])
  })

  it('keeps the bytes that it had taken when the limit moves below them', async () => {
    const { opened, open } = gate()
    const disk = place(0, 100)
    const running = disk.run(streamOf('abcd', opened, 'efgh'))
    await settle()
    disk.limit = 2
    open()
    await running
    expect(disk.written).toEqual(['0:abcd'])
  })

  it('rejects with the error of the stream, when the write in progress is over', async () => {
    const { opened, open } = gate()
    const disk = place(0)
    disk.hold = opened
    let over = false
    const running = disk
      .run(
        (async function* () {
          yield Buffer.from('ab')
          throw new Error('cut')
        })(),
      )
      .finally(() => (over = true))
    running.catch(() => undefined)
    await settle()
    expect(over).toBe(false)
    open()
    await expect(running).rejects.toThrow('cut')
    expect(disk.written).toEqual(['0:ab'])
  })

  it('writes nothing behind a write that failed, and ends the stream', async () => {
    const { opened, open } = gate()
    let ended = false
    const writes: number[] = []
    const running = writeBehind(
      (async function* () {
        try {
          yield Buffer.from('ab')
          await opened
          yield Buffer.from('cd')
          yield Buffer.from('ef')
        } finally {
          ended = true
        }
      })(),
      {
        start: 0,
        limit: () => 100,
        write(position) {
          writes.push(position)
          return writes.length === 1 ? Promise.reject(new Error('ENOSPC')) : Promise.resolve()
        },
        written: () => undefined,
      },
    )
    running.catch(() => undefined)
    await settle()
    open()
    await expect(running).rejects.toThrow('ENOSPC')
    expect(writes).toEqual([0])
    expect(ended).toBe(true)
  })

  it('writes nothing behind a failure while more chunks wait', async () => {
    const { opened, fail } = gate()
    const disk = place(0)
    disk.hold = opened
    const running = disk.run(streamOf('ab', 'cd', 'ef'))
    running.catch(() => undefined)
    await settle()
    disk.hold = undefined
    fail(new Error('EIO'))
    await expect(running).rejects.toThrow('EIO')
    expect(disk.written).toEqual([])
  })

  it('throws the failure of the write though the stream was cut as well', async () => {
    const disk = place(0)
    disk.hold = Promise.reject(new Error('EIO'))
    await expect(disk.run(streamOf('ab'))).rejects.toThrow('EIO')
  })

  it('counts what was written elsewhere in its place, after the chunks before it', async () => {
    const { opened, open } = gate()
    const disk = place(100)
    disk.hold = opened
    const running = disk.run(streamOf('ab', 3, 4, 'cd'))
    await settle()
    expect(disk.written).toEqual([])
    open()
    await running
    expect(disk.written).toEqual(['100:ab', '102+3', '105+4', '109:cd'])
  })

  it('counts nothing behind a write that failed', async () => {
    const disk = place(0)
    disk.hold = Promise.reject(new Error('EIO'))
    await expect(disk.run(streamOf('ab', 3))).rejects.toThrow('EIO')
    expect(disk.written).toEqual([])
  })

  it('ends at a limit that was moved once so much was written elsewhere', async () => {
    const { opened, open } = gate()
    const disk = place(0, 100)
    const running = disk.run(streamOf(4, opened, 2, new Promise(() => {})))
    await settle()
    disk.limit = 6
    open()
    await running
    expect(disk.written).toEqual(['0+4', '4+2'])
  })

  it('ends at once with an empty stream', async () => {
    const disk = place(0)
    await disk.run(streamOf())
    expect(disk.written).toEqual([])
  })
})
