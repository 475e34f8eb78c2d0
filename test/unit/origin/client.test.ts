// One request to the origin: how long it is waited for, whatever it waits for. Real sockets.

import { createServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { originClientOf } from '../../support/origin-client.ts'

const requester = { authorization: undefined, forward: {} }

/** A client with one connection to a server that answers `/slow` with a body that never ends. */
async function setUp() {
  const server = createServer((request, response) => {
    response.writeHead(200)
    if (request.url === '/slow') response.write('and then')
    else response.end('done')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = originClientOf(server, { connections: 1, timeoutMs: 3_600_000 })
  onTestFinished(async () => {
    await client.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const send = (path: string, timeoutMs?: number) =>
    client.send({
      kind: 'head',
      method: 'GET',
      url: client.url(path),
      requester,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    })
  return { client, send }
}

it('a request whose time is over ends although it still waits for a connection, and the origin is not blamed', async () => {
  const { client, send } = await setUp()
  const slow = await send('/slow')
  await expect(send('/quick', 200)).rejects.toMatchObject({ code: 'overloaded' })
  expect(client.isRecentlyUnreachable()).toBe(false)
  slow.body.destroy()
  const quick = await send('/quick', 60_000)
  expect(String(Buffer.concat(await quick.body.toArray()))).toBe('done')
})

it.each([
  ['interim answers', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ['a header field a byte at a time', 'x'],
])('a request is not delayed by %s: the limit counts time', async (_, piece) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    if (piece.length === 1) socket.write('HTTP/1.1 200 OK\r\nX-A: ')
    const timer = setInterval(() => socket.write(piece), 50)
    socket.once('close', () => clearInterval(timer))
    socket.resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = originClientOf(server, { connections: 1, timeoutMs: 500 })
  onTestFinished(async () => {
    await client.close()
    await new Promise((resolve) => server.close(resolve))
  })
  const asked = client.send({ kind: 'head', method: 'HEAD', url: client.url('/x'), requester })
  await expect(asked).rejects.toMatchObject({ code: 'origin_timeout' })
  expect(client.isRecentlyUnreachable()).toBe(true)
})

it('a response that is sent slowly is ended, though it is never silent for long', async () => {
  const server = createServer((_, response) => {
    response.on('error', () => undefined)
    response.writeHead(200)
    const timer = setInterval(() => response.write('x'), 20)
    response.once('close', () => clearInterval(timer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = originClientOf(server, { connections: 1, timeoutMs: 500 })
  onTestFinished(async () => {
    await client.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const answer = await client.send({ kind: 'document', method: 'GET', url: client.url('/x'), requester })
  await expect(answer.body.toArray()).rejects.toMatchObject({ code: 'PACE_TIMEOUT' })
})

it('the body of a response that came in time may take longer', async () => {
  const { send } = await setUp()
  const slow = await send('/slow', 1_000)
  const parts = slow.body[Symbol.asyncIterator]()
  expect(String((await parts.next()).value)).toBe('and then')
  const more = parts.next().then(
    () => 'ended',
    () => 'ended',
  )
  const waited = new Promise((resolve) => setTimeout(resolve, 1_500, 'still open'))
  expect(await Promise.race([more, waited])).toBe('still open')
  slow.body.destroy()
  await more
})

it('a connection is kept while nothing is asked for some seconds', async () => {
  let connections = 0
  // It does not say how long it keeps them, as the servers before the Hub do not.
  const server = createTcpServer((socket) => {
    connections += 1
    socket.on('error', () => undefined)
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = originClientOf(server, { connections: 1 })
  onTestFinished(async () => {
    await client.close()
    await new Promise((resolve) => server.close(resolve))
  })
  for (const waitMs of [0, 6_000]) {
    await sleep(waitMs)
    const answer = await client.send({ kind: 'head', method: 'GET', url: client.url('/x'), requester })
    expect(answer.status).toBe(200)
    await answer.body.toArray()
  }
  expect(connections).toBe(1)
})
