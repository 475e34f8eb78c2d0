// Large files over TLS in a real process: the authority is trusted as operators have it, and the process ends.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { ask } from '../support/ask.ts'
import { GOOD_CERTIFICATE, TEST_CA } from '../support/certificates.ts'
import { freePort } from '../support/free-port.ts'
import { badLines, type Child, startChild } from '../support/process.ts'
import { startTlsFront } from '../support/tls-front.ts'

const MIB = 1024 * 1024
const SIZE = 40 * MIB
const TARGET = '/acme/open/resolve/main/large.bin'

async function openScene() {
  const world = new World()
  const model = world.model('acme/open')
  model.commit({ 'large.bin': lfs({ sizeBytes: SIZE, seed: 5 }) })
  const cdnPort = await freePort()
  const front = await startTlsFront(`http://127.0.0.1:${cdnPort}`, GOOD_CERTIFICATE)
  onTestFinished(() => front.close())
  const hub = await startHub({ world, cdnHost: '127.0.0.1', cdnPort, cdnUrl: front.url })
  onTestFinished(() => hub.close())
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-tls-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const authority = join(directory, 'ca.pem')
  await writeFile(authority, TEST_CA)
  const start = async (): Promise<Child> => {
    const env = {
      NODE_EXTRA_CA_CERTS: authority,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.1',
      HUBMIRROR_DRAIN_TIMEOUT: '1s',
    }
    const child = await startChild({ hub, cacheDir: join(directory, 'cache'), env })
    onTestFinished(() => child.stop())
    return child
  }
  return { hub, start, right: bytesOf(model, 'main', 'large.bin') }
}

it.each(['SIGTERM', 'SIGKILL'] as const)('a download that %s ends goes on after a start', async (signal) => {
  const { hub, start, right } = await openScene()
  const child = await start()
  hub.faults.add({ where: 'cdn', method: 'GET', stallAfterBytes: 6 * MIB, times: 100 })
  const asked = ask(child.url, TARGET).catch(() => undefined)
  await hub.faults.whenStalled(2)
  child.kill(signal)
  expect(await child.ended).toBe(signal === 'SIGTERM' ? 0 : signal)
  await asked
  expect(badLines(child.log())).toEqual([])
  hub.faults.clear()
  hub.faults.release()
  hub.ledger.clear()
  const next = await start()
  const reply = await ask(next.url, TARGET)
  expect(reply.body.equals(right)).toBe(true)
  // After a kill, what arrived in the last seconds may be fetched again.
  if (signal === 'SIGTERM') expect(hub.ledger.bytes()).toBeLessThan(SIZE)
  next.kill('SIGTERM')
  expect(await next.ended).toBe(0)
  expect(badLines(next.log())).toEqual([])
})
