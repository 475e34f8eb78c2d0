import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { listenAlso, otherAddresses } from '../../../src/server/localhost.ts'
import { ask } from '../../support/ask.ts'
import { eventually } from '../../support/eventually.ts'
import { rawHttp } from '../../support/raw-http.ts'

const lookup = async () => [{ address: '127.0.0.1' }, { address: '127.0.0.2' }]

it('`localhost` has further addresses, and no other name has', async () => {
  expect(await otherAddresses('localhost', '127.0.0.1', lookup)).toEqual(['127.0.0.2'])
  expect(await otherAddresses('localhost', '127.0.0.2', lookup)).toEqual(['127.0.0.1'])
  expect(await otherAddresses('127.0.0.1', '127.0.0.1', lookup)).toEqual([])
  const fail = () => Promise.reject(new Error('no resolver'))
  expect(await otherAddresses('localhost', '127.0.0.1', fail)).toEqual([])
})

/** A server at two addresses; a third one is not there. */
async function atTwo(listener: RequestListener) {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => server.closeAllConnections())
  const { port } = server.address() as AddressInfo
  await listenAlso(server, ['127.0.0.2', '203.0.113.1'], port)
  onTestFinished(() => void server.close())
  return { server, urls: [`http://127.0.0.1:${port}`, `http://127.0.0.2:${port}`] as const }
}

it('a server answers alike at all addresses of `localhost`, and a missing address does no harm', async () => {
  const { server, urls } = await atTwo((request, response) => response.end(request.url))
  server.on('clientError', (_error, socket) => socket.end('HTTP/1.1 400 Mine\r\n\r\n'))
  for (const url of urls) {
    expect((await ask(url, '/x')).body.toString()).toBe('/x')
    expect((await rawHttp(url, 'no HTTP\r\n\r\n')).text).toContain('400 Mine')
  }
})

it('a server stops accepting at all addresses at once, and is closed when the last response has ended', async () => {
  const ends: (() => void)[] = []
  const { server, urls } = await atTwo((_request, response) => {
    response.setHeader('connection', 'close')
    ends.push(() => response.end('whole'))
  })
  const answer = ask(urls[1], '/')
  await eventually(
    () => ends.length,
    (count) => count === 1,
  )
  let isClosed = false
  const closed = new Promise<void>((resolve) => server.close(() => resolve())).then(() => (isClosed = true))
  for (const url of urls) await expect(ask(url, '/')).rejects.toThrow('ECONNREFUSED')
  expect(isClosed).toBe(false)
  ends[0]?.()
  expect((await answer).body.toString()).toBe('whole')
  await closed
})
