// `import` and `bundle load` on a store whose disk becomes full at different moments, without a mirror and beside one. What was there
// before stays and is served, all of a new repo is shown or nothing, the commands say what to do, and complete when there is room.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { expectStoreFull, inRooms, loadUntilFull, openDisk, SMALL_BYTES } from '../support/full-disk.ts'
import { expectServed, openKilled } from '../support/killed.ts'
import { run } from '../support/run-cli.ts'
import { metricValue } from '../support/start-mirror.ts'
import { whyNoDisk } from '../support/tmpfs.ts'

const noDisk = await whyNoDisk()
const PLENTY_BYTES = 20_000_000
/** What follows the last member of a bundle. */
const END_BYTES = 1024

async function openSmall() {
  const disk = await openDisk()
  const store = join(disk.directory, 'store')
  const env = { HUBMIRROR_CACHE_MIN_FREE: '0B' }
  const sides = await openKilled({ store, env, beforeBytes: SMALL_BYTES })
  await sides.makeStore()
  await sides.done(sides.here('create', sides.at('many.tar'), 'acme/many'))
  return { disk, store, sides, bundle: await readFile(sides.at('many.tar')) }
}

it.skipIf(noDisk !== undefined)(
  'import loses nothing on a full disk, and completes when there is room',
  async () => {
    const { disk, store, sides } = await openSmall()
    const { at, done, hereEnv, thereEnv } = sides
    await done(run(['export', 'acme/many', at('hub')], hereEnv))
    const args = ['import', at('hub'), '--public', '--whole']
    await inRooms('full disk, import', {
      disk,
      inside: 1,
      last: 2,
      begin: () => run(args, thereEnv),
      async check(result) {
        if (result.status !== 0) expectStoreFull(result, store)
        await disk.leaveFree(PLENTY_BYTES)
        await sides.expectStore(result.status === 0)
      },
      async complete() {
        await done(run(args, thereEnv))
        await sides.expectStore(true)
      },
      reset: () => sides.resetStore(),
    })
    await done(run(args, thereEnv))
    await sides.expectVerified()
  },
)

it.skipIf(noDisk !== undefined)(
  'bundle load loses nothing when the disk becomes full in the middle, and completes when there is room',
  async () => {
    const { disk, store, sides, bundle } = await openSmall()
    const { at, done, there, thereEnv } = sides
    const end = bundle.length - END_BYTES
    const moments = [
      [Math.floor(end / 2), 0],
      [end, 0],
      [end, 2],
      [end, 6],
    ] as const
    for (const [until, pages] of moments) {
      const result = await loadUntilFull(disk, bundle, { env: thereEnv, until, freeBytes: pages * 4096 })
      console.info(result.status, result.stderr)
      if (result.status !== 0) expectStoreFull(result, store)
      if (pages === 0) expect(result.status).toBe(1)
      await disk.leaveFree(PLENTY_BYTES)
      await sides.expectStore(result.status === 0)
      await done(there('load', at('many.tar')))
      await sides.expectStore(true)
      await sides.resetStore()
    }
    await done(there('load', at('many.tar')))
    await sides.expectVerified()
  },
)

it.skipIf(noDisk !== undefined)(
  'a mirror serves on when the disk becomes full in the middle of a load, reports it, and takes the bundle when there is room',
  async () => {
    const { disk, store, sides, bundle } = await openSmall()
    const { scene, at, done, there, thereEnv } = sides
    const end = bundle.length - END_BYTES
    const moments = [
      [Math.floor(end / 3), 0],
      [end, 0],
      [end, 4],
    ] as const
    for (const [until, pages] of moments) {
      const mirror = await sides.openThere({
        cacheMinFreeBytes: 0,
        auditLog: { kind: 'file', path: at('audit.log') },
      })
      await mirror.app.openControl()
      const isReady = async (): Promise<boolean> => {
        const answer = await fetch(`${mirror.url}/readyz`)
        const { checks } = (await answer.json()) as { checks: { store: { ok: boolean } } }
        return checks.store.ok
      }
      const isDegraded = async () => metricValue(await mirror.metrics(), 'hubmirror_cache_degraded')
      const result = await loadUntilFull(disk, bundle, { env: thereEnv, until, freeBytes: pages * 4096 })
      console.info(result.status, result.stderr)
      await expectServed(mirror.url, scene, { isWhole: result.status === 0 })
      if (result.status !== 0) {
        expectStoreFull(result, store)
        expect([await isReady(), await isDegraded()]).toEqual([false, 1])
        expect(mirror.logLines('the store cannot take bytes')).toHaveLength(1)
      }
      if (pages === 0) expect(result.status).toBe(1)

      await disk.leaveFree(PLENTY_BYTES)
      await done(there('load', at('many.tar')))
      await expectServed(mirror.url, scene, { isWhole: true })
      scene.clock.advance(11_000)
      expect([await isReady(), await isDegraded()]).toEqual([true, 0])
      await mirror.close({ keepDir: true })
      await sides.expectVerified()
      await sides.resetStore()
    }
  },
)
