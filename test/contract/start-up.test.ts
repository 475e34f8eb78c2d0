// A mirror serves stored content before it has counted it. The scan is stopped at its first directory, so
// that it has provably not ended while the answers come.

import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { metricValue, startMirror } from '../support/start-mirror.ts'
import { forgetRows } from '../support/stored-blobs.ts'
import { verdictOf } from '../support/verdict.ts'

const walk = vi.hoisted(() => {
  const held = { at: 0, gate: undefined as Promise<void> | undefined, open: (): void => undefined }
  const hold = (): void => {
    held.gate = new Promise((resolve) => {
      held.open = () => {
        held.gate = undefined
        resolve()
      }
    })
  }
  return { held, hold }
})

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const opendir: typeof real.opendir = async (...args) => {
    if (walk.held.gate !== undefined) walk.held.at += 1
    await walk.held.gate
    return real.opendir(...args)
  }
  return { ...real, opendir, default: { ...real, opendir } }
})

afterEach(() => walk.held.open())

const PLANTED = 500

it('files are served, and the mirror is ready, while the startup scan of the store runs', async () => {
  const world = new World()
  const files = { 'small.json': '{"small":true}', 'large.bin': lfs({ sizeBytes: 3_000_000, seed: 1 }) }
  world.model('acme/open').commit(files)
  const hub = await startHub({ world })
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-start-'))
  const first = await startMirror({ hub, cacheDir })
  const paths = Object.keys(files)
  const right = (path: string) => bytesOf(world.model('acme/open'), 'main', path)
  for (const path of paths) await probe(`${first.url}/acme/open/resolve/main/${path}`)
  await first.close({ keepDir: true })
  for (let index = 0; index < PLANTED; index += 1) {
    const hex = index.toString(16).padStart(64, '0')
    await mkdir(join(cacheDir, 'blobs/sha256', hex.slice(0, 2)), { recursive: true })
    await writeFile(join(cacheDir, 'blobs/sha256', hex.slice(0, 2), hex), '.')
  }

  // As after a crash.
  await forgetRows(cacheDir)

  hub.ledger.clear()
  walk.hold()
  const mirror = await startMirror({ hub, cacheDir })
  for (const path of paths) {
    const url = `${mirror.url}/acme/open/resolve/main/${path}`
    expect((await probe(url, { method: 'HEAD' })).status).toBe(200)
    expect(verdictOf(await probe(url), right(path))).toBe('whole')
  }
  expect((await probe(`${mirror.url}/readyz`)).status).toBe(200)
  expect(hub.ledger.bytes('cdn')).toBe(0)
  expect(walk.held.at).toBe(1)
  expect(metricValue(await mirror.metrics(), 'hubmirror_cache_blobs')).toBe(paths.length)

  walk.held.open()
  await eventually(
    async () => metricValue(await mirror.metrics(), 'hubmirror_cache_blobs'),
    (blobs) => blobs === PLANTED + paths.length,
  )
  await mirror.close()
  await hub.close()
})
