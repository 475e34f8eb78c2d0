// `hubmirror prefetch` on a disk that becomes full in the middle.

import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { prefetchBy, statesOf } from '../support/prefetch.ts'
import { startMirror, whenIdle } from '../support/start-mirror.ts'
import { checkStore, modelOf } from '../support/store-check.ts'
import { mountDisk, whyNoDisk } from '../support/tmpfs.ts'

const SIZE = 3_000_000
const FILES = ['a.bin', 'b.bin', 'c.bin', 'd.bin'] as const
const noDisk = await whyNoDisk()

/** Takes every byte of the disk that is left. */
async function fillUp(ballast: string): Promise<void> {
  const handle = await open(ballast, 'w')
  for (const size of [1024 * 1024, 4096]) {
    const piece = Buffer.alloc(size)
    for (;;) {
      const written = await handle.write(piece).catch(() => undefined)
      if (written === undefined || written.bytesWritten < size) break
    }
  }
  await handle.close()
}

it.skipIf(noDisk !== undefined).each([0, 4_000_000])(
  'names what is missing after the disk became full at %i bytes, and fetches the rest when there is space',
  async (bytesBefore) => {
    const world = new World()
    const repo = world.model('acme/open')
    repo.commit(
      Object.fromEntries(FILES.map((name, index) => [name, lfs({ sizeBytes: SIZE, seed: index + 1 })])),
    )
    const hub = await startHub({ world })
    onTestFinished(() => hub.close())
    const disk = await mountDisk(24)
    onTestFinished(() => disk.unmount())
    const mirror = await startMirror({
      hub,
      cacheDir: join(disk.directory, 'cache'),
      config: { cacheMinFreeBytes: 0 },
    })
    onTestFinished(() => mirror.close())
    const socket = await mirror.app.openControl()
    const model = modelOf(FILES.map((name) => bytesOf(repo, 'main', name)))

    const ballast = join(disk.directory, 'ballast')
    if (bytesBefore === 0) await fillUp(ballast)
    else
      hub.faults.add({
        where: 'cdn',
        stallAfterBytes: bytesBefore % SIZE,
        skip: Math.floor(bytesBefore / SIZE),
        times: 4,
      })
    const job = prefetchBy(socket, ['acme/open'])
    if (bytesBefore > 0) {
      await hub.faults.whenStalled()
      await fillUp(ballast)
      hub.faults.clear()
    }
    const [first] = await job
    const missing = first?.files.filter(({ state }) => state === 'missing') ?? []
    expect(missing.length).toBeGreaterThan(0)
    for (const { reason } of missing) expect(reason).toContain('no space')
    await whenIdle(() => mirror.metrics())
    const state = await checkStore(mirror.cacheDir, model)
    expect(state.blobs.size).toBe(FILES.length - missing.length)

    await rm(ballast)
    const [second] = await prefetchBy(socket, ['acme/open'])
    const kept = FILES.filter((name) => missing.every(({ path }) => path !== name))
    expect(second && statesOf(second)).toEqual(
      Object.fromEntries(FILES.map((name) => [name, kept.includes(name) ? 'stored' : 'fetched'])),
    )
    expect((await checkStore(mirror.cacheDir, model)).blobs.size).toBe(FILES.length)
  },
)
