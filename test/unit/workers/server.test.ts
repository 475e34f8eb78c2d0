import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { createWorkerServer } from '../../../src/workers/worker/server.ts'
import { rawHttp } from '../../support/raw-http.ts'

const QUESTION = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

/** A worker that has cached everything, and whose answers say how they were come by. */
async function worker() {
  const server = createWorkerServer({
    cachedRoute: {
      serve: (_request, response) => response.end('<by Node>'),
      write: (_head, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n<fast path>'),
    },
    forward: ({ response }) => response.end('<handed on>'),
  })
  const door = createServer({ allowHalfOpen: true }, (socket) => server.take(socket))
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    door.close()
    server.cut()
  })
  const { port } = door.address() as AddressInfo
  /** A connection that was taken. */
  const client = async (): Promise<Socket> => {
    const taken = once(door, 'connection')
    const socket = connect(port, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    await taken
    return socket
  }
  return { server, client, url: `http://127.0.0.1:${port}` }
}

const rest = async (socket: Socket): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

it('a worker answers from its cache, on the fast path and after Node has the connection', async () => {
  const { url } = await worker()
  const last = QUESTION.replace('Host', 'Connection: close\r\nHost')
  expect((await rawHttp(url, QUESTION + last)).text).toMatch(/<fast path>.*<by Node>$/s)
})

it.each(['fast path', 'Node’s HTTP'])(
  'a draining worker answers a request with Connection: close, on the %s',
  async (where) => {
    const { server, client } = await worker()
    const [idle, other] = [await client(), await client()]
    idle.write(QUESTION)
    await once(idle, 'readable')
    let isClosed = false
    const closed = server.close().then(() => (isClosed = true))
    expect(await rest(idle)).toContain('<fast path>')
    expect(isClosed).toBe(false)
    other.write(where === 'fast path' ? QUESTION : QUESTION.replace('Host', 'TE: trailers\r\nHost'))
    expect(await rest(other)).toMatch(/\r\nconnection: close\r\n.*<by Node>/is)
    await closed
  },
)

it('a worker of a mirror that is about to stop takes connections and ends each with its answer', async () => {
  const { server, client } = await worker()
  const before = await client()
  before.write(QUESTION)
  await once(before, 'readable')
  server.leave()
  before.write(QUESTION)
  expect(await rest(before)).toMatch(/<fast path>.*\r\nconnection: close\r\n.*<by Node>$/is)
  const after = await client()
  after.write(QUESTION)
  expect(await rest(after)).toMatch(/\r\nconnection: close\r\n.*<by Node>$/is)
})
