import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import { BodyBuffers } from '../../../src/origin/connections/body-buffers.ts'
import { RequestBodies } from '../../../src/server/request-bodies.ts'

const bodyOf = (...chunks: readonly Buffer[]): IncomingMessage =>
  Readable.from(chunks, { objectMode: false }) as IncomingMessage
const answer = (): ServerResponse => new EventEmitter() as ServerResponse
const from = (caller: string) => ({ caller, maxBytes: 4 * 1024 * 1024 })
const text = Buffer.from('0123456789'.repeat(2_000))

it('a body is read as a whole, up to its limit', async () => {
  const questions = new RequestBodies()
  const whole = Buffer.alloc(4 * 1024 * 1024, 'x')
  const one = answer()
  expect((await questions.read(bodyOf(whole), one, from('a'))).equals(whole)).toBe(true)
  // Node warns from the eleventh listener on.
  expect(one.listenerCount('close')).toBe(1)
  expect((await questions.read(bodyOf(), answer(), from('a'))).length).toBe(0)
  const longer = questions.read(bodyOf(whole, Buffer.from('x')), answer(), from('a'))
  await expect(longer).rejects.toMatchObject({ code: 'request_too_large' })
})

it('a body that comes one byte at a time costs no memory per chunk', async () => {
  const chunk = Buffer.alloc(1)
  // One chunk that changes: code that keeps it would read its last byte only.
  async function* one(): AsyncGenerator<Buffer> {
    for (const byte of text) {
      chunk[0] = byte
      yield chunk
    }
  }
  const request = { iterator: one } as unknown as IncomingMessage
  const got = await new RequestBodies().read(request, answer(), from('a'))
  expect(got.equals(text)).toBe(true)
})

it('all bodies together have one limit until they are answered, and no caller has all of it', async () => {
  const questions = new RequestBodies(new BodyBuffers(64 * 1024))
  const first = answer()
  // Room is taken in powers of two: 32 KiB.
  await questions.read(bodyOf(text), first, from('a'))
  const second = answer()
  await expect(questions.read(bodyOf(text), second, from('a'))).rejects.toMatchObject({ code: 'overloaded' })
  await questions.read(bodyOf(Buffer.from('small')), answer(), from('b'))
  second.emit('close')
  await expect(questions.read(bodyOf(text), answer(), from('c'))).rejects.toMatchObject({
    code: 'overloaded',
  })
  first.emit('close')
  expect((await questions.read(bodyOf(text), answer(), from('c'))).equals(text)).toBe(true)
})

it('a body whose client has disconnected takes no memory', async () => {
  const questions = new RequestBodies(new BodyBuffers(16 * 1024))
  const gone = Object.assign(answer(), { closed: true })
  await expect(questions.read(bodyOf(text), gone, from('a'))).rejects.toMatchObject({ code: 'overloaded' })
  expect((await questions.read(bodyOf(Buffer.from('x')), answer(), from('a'))).toString()).toBe('x')
})
