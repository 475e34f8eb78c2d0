// What a connection carries after a HEAD, from servers that keep to the rules and from some that do not. Raw sockets, since
// no HTTP server would send what these do.

import { createServer, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { originClientOf } from '../../../support/origin-client.ts'

const REDIRECT =
  'HTTP/1.1 307 Temporary Redirect\r\nlocation: /there\r\ncontent-length: 9\r\nconnection: keep-alive\r\n\r\n'
const FOUND = 'HTTP/1.1 200 OK\r\netag: "right"\r\ncontent-length: 9\r\nconnection: keep-alive\r\n\r\n'
const FORGED = 'HTTP/1.1 200 OK\r\netag: "forged"\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n'

/** A server that answers the nth question of its nth connection (both from 0) by `play`, and a client with one connection. */
async function setUp(play: (socket: Socket, question: number, connection: number) => void) {
  let connections = 0
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const connection = connections++
    let question = 0
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', () => play(socket, question++, connection))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = originClientOf(server, { connections: 1 })
  onTestFinished(async () => {
    await client.close()
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const head = async () => {
    const requester = { authorization: undefined, forward: {} }
    const answer = await client.send({ kind: 'head', method: 'HEAD', url: client.url('/x'), requester })
    await answer.body.dump()
    return [answer.status, answer.headers['etag']]
  }
  return { head, connections: () => connections }
}

it('a connection carries many requests that redirects answer', async () => {
  const { head, connections } = await setUp((socket) => socket.write(REDIRECT))
  for (let turn = 0; turn < 5; turn += 1) expect(await head()).toEqual([307, undefined])
  expect(connections()).toBe(1)
})

it.each([
  ['in the same packet', (socket: Socket) => socket.write(FOUND + FORGED)],
  ['later', (socket: Socket) => socket.write(FOUND)],
])('a file that is sent %s and looks like a response is never taken for one', async (_, first) => {
  const { head, connections } = await setUp((socket, question) => {
    if (question === 0) first(socket)
    // The file comes before the answer to the next question, had that been asked here.
    else socket.write(FORGED + FOUND)
  })
  for (let turn = 0; turn < 3; turn += 1) expect(await head()).toEqual([200, '"right"'])
  // The client has the next one ready.
  expect(connections()).toBeLessThanOrEqual(4)
})

it('a body behind a redirect, in the same packet, ends the connection and nothing else', async () => {
  const { head, connections } = await setUp((socket) => socket.write(`${REDIRECT}over here`))
  for (let turn = 0; turn < 3; turn += 1) expect(await head()).toEqual([307, undefined])
  expect(connections()).toBe(3)
})

it('a body behind a redirect that comes late fails the next request, which may be repeated', async () => {
  const { head, connections } = await setUp((socket, question) => {
    socket.write(question === 0 ? REDIRECT : `over here${FOUND}`)
  })
  expect(await head()).toEqual([307, undefined])
  await expect(head()).rejects.toMatchObject({ code: 'origin_unreachable' })
  expect(await head()).toEqual([307, undefined])
  expect(connections()).toBe(2)
})

it('a connection that the origin has closed silently fails no request', async () => {
  const { head, connections } = await setUp((socket) => socket.end(REDIRECT))
  for (let turn = 0; turn < 3; turn += 1) expect(await head()).toEqual([307, undefined])
  expect(connections()).toBe(3)
})
