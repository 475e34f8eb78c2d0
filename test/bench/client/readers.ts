// Plays a readers job: many sockets that take one body slowly, or not at all once it has begun.

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Checksum, checksum } from './checksum.ts'
import type { ReadersJob, ReadersResult } from './job.ts'

const HEAD_END = '\r\n\r\n'

interface Reader {
  readonly socket: net.Socket
  readonly sum: Checksum
  bytes: number
  connected: boolean
}

/** Rejects when an answer does not begin with a 200. */
export async function readers(job: ReadersJob): Promise<ReadersResult> {
  const all: Reader[] = []
  try {
    for (let index = 0; index < job.readers; index += 1) all.push(await begin(job))
    await sleep(job.seconds * 1000)
    return {
      connected: all.filter((reader) => reader.connected).length,
      read: all.map((reader) => ({ bytes: reader.bytes, digest: reader.sum.hex() })),
    }
  } finally {
    for (const { socket } of all) socket.destroy()
  }
}

/** A reader whose answer has begun. */
function begin(job: ReadersJob): Promise<Reader> {
  const { hostname, port, host, pathname } = new URL(job.url)
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname, () =>
      socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
    )
    const reader: Reader = { socket, sum: checksum('crc32'), bytes: 0, connected: true }
    const take = (body: Buffer): void => {
      reader.bytes += body.length
      reader.sum.update(body)
      socket.pause()
      if (job.bytesPerSecond === 0) return
      // After each piece it rests as long as the piece should have taken.
      setTimeout(() => socket.resume(), (body.length / job.bytesPerSecond) * 1000)
    }
    let head = ''
    const takeHead = (chunk: Buffer): void => {
      head += chunk.toString('latin1')
      const end = head.indexOf(HEAD_END)
      if (end < 0) return
      socket.off('data', takeHead)
      if (!head.startsWith('HTTP/1.1 200 ')) return reject(new Error(head.slice(0, head.indexOf('\r\n'))))
      socket.on('data', take)
      take(chunk.subarray(chunk.length - (head.length - end - HEAD_END.length)))
      resolve(reader)
    }
    socket.on('data', takeHead)
    socket.on('error', reject)
    socket.once('close', () => {
      reader.connected = false
      reject(new Error('the connection ended'))
    })
  })
}
