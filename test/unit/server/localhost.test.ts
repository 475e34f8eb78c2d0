import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { listenAlso, otherAddresses } from '../../../src/server/localhost.ts'
import { ask } from '../../support/ask.ts'
import { rawHttp } from '../../support/raw-http.ts'

const lookup = async () => [{ address: '127.0.0.1' }, { address: '127.0.0.2' }]

it('has other addresses, and no other name has', async () => {
  expect(await otherAddresses('localhost', '127.0.0.1', lookup)).toEqual(['127.0.0.2'])
  expect(await otherAddresses('localhost', '127.0.0.2', lookup)).toEqual(['127.0.0.1'])
  expect(await otherAddresses('127.0.0.1', '127.0.0.1', lookup)).toEqual([])
  const fail = () => Promise.reject(new Error('no resolver'))
  expect(await otherAddresses('localhost', '127.0.0.1', fail)).toEqual([])
})

it('is answered alike at all of them, and an address that is not there costs nothing', async () => {
  const server = createServer((request, response) => response.end(request.url))
  server.on('clientError', (_error, socket) => socket.end('HTTP/1.1 400 Mine\r\n\r\n'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const twins = await listenAlso(server, ['127.0.0.2', '203.0.113.1'], port)
  onTestFinished(() => {
    for (const each of [server, ...twins]) each.close()
    server.closeAllConnections()
  })
  expect(twins).toHaveLength(1)
  for (const host of ['127.0.0.1', '127.0.0.2']) {
    expect((await ask(`http://${host}:${port}`, '/x')).body.toString()).toBe('/x')
    expect((await rawHttp(`http://${host}:${port}`, 'no HTTP\r\n\r\n')).text).toContain('400 Mine')
  }
})
