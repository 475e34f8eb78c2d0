// A server that is read early, for the tests of the early read.

import { once } from 'node:events'
import type { Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { readEarly } from '../../../src/fast-path/early-read.ts'
import type { RequestHead } from '../../../src/fast-path/plain-head.ts'
import { openServer } from '../../../src/server/limits.ts'

export const CACHED = 'GET /cached HTTP/1.1\r\nHost: x\r\n\r\n'
export const OTHER = 'GET /other HTTP/1.1\r\nHost: x\r\n\r\n'
export const READ = 'GET /read HTTP/1.1\r\nHost: x\r\n\r\n'
export const LAST = 'GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

/** A server whose answers say which code gave them. `/cached` is answered by the early read. */
export async function earlyServer(
  options: {
    readonly headersTimeout?: number
    readonly keepAliveTimeout?: number
    readonly body?: string
    /** Node's answers wait for it. */
    readonly held?: Promise<void>
    /** Resolves with whether the early read answers `/read`. */
    readonly reads?: () => Promise<boolean>
  } = {},
) {
  const byNode: string[] = []
  const server = openServer((request, response) => {
    byNode.push(request.url ?? '')
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    const end = () => response.end(`<node ${request.method} ${request.url} ${body}>`)
    request.on('end', () => (options.held === undefined ? end() : void options.held.then(end)))
  })
  const { body = '<early>', held: _, reads, ...timeouts } = options
  Object.assign(server, timeouts)
  const write = (socket: Socket, text: string): boolean =>
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`) || true
  const answer = (head: RequestHead, socket: Socket): boolean | Promise<boolean> => {
    if (head.url === '/read' && reads !== undefined)
      return reads().then((isAnswered) => isAnswered && (!socket.writable || write(socket, '<read>')))
    return head.url === '/cached' && write(socket, body)
  }
  readEarly(server, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  return { server, byNode, port, url: `http://127.0.0.1:${port}` }
}

/** What is answered, without the heads. */
export const said = (text: string): readonly string[] => text.match(/<[^>]*>/g) ?? []

/** A connection that tells what came by it. */
export function connected(port: number, options: { readonly allowHalfOpen?: boolean } = {}) {
  const socket = connect({ port, host: '127.0.0.1', ...options })
  onTestFinished(() => void socket.destroy())
  let text = ''
  socket.on('data', (part: Buffer) => (text += part.toString('latin1')))
  const until = async (part: string): Promise<void> => {
    while (!text.includes(part)) await once(socket, 'data')
  }
  return { socket, until, text: () => text }
}

export const connections = (server: Server): Promise<number> =>
  new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  )
