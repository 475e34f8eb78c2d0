// Which blob is evicted when the store is full, seen by what comes from the disk afterwards and what from the origin.

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { open } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const SIZE = 6_000_000
const PATHS = ['a.bin', 'b.bin', 'c.bin'] as const
type Path = (typeof PATHS)[number]
/** Room for two of them, and for what is known of all. */
const MAX_BYTES = 2 * SIZE + 500_000

interface FullScene extends Scene {
  /** Fetches a file, which must be right, and says by which way it came. */
  get(path: Path): Promise<string | undefined>
  /** Bytes of files that the origin has sent since this was last asked. */
  fetchedBytes(): number
  /** Series of evictions by `reason`: how many, and how many bytes. */
  evicted(reason: string): Promise<(number | undefined)[]>
  /** Bytes of the blobs as they lie on the disk. */
  storedBytes(): Promise<number>
}

const target = (path: Path) => `/acme/full/resolve/main/${path}`

async function fullScene(config: Partial<Config> = { cacheMaxSizeBytes: MAX_BYTES }): Promise<FullScene> {
  const scene = await openScene({ config })
  scene.world
    .model('acme/full')
    .commit(Object.fromEntries(PATHS.map((path, index) => [path, lfs({ sizeBytes: SIZE, seed: index + 1 })])))
  return Object.assign(scene, {
    async get(path: Path) {
      const reply = await scene.ask(target(path))
      expect([reply.status, reply.whole, reply.body.equals(scene.bytes('acme/full', path))]).toEqual([
        200,
        true,
        true,
      ])
      await scene.settled()
      return reply.headers['x-cache']
    },
    fetchedBytes() {
      const bytes = scene.hub.ledger.bytes()
      scene.hub.ledger.clear()
      return bytes
    },
    async evicted(reason: string) {
      const text = await scene.mirror.metrics()
      return ['evictions_total', 'evicted_bytes_total'].map((name) =>
        metricValue(text, `hubmirror_cache_${name}{reason="${reason}"}`),
      )
    },
    async storedBytes() {
      const blobs = join(scene.mirror.cacheDir, 'blobs')
      const entries = await readdir(blobs, { withFileTypes: true, recursive: true })
      const files = entries.filter((entry) => entry.isFile())
      const sizes = await Promise.all(
        files.map(async (file) => (await stat(join(file.parentPath, file.name))).size),
      )
      return sizes.reduce((sum, size) => sum + size, 0)
    },
  })
}

describe('a store that is full', () => {
  it('evicts the file that was used longest ago for a new one', async () => {
    const scene = await fullScene()
    for (const path of ['a.bin', 'b.bin'] as const) expect(await scene.get(path)).toBe('MISS')
    expect([await scene.get('a.bin'), scene.fetchedBytes()]).toEqual(['HIT', 2 * SIZE])
    expect(await scene.evicted('max-size')).toEqual([0, 0])
    // The third has room when the second has gone; the first was used after it.
    expect([await scene.get('c.bin'), scene.fetchedBytes()]).toEqual(['MISS', SIZE])
    expect(await scene.evicted('max-size')).toEqual([1, SIZE])
    expect(await scene.storedBytes()).toBe(2 * SIZE)
    expect([await scene.get('a.bin'), await scene.get('c.bin'), scene.fetchedBytes()]).toEqual([
      'HIT',
      'HIT',
      0,
    ])
    expect([await scene.get('b.bin'), scene.fetchedBytes()]).toEqual(['MISS', SIZE])
    expect(await scene.evicted('max-size')).toEqual([2, 2 * SIZE])
    expect([await scene.get('c.bin'), await scene.get('a.bin'), scene.fetchedBytes()]).toEqual([
      'HIT',
      'MISS',
      SIZE,
    ])
    const text = await scene.mirror.metrics()
    expect(metricValue(text, 'hubmirror_cache_blobs')).toBe(2)
    expect(metricValue(text, 'hubmirror_cache_size_bytes')).toBeLessThanOrEqual(MAX_BYTES)
    expect(metricValue(text, 'hubmirror_cache_limit_bytes')).toBe(MAX_BYTES)
  })

  it('evicts in the order of last use also after a restart', async () => {
    const scene = await fullScene()
    for (const path of ['a.bin', 'b.bin'] as const) await scene.get(path)
    await scene.restart()
    scene.fetchedBytes()
    // The first was stored first, and has not been used since.
    await scene.get('c.bin')
    // The walk at start may still be on its way.
    await eventually(
      () => scene.evicted('max-size'),
      ([count]) => count === 1,
    )
    expect([await scene.get('b.bin'), scene.fetchedBytes()]).toEqual(['HIT', SIZE])
    expect([await scene.get('a.bin'), scene.fetchedBytes()]).toEqual(['MISS', SIZE])
  })

  it('evicts no file that is being read: a file without space passes through', async () => {
    const scene = await fullScene()
    for (const path of ['a.bin', 'b.bin'] as const) await scene.get(path)
    const readers = await Promise.all(
      (['a.bin', 'b.bin'] as const).map((path) => open(scene.mirror.url, target(path))),
    )
    for (const reader of readers) await new Promise((resolve) => reader.once('readable', resolve))
    expect(await scene.get('c.bin')).toBe('BYPASS')
    expect(await scene.evicted('max-size')).toEqual([0, 0])
    const [first, second] = readers
    second?.on('error', () => undefined).destroy()
    // The one that has left may go now; the other still may not, though it was used before.
    await eventually(
      () => scene.get('c.bin'),
      (word) => word === 'MISS',
    )
    expect(await scene.evicted('max-size')).toEqual([1, SIZE])
    const parts: Buffer[] = []
    for await (const part of first ?? []) parts.push(part as Buffer)
    expect(Buffer.concat(parts).equals(scene.bytes('acme/full', 'a.bin'))).toBe(true)
    expect(await scene.get('a.bin')).toBe('HIT')
  })

  it('keeps the answers of the API that were used last, within the share of facts', async () => {
    // A twentieth is less than 1 MiB, which facts have in any case.
    const cacheMaxSizeBytes = 4 * 1024 * 1024
    const scene = await openScene({ config: { cacheMaxSizeBytes } })
    const text = 'x'.repeat(200_000)
    const body = (number: number) => JSON.stringify([{ number, text }])
    const list = (number: number) => `/api/collections?q=${number}`
    for (let number = 0; number < 20; number += 1) {
      const status = { code: 200, headers: { 'content-type': 'application/json' }, body: body(number) }
      const fault = scene.hub.faults.add({ where: 'hub', match: /collections/, status })
      const got = await scene.ask(list(number))
      expect([number, got.status, got.headers['x-cache']]).toEqual([number, 200, 'MISS'])
      fault.remove()
    }
    const storedBytes = async () =>
      metricValue(await scene.mirror.metrics(), 'hubmirror_cache_size_bytes') ?? 0
    await eventually(storedBytes, (bytes) => bytes <= 1024 * 1024)
    expect(await storedBytes()).toBeGreaterThan(text.length)
    // What is left is on the disk, and not only in memory.
    await scene.restart({ offline: true, cacheMaxSizeBytes })
    expect((await scene.ask(list(0))).status).toBe(404)
    const last = await scene.ask(list(19))
    expect([last.status, last.body.toString()]).toEqual([200, body(19)])
  })

  it('shrinks to a limit that was lowered, the oldest files first', async () => {
    const scene = await fullScene({})
    for (const path of PATHS) await scene.get(path)
    expect(await scene.storedBytes()).toBe(3 * SIZE)
    await scene.restart({ cacheMaxSizeBytes: MAX_BYTES - SIZE })
    await eventually(
      () => scene.evicted('max-size'),
      ([count]) => count === 2,
    )
    expect(await scene.storedBytes()).toBe(SIZE)
    scene.fetchedBytes()
    expect([await scene.get('c.bin'), scene.fetchedBytes()]).toEqual(['REVALIDATED', 0])
  })
})
