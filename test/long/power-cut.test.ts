import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { take } from '../support/fetcher.ts'
import { type DiskKind, mountPowered, type PoweredDisk, whyNoPower } from '../support/power.ts'
import { type Child, startChild } from '../support/process.ts'
import { chance } from '../support/seeded.ts'
import { whenIdle } from '../support/start-mirror.ts'
import { checkStore, expectKept, gitName, lfsName, type Model, modelOf } from '../support/store-check.ts'

const MIB = 1024 * 1024
/** On each kind of disk. */
const ROUNDS = 3
const FILE = '/acme/open/resolve/main'
const DISKS = [
  ['ext4', await whyNoPower('ext4')],
  ['xfs', await whyNoPower('xfs')],
] as const

let hub: Hub
let disk: PoweredDisk
let child: Child | undefined

afterEach(async () => {
  await child?.stop()
  await hub.close()
  await disk.remove()
})

/** What a round commits before the cut, and what it has under way when the cut comes. */
const committedIn = (round: number) => [`done-${round}.bin`, `done-${round}.json`]
const underWayIn = (round: number) => [`large-${round}.bin`, `small-${round}.json`, `ranged-${round}.bin`]

async function setUp(
  kind: DiskKind,
): Promise<{ files: ReadonlyMap<string, Buffer>; model: Model; cacheDir: string }> {
  const world = new World()
  const repo = world.model('acme/open')
  const paths = Array.from({ length: ROUNDS }, (_, round) => [...committedIn(round), ...underWayIn(round)])
  const content = (path: string, seed: number) =>
    path.endsWith('.json') ? path.repeat(900) : lfs({ sizeBytes: 6 * MIB + seed, seed: 90 + seed })
  repo.commit(Object.fromEntries(paths.flat().map((path, seed) => [path, content(path, seed)])))
  const files = new Map(paths.flat().map((path) => [path, bytesOf(repo, 'main', path)]))
  hub = await startHub({ world })
  disk = await mountPowered(200, kind)
  return { files, model: modelOf(files.values()), cacheDir: join(disk.directory, 'cache') }
}

const blobOf = (cacheDir: string, bytes: Buffer) => {
  const [algorithm = '', hex = ''] = lfsName(bytes).split('-')
  return join(cacheDir, 'blobs', algorithm, hex.slice(0, 2), hex)
}

const nothingUnderWay = (url: string) => whenIdle(async () => (await fetch(`${url}/metrics`)).text())

/**
 * No other process syncs anything: a journal that is written for the next file would also keep the name of the last one.
 * So the test shows whether the commit itself has made it durable.
 */
describe.each(DISKS)('a power cut right after a file is finished, on %s,', (kind, whyNot) => {
  it.skipIf(whyNot !== undefined).each(['made for it', 'there before'])(
    'costs nothing of a file whose directory was %s',
    async (which) => {
      const { files, model, cacheDir } = await setUp(kind)
      const [path = ''] = committedIn(0)
      const right = files.get(path) ?? Buffer.alloc(0)
      child = await startChild({ hub, cacheDir })
      if (which === 'there before') {
        await mkdir(dirname(blobOf(cacheDir, right)), { recursive: true })
        await disk.writeBack()
      }
      expect(await take(child.url, `${FILE}/${path}`, right)).toBe('whole')
      await nothingUnderWay(child.url)
      await disk.cut()
      child.kill('SIGKILL')
      await child.ended
      await disk.reboot()
      const { blobs } = await checkStore(cacheDir, model)
      expect([...blobs]).toEqual([lfsName(right)])
    },
  )
})

describe.each(DISKS)('a power cut, with %s,', (kind, whyNot) => {
  it.skipIf(whyNot !== undefined)(
    `${ROUNDS} times loses no finished file, and no byte counts as written that was not`,
    async () => {
      const dice = chance('power cut')
      const { files, model, cacheDir } = await setUp(kind)
      const right = (path: string) => files.get(path) ?? Buffer.alloc(0)
      const nameOf = (path: string) => (path.endsWith('.bin') ? lfsName : gitName)(right(path))
      const get = (url: string, path: string, range?: string) =>
        take(url, `${FILE}/${path}`, right(path), range === undefined ? {} : { range })

      for (let round = 0; round < ROUNDS; round += 1) {
        child = await startChild({ hub, cacheDir })
        const { url } = child
        for (const path of committedIn(round)) expect(await get(url, path)).toBe('whole')
        expect(await get(url, `ranged-${round}.bin`, 'bytes=1000000-1999999')).toBe('whole')
        await nothingUnderWay(url)
        const before = await checkStore(cacheDir, model)
        for (const path of committedIn(round)) expect(before.blobs.has(nameOf(path))).toBe(true)
        expect(before.partials.size).toBe(1)

        hub.bytesPerSecond = 12 * MIB
        const pulls = underWayIn(round).map((path) => get(url, path))
        // At no moment that anything could count on; in every other round the kernel has written half of it back.
        await delay(dice.below(700))
        if (round % 2 === 1) await disk.writeBack()
        await disk.cut()
        child.kill('SIGKILL')
        await child.ended
        for (const taken of await Promise.all(pulls)) expect(['whole', 'broken']).toContain(taken)
        await disk.reboot()
        expectKept(before, await checkStore(cacheDir, model))

        hub.bytesPerSecond = undefined
        child = await startChild({ hub, cacheDir })
        hub.ledger.clear()
        for (const path of committedIn(round)) expect(await get(child.url, path)).toBe('whole')
        expect(hub.ledger.bodyRequests(), 'what was finished is not fetched again').toEqual([])
        for (const path of files.keys()) {
          if (round < ROUNDS - 1 && !committedIn(round).concat(underWayIn(round)).includes(path)) continue
          expect(await get(child.url, path), path).toBe('whole')
        }
        await nothingUnderWay(child.url)
        child.kill('SIGTERM')
        expect(await child.ended).toBe(0)
      }
      const { blobs, partials } = await checkStore(cacheDir, model)
      expect([blobs.size, partials.size]).toEqual([files.size, 0])
    },
  )
})
