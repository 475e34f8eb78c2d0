// Processes that are killed during the download of one file, one after the other. kill-loop.test.ts kills fifty of them, with
// more files and clients.

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { lfs, sha256Of, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { digestFrom, open } from '../support/ask.ts'
import { badLines, type Child, startChild } from '../support/process.ts'

const MIB = 1024 * 1024
const SIZE = 12 * MIB
const TARGET = '/acme/open/resolve/main/medium.bin'

it('each leave a partial that the next process continues, three times in a row, and never a wrong byte', async () => {
  const world = new World()
  world.model('acme/open').commit({ 'medium.bin': lfs({ sizeBytes: SIZE, seed: 6 }) })
  const hub = await startHub({ world })
  onTestFinished(() => hub.close())
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-process-'))
  onTestFinished(() => rm(cacheDir, { recursive: true, force: true }))
  const start = async () => {
    const child = await startChild({ hub, cacheDir })
    onTestFinished(async () => {
      await child.stop()
      expect(badLines(child.log())).toEqual([])
    })
    return child
  }
  const pull = (child: Child) => open(child.url, TARGET).then(digestFrom, () => undefined)

  const whole = sha256Of(world.model('acme/open'), 'main', 'medium.bin')
  hub.bytesPerSecond = 6 * MIB
  for (let round = 0; round < 3; round += 1) {
    const child = await start()
    const reader = pull(child)
    await hub.ledger.whenBytes({ server: 'cdn' }, Math.ceil(Math.random() * 0.9 * SIZE))
    child.kill('SIGKILL')
    await child.ended
    expect([undefined, whole]).toContain(await reader)
    hub.ledger.clear()
  }
  const last = await start()
  expect(await readdir(join(cacheDir, 'tmp'))).toEqual([])
  hub.bytesPerSecond = undefined
  expect(await pull(last)).toBe(whole)
  expect(await pull(last)).toBe(whole)
})
