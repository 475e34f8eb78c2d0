// A disk that changes stored bits under a mirror that checks what it reads: no client gets one of them, and the file is
// right again without an operator.

import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Got, probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { flipBit } from '../support/damage.ts'
import { eventually } from '../support/eventually.ts'
import { badLines, type Child, startChild } from '../support/process.ts'
import { run } from '../support/run-cli.ts'
import { chance } from '../support/seeded.ts'
import { metricValue } from '../support/start-mirror.ts'
import { lfsName } from '../support/store-check.ts'

const FILE = '/acme/open/resolve/main'
const BLOCK = 256 * 1024
/** A block and less, whole blocks, and some MiB with a short block at the end. */
const SIZES = [66_000, 70_001, 100_000, 200_000, 262_144, 262_145, 300_000, 524_288, 700_000, 2_500_001]
const PATHS = SIZES.map((_, index) => `w${index}.bin`)
/** In all, by all tests together. */
const FLIPS = { running: 300, workers: 120, stopped: 60 }

let hub: Hub
let files: ReadonlyMap<string, Buffer>
let cacheDir: string
let child: Child

beforeEach(async () => {
  const world = new World()
  const repo = world.model('acme/open')
  const entries = PATHS.map((path, seed) => [path, lfs({ sizeBytes: SIZES[seed] ?? 0, seed })] as const)
  repo.commit(Object.fromEntries(entries))
  files = new Map(PATHS.map((path) => [path, bytesOf(repo, 'main', path)]))
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-checked-'))
})

afterEach(async () => {
  await child.stop()
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
})

async function start(env: Record<string, string>): Promise<void> {
  child = await startChild({
    hub,
    cacheDir,
    env: { HUBMIRROR_ACCESS_TTL: '1h', HUBMIRROR_REF_TTL: '1h', ...env },
  })
}

async function stop(): Promise<void> {
  child.kill('SIGTERM')
  expect(await child.ended).toBe(0)
  // Damage is logged as an error, and is to be; nothing else may be.
  const lines = badLines(child.log()).filter((line) => !line.includes(DAMAGED))
  expect(lines).toEqual([])
}

const DAMAGED = 'a stored blob was damaged; it will be fetched again'
const said = () => child.entries().filter(({ msg }) => msg === DAMAGED)
const right = (path: string): Buffer => files.get(path) ?? Buffer.alloc(0)
const placeOf = (folder: 'blobs' | 'sums', path: string): string => {
  const [algorithm = '', hex = ''] = lfsName(right(path)).split('-')
  return join(cacheDir, folder, algorithm, hex.slice(0, 2), hex)
}
const isThere = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  )
const disk = async (): Promise<number> =>
  metricValue(
    (await probe(`${child.url}/metrics`)).body.toString(),
    'hubmirror_integrity_failures_total{kind="disk"}',
  ) ?? 0

/** Asks for a part, or for all, and holds every byte of the answer against the file. */
async function get(path: string, range?: { readonly field: string; readonly part: Buffer }): Promise<Got> {
  const got = await probe(
    `${child.url}${FILE}/${path}`,
    range && { headers: { range: `bytes=${range.field}` } },
  )
  const wanted = range?.part ?? right(path)
  const told = `${path} ${range?.field ?? 'whole'}`
  expect([told, got.status, got.isComplete, got.body.equals(wanted)]).toEqual([
    told,
    range === undefined ? 200 : 206,
    true,
    true,
  ])
  return got
}

/** Until it is stored, with the sums of its blocks. */
async function fetchAll(): Promise<void> {
  for (const path of PATHS) {
    await get(path)
    for (const folder of ['blobs', 'sums'] as const)
      await eventually(
        () => isThere(placeOf(folder, path)),
        (there) => there,
      )
  }
}

/** A way to ask for a file that needs the block at `position`. */
function rangeOver(position: number, path: string, seeded: ReturnType<typeof chance>) {
  const bytes = right(path)
  const blockStart = Math.floor(position / BLOCK) * BLOCK
  const blockEnd = Math.min(blockStart + BLOCK, bytes.length)
  const any = seeded.below(blockEnd, blockStart)
  const closed = (start: number, end: number) => ({
    field: `${start}-${end - 1}`,
    part: bytes.subarray(start, end),
  })
  switch (seeded.below(6)) {
    case 0:
      // A few bytes beside the one that is wrong, in its block.
      return closed(any, Math.min(blockEnd, any + seeded.below(2000, 1)))
    case 1:
      return closed(position, position + 1)
    case 2:
      return closed(seeded.below(position + 1), seeded.below(bytes.length + 1, position + 1))
    case 3: {
      const start = seeded.below(position + 1)
      return { field: `${start}-`, part: bytes.subarray(start) }
    }
    case 4: {
      const length = bytes.length - seeded.below(position + 1)
      return { field: `-${length}`, part: bytes.subarray(bytes.length - length) }
    }
    default:
      return undefined
  }
}

/** Flips a bit of each file, then asks for that block; nothing wrong may come. Returns the number of bits. */
async function round(seeded: ReturnType<typeof chance>, whileFlipped: () => Promise<void>): Promise<number> {
  // Of some, an answer is ready and the file open.
  for (const path of PATHS.slice(0, 4)) await get(path, { field: '0-9', part: right(path).subarray(0, 10) })
  const flips = PATHS.map((path) => ({ path, position: seeded.below(right(path).length) }))
  for (const { path, position } of flips) await flipBit(placeOf('blobs', path), position)
  await whileFlipped()
  hub.ledger.clear()
  const before = await disk()
  for (const { path, position } of flips) {
    const asked = hub.ledger.bodyRequests().length
    await get(path, rangeOver(position, path, seeded))
    // Where its few blocks were all fetched for that, it is there again.
    const stored = await readFile(placeOf('blobs', path)).catch(() => undefined)
    expect(stored?.equals(right(path)), `what is stored of ${path}`).not.toBe(false)
    expect(hub.ledger.bodyRequests().length, `the origin was asked for ${path}`).toBeGreaterThan(asked)
  }
  expect((await disk()) - before).toBe(flips.length)
  await fetchAll()
  return flips.length
}

describe('a mirror that checks what it reads', () => {
  it.each([
    [1, FLIPS.running],
    [2, FLIPS.workers],
  ])('of %i processes sends none of %i bits that its disk changes under it', async (workers, flips) => {
    const seeded = chance(`flips under ${workers}`)
    await start({ HUBMIRROR_CHECK_READS: '0s', HUBMIRROR_WORKERS: String(workers) })
    await fetchAll()
    let count = 0
    while (count < flips) count += await round(seeded, () => Promise.resolve())
    expect(await disk()).toBe(count)
    expect(said()).toHaveLength(count)
    expect((await readdir(join(cacheDir, 'quarantine'))).length).toBeGreaterThan(0)
    hub.ledger.clear()
    for (const path of PATHS) expect((await get(path)).headers['x-cache']).toBe('HIT')
    expect(hub.ledger.bodyRequests()).toEqual([])
    await stop()
  })

  it('sends no changed bit, however many clients read the file at once, and finds it once', async () => {
    const seeded = chance('flips under many')
    await start({ HUBMIRROR_CHECK_READS: '0s' })
    await fetchAll()
    const path = 'w9.bin'
    for (let count = 1; count <= 5; count += 1) {
      const position = seeded.below(right(path).length)
      await flipBit(placeOf('blobs', path), position)
      const ranges = Array.from({ length: 24 }, () => rangeOver(position, path, seeded))
      await Promise.all(ranges.map((range) => get(path, range)))
      expect(await disk()).toBe(count)
      await fetchAll()
    }
    await stop()
  })

  it('finds bits that changed while it was not running, however long it trusts what it has checked', async () => {
    const seeded = chance('flips while away')
    const env = { HUBMIRROR_CHECK_READS: '1h' }
    await start(env)
    await fetchAll()
    let count = 0
    while (count < FLIPS.stopped) {
      count += await round(seeded, async () => {
        await stop()
        await start(env)
      })
    }
    await stop()
  })

  it('serves a file without sums, which `hubmirror verify` makes, and ignores damaged sums', async () => {
    const path = 'w9.bin'
    await start({})
    await get(path)
    await eventually(
      () => isThere(placeOf('blobs', path)),
      (there) => there,
    )
    await stop()
    expect(await readdir(cacheDir)).not.toContain('sums')

    await start({ HUBMIRROR_CHECK_READS: '0s' })
    expect((await get(path)).headers['x-cache']).not.toBe('MISS')
    const verify = async (env: Record<string, string>) => {
      const ran = await run(['verify', '--cache-dir', cacheDir, '--restart'], env)
      expect([ran.status, ran.stderr]).toEqual([0, ''])
    }
    await verify({})
    expect(await isThere(placeOf('sums', path)), 'not without the setting').toBe(false)
    await verify({ HUBMIRROR_CHECK_READS: '0s' })
    const sums = await readFile(placeOf('sums', path))

    // A file stays open for a second, and is then opened with what is there.
    await flipBit(placeOf('sums', path), 30)
    hub.ledger.clear()
    await eventually(
      async () => (await get(path)).headers['x-cache'],
      (word) => word === 'HIT',
    )
    expect(await disk()).toBe(0)
    expect(hub.ledger.bodyRequests()).toEqual([])
    await verify({ HUBMIRROR_CHECK_READS: '0s' })
    expect(await readFile(placeOf('sums', path))).toEqual(sums)

    await stop()
    await start({ HUBMIRROR_CHECK_READS: '0s' })
    await flipBit(placeOf('blobs', path), 2_400_000)
    await get(path, { field: '2300000-2399999', part: right(path).subarray(2_300_000, 2_400_000) })
    expect(await disk()).toBe(1)
    await stop()
  })
})
