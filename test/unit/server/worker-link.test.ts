import type { IncomingMessage, ServerResponse } from 'node:http'
import { expect, it } from 'vitest'
import { parseHubUrl } from '../../../src/hub/route.ts'
import type { ReadyAnswer } from '../../../src/mirror/ready.ts'
import { formatReady, parseReady, sharedMs } from '../../../src/server/peer.ts'
import { WorkerLink } from '../../../src/server/worker-link.ts'
import { createLogger } from '../../../src/telemetry/log.ts'
import { createMemory } from '../../../src/workers/memory.ts'

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

it('lets a worker repeat an answer no longer than the main process believes it, though that is held up', () => {
  const link = new WorkerLink({ monotonic: readThenHeldUp, mayRepeat: true })
  const until = performance.now() + 1_000
  const answer: ReadyAnswer = {
    until,
    askedAt: undefined,
    moment: 0,
    commit: fileRoute().revision as ReadyAnswer['commit'],
    route: fileRoute(),
    status: 200,
    headers: [],
  }
  const note = parseReady(link.ready(answer) ?? '')
  expect(performance.now() + (note?.leftMs ?? Infinity)).toBeLessThan(until + HELD_UP_MS / 2)
})

it('is not repeated longer by a worker that is held up', () => {
  let isHeldUp = false
  const memory = createMemory({
    basePath: '/',
    via: 'mirror',
    trustProxy: [],
    clients: { allow: [], deny: [] },
    maxBytes: 1,
    monotonic() {
      if (isHeldUp) holdUp()
      isHeldUp = false
      return performance.now()
    },
    accounts: {
      logger: createLogger({ level: 'error', destination: { write() {} } }),
      observer: { requestDone() {}, accessDecided() {} },
      auditor: { isOn: false, access() {} },
    },
    tellPins() {},
  })
  const socket = { remoteAddress: '127.0.0.1' }
  const request = { method: 'HEAD', url: TARGET, headers: { host: 'm' }, rawHeaders: ['Host', 'm'], socket }
  const asked = request as unknown as IncomingMessage
  const response = { socket, headersSent: true, statusCode: 200, once() {}, writeHead() {}, end() {} }
  const isServed = () => {
    let served = true
    memory.route.serve(asked, response as unknown as ServerResponse, () => (served = false))
    return served
  }
  const learn = (leftMs: number) => {
    const field = formatReady({ leftMs, ageMs: undefined, commit: COMMIT }, sharedMs())
    const incoming = { statusCode: 200, headers: {}, rawHeaders: [] } as unknown as IncomingMessage
    isHeldUp = true
    memory.learn(asked, incoming, { field, moment: memory.moment })
  }
  learn(10_000)
  expect(isServed()).toBe(true)
  learn(HELD_UP_MS / 2)
  expect(isServed()).toBe(false)
})
