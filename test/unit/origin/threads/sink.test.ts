// Where threads write bodies, and what holds when that place is slow, full or shortened.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { expect, it, onTestFinished, vi } from 'vitest'
import { PIECE_BYTES } from '../../../../src/origin/threads/messages.ts'
import { SinkFailed } from '../../../../src/origin/threads/sink.ts'
import { FileWriter } from '../../../../src/store/partials/file-writer.ts'
import { bodyOf, bytesOf, headOf, MIB, NEVER, serve, threadsOf } from './tls-peer.ts'

it('a part of the body is written to its place, and no byte beside it', async () => {
  const bytes = randomBytes(3 * MIB)
  const url = await serve((socket) => {
    socket.write(headOf(bytes.length))
    socket.write(bytes)
  })
  const answer = await threadsOf().fetch(url, {}, NEVER)
  const part = { position: 500, skipBytes: MIB + 7, wantedBytes: MIB + 9 }
  const written = await bytesOf(answer, part)
  expect(written.equals(Buffer.concat([Buffer.alloc(500), bytes.subarray(MIB + 7, 2 * MIB + 16)]))).toBe(true)
})

it('the bytes that are skipped count for the pace of the peer', async () => {
  const bytes = randomBytes(3 * MIB)
  const url = await serve((socket) => {
    socket.write(headOf(bytes.length))
    const send = async (): Promise<void> => {
      for (let from = 0; from < bytes.length; from += MIB / 4) {
        socket.write(bytes.subarray(from, from + MIB / 4))
        await sleep(50)
      }
    }
    void send()
  })
  const threads = threadsOf({ floor: { bytesPerSecond: 100_000, graceMs: 300 } })
  const answer = await threads.fetch(url, {}, NEVER)
  const part = { skipBytes: 3 * MIB - 10, wantedBytes: 10 }
  expect((await bytesOf(answer, part)).equals(bytes.subarray(3 * MIB - 10))).toBe(true)
})

it('a body that has come before its connection was closed is written, and that connection is not used again', async () => {
  const connections: number[] = []
  const closed: Promise<unknown>[] = []
  const url = await serve((socket, _, connection) => {
    connections.push(connection)
    closed.push(once(socket, 'close'))
    socket.end(`${headOf(4)}body`)
  })
  const threads = threadsOf()
  for (let request = 0; request < 2; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    await Promise.race([closed[request], sleep(300)])
    expect((await bytesOf(answer)).toString()).toBe('body')
    // A request that is sent before the close is noticed would go out on this connection, and be sent again on another one.
    await closed[request]
  }
  expect(connections).toEqual([1, 2])
})

it('nothing is written behind a limit that is moved while the body comes', async () => {
  const sent = randomBytes(64 * 1024)
  let more = (): void => {}
  const url = await serve((socket) => {
    more = () => void socket.write(sent)
    socket.write(headOf(MIB))
    more()
  })
  const answer = await threadsOf().fetch(url, {}, NEVER)
  let limit = 0
  const written = await bytesOf(answer, {
    onWritten: (bytes, writer) => {
      // Less than what was written is not possible any more.
      limit = limit === 0 ? writer.limit(1) : limit
      expect(limit).toBe(bytes)
      more()
    },
  })
  expect(written.length).toBe(limit)
  expect(written.equals(sent.subarray(0, limit))).toBe(true)
})

it('a body that has no place yet holds up the peer', async () => {
  const length = 256 * MIB
  let sender: TLSSocket | undefined
  const url = await serve((socket) => {
    sender = socket
    socket.write(headOf(length))
    const piece = Buffer.alloc(MIB)
    let left = length / MIB
    const more = (): void => {
      while (left > 0) {
        left -= 1
        if (!socket.write(piece)) {
          socket.once('drain', more)
          return
        }
      }
    }
    more()
  })
  // The wait is not the time of the peer.
  const answer = await threadsOf({ silenceMs: 100 }).fetch(url, {}, NEVER)
  // What the sender has written stands still once all buffers are full.
  let before = -1
  await vi.waitFor(
    () => {
      const now = sender?.bytesWritten ?? 0
      const isStill = now === before
      before = now
      expect(isStill).toBe(true)
    },
    { timeout: 60_000, interval: 300 },
  )
  expect(before).toBeLessThan(64 * MIB)
  answer?.body.destroy()
})

/** A sink that stands still for `ms` with each write. */
const slowSink = (ms: number) =>
  `data:text/javascript,${encodeURIComponent(`
    export const openSink = () => ({
      write(bytes) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${ms})
        return bytes.length
      },
    })`)}`

it('the time that a slow disk takes is not the time of the peer', async () => {
  const url = await serve((socket) => {
    socket.write(headOf(3 * PIECE_BYTES))
    socket.write(Buffer.alloc(3 * PIECE_BYTES))
  })
  const threads = threadsOf({ silenceMs: 250, floor: { bytesPerSecond: 1, graceMs: 250 } })
  const answers = await Promise.all([threads.fetch(url, {}, NEVER), threads.fetch(url, {}, NEVER)])
  const lengths = answers.map(async (answer) => {
    let taken = 0
    const target = {
      sink: { module: slowSink(400), data: undefined },
      position: 0,
      skipBytes: 0,
      wantedBytes: 3 * PIECE_BYTES,
    }
    for await (const bytes of bodyOf(answer).writeTo(target)) taken += bytes
    return taken
  })
  expect(await Promise.all(lengths)).toEqual([3 * PIECE_BYTES, 3 * PIECE_BYTES])
})

it('a disk that is full fails the body with its own error', async () => {
  const url = await serve((socket) => {
    socket.write(headOf(2 * PIECE_BYTES))
    socket.write(Buffer.alloc(2 * PIECE_BYTES))
  })
  const answer = await threadsOf().fetch(url, {}, NEVER)
  const full = await open('/dev/full', 'w')
  onTestFinished(() => full.close())
  const { sink } = new FileWriter(full.fd, { start: 0, end: 2 * PIECE_BYTES })
  const write = async (): Promise<void> => {
    const target = { sink, position: 0, skipBytes: 0, wantedBytes: 2 * PIECE_BYTES }
    for await (const bytes of bodyOf(answer).writeTo(target)) expect(bytes).toBe(0)
  }
  const error: unknown = await write().catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(SinkFailed)
  expect((error as SinkFailed).cause).toMatchObject({ code: 'ENOSPC', syscall: 'write' })
})
