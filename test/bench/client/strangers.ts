// Plays the strangers of a job: connections that take an answer slowly, or send a body slowly, for as long as this process
// lives.

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StrangersJob, StrangersResult } from './job.ts'

/** A reader takes so much at once. Less than a socket buffer: the rest stays with the server. */
const PIECE_BYTES = 4096
/** More than a server reads before it asks the Hub. */
const FIRST_UPLOAD_BYTES = 70_000
const UPLOAD_BYTES = 10_000_000
const TICK_MS = 10
/** How long it takes until each of them had its turn. */
const ROUND_MS = 2000
// The backlog of a listening socket is 511 by default.
const CONNECT_AT_A_TIME = 50

const strangers: net.Socket[] = []

/** Opens the connections, and lets each go on slowly. Resolves after the seconds of the job; the connections stay. */
export async function openStrangers(job: StrangersJob): Promise<StrangersResult> {
  for (let index = 0; index < job.connections; index += 1) {
    strangers.push(open(job, index))
    if (index % CONNECT_AT_A_TIME === CONNECT_AT_A_TIME - 1) await sleep(TICK_MS)
  }
  if (job.connections === 0) return { connected: openConnections() }
  let turn = 0
  const atATime = Math.ceil((strangers.length * TICK_MS) / ROUND_MS)
  setInterval(() => {
    for (let count = 0; count < atATime; count += 1) {
      const stranger = strangers[turn % strangers.length]
      turn += 1
      if (stranger === undefined || stranger.destroyed) continue
      if (job.way === 'upload') stranger.write('x')
      else stranger.read(PIECE_BYTES)
    }
  }, TICK_MS)
  await sleep(job.seconds * 1000)
  return { connected: openConnections() }
}

function openConnections(): number {
  return strangers.filter(({ readyState }) => readyState === 'open').length
}

function open(job: StrangersJob, index: number): net.Socket {
  const { hostname, port, host, pathname } = new URL(job.url)
  const address = job.addresses === 'one' ? '10.0.0.7' : `10.${(index >> 8) & 255}.${index & 255}.7`
  const socket = net.connect({ host: hostname, port: Number(port) })
  socket.on('error', () => undefined)
  // Without a listener for data, bytes stay in the socket until they are read.
  socket.on('readable', () => undefined)
  const fields = [`Host: ${host}`, `X-Forwarded-For: ${address}`]
  if (job.token !== undefined) fields.push(`Authorization: Bearer ${job.token}`)
  if (job.way === 'upload') {
    fields.push('Content-Type: application/octet-stream', `Content-Length: ${UPLOAD_BYTES}`)
    socket.write(
      `POST ${pathname} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n${'x'.repeat(FIRST_UPLOAD_BYTES)}`,
    )
  } else {
    socket.write(`GET ${pathname} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`)
  }
  return socket
}
