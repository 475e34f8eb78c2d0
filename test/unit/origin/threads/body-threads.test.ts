// Real threads before a real TLS server on loopback.

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import * as fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import { BODIES_EACH } from '../../../../src/origin/threads/body-threads.ts'
import { PIECE_BYTES } from '../../../../src/origin/threads/messages.ts'
import { bytesOf, codeOf, headOf, MIB, NEVER, serve, threadsOf } from './tls-peer.ts'

it('a body arrives as it was sent, with its status and its fields', async () => {
  const bytes = randomBytes(3 * PIECE_BYTES + 17)
  const requests: string[] = []
  const url = await serve((socket, request) => {
    requests.push(request)
    socket.write(headOf(bytes.length, 'ETag: "x"'))
    socket.write(bytes)
  })
  const answer = await threadsOf().fetch(url, { range: 'bytes=0-' }, NEVER)
  expect(answer?.statusCode).toBe(200)
  expect(answer?.headers).toEqual({ 'content-length': String(bytes.length), etag: '"x"' })
  expect(bytes.equals(await bytesOf(answer))).toBe(true)
  expect(requests).toEqual([
    `GET /file HTTP/1.1\r\nhost: ${url.host}\r\nconnection: keep-alive\r\nrange: bytes=0-`,
  ])
})

it('any body arrives as it was sent, however its bytes are cut', async () => {
  let sent: Buffer[] = []
  const url = await serve((socket) => {
    for (const part of sent) socket.write(part)
  })
  const threads = threadsOf()
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3 * PIECE_BYTES }),
      fc.array(fc.integer({ min: 1, max: PIECE_BYTES }), { maxLength: 12 }),
      async (length, cuts) => {
        const bytes = randomBytes(length)
        let rest = Buffer.concat([Buffer.from(headOf(length)), bytes])
        sent = cuts.map((cut) => {
          const part = rest.subarray(0, cut)
          rest = rest.subarray(cut)
          return part
        })
        sent.push(rest)
        const answer = await threads.fetch(url, {}, NEVER)
        expect(bytes.equals(await bytesOf(answer))).toBe(true)
      },
    ),
    { numRuns: 40 },
  )
})

it('the next request takes the same connection', async () => {
  const connections: number[] = []
  const url = await serve((socket, _, connection) => {
    connections.push(connection)
    socket.write(`${headOf(4)}body`)
  })
  const threads = threadsOf()
  for (let request = 0; request < 3; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    expect((await bytesOf(answer)).toString()).toBe('body')
  }
  expect(connections).toEqual([1, 1, 1])
})

it('what came before it was said where the body goes is written as well, and the connection is kept', async () => {
  const bytes = randomBytes(40_000)
  const connections: number[] = []
  const url = await serve((socket, _, connection) => {
    connections.push(connection)
    // The records come at once: the thread stops reading with the first, and has the last all the same.
    socket.write(headOf(bytes.length))
    socket.write(bytes)
  })
  const threads = threadsOf({ silenceMs: 5_000 })
  for (let request = 0; request < 3; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    await sleep(50)
    expect(bytes.equals(await bytesOf(answer))).toBe(true)
  }
  expect(connections).toEqual([1, 1, 1])
})

it.each([
  ['that says it closes', `${headOf(4, 'Connection: close')}body`],
  ['with bytes beyond its length', `${headOf(4)}body and more`],
])('the next request takes a new connection after an answer %s', async (_, text) => {
  const connections: number[] = []
  const url = await serve((socket, _request, connection) => {
    connections.push(connection)
    socket.write(text)
  })
  const threads = threadsOf()
  for (let request = 0; request < 2; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    expect((await bytesOf(answer)).toString()).toBe('body')
  }
  expect(connections).toEqual([1, 2])
})

it('a request on a kept connection that turns out to be closed is sent again on a new one', async () => {
  const connections: number[] = []
  let answers = 0
  const url = await serve((socket, _, connection) => {
    connections.push(connection)
    answers += 1
    if (answers === 2) socket.destroy()
    else socket.write(`${headOf(4)}body`)
  })
  const threads = threadsOf()
  for (let request = 0; request < 2; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    expect((await bytesOf(answer)).toString()).toBe('body')
  }
  expect(connections).toEqual([1, 1, 2])
})

it.each([
  ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'],
  ['without a length', 'HTTP/1.1 200 OK\r\n\r\nbody'],
  ['that is not HTTP', '220 mail.example ESMTP\r\n\r\n'],
  ['with an endless head', `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(5000)}`],
])('an answer %s is left to the caller', async (_, text) => {
  const url = await serve((socket) => socket.write(text))
  expect(await threadsOf().fetch(url, {}, NEVER)).toBeUndefined()
})

it.each([
  ['a refusal', 403],
  ['an overload', 503],
])('the text of %s comes as a whole', async (_, status) => {
  const connections: number[] = []
  const url = await serve((socket, _request, connection) => {
    connections.push(connection)
    socket.write(`HTTP/1.1 ${status} No\r\nContent-Length: 6\r\nRetry-After: 3\r\n\r\nsor`)
    setTimeout(() => socket.write('ry!'), 20)
  })
  const threads = threadsOf()
  for (let request = 0; request < 2; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    expect(answer?.statusCode).toBe(status)
    expect(answer?.headers['retry-after']).toBe('3')
    expect(Buffer.concat((await answer?.body.toArray()) as Buffer[]).toString()).toBe('sorry!')
  }
  expect(connections).toEqual([1, 1])
})

it('a connection that breaks within the body fails it, after the bytes that came before', async () => {
  const url = await serve((socket) => {
    socket.write(headOf(MIB))
    socket.write(Buffer.alloc(1000), () => socket.end())
  })
  const answer = await threadsOf().fetch(url, {}, NEVER)
  let taken = 0
  const onWritten = (bytes: number): void => void (taken += bytes)
  expect(await codeOf(bytesOf(answer, { onWritten }))).toBe('ECONNRESET')
  expect(taken).toBe(1000)
})

it.each([0, 5])('a whole body of %i bytes fails where more are wanted, after its bytes', async (length) => {
  const url = await serve((socket) => socket.write(headOf(length) + 'x'.repeat(length)))
  const answer = await threadsOf().fetch(url, {}, NEVER)
  let written = 0
  const place = { wantedBytes: 100, onWritten: (bytes: number) => (written += bytes) }
  expect(await codeOf(bytesOf(answer, place))).toBe('SHORT_BODY')
  expect(written).toBe(length)
})

it('a peer that is silent before its head, or within its body, is given up', async () => {
  const silent = await serve(() => undefined)
  const threads = threadsOf({ silenceMs: 200 })
  expect(await codeOf(threads.fetch(silent, {}, NEVER))).toBe('HEADERS_TIMEOUT')
  const stops = await serve((socket) => socket.write(`${headOf(MIB)}begin`))
  const answer = await threads.fetch(stops, {}, NEVER)
  expect(await codeOf(bytesOf(answer))).toBe('BODY_TIMEOUT')
})

it('a peer that drips is given up', async () => {
  const url = await serve((socket) => {
    socket.write(headOf(MIB))
    const drip = setInterval(() => socket.write('x'), 20)
    socket.once('close', () => clearInterval(drip))
  })
  const threads = threadsOf({ floor: { bytesPerSecond: 100_000, graceMs: 300 } })
  const answer = await threads.fetch(url, {}, NEVER)
  expect(await codeOf(bytesOf(answer))).toBe('PACE_TIMEOUT')
})

it('a signal ends the transfer before the head, and within the body', async () => {
  const closed: Promise<unknown>[] = []
  let text = ''
  const url = await serve((socket) => {
    // A side that leaves bytes unread resets the connection.
    socket.on('error', () => undefined)
    closed.push(new Promise((resolve) => socket.once('close', resolve)))
    socket.write(text)
  })
  const threads = threadsOf()
  const early = new AbortController()
  const asked = threads.fetch(url, {}, early.signal)
  await vi.waitFor(() => expect(closed.length).toBe(1), { timeout: 60_000 })
  early.abort(new Error('left'))
  await expect(asked).rejects.toThrow('left')
  await closed[0]
  text = `${headOf(MIB)}begin`
  const late = new AbortController()
  const answer = await threads.fetch(url, {}, late.signal)
  const read = bytesOf(answer)
  await sleep(20)
  late.abort(new Error('left later'))
  await expect(read).rejects.toThrow('left later')
  await closed[1]
})

/** The threads that are sent messages until the test ends. */
function workersAsked(): ReadonlySet<Worker> {
  const workers = new Set<Worker>()
  const post = Reflect.get(Worker.prototype, 'postMessage') as Worker['postMessage']
  const spy = vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(function (this: Worker, ...args) {
    workers.add(this)
    post.apply(this, args)
  })
  onTestFinished(() => {
    spy.mockRestore()
  })
  return workers
}

it('a thread that dies fails its body, and the next body gets a new thread', async () => {
  let text = `${headOf(MIB)}begin`
  const url = await serve((socket) => socket.write(text))
  const threads = threadsOf()
  const workers = workersAsked()
  const answer = await threads.fetch(url, {}, NEVER)
  for (const worker of workers) await worker.terminate()
  expect(await codeOf(bytesOf(answer))).toBe('THREAD_ENDED')
  text = `${headOf(4)}body`
  const next = await threads.fetch(url, {}, NEVER)
  expect((await bytesOf(next)).toString()).toBe('body')
  expect(workers.size).toBe(2)
})

it('a thread that ends before it has replied leaves its requests to the main thread, and no other is started at once', async () => {
  const requests: string[] = []
  const url = await serve((socket, request) => {
    requests.push(request)
    socket.write(`${headOf(4)}body`)
  })
  const workers = new Set<Worker>()
  const spy = vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(function (this: Worker) {
    workers.add(this)
    void this.terminate()
  })
  onTestFinished(() => spy.mockRestore())
  const threads = threadsOf()
  expect(await Promise.all([threads.fetch(url, {}, NEVER), threads.fetch(url, {}, NEVER)])).toEqual([
    undefined,
    undefined,
  ])
  expect(await threads.fetch(url, {}, NEVER)).toBeUndefined()
  expect([requests, workers.size]).toEqual([[], 1])
})

it('many bodies at once are spread over threads, of which there are only so many', async () => {
  const workers = workersAsked()
  const bytes = randomBytes(2 * PIECE_BYTES + 3)
  const url = await serve((socket) => {
    socket.write(headOf(bytes.length))
    socket.write(bytes)
  })
  const threads = threadsOf({}, { most: 2 })
  const answers = await Promise.all(
    Array.from({ length: 2 * BODIES_EACH + 1 }, () => threads.fetch(url, {}, NEVER)),
  )
  for (const answer of answers) expect(bytes.equals(await bytesOf(answer))).toBe(true)
  expect(workers.size).toBe(2)
})

it('a certificate of an unknown authority is refused', async () => {
  const url = await serve((socket) => socket.write(`${headOf(4)}body`))
  const threads = threadsOf({}, { trust: false })
  expect(await codeOf(threads.fetch(url, {}, NEVER))).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE')
})

it('a port that refuses connections is an error with the code of Node', async () => {
  const url = new URL('https://127.0.0.1:1/file')
  expect(await codeOf(threadsOf().fetch(url, {}, NEVER))).toBe('ECONNREFUSED')
})
