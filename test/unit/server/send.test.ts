import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect, it, onTestFinished, vi } from 'vitest'
import { sendStream } from '../../../src/server/send.ts'
import { Trace } from '../../../src/server/trace.ts'

it('a stream whose turn on its connection never came leaves nothing behind when the client goes', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const server = createServer()
  onTestFinished(() => server.close().closeAllConnections())
  const second = new Promise<ServerResponse>((resolve) => {
    server.on('request', (request, response) => {
      if (request.url === '/second') resolve(response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  onTestFinished(() => void client.destroy())
  client.write('GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n')
  const response = await second
  let isReturned = false
  const stream: AsyncIterable<Buffer> = {
    [Symbol.asyncIterator]: () => ({
      next: async () => ({ done: false, value: Buffer.from('x') }),
      async return() {
        isReturned = true
        return { done: true, value: undefined }
      },
    }),
  }
  const trace = new Trace('x')
  const sent = sendStream(response, stream, () => undefined, trace)
  await vi.waitUntil(() => vi.getTimerCount() === 1)
  trace.leave()
  await sent
  expect([vi.getTimerCount(), isReturned, trace.bytes]).toEqual([0, true, 0])
})
