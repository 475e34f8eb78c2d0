import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { ask } from '../support/ask.ts'
import { take, wished } from '../support/fetcher.ts'
import { chance } from '../support/seeded.ts'
import { type RunningMirror, startMirror, whenIdle } from '../support/start-mirror.ts'
import { checkStore, lfsName, missingBytes, modelOf } from '../support/store-check.ts'

const BLOCK = 256 * 1024
const RUNS = 25
const MOST_BLOCKS = 9
/** One run of a flight of a file this small and those for readers in a hurry; each loses what is under way. */
const RUNS_AT_ONCE = 5
const UNDERWAY_BYTES = BLOCK + 128 * 1024
const FILE = '/acme/open/resolve/main'
const PATHS = ['a.bin', 'b.bin', 'c.bin'] as const

const sizes = fc.oneof(
  fc.integer({ min: 1, max: MOST_BLOCKS * BLOCK }),
  fc
    .tuple(fc.integer({ min: 1, max: MOST_BLOCKS }), fc.integer({ min: -2, max: 2 }))
    .map(([blocks, off]) => blocks * BLOCK + off),
)

// Near the borders of blocks things go wrong; positions are parts of the file, so that they shrink with it.
const ranges = fc.oneof(
  fc.constant(undefined),
  fc.record({ at: fc.nat({ max: 1000 }), off: fc.integer({ min: -1, max: 1 }), length: fc.constant(0) }),
  fc.record({
    at: fc.nat({ max: 1000 }),
    off: fc.integer({ min: -1, max: 1 }),
    length: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 3 * BLOCK })),
  }),
  fc.record({ suffix: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4 * BLOCK })) }),
)

const clients = fc.record({
  path: fc.constantFrom(...PATHS),
  range: ranges,
  leaveAt: fc.option(fc.nat({ max: 999 }), { freq: 5, nil: undefined }),
  restMs: fc.option(fc.integer({ min: 1, max: 4 }), { freq: 4, nil: undefined }),
})

const plans = fc.record({
  sizes: fc.tuple(sizes, sizes, sizes),
  /** Each list is a client that asks one thing after the other. */
  clients: fc.array(fc.array(clients, { minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 8 }),
  again: fc.array(clients, { minLength: 1, maxLength: 4 }),
  bytesPerSecond: fc.constantFrom(4, 16, 64).map((rate) => rate * 1024 * 1024),
  abandoned: fc.constantFrom('stop' as const, 'auto' as const),
})

type Plan = typeof plans extends fc.Arbitrary<infer P> ? P : never
type Client = Plan['again'][number]

function rangeOf(range: Client['range'], sizeBytes: number): string | undefined {
  if (range === undefined) return undefined
  if ('suffix' in range) return `bytes=-${range.suffix}`
  const blocks = Math.ceil(sizeBytes / BLOCK)
  const near = Math.floor((range.at / 1000) * blocks) * BLOCK + range.off * (range.at % 7)
  const start = Math.max(0, Math.min(sizeBytes - 1, near))
  return range.length === 0 ? `bytes=${start}-` : `bytes=${start}-${start + range.length - 1}`
}

interface Play {
  readonly hub: Hub
  readonly right: ReadonlyMap<string, Buffer>
  /** How often a client left each file. */
  readonly leavings: Map<string, number>
}

async function askOne(play: Play, url: string, client: Client): Promise<void> {
  const right = play.right.get(client.path)
  if (right === undefined) throw new Error(`no ${client.path}`)
  const range = rangeOf(client.range, right.length)
  const [start, end] = wished(range, right.length) ?? [0, 0]
  const leaveAfterBytes =
    client.leaveAt === undefined ? undefined : Math.floor(((end - start) * client.leaveAt) / 1000)
  if (leaveAfterBytes !== undefined) play.leavings.set(client.path, (play.leavings.get(client.path) ?? 0) + 1)
  const taken = await take(url, `${FILE}/${client.path}`, right, {
    ...(range === undefined ? {} : { range }),
    ...(leaveAfterBytes === undefined ? {} : { leaveAfterBytes }),
    ...(client.restMs === undefined ? {} : { restMs: client.restMs }),
  })
  expect(taken).toBe(leaveAfterBytes === undefined ? 'whole' : 'left')
}

const sentBytes = (hub: Hub, path: string) =>
  hub.ledger.bodyRequests({ server: 'cdn', url: path }).reduce((sum, entry) => sum + entry.bytesSent, 0)

const settled = (mirror: RunningMirror) => whenIdle(() => mirror.metrics())

async function playOut(plan: Plan): Promise<void> {
  const world = new World()
  const repo = world.model('acme/open')
  repo.commit(
    Object.fromEntries(PATHS.map((path, n) => [path, lfs({ sizeBytes: plan.sizes[n] ?? 1, seed: n + 70 })])),
  )
  const right = new Map(PATHS.map((path) => [path as string, bytesOf(repo, 'main', path)]))
  const model = modelOf(right.values())
  const hub = await startHub({ world, bytesPerSecondPerConnection: plan.bytesPerSecond })
  const play: Play = { hub, right, leavings: new Map() }
  const config = { pullAbandoned: plan.abandoned, cacheMinFreeBytes: 0 }
  let mirror = await startMirror({ hub, config })
  try {
    const { url, cacheDir } = mirror
    await Promise.all(
      plan.clients.map(async (wishes) => {
        for (const each of wishes) await askOne(play, url, each)
      }),
    )
    await settled(mirror)
    const found = await checkStore(cacheDir, model)
    for (const [path, bytes] of right) {
      const slack = (play.leavings.get(path) ?? 0) * RUNS_AT_ONCE * UNDERWAY_BYTES
      const kept = bytes.length - missingBytes(found, lfsName(bytes), bytes.length)
      expect(sentBytes(hub, path), `sent of ${path}`).toBeLessThanOrEqual(kept + slack)
    }

    await mirror.close({ keepDir: true })
    hub.ledger.clear()
    play.leavings.clear()
    mirror = await startMirror({ hub, config, cacheDir })
    const second = mirror
    const rest = plan.again.map((each) => ({ ...each, leaveAt: undefined }))
    await Promise.all(rest.map((each) => askOne(play, second.url, each)))
    await Promise.all(PATHS.map((path) => askOne(play, second.url, { ...NOTHING_SPECIAL, path })))
    for (const [path, bytes] of right) {
      const due = missingBytes(found, lfsName(bytes), bytes.length)
      expect(sentBytes(hub, path), `sent of ${path} after a restart`).toBe(due)
    }
    await settled(second)
    const done = await checkStore(cacheDir, model)
    expect([...done.blobs].sort()).toEqual([...new Set([...right.values()].map(lfsName))].sort())
    expect(done.partials.size).toBe(0)
  } finally {
    await mirror.close()
    await hub.close()
  }
}

const NOTHING_SPECIAL = { range: undefined, leaveAt: undefined, restMs: undefined }

describe('ranges of files that are not stored', () => {
  it('are answered with exactly their bytes, each fetched once, whichever clients ask and leave', async () => {
    const { seed } = chance('ranges')
    await fc.assert(fc.asyncProperty(plans, playOut), { seed, numRuns: RUNS, endOnFailure: true })
  })

  it('leave whole blocks behind, and connections that can be used again', async () => {
    const world = new World()
    const repo = world.model('acme/open')
    repo.commit({ 'a.bin': lfs({ sizeBytes: 8 * BLOCK, seed: 70 }) })
    // Slow enough that a reader of eight bytes is served long before the block is there.
    const hub = await startHub({ world, bytesPerSecondPerConnection: 2 * 1024 * 1024 })
    onTestFinished(() => hub.close())
    const mirror = await startMirror({ hub })
    onTestFinished(() => mirror.close())
    for (const range of ['bytes=0-7', 'bytes=8-15', 'bytes=262140-262143', 'bytes=600000-600007']) {
      const got = await ask(mirror.url, `${FILE}/a.bin`, { headers: { range } })
      const [start, end] = wished(range, 8 * BLOCK) ?? [0, 0]
      expect(got.body.equals(bytesOf(repo, 'main', 'a.bin', start, end))).toBe(true)
      await settled(mirror)
    }
    const sent = hub.ledger.bodyRequests({ server: 'cdn' })
    expect(sent.map((entry) => [entry.headers.range, entry.bytesSent, entry.aborted])).toEqual([
      [`bytes=0-${BLOCK - 1}`, BLOCK, false],
      [`bytes=${2 * BLOCK}-${3 * BLOCK - 1}`, BLOCK, false],
    ])
    const { partials } = await checkStore(mirror.cacheDir, modelOf([bytesOf(repo, 'main', 'a.bin')]))
    expect([...partials.values()].flatMap(({ blocks }) => [...blocks])).toEqual([0, 2])
  })
})
