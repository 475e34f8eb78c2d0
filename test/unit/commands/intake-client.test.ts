// How a command that brings content ends if its mirror does.

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { IntakeClient, StoreFull } from '../../../src/commands/bundle/intake-client.ts'
import { MirrorGone } from '../../../src/commands/prefetch/silence.ts'
import type { BlobKey } from '../../../src/store/digest.ts'

/** A client of a process that accepts connections and does `behave` with them. */
async function clientOf(behave: (server: Server) => void): Promise<IntakeClient> {
  const server = createServer({ pauseOnConnect: true })
  behave(server)
  return clientAt(server)
}

async function clientAt(server: Server, signal = new AbortController().signal): Promise<IntakeClient> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-intake-'))
  await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve))
  onTestFinished(async () => {
    server.close()
    await rm(folder, { recursive: true, force: true })
  })
  return new IntakeClient(join(folder, 'socket'), signal)
}

/** A client of a mirror that gives these answers, one after the other. */
function clientAnswered(
  answers: readonly (readonly [status: number, value: unknown])[],
): Promise<IntakeClient> {
  const left = [...answers]
  const mirror = createHttpServer((request, response) => {
    const [status, value] = left.shift() ?? [500, {}]
    request.resume().once('end', () => response.writeHead(status).end(JSON.stringify(value)))
  })
  return clientAt(mirror)
}

async function* endless(): AsyncGenerator<Buffer, void, undefined> {
  for (;;) yield Buffer.alloc(64 * 1024)
}

it('says that the mirror has stopped when the connection is reset in the middle of the bytes', async () => {
  const client = await clientOf((server) =>
    // Bytes that were not read make the end of the process a reset.
    server.on('connection', (socket) => setTimeout(() => socket.destroy(), 50)),
  )
  for (let round = 0; round < 20; round += 1)
    await expect(client.send('blob', {}, endless())).rejects.toThrow(MirrorGone)
})

it('says what was wrong with the bytes when their source fails', async () => {
  const client = await clientOf(() => undefined)
  const broken = (async function* () {
    yield Buffer.alloc(10)
    await Promise.resolve()
    throw new Error('the medium is gone')
  })()
  await expect(client.send('blob', {}, broken)).rejects.toThrow('the medium is gone')
})

/** A body whose medium stalls behind the first piece. */
async function* stalled(): AsyncGenerator<Buffer, void, undefined> {
  yield Buffer.alloc(10)
  await new Promise(() => undefined)
}

it('does not wait for a stalled body after the mirror has stopped, has refused it, or the command was interrupted', async () => {
  const stopped = await clientOf((server) =>
    server.on('connection', (socket) => socket.resume().once('data', () => socket.destroy())),
  )
  await expect(stopped.send('blob', {}, stalled())).rejects.toThrow(MirrorGone)
  const refusing = await clientAt(
    createHttpServer((request, response) => {
      request.once('data', () =>
        response.writeHead(507, { connection: 'close' }).end(JSON.stringify({ error: 'the store is full' })),
      )
    }),
  )
  await expect(refusing.send('blob', {}, stalled())).rejects.toThrow(new StoreFull('the store is full'))
  const interrupted = new AbortController()
  const waiting = await clientAt(
    createHttpServer((request) => request.once('data', () => interrupted.abort(new Error('Ctrl-C')))),
    interrupted.signal,
  )
  await expect(waiting.send('blob', {}, stalled())).rejects.toThrow('Ctrl-C')
})

const BLOBS = [1, 2, 3].map((sizeBytes) => ({
  key: `sha256:${String(sizeBytes).repeat(64)}` as const,
  sizeBytes,
}))

it('says which blobs are not stored, and whether the store has room for them', async () => {
  const missing = BLOBS.slice(1).map(({ key }) => key)
  const roomy = await clientAnswered([
    [200, { missing, held: [BLOBS[0]?.key] }],
    [200, {}],
  ])
  const found = await roomy.look(BLOBS)
  expect([[...found.missing], [...found.held]]).toEqual([missing, [BLOBS[0]?.key]])
  await roomy.requireRoom(BLOBS, found)
  const full = await clientAnswered([[507, { error: 'the store has no space' }]])
  await expect(full.requireRoom(BLOBS, found)).rejects.toThrow(new StoreFull('the store has no space'))
})

it('does not take blobs for stored that were evicted while others were stored', async () => {
  await expect(
    (await clientAnswered([[200, { missing: [], held: [] }]])).requireStored(BLOBS),
  ).resolves.toBeUndefined()
  const evicted = await clientAnswered([[200, { missing: [BLOBS[0]?.key], held: [] }]])
  await expect(evicted.requireStored(BLOBS)).rejects.toThrow(
    /^1 blob of 3 had to go again .* run the command again\.$/,
  )
})

it('a mirror that does not understand a question is not believed to have done it', async () => {
  for (const half of [{}, { missing: [] }, { held: [] }])
    await expect((await clientAnswered([[200, half]])).look(BLOBS)).rejects.toThrow(
      'because it is of another version',
    )
  const unknown = await clientAnswered([[404, { error: 'not known' }]])
  const all = { missing: new Set(BLOBS.map(({ key }) => key)), held: new Set<BlobKey>() }
  await expect(unknown.requireRoom(BLOBS, all)).rejects.toThrow(
    'start it again with the version of this command',
  )
})
