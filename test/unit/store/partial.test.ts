import { getEventListeners } from 'node:events'
import type { FileHandle } from 'node:fs/promises'
import * as fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { BLOCK_BYTES } from '../../../src/store/partials/blocks.ts'
import { DiskPartial } from '../../../src/store/partials/partial.ts'
import {
  BYTES,
  dataOf,
  forever,
  handlePrototype,
  KEY,
  put,
  putBlocks,
  readAll,
  SIZE,
} from './partial-scratch.ts'
import { scratchLayout } from './scratch.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

describe('writing and reading', () => {
  it('shows exactly the bytes that have landed without a gap, in any order of blocks', async () => {
    const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 1 })
    const cuts = fc.array(fc.integer({ min: 1, max: BLOCK_BYTES }), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(order, cuts, fc.boolean(), async (blocks, cuts, whole) => {
        const layout = await scratchLayout()
        const partial = await DiskPartial.open(layout, KEY, SIZE)
        const landed = new Uint8Array(SIZE)
        for (const [index, block] of blocks.entries()) {
          const { start, end } = partial.map.rangeOf(block)
          // The last block of the list may stay unfinished.
          const stop = !whole && index === blocks.length - 1 ? start + ((cuts[0] ?? 1) % (end - start)) : end
          let at = start
          for (const cut of [...cuts, SIZE]) {
            const to = Math.min(at + cut, stop)
            if (to > at) await put(partial, at, to)
            at = to
          }
          landed.fill(1, start, stop)
        }
        for (const position of [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7, SIZE - 1, SIZE]) {
          let end = position
          while (end < SIZE && landed[end] === 1) end += 1
          const available = partial.availableEnd(position)
          // Inside a block, only what follows its start is counted.
          expect(available).toBe(end)
          if (available > position) {
            expect(
              (await readAll(partial, position, available)).equals(BYTES.subarray(position, available)),
            ).toBe(true)
          }
        }
        await partial.release()
      }),
      { numRuns: 40 },
    )
  })

  it('accepts more chunks at once than one system call does', async () => {
    const partial = await DiskPartial.open(await scratchLayout(), KEY, SIZE)
    const chunks = Array.from({ length: 3000 }, (_, index) => BYTES.subarray(index * 100, index * 100 + 100))
    await partial.write(0, chunks)
    expect(partial.availableEnd(0)).toBe(300_000)
    expect((await readAll(partial, 0, 300_000)).equals(BYTES.subarray(0, 300_000))).toBe(true)
    await partial.release()
  })

  it('does not count bytes after a gap inside a block', async () => {
    const partial = await DiskPartial.open(await scratchLayout(), KEY, SIZE)
    await put(partial, 100, BLOCK_BYTES)
    expect(partial.availableEnd(100)).toBe(100)
    expect(partial.map.presentBytes).toBe(0)
    await put(partial, 0, 200)
    expect(partial.availableEnd(0)).toBe(200)
    expect(partial.resumeAt(0)).toBe(200)
    await put(partial, 200, BLOCK_BYTES)
    expect(partial.availableEnd(0)).toBe(BLOCK_BYTES)
    await partial.release()
  })

  it('does not count bytes whose write failed', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    const { writev } = await handlePrototype(dataOf(layout))
    writev.mockRejectedValueOnce(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }))
    await expect(putBlocks(partial, 0)).rejects.toThrow('ENOSPC')
    expect(partial.map.presentBytes).toBe(0)
    expect(partial.availableEnd(0)).toBe(0)
    await partial.release()
  })

  it('completes a short write before it counts anything', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    const { writev } = await handlePrototype(dataOf(layout))
    writev.mockImplementationOnce(async function (this: FileHandle, [first]: Uint8Array[], position: number) {
      return this.write(first ?? Buffer.alloc(0), 0, 777, position)
    })
    await partial.write(0, [BYTES.subarray(0, 1000), BYTES.subarray(1000, 3000)])
    expect((await readAll(partial, 0, 3000)).equals(BYTES.subarray(0, 3000))).toBe(true)
    await partial.release()
  })

  it('fails when the disk accepts nothing and returns no error', async () => {
    const layout = await scratchLayout()
    const partial = await DiskPartial.open(layout, KEY, SIZE)
    const { writev, write } = await handlePrototype(dataOf(layout))
    writev.mockResolvedValueOnce({ bytesWritten: 0 })
    write.mockResolvedValue({ bytesWritten: 0 })
    await expect(putBlocks(partial, 0)).rejects.toThrow('accepts no more bytes')
    expect(partial.availableEnd(0)).toBe(0)
    await partial.release()
  })
})

describe('waiting', () => {
  it('wakes the readers that wait for a byte that has landed, and no others', async () => {
    const partial = await DiskPartial.open(await scratchLayout(), KEY, SIZE)
    const controller = new AbortController()
    let late = false
    const first = partial.whenAvailable(10, controller.signal)
    const second = partial.whenAvailable(BLOCK_BYTES, controller.signal).then(() => (late = true))
    await put(partial, 0, 11)
    await first
    expect(late).toBe(false)
    await putBlocks(partial, 1)
    await second
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    await partial.release()
  })

  it('returns at once for bytes that have landed, even to an aborted reader of a failed file', async () => {
    const partial = await DiskPartial.open(await scratchLayout(), KEY, SIZE)
    await putBlocks(partial, 0)
    partial.fail(new Error('gone'))
    await partial.whenAvailable(5, AbortSignal.abort())
    await partial.release()
  })

  it('ends the waiting of one reader with its signal, and leaves no listener', async () => {
    const partial = await DiskPartial.open(await scratchLayout(), KEY, SIZE)
    const leaving = new AbortController()
    const staying = new AbortController()
    const left = partial.whenAvailable(0, leaving.signal)
    const stayed = partial.whenAvailable(0, staying.signal)
    leaving.abort(new Error('the client left'))
    await expect(left).rejects.toThrow('the client left')
    await expect(partial.whenAvailable(0, leaving.signal)).rejects.toThrow('the client left')
    await put(partial, 0, 1)
    await stayed
    expect(getEventListeners(leaving.signal, 'abort')).toEqual([])
    expect(getEventListeners(staying.signal, 'abort')).toEqual([])
    await partial.release()
  })

  it('rejects waiting and later readers with the first failure', async () => {
    const partial = await DiskPartial.open(await scratchLayout(), KEY, SIZE)
    const controller = new AbortController()
    const waiting = [partial.whenAvailable(0, controller.signal), partial.whenAvailable(9, controller.signal)]
    partial.fail(new Error('first'))
    partial.fail(new Error('second'))
    for (const wait of waiting) await expect(wait).rejects.toThrow('first')
    await expect(partial.whenAvailable(0, forever)).rejects.toThrow('first')
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    await partial.release()
  })
})
