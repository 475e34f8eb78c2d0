// A thread that writes to a file, and the main thread that moves the end of what it may write.

import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, it, onTestFinished } from 'vitest'
import { type FileSink, openSink } from '../../../src/store/partials/file-sink.ts'
import { FileWriter } from '../../../src/store/partials/file-writer.ts'
import { eventually } from '../../support/eventually.ts'
import { scratchDirectory } from './scratch.ts'

async function file() {
  const name = path.join(await scratchDirectory(), 'data')
  const handle = await open(name, 'w+')
  onTestFinished(() => handle.close())
  return { handle, content: () => readFile(name) }
}

const pieceOf = (length: number, fill: number): Buffer => Buffer.alloc(length, fill)

it('a piece is written at its position, as far as the limit', async () => {
  const { handle, content } = await file()
  const writer = new FileWriter(handle.fd, { start: 10, end: 110 })
  const sink = openSink(writer.sink.data)
  expect(sink.write(pieceOf(40, 1), 10)).toBe(40)
  expect(sink.write(pieceOf(80, 2), 50)).toBe(60)
  expect(sink.write(pieceOf(80, 3), 110)).toBe(0)
  expect((await content()).equals(Buffer.concat([pieceOf(10, 0), pieceOf(40, 1), pieceOf(60, 2)]))).toBe(true)
})

it('the limit moves down to what may be written already, and no further', async () => {
  const { handle } = await file()
  const writer = new FileWriter(handle.fd, { start: 0, end: 1000 })
  const sink = openSink(writer.sink.data)
  expect(writer.limit(900)).toBe(900)
  expect(sink.write(pieceOf(500, 1), 0)).toBe(500)
  expect(writer.limit(300)).toBe(500)
  expect(sink.write(pieceOf(500, 1), 500)).toBe(0)
})

it('the error of the disk is thrown as it is', async () => {
  const full = await open('/dev/full', 'w')
  onTestFinished(() => full.close())
  const sink = openSink(new FileWriter(full.fd, { start: 0, end: 100 }).sink.data)
  expect(() => sink.write(pieceOf(10, 1), 0)).toThrow(
    expect.objectContaining({ code: 'ENOSPC', syscall: 'write' }),
  )
})

it('a thread changes nothing behind the limit, however the two race', async () => {
  const size = 4 * 1024 * 1024
  for (let round = 0; round < 20; round += 1) {
    const { handle, content } = await file()
    await handle.truncate(size)
    const writer = new FileWriter(handle.fd, { start: 0, end: size })
    const data: FileSink & { readonly module: string } = { ...writer.sink.data, module: writer.sink.module }
    const worker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads')
       void import(workerData.module).then(({ openSink }) => {
         const sink = openSink(workerData)
         const piece = Buffer.alloc(3000, 1)
         let position = 0
         for (;;) {
           const written = sink.write(piece.subarray(0, Math.min(3000, ${size} - position)), position)
           position += written
           if (written < 3000) break
         }
         parentPort.postMessage(position)
       })`,
      { eval: true, workerData: data },
    )
    const ended = once(worker, 'message')
    // It has begun when a byte of it is there.
    await eventually(
      async () => (await handle.read(Buffer.alloc(1), 0, 1, 0)).buffer[0],
      (byte) => byte === 1,
    )
    const end = writer.limit(round * 1000)
    await handle.write(pieceOf(size - end, 2), 0, size - end, end)
    const [position] = (await ended) as [number]
    expect(position).toBeLessThanOrEqual(end)
    const bytes = await content()
    expect(bytes.subarray(0, position).equals(pieceOf(position, 1))).toBe(true)
    expect(bytes.subarray(end).equals(pieceOf(size - end, 2))).toBe(true)
    await worker.terminate()
  }
})
