// A body that is passed on to the origin: only its client may end it, and it never ends the process.

import { createServer, IncomingMessage } from 'node:http'
import { type AddressInfo, Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { Agent, type Dispatcher } from 'undici'
import { expect, it, onTestFinished } from 'vitest'
import {
  PERMITTED,
  type PermittedRequest,
  sendWithPermit,
} from '../../../../src/origin/connections/send-with-permit.ts'

type Answered = (error: Error | null, answer?: { readonly body: Readable }) => void

it('a response that arrives after its client has disconnected can be destroyed by its receiver', async () => {
  // So short that all of it arrives with its headers: undici has no more to do with it, and no listener is left.
  const server = createServer((request, response) => {
    request.resume()
    response.end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const dispatcher = new Agent()
  onTestFinished(async () => {
    await dispatcher.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  let released = 0
  const permitted: PermittedRequest = {
    permit: { becomeRelay: () => undefined, release: () => (released += 1) },
    request: new IncomingMessage(new Socket()),
    signal: undefined,
    answerMs: 60_000,
    isWanted: () => false,
  }
  const send = sendWithPermit({ dispatcher }) as unknown as (options: object, answered: Answered) => void
  const headers = { [PERMITTED]: permitted } as unknown as Dispatcher.RequestOptions['headers']
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const body = await new Promise<Readable>((resolve, reject) => {
    send({ origin, path: '/', method: 'POST', headers, body: '{}' }, (error, answer) => {
      if (answer === undefined) return reject(error ?? new Error('no answer'))
      // As the plugin does where the client has left its upload: it listens to nothing.
      answer.body.destroy()
      resolve(answer.body)
    })
  })
  // Without a listener its error is thrown, and it never closes.
  expect(body.listenerCount('error')).toBeGreaterThan(0)
  if (!body.closed) await new Promise((resolve) => body.once('close', resolve))
  expect([body.errored?.name, released]).toEqual(['AbortError', 1])
})
