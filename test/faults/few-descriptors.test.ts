// A process that may open few files: at its start, and when it takes connections.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { describe, expect, it, onTestFinished } from 'vitest'
import { surviveAcceptErrors } from '../../src/server/accept-errors.ts'

const ENTRY = fileURLToPath(new URL('../../dist/launch.cjs', import.meta.url))

describe('a start with few descriptors', () => {
  it.each([
    [30, '1'],
    [34, '1'],
    [40, '1'],
    [52, '1'],
    [60, '1'],
    [80, '1'],
    [80, '2'],
  ])('(%i, %s workers) fails in one sentence with the cure, if it fails', async (limit, workers) => {
    const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-few-'))
    onTestFinished(() => rm(cacheDir, { recursive: true, force: true }))
    const child = spawn(
      '/bin/sh',
      ['-c', `ulimit -n ${limit} && exec "$0" "$1" serve`, process.execPath, ENTRY],
      {
        env: {
          PATH: process.env['PATH'],
          HUBMIRROR_PORT: '0',
          HUBMIRROR_ORIGIN: 'http://127.0.0.1:1',
          HUBMIRROR_CACHE_DIR: cacheDir,
          HUBMIRROR_WORKERS: workers,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        // It depends on Node how many files the start itself opens at once.
        if (said.includes('"listening"')) child.kill('SIGKILL')
      })
    }
    const [status] = (await once(child, 'close')) as [number | null]
    expect(said).not.toMatch(/^\s+at /m)
    if (said.includes('"listening"')) return
    expect([status, said.split('\n').length]).toEqual([1, 2])
    expect(said).toMatch(/^hubmirror: this process may not open enough files \(EMFILE\).*ulimit -n 4096/)
  })
})

it('a server that cannot accept a connection reports it once, and accepts the next one', async () => {
  const lines: string[] = []
  const server = createServer((socket) => socket.end('hello'))
  onTestFinished(() => new Promise((resolve) => server.close(() => resolve())))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  surviveAcceptErrors(server, pino({}, { write: (line: string) => void lines.push(line) }))
  const error = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE', syscall: 'accept' })
  for (let turn = 0; turn < 100; turn += 1) server.emit('error', error)
  expect(lines.map((line) => (JSON.parse(line) as { code: string }).code)).toEqual(['EMFILE'])
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a server without a port')
  const [greeting] = (await once(connect(address.port, '127.0.0.1'), 'data')) as [Buffer]
  expect(greeting.toString()).toBe('hello')
})
