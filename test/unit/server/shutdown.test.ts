import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { readEarly } from '../../../src/fast-path/early-read.ts'
import { MAX_HEADER_BYTES, openServer } from '../../../src/server/limits.ts'
import { readBeforeClosing, Shutdown } from '../../../src/server/shutdown.ts'

const QUESTION = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

/** A server whose answers take a moment or none, and a client of it that has had one answer. */
async function serve(how: { readonly readsEarly: boolean }) {
  const shutdown = new Shutdown()
  const server = openServer((_request, response) => response.end('<by Node>'), MAX_HEADER_BYTES, shutdown)
  if (how.readsEarly) {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<look>'
    readEarly(server, (_head, socket) => !shutdown.hasBegun && (socket.write(answer), true))
  }
  readBeforeClosing(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  onTestFinished(() => {
    client.destroy()
    server.close()
  })
  client.write(QUESTION)
  await once(client, 'data')
  return { server, shutdown, client }
}

const rest = async (socket: Socket): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

it.each([true, false])(
  'a request that has arrived unread is answered (early read: %s)',
  async (readsEarly) => {
    const { server, shutdown, client } = await serve({ readsEarly })
    shutdown.begin()
    // It lies in the kernel when the server closes its idle connections.
    client.write(QUESTION)
    server.closeIdleConnections()
    expect(await rest(client)).toMatch(/\r\nconnection: close\r\n.*<by Node>$/is)
  },
)

it.each([true, false])('an idle connection is closed (early read: %s)', async (readsEarly) => {
  const { server, client } = await serve({ readsEarly })
  server.closeIdleConnections()
  expect(await rest(client)).toBe('')
})

it('a response that has begun before keeps its connection, and the next one ends it', async () => {
  const shutdown = new Shutdown()
  const server = openServer(
    (request, response) => {
      if (request.url === '/slow') response.writeHead(200, { 'content-length': '4' })
      server.once('go', () => response.end('slow'))
      if (request.url !== '/slow') response.end('next')
    },
    MAX_HEADER_BYTES,
    shutdown,
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  onTestFinished(() => {
    client.destroy()
    server.close()
  })
  const asked = once(server, 'request')
  client.write(QUESTION.replace('/', '/slow'))
  await asked
  shutdown.begin()
  server.emit('go')
  const [slow] = (await once(client, 'data')) as [Buffer]
  expect(slow.toString()).toMatch(/connection: keep-alive\r\n.*slow$/is)
  client.write(QUESTION)
  expect(await rest(client)).toMatch(/connection: close\r\n.*next$/is)
})
