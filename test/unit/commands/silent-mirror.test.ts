// Commands beside a mirror that is there and does not answer. A server that answers nothing behaves as a process that was stopped.

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { IntakeClient } from '../../../src/commands/bundle/intake-client.ts'
import { ControlClient, readLines } from '../../../src/commands/prefetch/control-client.ts'
import { MirrorSilent, MirrorWatch, probeMirror } from '../../../src/commands/prefetch/silence.ts'

const EVERY_MS = 20
const { signal } = new AbortController()

/** A mirror that answers by `answer`; its store has no lock. `withinMs` is long where an answer must come in time on any machine. */
async function mirrorOf(answer: RequestListener, withinMs = 50) {
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-silent-'))
  const socketPath = join(cacheDir, 'socket')
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  onTestFinished(async () => {
    server.close()
    server.closeAllConnections()
    await rm(cacheDir, { recursive: true, force: true })
  })
  const watch = new MirrorWatch(socketPath, cacheDir, { everyMs: EVERY_MS, withinMs })
  const control = new ControlClient(socketPath, { version: '0.0.0-test', watch })
  onTestFinished(() => control.close())
  return { socketPath, cacheDir, control, intake: new IntakeClient(socketPath, signal, watch) }
}

async function* endless(): AsyncGenerator<Buffer, void, undefined> {
  for (;;) yield Buffer.alloc(64 * 1024)
}

it('a request that a silent mirror never answers ends, and so do bytes that it never reads', async () => {
  const { control, intake } = await mirrorOf(() => undefined)
  for (const asked of [
    control.ask('/api/models/acme/open', { signal }),
    intake.ask('standing', { repos: [] }),
    intake.send('blob', {}, endless()),
  ])
    await expect(asked).rejects.toThrow(MirrorSilent)
})

it('an answer that stops in the middle because the mirror is silent ends', async () => {
  let isSilent = false
  const { control } = await mirrorOf((request, response) => {
    if (isSilent) return
    if (request.url === '/healthz') response.end('{}')
    else response.write('{"presentBytes":1}\n')
  })
  const answer = await control.open('/acme/open/resolve/main/w.bin', { signal, wish: 'store' })
  const lines = readLines(answer, { signal })
  expect(await lines.next()).toMatchObject({ value: '{"presentBytes":1}' })
  isSilent = true
  await expect(lines.next()).rejects.toThrow(MirrorSilent)
})

it('an answer may take any time as long as the mirror lives', async () => {
  let looks = 0
  let answer: () => unknown = () => undefined
  const { control, intake } = await mirrorOf((request, response) => {
    if (request.url !== '/healthz') {
      answer = () => response.end('{"standings":[]}')
      return
    }
    response.end('{}')
    looks += 1
    if (looks % 10 === 0) answer()
  }, 60_000)
  expect((await control.ask('/api/models/acme/open', { signal })).status).toBe(200)
  expect(await intake.ask('standing', { repos: [] })).toEqual({ standings: [] })
  const before = looks
  await delay(5 * EVERY_MS)
  // It is not asked while nothing is under way.
  expect([looks, before]).toEqual([before, 20])
})

it('one late answer is no silence, because the command may have been stopped itself', async () => {
  const answers: (() => void)[] = []
  const { control } = await mirrorOf((_request, response) => {
    answers.push(() => response.end('{}'))
    // The request itself and the first probe are not answered before the second probe is.
    if (answers.length === 3) for (const answer of answers.toReversed()) answer()
  }, 2_000)
  expect((await control.ask('/api/models/acme/open', { signal })).status).toBe(200)
})

it('the probe distinguishes a silent process from none', async () => {
  const { socketPath, cacheDir } = await mirrorOf(() => undefined)
  expect(await probeMirror(socketPath, signal, 50)).toBe('silent')
  expect(await probeMirror(join(cacheDir, 'none'), signal, 50)).toBe('none')
  await expect(probeMirror(socketPath, AbortSignal.abort(new Error('Ctrl-C')), 50)).rejects.toThrow('Ctrl-C')
})
