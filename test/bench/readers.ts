// Run as a process of its own: N clients begin to fetch one URL, over sockets of their own, and read at a rate each,
// or nothing more once the answer has begun. Prints `begun` when all have an answer; ends when its input does, with
// how many are still connected.

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const [address = '', count = '1', bytesPerSecond = '0'] = process.argv.slice(2)
const url = new URL(address)
const rate = Number(bytesPerSecond)
let broken = 0

/** A client; resolves when its answer has begun. */
function begin(): Promise<net.Socket> {
  return new Promise((resolve) => {
    const socket = net.connect(Number(url.port), url.hostname, () =>
      socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`),
    )
    socket.once('data', (chunk: Buffer) => {
      if (!chunk.toString('latin1').startsWith('HTTP/1.1 200')) broken += 1
      resolve(socket.pause())
      if (rate > 0) readSlowly(socket)
    })
    socket.on('error', () => undefined)
    socket.once('close', () => (broken += 1))
  })
}

/** After each piece it rests as long as the piece should have taken. */
function readSlowly(socket: net.Socket): void {
  socket.on('data', (chunk: Buffer) => {
    socket.pause()
    setTimeout(() => socket.resume(), (chunk.length / rate) * 1000)
  })
  socket.resume()
}

const sockets: net.Socket[] = []
for (let index = 0; index < Number(count); index += 1) {
  sockets.push(await begin())
  // Not all in one moment: the backlog of a listening socket is 511.
  if (index % 100 === 99) await sleep(1)
}
console.log('begun')
for await (const _ of process.stdin);
console.log(Number(count) - broken)
for (const socket of sockets) socket.destroy()
process.exit(0)
