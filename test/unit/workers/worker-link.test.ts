import { once } from 'node:events'
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { expect, it, onTestFinished } from 'vitest'
import type { CachedResponse } from '../../../src/fast-path/response-cache.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { createLogger } from '../../../src/telemetry/log.ts'
import { formatCacheNote, parseCacheNote, sharedMs } from '../../../src/workers/header-fields.ts'
import { WorkerLink } from '../../../src/workers/main/worker-link.ts'
import { createWorkerCache } from '../../../src/workers/worker/cache.ts'

const COMMIT = 'a'.repeat(40)
const TARGET = `/acme/open/resolve/${COMMIT}/config.json`
const HELD_UP_MS = 30

/** As by a collection of garbage. */
function holdUp(): void {
  const until = performance.now() + HELD_UP_MS
  while (performance.now() < until);
}

/** A clock after whose reading the process is held up. */
function readThenHeldUp(): number {
  const now = performance.now()
  holdUp()
  return now
}

function fileRoute() {
  const route = parseHubUrl(TARGET, '/')
  if (route.kind !== 'file') throw new Error('no file')
  return route
}

it('a worker may repeat an answer no longer than the main process believes it, also when that process pauses', () => {
  const link = new WorkerLink({ monotonic: readThenHeldUp, mayRepeat: () => true, speaksTls: false })
  const until = performance.now() + 1_000
  const answer: CachedResponse = {
    until,
    askedAt: undefined,
    generation: 0,
    commit: fileRoute().revision as CachedResponse['commit'],
    route: fileRoute(),
    status: 200,
    headers: [],
  }
  const note = parseCacheNote(link.noteFor(answer)?.[1] ?? '')
  expect(performance.now() + (note?.leftMs ?? Infinity)).toBeLessThan(until + HELD_UP_MS / 2)
})

function memoryOfWorker(monotonic: () => number) {
  return createWorkerCache({
    basePath: '/',
    via: 'mirror',
    trustProxy: [],
    clients: { allow: [], deny: [] },
    maxBytes: 1_000,
    monotonic,
    reporters: {
      logger: createLogger({ level: 'error', destination: { write() {} } }),
      observer: { requestDone() {}, accessDecided() {} },
      auditor: { isOn: false, access() {} },
    },
    reportPromises() {},
  })
}

/** A question as a worker has read it, and whether its memory answers it. */
function question(method: 'GET' | 'HEAD', memory: ReturnType<typeof memoryOfWorker>) {
  const socket = { remoteAddress: '127.0.0.1' }
  const request = { method, url: TARGET, headers: { host: 'm' }, rawHeaders: ['Host', 'm'], socket }
  const asked = request as unknown as IncomingMessage
  const response = { socket, headersSent: true, statusCode: 200, once() {}, writeHead() {}, end() {} }
  const isServed = () => {
    let served = true
    memory.route.serve(asked, response as unknown as ServerResponse, () => (served = false))
    return served
  }
  return { asked, isServed }
}

const noteOf = (leftMs: number) => formatCacheNote({ leftMs, ageMs: undefined, commit: COMMIT }, sharedMs())

it('a worker that pauses repeats an answer no longer than it may', () => {
  let isHeldUp = false
  const memory = memoryOfWorker(() => {
    if (isHeldUp) holdUp()
    isHeldUp = false
    return performance.now()
  })
  const { asked, isServed } = question('HEAD', memory)
  const learn = (leftMs: number) => {
    const field = noteOf(leftMs)
    const incoming = { statusCode: 200, headers: {}, rawHeaders: [] } as unknown as IncomingMessage
    isHeldUp = true
    memory.learn(asked, incoming, { field, generation: memory.generation })
  }
  learn(10_000)
  expect(isServed()).toBe(true)
  learn(HELD_UP_MS / 2)
  expect(isServed()).toBe(false)
})

it('a worker caches no answer whose client left in the middle', async () => {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': 10 }).write('first')
    server.once('more', () => response.end('other'))
  })
  onTestFinished(() => server.close().closeAllConnections())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const memory = memoryOfWorker(() => performance.now())
  const { asked, isServed } = question('GET', memory)
  const learn = async (client: Writable) => {
    const outgoing = get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', agent: false })
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    memory.learn(asked, incoming, { field: noteOf(10_000), generation: memory.generation })
    incoming.pipe(client)
    await once(incoming, 'data')
    server.emit('more')
    return { outgoing, incoming }
  }
  const { outgoing, incoming } = await learn(new Writable({ highWaterMark: 1, write() {} }))
  while (!incoming.complete) await new Promise((resolve) => setImmediate(resolve))
  outgoing.destroy()
  await once(incoming, 'close')
  expect(isServed()).toBe(false)
  const whole = await learn(new Writable({ write: (_part, _encoding, done) => done() }))
  await once(whole.incoming, 'close')
  expect(isServed()).toBe(true)
})
