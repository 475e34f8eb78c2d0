import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { openServer } from '../../../src/server/limits.ts'
import { rawHttp } from '../../support/raw-http.ts'

const BODY = Buffer.alloc(16_000_000)

it('a closing server ends idle connections, and lets clients read their responses to the end', async () => {
  const server = openServer((_request, response) => response.end(BODY))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  /** A client that has seen the beginning of its answer. */
  const asked = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(socket, 'readable')
    return socket
  }
  const received = async (socket: Socket): Promise<number> => {
    let bytes = 0
    for await (const part of socket) bytes += (part as Buffer).length
    return bytes
  }
  const [slow, quick] = [await asked(), await asked()]
  const quickly = received(quick)
  while (quick.bytesRead < BODY.length) await new Promise((resolve) => setTimeout(resolve, 5))
  const closed = once(server, 'close')
  server.close()
  const sweep = setInterval(() => server.closeIdleConnections(), 10)
  onTestFinished(() => clearInterval(sweep))
  expect(await quickly).toBeGreaterThan(BODY.length)
  expect(await received(slow)).toBeGreaterThan(BODY.length)
  await closed
})

it('a client that asks for a tunnel learns that the server is no proxy', async () => {
  const server = openServer().listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const answer = await rawHttp(url, 'CONNECT huggingface.co:443 HTTP/1.1\r\nHost: huggingface.co:443\r\n\r\n')
  expect([answer.status, answer.end]).toEqual([405, 'closed'])
  expect(answer.text).toContain('HTTP/1.1 405 This is a mirror, not a forward proxy: set HF_ENDPOINT')
  expect(JSON.parse(answer.body.toString())).toHaveProperty('error')
})

it('a client that asks for a tunnel and never closes its own side holds no connection', async () => {
  const server = openServer().listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const { port } = server.address() as AddressInfo
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void client.destroy())
  client.write('CONNECT huggingface.co:443 HTTP/1.1\r\nHost: huggingface.co:443\r\n\r\n')
  const [socket] = (await accepted) as [Socket]
  await once(socket, 'close')
  client.resume()
  await once(client, 'end')
})
