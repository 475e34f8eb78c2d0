// `hubmirror prefetch` as a process, also killed at any moment, and its work in settings of which test/integration plays the
// first of each kind.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { reachMirror } from '../../src/commands/prefetch/reach.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { LARGE_BYTES, TOKENS } from '../support/mirror-world.ts'
import { only, openBeside, prefetchBy, statesOf } from '../support/prefetch.ts'
import { startChild } from '../support/process.ts'
import { run, start } from '../support/run-cli.ts'
import { openScene } from '../support/scene.ts'
import { chance } from '../support/seeded.ts'
import { checkStore, expectKept, gitName, lfsName, modelOf, type StoreState } from '../support/store-check.ts'
import { linesOn, runInTerminal } from '../support/terminal.ts'

const W_BIN = '/acme/open/resolve/main/w.bin'

describe('prefetch beside a mirror', () => {
  it('stores names that break if they are decoded twice, and repos under an older name', async () => {
    const scene = await openBeside({ config: { basePath: '/hugging-face' } })
    const results = await prefetchBy(scene.socket, ['acme/odd', 'acme/old', 'legacy'])
    for (const result of results)
      expect(new Set(Object.values(statesOf(result)))).toEqual(new Set(['fetched']))
    expect(results.map(({ files }) => files.length)).toEqual([8, 2, 2])
  })

  it('is served whatever networks and rates apply to clients, and only on the socket', async () => {
    const scene = await openBeside({
      config: { clientsDeny: ['127.0.0.0/8'], clientsRateLimit: { max: 1, windowMs: 60_000 } },
    })
    expect(new Set(Object.values(statesOf(only(await prefetchBy(scene.socket, ['acme/odd'])))))).toEqual(
      new Set(['fetched']),
    )
    expect((await scene.ask(W_BIN)).status).toBe(403)
    await scene.restart({ clientsDeny: [], clientsRateLimit: undefined })
    const wish = { headers: { 'x-hubmirror-wish': 'store' } }
    expect((await scene.ask(W_BIN, wish)).body.length).toBe(LARGE_BYTES)
  })

  it('works with workers before the mirror', async () => {
    const scene = await openBeside({ config: { workers: 2 } })
    expect(statesOf(only(await prefetchBy(scene.socket, ['acme/open'], { include: ['w.bin'] })))).toEqual({
      'w.bin': 'fetched',
    })
    expect((await scene.ask(W_BIN)).headers['x-cache']).toBe('HIT')
  })

  it('names files that do not fit into the store, and those that were evicted for others', async () => {
    const scene = await openBeside({ config: { cacheMaxSizeBytes: 4_000_000, cacheMinFreeBytes: 0 } })
    for (const [seed, name] of ['first', 'second'].entries())
      scene.world.model(`acme/${name}`).commit({ 'w.bin': lfs({ sizeBytes: 3_000_000, seed: 70 + seed }) })
    scene.world.model('acme/larger').commit({ 'w.bin': lfs({ sizeBytes: 5_000_000, seed: 72 }) })
    const results = await prefetchBy(scene.socket, ['acme/first', 'acme/second', 'acme/larger'])
    expect(results.map(({ files }) => files[0])).toMatchObject([
      { state: 'missing', reason: expect.stringContaining('has been evicted') as string },
      { state: 'fetched' },
      { state: 'missing', reason: expect.stringContaining('no space') as string },
    ])
  })

  it('says that the mirror has stopped, and counts the rest as missing', async () => {
    const scene = await openBeside({ busy: true })
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 1_000_000 })
    const job = prefetchBy(scene.socket, ['acme/open', 'acme/odd'])
    await scene.hub.faults.whenStalled()
    await scene.mirror.close({ busy: true })
    const results = await job
    const reasons = results.flatMap(({ files }) => files.flatMap(({ reason }) => reason ?? []))
    expect(new Set(reasons)).toEqual(new Set(['the mirror has stopped; run the command again to go on']))
    expect(results[1]?.files.every(({ state }) => state === 'missing')).toBe(true)
  })
})

describe('hubmirror prefetch', () => {
  it('says that a process without a control socket has the store', async () => {
    const scene = await openScene()
    const { signal } = new AbortController()
    const said: string[] = []
    const options = {
      version: '0.0.0-test',
      say: (line: string) => void said.push(line),
      signal,
      startsWithinMs: 0,
    }
    await expect(reachMirror({ ...scene.mirror.config, auditLog: undefined }, options)).rejects.toThrow(
      /^Another hubmirror \(process \d+\) uses \S+\. It has no control socket that can be reached from here/,
    )
    const socket = await scene.mirror.app.openControl()
    expect(await reachMirror(scene.mirror.config, options)).toMatchObject({
      socketPath: socket,
      watch: expect.anything() as unknown,
    })
    expect(said).toEqual([])
  })

  it('opens the store if no mirror runs, and prints a list of what is missing', async () => {
    const scene = await openScene()
    const { cacheDir } = scene.mirror
    await scene.mirror.close({ keepDir: true })
    const env = {
      HUBMIRROR_CACHE_DIR: cacheDir,
      HUBMIRROR_ORIGIN: scene.hub.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
      HF_TOKEN: TOKENS.alice,
    }
    const first = await run(['prefetch', 'acme/open', 'acme/secret', '--exclude', 'nested/'], env)
    expect(first.status).toBe(1)
    expect(first.stdout).toBe(
      [
        `models/acme/open@main (${scene.commit('acme/open').slice(0, 7)}): 4 files, 3 MB; 1 (0 B) stored before, 3 (3 MB) fetched`,
        `models/acme/secret@main (${scene.commit('acme/secret').slice(0, 7)}): 2 files, 300 kB; 0 (0 B) stored before, 0 (0 B) fetched, 2 (300 kB) missing`,
        '  missing: the repo is private or gated, and HUBMIRROR_CACHE_PRIVATE is off: its files are passed through, and none is kept',
        '    config.json (22 B)',
        '    w.bin (300 kB)',
        '',
      ].join('\n'),
    )
    expect(first.stderr.split('\n').toSorted()).toEqual([
      '',
      'fetched acme/open/README.md (7 B)',
      'fetched acme/open/config.json (28 B)',
      'fetched acme/open/w.bin (3 MB)',
      'missing acme/secret/config.json (22 B)',
      'missing acme/secret/w.bin (300 kB)',
    ])
    await scene.restart()
    await scene.mirror.app.openControl()
    const beside = await run(['prefetch', 'acme/open', '--json', '--dry-run'], env)
    expect([beside.status, beside.stderr]).toEqual([0, ''])
    expect(JSON.parse(beside.stdout)).toMatchObject({
      dryRun: true,
      complete: true,
      repos: [
        { repo: 'models/acme/open', files: 5, stored: { files: 4 }, toFetch: { files: 1 }, missing: [] },
      ],
    })
    // A dataset and a space by --type, and a repo by its own prefix.
    for (const [type, name] of [
      ['dataset', 'acme/data'],
      ['space', 'acme/demo'],
      ['dataset', 'dataset/acme/data'],
    ] as const) {
      const typed = await run(['prefetch', '--type', type, name, '--json'], env)
      expect([typed.status, JSON.parse(typed.stdout)]).toMatchObject([
        0,
        { complete: true, repos: [{ repo: `${type}s/${name.replace('dataset/', '')}`, missing: [] }] },
      ])
    }
    expect((await scene.ask('/datasets/acme/data/resolve/main/data/train.parquet')).headers['x-cache']).toBe(
      'HIT',
    )
  })
})

describe('hubmirror prefetch that is killed', () => {
  const MIB = 1024 * 1024
  const ROUNDS = 3
  const SIZES = { 'a.bin': 3 * MIB, 'b.bin': 7 * MIB + 1, 'c.bin': 12 * MIB - 1 } as const

  it('loses nothing that was recorded, and goes on there', async () => {
    const dice = chance('prefetch')
    const world = new World()
    const repo = world.model('acme/open')
    const large = Object.entries(SIZES).map(
      ([path, sizeBytes], index) => [path, lfs({ sizeBytes, seed: 80 + index })] as const,
    )
    repo.commit({ ...Object.fromEntries(large), '1.json': '{"n":1}', '2.json': '{"n":2}' })
    const bytes = (path: string) => bytesOf(repo, 'main', path)
    const names = [
      ...Object.keys(SIZES).map((path) => lfsName(bytes(path))),
      ...['1.json', '2.json'].map((path) => gitName(bytes(path))),
    ]
    const model = modelOf([...Object.keys(SIZES), '1.json', '2.json'].map(bytes))
    const hub = await startHub({ world })
    onTestFinished(() => hub.close())
    const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-prefetch-'))
    onTestFinished(() => rm(cacheDir, { recursive: true, force: true }))
    const env = {
      HUBMIRROR_CACHE_DIR: cacheDir,
      HUBMIRROR_CACHE_MIN_FREE: '0B',
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
    }
    let found: StoreState = { blobs: new Set(), partials: new Map() }
    for (let round = 0; round < ROUNDS; round += 1) {
      hub.bytesPerSecond = dice.below(8 * MIB, 2 * MIB)
      hub.ledger.clear()
      const mirror = round % 3 === 2 ? await startChild({ hub, cacheDir, env }) : undefined
      const command = start(['prefetch', 'acme/open'], env)
      const isOver = command.done.then(() => undefined)
      await Promise.race([isOver, hub.ledger.whenSeen({ server: 'cdn' })])
      // From here on the moment is what is tried: it must depend on nothing that happens.
      await delay(dice.below(400, 5))
      if (mirror === undefined) command.child.kill('SIGKILL')
      else mirror.kill('SIGKILL')
      await mirror?.ended
      const { status, stdout } = await command.done
      if (mirror !== undefined && status !== 0)
        expect([status, stdout]).toEqual([
          1,
          expect.stringContaining('missing: the mirror has stopped; run the command again'),
        ])
      const state = await checkStore(cacheDir, model)
      expectKept(found, state)
      found = state
    }
    hub.bytesPerSecond = undefined
    const last = await run(['prefetch', 'acme/open', '--json'], env)
    expect([last.status, JSON.parse(last.stdout)]).toMatchObject([
      0,
      { complete: true, repos: [{ files: 5, missing: [] }] },
    ])
    const done = await checkStore(cacheDir, model)
    expect([[...done.blobs].sort(), done.partials.size]).toEqual([names.sort(), 0])
  })
})

describe('hubmirror prefetch at a terminal', () => {
  it('shows a bar for each large file and one for the whole, and removes them', async () => {
    const scene = await openScene()
    scene.world
      .model('acme/large')
      .commit({ 'w.bin': lfs({ sizeBytes: 6_000_000, seed: 90 }), 'config.json': '{}' })
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 2_000_000 })
    const env = { HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir }
    await scene.mirror.app.openControl()
    const { ended, screen } = runInTerminal(['prefetch', 'acme/large'], env)
    await scene.hub.faults.whenStalled()
    const lines = await eventually(
      () => linesOn(screen()),
      (shown) =>
        /\d of 2 files, .* of 6 MB/.test(shown[0] ?? '') &&
        /^=* +\d+% {2}acme\/large\/w\.bin$/.test(shown[1] ?? ''),
    )
    for (const line of lines) expect(line.length).toBeLessThan(80)
    scene.hub.faults.release()
    expect(await ended).toBe(0)
    const shown = linesOn(screen()).join('')
    expect(shown).toBe(
      `models/acme/large@main (${scene.commit('acme/large').slice(0, 7)}): 2 files, 6 MB; 0 (0 B) stored before, 2 (6 MB) fetched`,
    )
  })

  it('ended by Ctrl-C says that the next run goes on', async () => {
    const scene = await openScene({ busy: true })
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 1_000_000 })
    await scene.mirror.app.openControl()
    const { ended, screen, type } = runInTerminal(['prefetch', 'acme/open'], {
      HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir,
    })
    await scene.hub.faults.whenStalled()
    type('\u0003')
    expect(await ended).toBe(130)
    expect(screen()).toContain('interrupted; what was fetched stays')
    scene.hub.faults.clear()
  })
})
