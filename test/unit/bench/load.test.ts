// The clients of the benchmark: what they count is right, and nothing wrong gets past them.

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { checksum } from '../../bench/client/checksum.ts'
import type { LoadJob, Right } from '../../bench/client/job.ts'
import { load } from '../../bench/client/load.ts'
import { pipeline } from '../../bench/client/pipeline.ts'
import { readers } from '../../bench/client/readers.ts'

const BODY = Buffer.from('0123456789'.repeat(10_000))
const servers: { close(): unknown; closeAllConnections(): void }[] = []

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
})

async function serve(answer: (response: ServerResponse, range: string | undefined) => void): Promise<string> {
  const server = createServer((request, response) => answer(response, request.headers.range))
  servers.push(server.listen(0, '127.0.0.1'))
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`
}

function digestOf(bytes: Uint8Array, kind: 'crc32' | 'sha256' = 'crc32'): string {
  const sum = checksum(kind)
  sum.update(bytes)
  return sum.hex()
}

function job(url: string, right: Partial<Right> = {}, more: Partial<LoadJob> = {}): LoadJob {
  const whole = { status: 200, sizeBytes: BODY.length, digest: digestOf(BODY), ...right } as const
  return {
    job: 'load',
    method: 'GET',
    digest: 'crc32',
    targets: [{ url, right: whole }],
    connections: 3,
    until: { answers: 7 },
    ...more,
  }
}

const whole = (response: ServerResponse): void => {
  response.setHeader('content-length', BODY.length)
  response.end(BODY)
}

it('each answer is counted once, with its bytes and its time', async () => {
  const result = await load(job(await serve(whole)))
  expect([result.answers, result.bytes]).toEqual([7, 7 * BODY.length])
  expect(result.firstByteMs.p50).toBeGreaterThan(0)
  expect(result.lastByteMs.p99).toBeGreaterThanOrEqual(result.firstByteMs.p50)
})

it('a HEAD is complete without a body', async () => {
  const result = await load(job(await serve(whole), {}, { method: 'HEAD' }))
  expect([result.answers, result.bytes]).toEqual([7, 0])
})

it('a range must be a 206 with the bytes of that range', async () => {
  const url = await serve((response, range) => {
    const [first = 0, last = 0] =
      /bytes=(\d+)-(\d+)/
        .exec(range ?? '')
        ?.slice(1)
        .map(Number) ?? []
    response.writeHead(206, { 'content-length': last + 1 - first })
    response.end(BODY.subarray(first, last + 1))
  })
  const right = { status: 206, sizeBytes: 10, digest: digestOf(BODY.subarray(5, 15)) } as const
  const one = (range: readonly [number, number]) => load(job(url, {}, { targets: [{ url, range, right }] }))
  expect((await one([5, 14])).bytes).toBe(70)
  await expect(one([6, 15])).rejects.toThrow('wrong bytes')
})

it.each<[string, Partial<Right>]>([
  ['wrong bytes', { digest: digestOf(Buffer.from('else')) }],
  ['100000 bytes announced instead of 5', { sizeBytes: 5 }],
  ['200 OK', { status: 206 }],
])('an answer that is not right ends the run: %s', async (reason, right) => {
  await expect(load(job(await serve(whole), right))).rejects.toThrow(reason)
})

it('a sha256 is compared with the bytes as well', async () => {
  const url = await serve(whole)
  const sha256 = { digest: 'sha256' } as const
  const { answers } = await load(job(url, { digest: digestOf(BODY, 'sha256') }, sha256))
  expect(answers).toBe(7)
  await expect(load(job(url, { digest: digestOf(BODY) }, sha256))).rejects.toThrow('wrong bytes')
})

it('an answer that breaks off ends the run', async () => {
  const url = await serve((response) => {
    response.setHeader('content-length', BODY.length)
    response.write(BODY.subarray(0, 1000), () => response.destroy())
  })
  await expect(load(job(url))).rejects.toThrow('after 1000 bytes')
})

it('slow readers report how much each has read, and its digest', async () => {
  const url = await serve(whole)
  const { connected, read } = await readers({
    job: 'readers',
    url,
    readers: 3,
    bytesPerSecond: 1000,
    seconds: 0,
  })
  expect(connected).toBe(3)
  for (const { bytes, digest } of read) {
    expect(bytes).toBeLessThan(BODY.length)
    expect(digest).toBe(digestOf(BODY.subarray(0, bytes)))
  }
})

it('a client that pipelines reports whether an answer began before the socket closed', async () => {
  const asked = { job: 'pipeline', requests: 20 } as const
  expect(await pipeline({ ...asked, url: await serve(whole) })).toEqual({ answered: true })
  const closing = await serve((response) => response.destroy())
  expect(await pipeline({ ...asked, url: closing })).toEqual({ answered: false })
})
