import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { readableResponse } from '../../../src/server/pass-through/readable-response.ts'

const encoded = (coding: string, body: Buffer) => ({
  statusCode: 200,
  headers: { 'content-encoding': coding, 'content-length': String(body.length) },
  stream: Readable.from([body], { objectMode: false }),
})

it('a response in a known coding is decoded, and has no length any more', async () => {
  const { headers, stream } = readableResponse(encoded('gzip', gzipSync('{"a":1}')), {
    method: 'GET',
    mustRead: true,
  })
  expect([await text(stream), headers]).toEqual(['{"a":1}', {}])
})

it('a response in another coding stays as it is, unless it must be read', async () => {
  const given = encoded('zstd', Buffer.from('odd'))
  const { headers, stream } = readableResponse(given, { method: 'GET', mustRead: false })
  expect([await text(stream), headers]).toEqual(['odd', given.headers])
})

it('a response that must be read and cannot be is refused, and its connection is given up', () => {
  const given = encoded('zstd', Buffer.from('odd'))
  expect(() => readableResponse(given, { method: 'GET', mustRead: true })).toThrow(
    expect.objectContaining({ code: 'origin_bad_answer' }),
  )
  expect(given.stream.destroyed).toBe(true)
})
