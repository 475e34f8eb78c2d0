// `prefetch` without a mirror, and pins, on a store whose disk is too small by more or less. What was there before stays and is served,
// what is missing is named with the cure, and all is fetched when there is room.

import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { inRooms, openDisk, SMALL_BYTES } from '../support/full-disk.ts'
import { expectFiles, filesOf, killedWorld, openKilled } from '../support/killed.ts'
import { openPinned } from '../support/pins.ts'
import { run } from '../support/run-cli.ts'
import { checkStore, modelOf } from '../support/store-check.ts'
import { whyNoDisk } from '../support/tmpfs.ts'

const noDisk = await whyNoDisk()
const PLENTY_BYTES = 20_000_000

it.skipIf(noDisk !== undefined)(
  'prefetch loses nothing on a full disk, and fetches the rest when there is room',
  async () => {
    const disk = await openDisk()
    const env = { HUBMIRROR_CACHE_MIN_FREE: '0B' }
    const sides = await openKilled({ store: join(disk.directory, 'store'), env, beforeBytes: SMALL_BYTES })
    await sides.makeStore()
    const prefetch = (...repos: readonly string[]) =>
      run(['prefetch', ...repos], { ...sides.thereEnv, HUBMIRROR_OFFLINE: 'off' })
    const begin = () => prefetch('acme/many')
    await inRooms('full disk, prefetch', {
      disk,
      inside: 2,
      begin,
      async check({ status, stdout, stderr }) {
        if (status !== 0) {
          expect(status).toBe(1)
          if (stdout === '')
            expect(stderr).toMatch(/^hubmirror: .*store cannot be used .*is full .*Make room/)
          else
            expect(stdout).toMatch(
              /missing: .*the store has no space for .*: make room .*HUBMIRROR_CACHE_DIR/,
            )
        }
        await disk.leaveFree(PLENTY_BYTES)
        await sides.expectVerified()
      },
      async complete() {
        // Files that were there before may have been evicted for the others.
        await sides.done(prefetch('acme/before', 'acme/many'))
        await sides.expectStore(true)
      },
      reset: () => sides.resetStore(),
    })
    await sides.done(begin())
    await sides.expectVerified()
  },
)

it.skipIf(noDisk !== undefined).each([1, 700, 1400])(
  'pins say on a disk with %i pages that they have no space, the mirror serves on, and fetches them when there is room',
  async (pages) => {
    const disk = await openDisk()
    const scene = await openPinned('pins:\n  - repo: acme/many\n', {
      world: killedWorld(SMALL_BYTES),
      config: { cacheMinFreeBytes: 0, auditLog: undefined },
      mirror: { cacheDir: join(disk.directory, 'store') },
    })
    onTestFinished(() => rm(join(disk.directory, 'other'), { force: true }))
    await writeFile(join(disk.directory, 'other'), 'of another program')
    const { mirror } = scene
    const model = modelOf(['acme/before', 'acme/many'].flatMap((id) => [...filesOf(scene, id).values()]))
    const pinsOf = async (): Promise<{ readonly ok: boolean }> => {
      const answer = await fetch(`${mirror.url}/readyz`)
      return ((await answer.json()) as { checks: { pins: { ok: boolean } } }).checks.pins
    }
    await expectFiles(mirror.url, scene, 'acme/before')
    await scene.settled()
    await disk.leaveFree(pages * 4096)
    await scene.begin()
    const behind = await scene.ended((pin) => pin.behind && pin.reason !== 'waiting')
    expect(behind).toMatchObject({
      reason: 'no-space',
      message: expect.stringMatching(/make room .*HUBMIRROR_CACHE_DIR|HUBMIRROR_CACHE_DIR.* Make room/),
    })
    expect(await pinsOf()).toMatchObject({ ok: false })
    expect(mirror.logLines('a pin is behind')).not.toEqual([])
    await expectFiles(mirror.url, scene, 'acme/before')
    await scene.settled()
    await checkStore(mirror.cacheDir, model)

    await disk.leaveFree(PLENTY_BYTES)
    scene.clock.advance(61_000)
    await scene.ended((pin) => !pin.behind)
    expect(await pinsOf()).toMatchObject({ ok: true })
    await scene.settled()
    const { blobs } = await checkStore(mirror.cacheDir, model)
    expect(blobs.size).toBe(filesOf(scene, 'acme/before').size + filesOf(scene, 'acme/many').size)
    await expectFiles(mirror.url, scene, 'acme/many')
  },
)
