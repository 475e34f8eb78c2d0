// Commands beside a mirror that is there and does not do what they ask for: it fails, or is of another version.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { notifyMirror } from '../../../src/commands/notify-mirror.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { run } from '../../support/run-cli.ts'

type AnswerBy = (request: IncomingMessage, response: ServerResponse, stop: () => void) => void

/** The store of a mirror that answers all but `/healthz` by `answer`. */
async function storeOf(answer: AnswerBy): Promise<string> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-failing-'))
  const { control } = createLayout(cacheDir)
  await mkdir(control, { recursive: true, mode: 0o700 })
  const server = createServer((request, response) => {
    if (request.url === '/healthz') response.end('{}')
    else answer(request, response, stop)
  })
  const stop = (): void => {
    server.close()
    server.closeAllConnections()
  }
  await new Promise<void>((resolve) => server.listen(join(control, 'socket'), resolve))
  onTestFinished(async () => {
    stop()
    await rm(cacheDir, { recursive: true, force: true })
  })
  return cacheDir
}

const REMOVED = {
  blobs: [{ key: `sha256:${'1'.repeat(64)}`, sizeBytes: 10 }],
  gits: ['https://hub.example models/acme/open'],
}
const OTHER_VERSION = 'because it is of another version. Start it again with the version of this command'
const answering =
  (status: number, body: string): AnswerBy =>
  (_request, response) =>
    void response.writeHead(status).end(body)
const FAILURES: readonly (readonly [name: string, answer: AnswerBy, said: string])[] = [
  ['does not know the question', answering(404, '{}'), OTHER_VERSION],
  ['knows less of it', answering(200, '{}'), OTHER_VERSION],
  ['fails', answering(500, '{"error":"a bug"}'), 'has failed (a bug). Look into its log, and start it again'],
  ['breaks the connection', (request) => void request.destroy(), 'broke the connection. Look into its log'],
]

describe('what a command has removed', () => {
  const notify = async (cacheDir: string) => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    try {
      const isDone = await notifyMirror(cacheDir, REMOVED, 'hubmirror-prune')
      return { isDone, said: said.mock.calls.join('') }
    } finally {
      said.mockRestore()
    }
  }

  it.each(FAILURES)(
    'is not known to a mirror that %s, and the command says so',
    async (_name, answer, said) => {
      const result = await notify(await storeOf(answer))
      expect(result.isDone).toBe(false)
      expect(result.said).toContain(said)
      expect(result.said).toContain('it may serve some of it from memory until it is started again')
    },
  )

  it('is known to a mirror that has read as much as was named', async () => {
    const cacheDir = await storeOf(answering(200, '{"blobs":1,"gits":1}'))
    expect(await notify(cacheDir)).toEqual({ isDone: true, said: '' })
  })

  it('need not be known to a mirror that stops meanwhile', async () => {
    const cacheDir = await storeOf((_request, _response, stop) => stop())
    expect(await notify(cacheDir)).toEqual({ isDone: true, said: '' })
  })
})

describe('hubmirror pins', () => {
  const ask = async (answer: AnswerBy) => {
    const cacheDir = await storeOf(answer)
    const pins = join(cacheDir, 'pins.yaml')
    await writeFile(pins, 'pins: []\n')
    return run(['pins', '--check'], { HUBMIRROR_CACHE_DIR: cacheDir, HUBMIRROR_PINS: pins })
  }

  it.each(FAILURES.slice(1))('ends with 1 beside a mirror that %s', async (_name, answer, said) => {
    const { status, stdout, stderr } = await ask(answer)
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toContain(said)
  })

  it('says that a mirror has no pins', async () => {
    const { status, stderr } = await ask(answering(404, '{}'))
    expect([status, stderr]).toEqual([1, expect.stringContaining('Start it again with HUBMIRROR_PINS')])
  })
})
