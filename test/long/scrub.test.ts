// A disk that changes a bit by itself, found by the scrubber of a mirror that runs.

import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Got, probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import { type Child, startChild } from '../support/process.ts'
import { metricValue, startMirror } from '../support/start-mirror.ts'
import { gitName, lfsName } from '../support/store-check.ts'
import { flipStoredBit } from '../support/stored-blobs.ts'

const FILE = '/acme/open/resolve/main'
const SIZES = { 'a.bin': 3_000_000, 'b.bin': 13_000_000 }
const PATHS = ['a.bin', 'b.bin', 'small.json'] as const
type Path = (typeof PATHS)[number]

let hub: Hub
let files: ReadonlyMap<Path, Buffer>
let folder: string
let cacheDir: string
let child: Child

beforeEach(async () => {
  const world = new World()
  const repo = world.model('acme/open')
  repo.commit({
    'a.bin': lfs({ sizeBytes: SIZES['a.bin'], seed: 1 }),
    'b.bin': lfs({ sizeBytes: SIZES['b.bin'], seed: 2 }),
    'small.json': '{"small":true}',
  })
  files = new Map(PATHS.map((path) => [path, bytesOf(repo, 'main', path)]))
  hub = await startHub({ world })
  folder = await mkdtemp(join(tmpdir(), 'hubmirror-scrub-'))
  cacheDir = join(folder, 'store')
})

afterEach(async () => {
  await child.stop()
  await hub.close()
  await rm(folder, { recursive: true, force: true })
})

async function start(env: Record<string, string> = {}): Promise<void> {
  const audit = { HUBMIRROR_AUDIT_LOG: join(folder, 'audit') }
  child = await startChild({ hub, cacheDir, env: { ...audit, HUBMIRROR_ACCESS_TTL: '1h', ...env } })
}

async function stop(): Promise<void> {
  child.kill('SIGTERM')
  expect(await child.ended).toBe(0)
}

const right = (path: Path) => files.get(path) ?? Buffer.alloc(0)
const nameOf = (path: Path) => (path.endsWith('.bin') ? lfsName : gitName)(right(path))
const blobOf = (path: Path) => {
  const [algorithm = '', hex = ''] = nameOf(path).split('-')
  return join(cacheDir, 'blobs', algorithm, hex.slice(0, 2), hex)
}
const metrics = async () => (await probe(`${child.url}/metrics`)).body.toString()

async function get(path: Path, url = child.url): Promise<Got> {
  const got = await probe(`${url}${FILE}/${path}`)
  expect([got.status, got.isComplete, got.body.equals(right(path))]).toEqual([200, true, true])
  return got
}

/** Stores all files by a mirror in this process, which does not look at them again. */
async function store(): Promise<void> {
  const mirror = await startMirror({ hub, cacheDir, config: { cacheMinFreeBytes: 0 } })
  try {
    for (const path of PATHS) await get(path, mirror.url)
    await mirror.pulls.ended()
  } finally {
    await mirror.close({ keepDir: true })
  }
}

const said = (text: string) => child.entries().filter(({ msg }) => msg === text)

describe('a scrubber', () => {
  it.each([1, 2])(
    'of a mirror of %i processes finds a flipped bit while it serves: the file is fetched again, and right',
    async (workers) => {
      await store()
      await flipStoredBit(cacheDir, nameOf('a.bin'), 2_345_678)
      await flipStoredBit(cacheDir, nameOf('small.json'), 3)
      await start({ HUBMIRROR_SCRUB_RATE: '100MB', HUBMIRROR_WORKERS: String(workers) })
      const [round] = await eventually(
        () => said('the scrubber has verified all blobs'),
        (lines) => lines.length === 1,
      )
      expect(round).toMatchObject({ blobs: 3, damaged: 2 })
      expect(
        said('a stored blob was damaged; it will be fetched again')
          .map(({ key }) => String(key).replace(':', '-'))
          .sort(),
      ).toEqual([nameOf('a.bin'), nameOf('small.json')].sort())
      const counted = await metrics()
      expect(metricValue(counted, 'hubmirror_integrity_failures_total{kind="disk"}')).toBe(2)
      expect(metricValue(counted, 'hubmirror_cache_evictions_total{reason="damaged"}')).toBe(2)
      expect(metricValue(counted, 'hubmirror_cache_blobs')).toBe(1)
      const quarantine = join(cacheDir, 'quarantine')
      expect((await readdir(quarantine)).sort()).toEqual([nameOf('a.bin'), nameOf('small.json')].sort())
      await expect(stat(blobOf('a.bin'))).rejects.toThrow('ENOENT')

      hub.ledger.clear()
      expect((await get('b.bin')).headers['x-cache']).not.toBe('MISS')
      expect(hub.ledger.bodyRequests(), 'what is sound stays').toEqual([])
      for (const path of ['a.bin', 'small.json'] as const)
        expect((await get(path)).headers['x-cache']).toBe('MISS')
      expect(hub.ledger.bytes('cdn')).toBe(SIZES['a.bin'])
      const fetched = hub.ledger.bodyRequests().length
      for (const path of PATHS)
        await eventually(
          async () => (await get(path)).headers['x-cache'],
          (word) => word === 'HIT',
        )
      expect(hub.ledger.bodyRequests()).toHaveLength(fetched)
      expect((await readFile(blobOf('a.bin'))).equals(right('a.bin'))).toBe(true)
      await stop()
      const acts = (await readFile(join(folder, 'audit'), 'utf8'))
        .split('\n')
        .filter((line) => line.includes('"act":"scrub"'))
      expect(acts).toHaveLength(2)
    },
  )

  it('that is in the middle of a file lets the mirror serve, and end', async () => {
    await store()
    // Minutes for the first of them.
    await start({ HUBMIRROR_SCRUB_RATE: '100KB' })
    await eventually(
      () => openFilesBelow(join(cacheDir, 'blobs'), child.pid),
      (files) => files.length === 1,
    )
    for (const path of PATHS) expect((await get(path)).status).toBe(200)
    await stop()
    expect(said('the scrubber has verified all blobs')).toEqual([])
    expect(said('closed')).toHaveLength(1)
    expect(await readdir(cacheDir)).not.toContain('quarantine')
  })
})
