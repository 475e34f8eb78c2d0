// Pins: what the mirror fetches by itself and never evicts, through a real mirror before a simulated Hub.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { IntakeClient, StoreFull } from '../../src/commands/bundle/intake-client.ts'
import { FAILURES_IN_A_ROW } from '../../src/commands/prefetch/attempts.ts'
import { lfs, sha256Of } from '../hub-simulator/repos.ts'
import { LARGE_BYTES } from '../support/mirror-world.ts'
import { openPinned, type PinsScene, withoutWaits } from '../support/pins.ts'
import { metricValue } from '../support/start-mirror.ts'

const OPEN = 'pins:\n  - repo: acme/open\n'
const MB = 1_000_000
/** The outcomes of what comes from the disk. */
const STORED = /^(?:HIT|REVALIDATED)$/

/** Three models of 3 MB each, and a store with room for two. */
async function openSmall(text: string): Promise<PinsScene> {
  const scene = await openPinned(text, { config: { cacheMaxSizeBytes: 7.5 * MB, cacheMinFreeBytes: 0 } })
  for (const [seed, name] of ['first', 'second', 'third'].entries())
    scene.world.model(`acme/${name}`).commit({ 'w.bin': lfs({ sizeBytes: 3 * MB, seed: 80 + seed }) })
  return scene
}

const pinOf = (name: string): string => `  - repo: ${name === 'data' ? 'dataset/' : ''}acme/${name}\n`

const pull = async (scene: PinsScene, name: string): Promise<string | undefined> => {
  const reply = await scene.ask(`/acme/${name}/resolve/main/w.bin`)
  expect([reply.status, reply.whole]).toEqual([200, true])
  await scene.settled()
  return reply.headers['x-cache']
}

/** The blob of a model of `openSmall`. */
function blobOf(scene: PinsScene, name: string) {
  return {
    key: `sha256:${sha256Of(scene.world.model(`acme/${name}`), 'main', 'w.bin')}` as const,
    sizeBytes: 3 * MB,
  }
}

async function readyz(scene: PinsScene) {
  const reply = await scene.ask('/readyz')
  return {
    status: reply.status,
    pins: (JSON.parse(reply.body.toString()) as { checks: { pins: unknown } }).checks.pins,
  }
}

describe('what is pinned', () => {
  it('is fetched by the mirror itself, and said to be behind until then', async () => {
    const scene = await openPinned(OPEN)
    expect(await readyz(scene)).toEqual({
      status: 200,
      pins: { ok: false, detail: '1 of 1 pins are behind: 1 waiting' },
    })
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_behind_pins{reason="waiting"}')).toBe(1)
    await scene.begin()
    const pin = await scene.ended(({ behind }) => !behind)
    expect(pin.at).toMatchObject([
      { revision: 'main', commit: scene.commit('acme/open'), files: 4, missing: { files: 0, sizeBytes: 0 } },
    ])
    expect(await readyz(scene)).toEqual({ status: 200, pins: { ok: true } })
    await scene.settled()
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, 'hubmirror_pins')).toBe(1)
    expect(metricValue(metrics, 'hubmirror_behind_pins{reason="waiting"}')).toBe(0)
    expect(metricValue(metrics, 'hubmirror_pins_missing_bytes')).toBe(0)
    expect(metricValue(metrics, 'hubmirror_pins_kept_bytes')).toBe(pin.at[0]?.sizeBytes)
    scene.hub.ledger.clear()
    expect((await scene.ask('/acme/open/resolve/main/w.bin')).body.length).toBe(LARGE_BYTES)
    expect(scene.hub.ledger.bytes()).toBe(0)
  })

  it('may be the files of some patterns, at branches and tags of some names', async () => {
    const scene = await openPinned(
      `pins:
  - repo: model/acme/open
    revisions: ['v*', dev]
    include: '*.json'
`,
    )
    await scene.begin()
    const { at } = await scene.ended(({ behind }) => !behind)
    expect(at.map(({ revision, files }) => [revision, files])).toEqual([
      ['dev', 1],
      ['v1', 1],
    ])
  })

  it('says that no revision has such a name, that the Hub refuses, and that the files may not be kept', async () => {
    const scene = await openPinned(
      `pins:
  - {repo: acme/open, revisions: ['release-*']}
  - {repo: acme/nothing}
  - {repo: acme/secret}
`,
    )
    await scene.begin()
    await scene.ended(({ reason }) => reason === 'no-match')
    const reasons = () => scene.report().pins.map(({ reason }) => reason)
    await expect.poll(reasons, { timeout: 20_000 }).toEqual(['no-match', 'refused', 'refused'])
  })
})

describe('a pinned file', () => {
  it('is never evicted, also right after a restart, and as soon as it is not pinned any more, it is', async () => {
    const scene = await openSmall('pins:\n  - repo: acme/first\n')
    await scene.begin()
    await scene.ended(({ behind }) => !behind)
    await scene.settled()
    await pull(scene, 'second')
    await pull(scene, 'third')
    expect(await pull(scene, 'first')).toMatch(STORED)
    await scene.restart()
    // Nothing was looked at in this process yet.
    await pull(scene, 'second')
    await pull(scene, 'third')
    expect(await pull(scene, 'first')).toMatch(STORED)
    await pull(scene, 'second')
    await pull(scene, 'third')
    await scene.pin('pins: []\n')
    scene.reread()
    expect(await pull(scene, 'second')).not.toMatch(STORED)
    expect(await pull(scene, 'first')).not.toMatch(STORED)
  })
})

describe('content that a command brings beside pins', () => {
  it('has room only beside what is pinned and what it needs of the store already', async () => {
    const scene = await openSmall('pins:\n  - repo: acme/first\n')
    const socketPath = await scene.begin()
    await scene.ended(({ behind }) => !behind)
    await pull(scene, 'second')
    const client = new IntakeClient(socketPath, new AbortController().signal)
    const lookForRoom = async (...names: string[]): Promise<void> => {
      const blobs = names.map((name) => blobOf(scene, name))
      await client.requireRoom(blobs, await client.look(blobs))
    }
    // All three need 9 MB of 7.5. The first is pinned: it stays, also where it is not part of what is brought.
    await expect(lookForRoom('second', 'third')).rejects.toThrow(StoreFull)
    await expect(lookForRoom('first', 'second', 'third')).rejects.toThrow(StoreFull)
    // The second may go.
    await lookForRoom('first', 'third')
    await lookForRoom('third')
  })
})

describe('pins that are larger than the store', () => {
  it('are kept and fetched by priority as far as they fit, and the rest is said to have no space', async () => {
    const scene = await openSmall(
      `pins:
  - {repo: acme/first}
  - {repo: acme/second}
  - {repo: acme/third, priority: 5}
`,
    )
    await scene.begin()
    const states = () => scene.report().pins.map(({ repo, reason }) => [repo, reason])
    await expect.poll(states, { timeout: 20_000 }).toEqual([
      ['models/acme/third', null],
      ['models/acme/first', null],
      ['models/acme/second', 'no-space'],
    ])
    await scene.settled()
    expect((await readyz(scene)).pins).toEqual({ ok: false, detail: '1 of 3 pins are behind: 1 no-space' })
    expect(scene.mirror.app.storeStatus().sizeBytes).toBeLessThan(7.5 * MB)
    expect(scene.hub.ledger.requests({ url: /acme\/second.*w\.bin/ })).toEqual([])
    expect(
      metricValue(await scene.mirror.metrics(), 'hubmirror_cache_evictions_total{reason="max-size"}'),
    ).toBe(0)
  })
})

describe('the file of pins', () => {
  it('is read again when it changes; a wrong one is logged with line and cure, and the last good one counts', async () => {
    const scene = await openPinned(OPEN)
    await scene.pin('pins:\n  - repo: acme/open\n    evry: 5m\n')
    scene.reread()
    const [line = ''] = scene.mirror.logLines('the file of pins is wrong')
    expect(JSON.parse(line)).toMatchObject({
      faults: [{ where: `${scene.file}:3:5`, cure: 'no such key; did you mean every?' }],
    })
    expect(scene.report()).toMatchObject({ faulty: true, pins: [{ repo: 'models/acme/open' }] })
    expect((await readyz(scene)).pins).toMatchObject({
      detail: expect.stringContaining('the file of pins has a fault, and the last good one counts') as string,
    })
    await scene.pin('pins:\n  - repo: dataset/acme/data\n')
    scene.reread()
    expect(scene.report()).toMatchObject({ faulty: false, pins: [{ repo: 'datasets/acme/data' }] })
  })
})

describe('a run for a pin', () => {
  it('goes on when the file changes and its pin still wants the same', async () => {
    const scene = await openPinned(`${OPEN}    include: w.bin\n`, { config: { pullAbandoned: 'stop' } })
    const asked = () => scene.hub.ledger.requests({ server: 'cdn' }).length
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 100_000 })
    await scene.begin()
    await scene.hub.faults.whenStalled()
    // It moves down in the file, and is to be looked at less often.
    await scene.pin('pins:\n  - repo: acme/odd\n  - {repo: acme/open, include: w.bin, every: 6h}\n')
    scene.reread()
    expect(scene.report().pins).toHaveLength(2)
    scene.hub.faults.release()
    const inFiveHours = Date.now() + 5 * 3_600_000
    const done = async () => {
      await expect
        .poll(() => scene.report().pins.find(({ repo }) => repo === 'models/acme/open'), { timeout: 20_000 })
        .toMatchObject({ behind: false })
      return scene.report().pins.find(({ repo }) => repo === 'models/acme/open')?.nextRunAt ?? ''
    }
    expect(Date.parse(await done())).toBeGreaterThan(inFiveHours)
    expect(asked()).toBe(1)
    // The mirror must not close in the middle of the run for the other pin.
    const reasons = () => scene.report().pins.map(({ reason }) => reason)
    await expect.poll(reasons, { timeout: 20_000 }).not.toContain('waiting')
  })

  it('ends when no pin wants the same any more', async () => {
    const scene = await openPinned(`${OPEN}    include: w.bin\n`, { config: { pullAbandoned: 'stop' } })
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 100_000 })
    await scene.begin()
    await scene.hub.faults.whenStalled()
    await scene.pin(`${OPEN}    include: '*.json'\n`)
    scene.reread()
    // The request that is stalled is given up: nothing else would let the other pin begin.
    const { at } = await scene.ended(({ behind }) => !behind)
    expect(at.map(({ files, missing }) => [files > 0, missing.files])).toEqual([[true, 0]])
  })
})

describe('a mirror that cannot fetch', () => {
  it('asks the Hub for nothing while it is offline, and says what is missing', async () => {
    const scene = await openPinned(OPEN)
    await scene.begin()
    await scene.ended(({ behind }) => !behind)
    await scene.settled()
    await scene.restart({ offline: true })
    await scene.begin()
    await scene.ended(({ behind }) => !behind)
    await scene.pin(`${OPEN}  - {repo: acme/odd, priority: 1}\n`)
    scene.hub.ledger.clear()
    scene.reread()
    await scene.ended(({ reason }) => reason === 'offline')
    expect(scene.report().pins.map(({ repo, reason }) => [repo, reason])).toEqual([
      ['models/acme/odd', 'offline'],
      ['models/acme/open', null],
    ])
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('holds up no other pin when it fails for its own reason', async () => {
    const names = ['nothing', 'secret', 'first', 'second', 'third']
    const scene = await openSmall(`pins:\n${names.map((name) => `  - repo: acme/${name}\n`).join('')}`)
    scene.hub.faults.add({
      where: 'hub',
      match: /acme\/first\/revision/,
      times: 100,
      status: { code: 503, headers: { 'retry-after': '300' } },
    })
    await scene.begin()
    const reasons = () => scene.report().pins.map(({ reason }) => reason)
    await expect.poll(reasons, { timeout: 60_000 }).toEqual(['refused', 'refused', 'hub-away', null, null])
    // There is room for two of three.
    await scene.pin(`pins:\n${['first', 'second', 'third', 'data'].map(pinOf).join('')}`)
    scene.hub.faults.clear()
    scene.clock.advance(120_000)
    scene.reread()
    await expect.poll(reasons, { timeout: 60_000 }).toEqual([null, null, 'no-space', null])
  })

  it('leaves the other revisions for its next run when many fail in a row, and then begins with those', async () => {
    const scene = await openPinned("pins:\n  - {repo: acme/many, revisions: ['r*']}\n")
    const model = scene.world.model('acme/many')
    const names = Array.from({ length: 24 }, (_, index) => `r${String(index).padStart(2, '0')}`)
    for (const name of names) model.branch(name, model.commit({ 'config.json': name }))
    const fault = scene.hub.faults.add({
      where: 'hub',
      match: /revision\/r(?:0|10)/,
      times: 1_000,
      status: { code: 503, headers: { 'retry-after': '300' } },
    })
    await scene.begin()
    await scene.ended(({ reason }) => reason === 'hub-away')
    expect([fault.struck, scene.report().pins[0]?.at]).toEqual([8, []])
    // The next run begins behind them, and passes the two that fail.
    scene.clock.advance(61_000)
    const { at } = await scene.ended(({ at: found }) => found.length > 0)
    expect(at.map(({ revision }) => revision)).toEqual(names.slice(11))
  })

  it('gets to each revision, although the files of the first one always fail', async () => {
    // As many as may fail in a row: a step of so many would always begin with the first.
    const names = Array.from({ length: FAILURES_IN_A_ROW }, (_, index) => `r${index}`)
    const scene = await openPinned(`pins:\n  - {repo: acme/many, revisions: [${names.join(', ')}]}\n`)
    const model = scene.world.model('acme/many')
    for (const name of names.slice(1)) model.branch(name, model.commit({ 'config.json': name }))
    const bad = Array.from({ length: 2 * FAILURES_IN_A_ROW }, (_, seed) => lfs({ sizeBytes: 1_000, seed }))
    model.branch('r0', model.commit(Object.fromEntries(bad.map((file, index) => [`bad-${index}.bin`, file]))))
    scene.hub.faults.add({ where: 'hub', match: /bad-/, times: 1_000, status: { code: 503 } })
    await scene.begin(withoutWaits())
    const { at } = await scene.ended(({ reason }) => reason === 'failed' || reason === 'hub-away')
    expect(at.map(({ revision }) => revision)).toEqual(['r0'])
    scene.clock.advance(61_000)
    const next = await scene.ended(({ at: found }) => found.length === names.length)
    const missing = next.at.map(({ revision, missing }) => [revision, missing.files])
    expect(missing).toEqual(names.map((name) => [name, name === 'r0' ? bad.length : 0]))
  })

  it('leaves the last tenth of the quota to clients, and says when it goes on', async () => {
    const scene = await openPinned(`${OPEN}  - repo: dataset/acme/data\n`)
    scene.hub.faults.add({
      where: 'hub',
      times: 9999,
      addHeaders: { RateLimit: '"resolvers";r=300;t=200' },
    })
    const read = async (path: string): Promise<void> => {
      expect((await scene.ask(`/acme/open/resolve/main/${path}`)).status).toBe(200)
      await scene.settled()
    }
    await read('config.json')
    scene.hub.ledger.clear()
    const waits: number[] = []
    let goOn = (): void => undefined
    await scene.begin({
      now: () => 0,
      wait: (ms) => new Promise((resolve) => waits.push(ms) && (goOn = resolve)),
    })
    const reasons = () => scene.report().pins.map(({ reason }) => reason)
    // The quota is that of all pins.
    await expect.poll(reasons, { timeout: 20_000 }).toEqual(['quota', 'waiting'])
    expect(scene.report().pins[0]?.message).toMatch(
      /^the last tenth of the Hub's quota is left for clients: this goes on at 20\d\d-.*Z$/,
    )
    expect(scene.hub.ledger.requests()).toEqual([])
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_behind_pins{reason="quota"}')).toBe(1)
    // A client gets what is left.
    await read('nested/deeper/vocab.txt')
    expect(scene.hub.ledger.requests()).not.toEqual([])
    scene.hub.faults.clear()
    scene.clock.advance(200_000)
    goOn()
    await expect.poll(reasons, { timeout: 20_000 }).toEqual([null, null])
    expect(waits).toEqual([expect.closeTo(200_000, -4)])
  })

  it('waits with all others as long as the Hub asks to, and says so', async () => {
    const scene = await openPinned(`${OPEN}  - repo: dataset/acme/data\n`)
    const limit = scene.hub.faults.add({
      where: 'hub',
      match: /revision/,
      times: 100,
      status: { code: 429, headers: { 'retry-after': '60' } },
    })
    await scene.begin()
    await expect.poll(() => scene.report().pins[0]?.reason, { timeout: 20_000 }).toBe('rate-limit')
    expect(scene.report().pins[0]?.message).toBe('the Hub asks to wait: it is asked again in 60 s')
    expect(limit.struck).toBeLessThanOrEqual(2)
    // The quota is that of all pins.
    expect(scene.report().pins[1]?.reason).toBe('waiting')
    expect(scene.hub.ledger.requests({ url: /acme\/data/ })).toEqual([])
  })
})

describe('the bandwidth of pins', () => {
  it('holds back pieces of a file by a schedule, and each byte is fetched once', async () => {
    const scene = await openPinned(`bandwidth: 100KB\n${OPEN}    include: w.bin\n`)
    const waits: number[] = []
    let now = 0
    await scene.begin({
      now: () => now,
      wait(ms) {
        waits.push(ms)
        now += ms
        return Promise.resolve()
      },
    })
    await scene.ended(({ behind }) => !behind)
    await scene.settled()
    // A piece has 256 KiB, and the last one the rest.
    const pieces = Math.ceil(LARGE_BYTES / 262_144)
    expect(waits.length).toBe(pieces - 1)
    expect(now).toBeCloseTo(((pieces - 1) * 262_144) / 100, 3)
    const sent = scene.hub.ledger.requests(({ server }) => server === 'cdn')
    expect(sent.length).toBeGreaterThanOrEqual(pieces)
    expect(Math.max(...sent.map(({ bytesSent }) => bytesSent))).toBeLessThanOrEqual(262_144)
    expect(sent.reduce((sum, { bytesSent }) => sum + bytesSent, 0)).toBe(LARGE_BYTES)
  })

  it('does not count what is there already, in a file that is not complete', async () => {
    const scene = await openPinned(`bandwidth: 100KB\n${OPEN}    include: w.bin\n`)
    // A client has had all but the last block.
    const blocks = Math.floor((LARGE_BYTES - 1) / 262_144)
    const part = await scene.ask('/acme/open/resolve/main/w.bin', {
      headers: { range: `bytes=0-${blocks * 262_144 - 1}` },
    })
    expect(part.status).toBe(206)
    await scene.settled()
    const clock = withoutWaits()
    await scene.begin(clock)
    await scene.ended(({ behind }) => !behind)
    expect([blocks > 2, clock.now()]).toEqual([true, 0])
  })
})

it('pins.json that is damaged is logged, and the pins are looked at again', async () => {
  const scene = await openPinned(OPEN)
  await scene.begin()
  await scene.ended(({ behind }) => !behind)
  await scene.settled()
  await scene.stop()
  await writeFile(join(scene.mirror.cacheDir, 'pins.json'), '{"revisions":[{}]}')
  await scene.restart()
  expect(scene.mirror.logLines('pins.json in the store is damaged')).toHaveLength(1)
  expect(scene.report().complete).toBe(false)
  await scene.begin()
  await scene.ended(({ behind }) => !behind)
})
