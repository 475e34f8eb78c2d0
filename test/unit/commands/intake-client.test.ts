// How a command that brings content ends if its mirror does.

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { IntakeClient } from '../../../src/commands/bundle/intake-client.ts'
import { MirrorGone } from '../../../src/commands/prefetch/silence.ts'

/** A client of a process that accepts connections and does `behave` with them. */
async function clientOf(behave: (server: Server) => void): Promise<IntakeClient> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-intake-'))
  const server = createServer({ pauseOnConnect: true })
  behave(server)
  await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve))
  onTestFinished(async () => {
    server.close()
    await rm(folder, { recursive: true, force: true })
  })
  return new IntakeClient(join(folder, 'socket'), new AbortController().signal)
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
