// Streams of events (logs of jobs and of Spaces): silent for as long as nothing happens, and passed on as they come.

import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import type { Damage } from '../hub-simulator/faults.ts'
import { open } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const LOGS = '/api/jobs/acme/1/logs'
const EVENTS = ['data: one\n\n', 'data: two\n\n'] as const
const ORIGIN_TIMEOUT_MS = 200

const events = (more: Damage): Damage => ({
  status: {
    code: 200,
    headers: { 'Content-Type': 'text/event-stream; charset=utf-8' },
    body: EVENTS.join(''),
  },
  dropHeader: 'content-length',
  ...more,
})

/** The text so far, until it is as long as `text`. */
async function read(answer: IncomingMessage, text: string): Promise<string> {
  let got = ''
  while (got.length < text.length) {
    const chunk = answer.read() as Buffer | null
    if (chunk === null) await once(answer, 'readable')
    else got += chunk.toString()
  }
  return got
}

/** Resolves when an ordinary body that falls silent now has been cut: so long has everything else been silent. */
async function whenSilenceIsOver(scene: Scene): Promise<void> {
  scene.hub.faults.add({ where: 'hub', match: /raw/, stallAfterBytes: 5 })
  const got = await scene.ask('/acme/open/raw/main/config.json')
  // A short body may have been gathered before it was passed on.
  expect(got.status === 504 || !got.whole, String(got.status)).toBe(true)
}

describe.each([1, 2])('a stream of events, of %i process(es) that answer', (workers) => {
  const openQuick = () => openScene({ config: { workers, originTimeoutMs: ORIGIN_TIMEOUT_MS } })

  it.each(['GET', 'POST'])('outlives the timeout of the origin, and arrives whole (%s)', async (method) => {
    const scene = await openQuick()
    scene.hub.faults.add({ where: 'hub', match: /logs/, ...events({ stallAfterBytes: EVENTS[0].length }) })
    const question = { method, token: TOKENS.alice, ...(method === 'POST' ? { body: '{}' } : {}) }
    const answer = await open(scene.mirror.url, LOGS, question)
    expect([answer.statusCode, answer.headers['content-type'], answer.headers['x-accel-buffering']]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
      'no',
    ])
    expect(await read(answer, EVENTS[0])).toBe(EVENTS[0])
    await scene.hub.faults.whenStalled()
    await whenSilenceIsOver(scene)
    scene.hub.faults.release()
    expect(await read(answer, EVENTS[1])).toBe(EVENTS[1])
    answer.resume()
    await once(answer, 'end')
    expect(answer.complete).toBe(true)
  })

  it('begins before its first event', async () => {
    const scene = await openQuick()
    scene.hub.faults.add({ where: 'hub', match: /logs/, ...events({ stallAfterBytes: 0 }) })
    const answer = await open(scene.mirror.url, LOGS)
    expect(answer.statusCode).toBe(200)
    scene.hub.faults.release()
    expect(await read(answer, EVENTS.join(''))).toBe(EVENTS.join(''))
  })

  it('ends at the Hub when its client disconnects, even while it is silent', async () => {
    const scene = await openQuick()
    scene.hub.faults.add({ where: 'hub', match: /logs/, ...events({ stallAfterBytes: EVENTS[0].length }) })
    const answer = await open(scene.mirror.url, LOGS)
    expect(await read(answer, EVENTS[0])).toBe(EVENTS[0])
    answer.on('error', () => undefined).destroy()
    const [asked] = await scene.hub.ledger.whenDone({ url: /logs/ })
    expect(asked?.aborted).toBe(true)
  })

  it('breaks off for the client where it breaks off at the Hub', async () => {
    const scene = await openQuick()
    const cut = { cutAfterBytes: EVENTS[0].length, cutWith: 'rst' } as const
    scene.hub.faults.add({ where: 'hub', match: /logs/, ...events(cut) })
    const got = await scene.ask(LOGS)
    expect([got.status, got.whole]).toEqual([200, false])
  })
})
