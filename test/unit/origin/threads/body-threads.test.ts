// Real threads before a real TLS server on loopback, whose answers each test writes byte by byte.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer, type TLSSocket } from 'node:tls'
import { Worker } from 'node:worker_threads'
import * as fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import {
  type BodyLimits,
  BodyThreads,
  giveBack,
  PIECE_BYTES,
  WINDOW_PIECES,
} from '../../../../src/origin/threads/body-threads.ts'
import { GOOD_CERTIFICATE, SERVER_KEY } from '../../../support/certificates.ts'

const LIMITS: BodyLimits = {
  connectMs: 10_000,
  silenceMs: 60_000,
  floor: { bytesPerSecond: 1, graceMs: 600_000 },
}
const NEVER = new AbortController().signal
const MIB = 1024 * 1024

type Answer = (socket: TLSSocket, request: string, connection: number) => void

/** A TLS server that calls `answer` for each request, with the number of its connection. */
async function serve(answer: Answer): Promise<URL> {
  let connections = 0
  const sockets = new Set<TLSSocket>()
  const server = createServer({ key: SERVER_KEY, cert: GOOD_CERTIFICATE }, (socket) => {
    connections += 1
    const connection = connections
    sockets.add(socket)
    let text = ''
    socket.on('error', () => undefined)
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      if (end < 0) return
      const request = text.slice(0, end)
      text = text.slice(end + 4)
      answer(socket, request, connection)
    })
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  return new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/file`)
}

/** Threads that trust every certificate, unless `trust` is false. */
function threadsOf(
  limits: Partial<BodyLimits> = {},
  { trust = true, most = 1 }: { readonly trust?: boolean; readonly most?: number } = {},
): BodyThreads {
  if (trust) {
    // A thread takes a copy of the environment when it starts.
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    onTestFinished(() => {
      vi.unstubAllEnvs()
    })
  }
  const threads = new BodyThreads({ ...LIMITS, ...limits }, most)
  onTestFinished(() => threads.close())
  return threads
}

const headOf = (length: number, ...lines: string[]): string =>
  ['HTTP/1.1 200 OK', `Content-Length: ${length}`, ...lines, '', ''].join('\r\n')

async function bytesOf(body: AsyncIterable<unknown> | undefined): Promise<Buffer> {
  if (body === undefined) throw new Error('no answer')
  const parts: Buffer[] = []
  for await (const part of body) {
    parts.push(Buffer.from(part as Buffer))
    giveBack(part as Buffer)
  }
  return Buffer.concat(parts)
}

/** The code of the error that a body ends with. */
async function codeOf(work: Promise<unknown>): Promise<unknown> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return error instanceof Error && 'code' in error ? error.code : error
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

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
  expect(sha256(await bytesOf(answer?.body))).toBe(sha256(bytes))
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
        expect(sha256(await bytesOf(answer?.body))).toBe(sha256(bytes))
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
    expect((await bytesOf(answer?.body)).toString()).toBe('body')
  }
  expect(connections).toEqual([1, 1, 1])
})

it('the next request takes the same connection also if the thread had stopped reading from it', async () => {
  const part = randomBytes(40_000)
  const bytes = Buffer.concat([Buffer.from('x'.repeat(WINDOW_PIECES)), part])
  const connections: number[] = []
  const url = await serve((socket, _, connection) => {
    connections.push(connection)
    const send = async (): Promise<void> => {
      socket.write(headOf(bytes.length))
      // Each becomes a piece of its own, and all of them fill the window. The records of the rest come at once: the thread
      // stops reading with the first, and has the last all the same.
      for (let piece = 0; piece < WINDOW_PIECES; piece += 1) {
        socket.write('x')
        await sleep(50)
      }
      socket.write(part)
    }
    void send()
  })
  const threads = threadsOf({ silenceMs: 5_000 })
  for (let request = 0; request < 3; request += 1) {
    const answer = await threads.fetch(url, {}, NEVER)
    await sleep(50 * WINDOW_PIECES + 100)
    expect(sha256(await bytesOf(answer?.body))).toBe(sha256(bytes))
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
    expect((await bytesOf(answer?.body)).toString()).toBe('body')
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
    expect((await bytesOf(answer?.body)).toString()).toBe('body')
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

it('a reader that takes nothing holds up the peer', async () => {
  const length = 256 * MIB
  let sender: TLSSocket | undefined
  const url = await serve((socket) => {
    sender = socket
    socket.write(headOf(length))
    const piece = Buffer.alloc(MIB)
    let left = length / MIB
    const more = (): void => {
      while (left > 0) {
        left -= 1
        if (!socket.write(piece)) {
          socket.once('drain', more)
          return
        }
      }
    }
    more()
  })
  const answer = await threadsOf().fetch(url, {}, NEVER)
  const pieces = answer?.body[Symbol.asyncIterator]()
  await pieces?.next()
  // What the sender has written stands still once all buffers are full.
  let before = -1
  await vi.waitFor(
    () => {
      const now = sender?.bytesWritten ?? 0
      const isStill = now === before
      before = now
      expect(isStill).toBe(true)
    },
    { timeout: 60_000, interval: 300 },
  )
  expect(before).toBeLessThan(64 * MIB)
  expect(before).toBeGreaterThan(WINDOW_PIECES * PIECE_BYTES)
  await pieces?.return?.()
})

it('a connection that breaks within the body fails it, after the bytes that came before', async () => {
  const url = await serve((socket) => {
    socket.write(headOf(MIB))
    socket.write(Buffer.alloc(1000), () => socket.end())
  })
  const answer = await threadsOf().fetch(url, {}, NEVER)
  let taken = 0
  const read = async (): Promise<void> => {
    if (answer === undefined) throw new Error('no answer')
    for await (const part of answer.body) taken += (part as Buffer).length
  }
  expect(await codeOf(read())).toBe('ECONNRESET')
  expect(taken).toBe(1000)
})

it('a peer that is silent before its head, or within its body, is given up', async () => {
  const silent = await serve(() => undefined)
  const threads = threadsOf({ silenceMs: 200 })
  expect(await codeOf(threads.fetch(silent, {}, NEVER))).toBe('HEADERS_TIMEOUT')
  const stops = await serve((socket) => socket.write(`${headOf(MIB)}begin`))
  const answer = await threads.fetch(stops, {}, NEVER)
  expect(await codeOf(bytesOf(answer?.body))).toBe('BODY_TIMEOUT')
})

it('a peer that drips is given up', async () => {
  const url = await serve((socket) => {
    socket.write(headOf(MIB))
    const drip = setInterval(() => socket.write('x'), 20)
    socket.once('close', () => clearInterval(drip))
  })
  const threads = threadsOf({ floor: { bytesPerSecond: 100_000, graceMs: 300 } })
  const answer = await threads.fetch(url, {}, NEVER)
  expect(await codeOf(bytesOf(answer?.body))).toBe('PACE_TIMEOUT')
})

it('a signal ends the transfer before the head, and within the body', async () => {
  const closed: Promise<unknown>[] = []
  let text = ''
  const url = await serve((socket) => {
    closed.push(once(socket, 'close'))
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
  const read = bytesOf(answer?.body)
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
  expect(await codeOf(bytesOf(answer?.body))).toBe('THREAD_ENDED')
  text = `${headOf(4)}body`
  const next = await threads.fetch(url, {}, NEVER)
  expect((await bytesOf(next?.body)).toString()).toBe('body')
  expect(workers.size).toBe(2)
})

it('several bodies at once are spread over threads, of which there are only so many', async () => {
  const workers = workersAsked()
  const bytes = randomBytes(2 * PIECE_BYTES + 3)
  const url = await serve((socket) => {
    socket.write(headOf(bytes.length))
    socket.write(bytes)
  })
  const threads = threadsOf({}, { most: 2 })
  const answers = await Promise.all(Array.from({ length: 5 }, () => threads.fetch(url, {}, NEVER)))
  for (const answer of answers) expect(sha256(await bytesOf(answer?.body))).toBe(sha256(bytes))
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
