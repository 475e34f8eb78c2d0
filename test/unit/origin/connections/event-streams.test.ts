// How long bodies may be silent. Real sockets.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import { expect, it, onTestFinished } from 'vitest'
import { isEventStream } from '../../../../src/http/headers.ts'
import { allowSilentEventStreams } from '../../../../src/origin/connections/event-streams.ts'

/** Sends a request to a server that says one thing as `type`, and then nothing more. */
async function ask(
  type: string,
  patience: Dispatcher.DispatcherComposeInterceptor,
): Promise<Dispatcher.ResponseData> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': type })
    response.write('data: one\n\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const agent = new Agent()
  onTestFinished(async () => {
    await agent.destroy()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const answer = await agent
    .compose(patience)
    .request({ origin: `http://127.0.0.1:${port}`, path: '/', method: 'GET' })
  answer.body.on('error', () => undefined)
  return answer
}

it.each([
  ['text/event-stream', true],
  ['text/event-stream; charset=utf-8', true],
  ['Text/Event-Stream ;charset=utf-8', true],
  ['text/plain', false],
  ['text/event-streams', false],
  ['application/json; a="text/event-stream"', false],
  [undefined, false],
])('%s is a stream of events: %s', (type, is) => {
  expect(isEventStream({ 'content-type': type })).toBe(is)
})

it('a stream of events ends when its total time is over, however long it may be silent', async () => {
  const answer = await ask('text/event-stream', allowSilentEventStreams(3_600_000, 50))
  await expect(answer.body.text()).rejects.toMatchObject({ code: 'UND_ERR_BODY_TIMEOUT' })
})

it('every other body ends when it has been silent for too long', async () => {
  const answer = await ask('text/plain', allowSilentEventStreams(50, 3_600_000))
  await expect(answer.body.text()).rejects.toMatchObject({ code: 'UND_ERR_BODY_TIMEOUT' })
})
