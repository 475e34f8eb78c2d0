// A filled store on a volume that is mounted read-only: offline mirrors serve from it, several at a time.

import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { type Child, runChild, startChild } from '../support/process.ts'
import { run } from '../support/run-cli.ts'
import { mountDisk, type SmallDisk, whyNoDisk } from '../support/tmpfs.ts'
import { verdictOf } from '../support/verdict.ts'

const FILES = ['config.json', 'model.safetensors']
const noDisk = await whyNoDisk()

let hub: Hub
let disk: SmallDisk
let running: Child[]

const world = new World()
world
  .model('acme/open')
  .commit({ 'config.json': '{"a":1}', 'model.safetensors': lfs({ sizeBytes: 3_000_000, seed: 7 }) })

const right = (path: string) => bytesOf(world.model('acme/open'), 'main', path)
const fileUrl = (mirror: Child, path: string) => `${mirror.url}/acme/open/resolve/main/${path}`

async function start(env: Readonly<Record<string, string>>): Promise<Child> {
  const child = await startChild({ hub, cacheDir: disk.directory, env })
  running.push(child)
  return child
}

describe.skipIf(noDisk !== undefined)('a store on a read-only volume', () => {
  beforeAll(async () => {
    hub = await startHub({ world })
  })

  beforeEach(async () => {
    running = []
    disk = await mountDisk(32)
    const filler = await start({})
    for (const path of FILES) expect(verdictOf(await probe(fileUrl(filler, path)), right(path))).toBe('whole')
    filler.kill('SIGINT')
    await filler.ended
    await disk.readOnly(true)
    hub.ledger.clear()
  })

  afterEach(async () => {
    for (const child of running) await child.stop()
    await disk.unmount()
  })

  afterAll(() => hub.close())

  it('is served by two offline mirrors at once, which report it and write nothing', async () => {
    const mirrors = [await start({ HUBMIRROR_OFFLINE: 'on' }), await start({ HUBMIRROR_OFFLINE: 'on' })]
    for (const mirror of mirrors) {
      for (const path of [...FILES, ...FILES]) {
        expect((await probe(fileUrl(mirror, path), { method: 'HEAD' })).status).toBe(200)
        expect(verdictOf(await probe(fileUrl(mirror, path)), right(path))).toBe('whole')
      }
      expect((await probe(`${mirror.url}/readyz`)).status).toBe(200)
      expect(mirror.entries()).toContainEqual(expect.objectContaining({ limit: 'read-only' }))
      mirror.kill('SIGINT')
      expect(await mirror.ended).toBe(0)
      expect(mirror.entries().filter(({ level }) => level === 50)).toEqual([])
    }
    expect(hub.ledger.requests()).toEqual([])
  })

  it('is refused to a mirror that would have to write, with the cure', async () => {
    const { status, log } = await runChild({ hub, cacheDir: disk.directory })
    expect(status).toBe(1)
    expect(log).toContain('HUBMIRROR_OFFLINE=on')
  })

  it('is found by the doctor', async () => {
    const { stdout } = await run(['doctor', '--server', '--json'], {
      HUBMIRROR_CACHE_DIR: disk.directory,
      HUBMIRROR_OFFLINE: 'on',
    })
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Record<string, string>[] }
    expect([ok, checks.find(({ id }) => id === 'store')]).toMatchObject([
      true,
      { status: 'warn', message: `${disk.directory} is on a read-only volume (EROFS).` },
    ])
  })

  it('that was never filled is refused to an offline mirror, too', async () => {
    await disk.readOnly(false)
    for (const name of await readdir(disk.directory))
      await rm(join(disk.directory, name), { recursive: true, force: true })
    await disk.readOnly(true)
    const env = { HUBMIRROR_OFFLINE: 'on' }
    const { status, log } = await runChild({ hub, cacheDir: disk.directory, env })
    expect(status).toBe(1)
    expect(log).toContain('its disk is mounted read-only (EROFS). Mount it writable')
  })
})
