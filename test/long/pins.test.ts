// Pins in a mirror that is a process of its own, killed at any moment, and with a branch that moves.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { openPinned, withoutWaits } from '../support/pins.ts'
import { startChild } from '../support/process.ts'
import { run } from '../support/run-cli.ts'
import { chance } from '../support/seeded.ts'
import { checkStore, expectKept, lfsName, modelOf, type StoreState } from '../support/store-check.ts'

describe('a pinned file', () => {
  it('stays, with those of the commits before, while a branch moves on', async () => {
    const scene = await openPinned('pins:\n  - {repo: acme/moving, keep: 1, every: 1m}\n')
    const model = scene.world.model('acme/moving')
    const commit = (seed: number) => model.commit({ 'w.bin': lfs({ sizeBytes: 100_000, seed }) })
    const first = commit(90)
    await scene.begin()
    await scene.ended(({ behind }) => !behind)
    const kept = async () =>
      (
        JSON.parse(await readFile(join(scene.mirror.cacheDir, 'pins.json'), 'utf8')) as {
          revisions: { commits: { commit: string }[] }[]
        }
      ).revisions.flatMap(({ commits }) => commits.map((one) => one.commit))
    expect(await kept()).toEqual([first])
    let before = first
    for (const seed of [91, 92]) {
      const next = commit(seed)
      scene.clock.advance(61_000)
      await scene.ended(({ behind, at }) => !behind && at[0]?.commit === next)
      expect(await kept()).toEqual([next, before])
      before = next
    }
    expect(scene.report().keptBytes).toBe(200_000)
  })
})

it('a run of which many files fail in a row leaves the others for the next one, until each is there that can be had', async () => {
  const scene = await openPinned('pins:\n  - repo: acme/half\n')
  const model = scene.world.model('acme/half')
  const bins = Array.from({ length: 24 }, (_, index) => `${String(index).padStart(2, '0')}.bin`)
  model.commit(Object.fromEntries(bins.map((name, seed) => [name, lfs({ sizeBytes: 1_000, seed })])))
  const fault = scene.hub.faults.add({
    where: 'hub',
    match: /resolve\/.*\/(?:0\d|1[0-5])\.bin/,
    times: 1_000,
    status: { code: 503 },
  })
  await scene.begin(withoutWaits())
  await eventually(
    () => scene.report().pins[0]?.reason,
    (reason) => reason === 'failed' || reason === 'hub-away',
  )
  const urls = scene.hub.ledger.requests({ url: /\d\.bin/ }).map(({ url }) => url)
  const asked = new Set(urls.map((url) => /\d\d\.bin/.exec(url)?.[0]))
  // Eight in a row, and those that were under way by then.
  expect([fault.struck > 0, asked.size < 16]).toEqual([true, true])
  const missing = () => {
    scene.clock.advance(3_600_000)
    return scene.report().pins[0]?.at[0]?.missing.files
  }
  await eventually(missing, (files) => files === 16)
})

interface Printed {
  readonly mirror: boolean
  readonly complete: boolean
  readonly pins: readonly {
    readonly repo: string
    readonly behind: boolean
    readonly reason: string | null
  }[]
}

describe('hubmirror with a file of pins', () => {
  const MIB = 1024 * 1024
  const SIZES = { 'a.bin': 3 * MIB, 'b.bin': 5 * MIB + 1, 'c.bin': 7 * MIB - 1 } as const

  async function place() {
    const world = new World()
    const repo = world.model('acme/open')
    const files = Object.entries(SIZES).map(
      ([path, sizeBytes], index) => [path, lfs({ sizeBytes, seed: 60 + index })] as const,
    )
    repo.commit(Object.fromEntries(files))
    const bytes = Object.keys(SIZES).map((path) => bytesOf(repo, 'main', path))
    const hub = await startHub({ world })
    onTestFinished(() => hub.close())
    const folder = await mkdtemp(join(tmpdir(), 'hubmirror-pins-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const [cacheDir, pins] = [join(folder, 'store'), join(folder, 'pins.yaml')]
    await writeFile(pins, 'pins:\n  - {repo: acme/open, every: 1m}\n')
    const env = {
      HUBMIRROR_CACHE_DIR: cacheDir,
      HUBMIRROR_CACHE_MIN_FREE: '0B',
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
      HUBMIRROR_PINS: pins,
    }
    const printed = async (): Promise<Printed> =>
      JSON.parse((await run(['pins', '--json'], env)).stdout) as Printed
    return { hub, cacheDir, pins, env, bytes, printed }
  }

  it('loses nothing when it is killed, goes on by itself, and `pins --check` tells when it is done', async () => {
    const { hub, cacheDir, env, bytes, printed } = await place()
    const dice = chance('pins')
    const model = modelOf(bytes)
    let found: StoreState = { blobs: new Set(), partials: new Map() }
    for (let round = 0; round < 3; round += 1) {
      hub.bytesPerSecond = dice.below(8 * MIB, 2 * MIB)
      hub.ledger.clear()
      const mirror = await startChild({ hub, cacheDir, env })
      await Promise.race([hub.ledger.whenSeen({ server: 'cdn' }), mirror.ended])
      // From here on the moment is what is tried: it must depend on nothing that happens.
      await delay(dice.below(400, 5))
      mirror.kill('SIGKILL')
      await mirror.ended
      const state = await checkStore(cacheDir, model)
      expectKept(found, state)
      found = state
    }
    hub.bytesPerSecond = undefined
    const behind = await run(['pins', '--check'], env)
    expect([behind.status, behind.stdout]).toEqual([
      1,
      expect.stringContaining('no mirror is running, so nothing is fetched'),
    ])
    const mirror = await startChild({ hub, cacheDir, env })
    const last = await eventually(printed, ({ complete }) => complete, 60_000)
    expect(last).toMatchObject({
      mirror: true,
      pins: [{ repo: 'models/acme/open', behind: false, reason: null }],
    })
    expect((await run(['pins', '--check'], env)).status).toBe(0)
    const pruned = await run(['prune', 'acme/open'], env)
    expect(pruned.stdout).toMatch(/removed 0 blobs, 0 B; 3 blobs \(.*\) are pinned and stay/)
    mirror.kill('SIGTERM')
    await mirror.ended
    const done = await checkStore(cacheDir, model)
    expect([[...done.blobs].sort(), done.partials.size]).toEqual([bytes.map(lfsName).sort(), 0])
    const alone = await run(['pins', '--check'], env)
    expect([alone.status, alone.stdout]).toEqual([0, expect.stringContaining('1 pin, all complete')])
    const forced = await run(['prune', 'acme/open', '--pinned'], env)
    expect(forced.stdout).toContain('removed 3 blobs')
  })

  it('ends with 2 if the file is wrong, and keeps the last good one when it is reloaded', async () => {
    const { hub, cacheDir, pins, env } = await place()
    const good = await readFile(pins, 'utf8')
    await writeFile(pins, 'pins:\n  - {repo: acme/open, every: 5}\n')
    for (const command of [['serve'], ['pins']]) {
      const { status, stderr } = await run(command, { ...env, HUBMIRROR_PORT: '0' })
      expect([status, stderr]).toEqual([
        2,
        `hubmirror: one setting is wrong:\n  pins.1.every = "5" (file ${pins}:2:30)\n    expected a time with a unit such as 90s or 5m; did you mean 5s?\n`,
      ])
    }
    await writeFile(pins, good)
    const mirror = await startChild({ hub, cacheDir, env })
    await writeFile(pins, 'pins:\n  - {repo: a//b}\n')
    mirror.kill('SIGHUP')
    await eventually(
      () => mirror.log(),
      (log) => log.includes('the settings are wrong; nothing has changed') && log.includes(`${pins}:2:12`),
    )
    expect((await run(['pins', '--json'], { ...env, HUBMIRROR_PINS: join(cacheDir, 'FORMAT') })).status).toBe(
      2,
    )
    mirror.kill('SIGTERM')
    await mirror.ended
  })
})
