import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { expect, it } from 'vitest'
import { uploadBody } from '../../../src/server/body/upload-body.ts'

const arriving = () => {
  const stream = new PassThrough()
  return { stream, request: stream as unknown as IncomingMessage }
}

it('an upload ends with an error if its client leaves, before it is read or after', async () => {
  for (const when of ['before', 'unread', 'read'] as const) {
    const { stream, request } = arriving()
    stream.write('a part')
    if (when === 'before') stream.destroy()
    const body = uploadBody(request)
    if (when === 'unread') stream.destroy()
    const got = buffer(body)
    if (when === 'read') body.once('data', () => stream.destroy())
    await expect(got).rejects.toThrow('has left')
  }
})

it('an upload that is given up leaves its request whole, so that the rest can be read', async () => {
  const { stream, request } = arriving()
  stream.write('a part')
  const body = uploadBody(request)
  await new Promise((resolve) => body.once('data', resolve))
  body.destroy()
  stream.unpipe()
  stream.end('the rest')
  expect((await buffer(stream)).toString()).toBe('the rest')
})
