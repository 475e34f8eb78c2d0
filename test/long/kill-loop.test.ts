import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { take, type Wish } from '../support/fetcher.ts'
import { badLines, type Child, startChild } from '../support/process.ts'
import { type Chance, chance } from '../support/seeded.ts'
import {
  checkStore,
  expectKept,
  gitName,
  lfsName,
  type Model,
  missingBytes,
  modelOf,
  type StoreState,
} from '../support/store-check.ts'

const MIB = 1024 * 1024
const ROUNDS = 20
const CLIENTS = 4
const FILE = '/acme/open/resolve/main'
const LARGE = { 'a.bin': 3 * MIB, 'b.bin': 7 * MIB + 1, 'c.bin': 12 * MIB - 1, 'd.bin': 20 * MIB } as const
const NEVER_WHOLE = 'd.bin'
const NOTHING: StoreState = { blobs: new Set(), partials: new Map() }
/** Sent and on its way when a reader leaves or a process dies: to be asked for again. */
const UNDERWAY_BYTES = 2 * MIB

let hub: Hub
let cacheDir: string
let files: ReadonlyMap<string, { readonly bytes: Buffer; readonly name: string }>
let model: Model
let child: Child | undefined

beforeEach(async () => {
  const world = new World()
  const repo = world.model('acme/open')
  repo.commit({
    ...Object.fromEntries(
      Object.entries(LARGE).map(([path, sizeBytes], index) => [path, lfs({ sizeBytes, seed: 50 + index })]),
    ),
    ...Object.fromEntries([1, 2, 3].map((n) => [`${n}.json`, JSON.stringify({ n: 'x'.repeat(n * 9_000) })])),
  })
  const paths = [...Object.keys(LARGE), '1.json', '2.json', '3.json']
  files = new Map(
    paths.map((path) => {
      const bytes = bytesOf(repo, 'main', path)
      return [path, { bytes, name: path.endsWith('.bin') ? lfsName(bytes) : gitName(bytes) }]
    }),
  )
  model = modelOf([...files.values()].map(({ bytes }) => bytes))
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-kill-'))
})

afterEach(async () => {
  await child?.stop()
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
})

const file = (path: string) => {
  const found = files.get(path)
  if (found === undefined) throw new Error(`no ${path}`)
  return found
}

/** What the origin has sent of one file; its addresses name the file, those of the CDN, too. */
const sentBytes = (path: string) =>
  hub.ledger.bodyRequests({ url: path }).reduce((sum, entry) => sum + entry.bytesSent, 0)

function wish(dice: Chance, path: string): Wish {
  const { length } = file(path).bytes
  const start = dice.below(length)
  const draw = dice.below(10)
  if (draw < 2 && path !== NEVER_WHOLE) return {}
  if (draw < 4) return { leaveAfterBytes: dice.below(MIB), range: `bytes=${start}-` }
  if (draw < 5) return { range: `bytes=-${dice.below(MIB / 2, 1)}`, restMs: 1 }
  return { range: `bytes=${start}-${start + dice.below(MIB / 2)}` }
}

/** Asks for this and that until no mirror answers. */
async function client(dice: Chance, url: string): Promise<void> {
  for (;;) {
    const path = dice.oneOf([...files.keys()])
    const taken = await take(url, `${FILE}/${path}`, file(path).bytes, wish(dice, path))
    expect(['whole', 'broken', 'left']).toContain(taken)
    if (taken === 'broken') return
  }
}

async function start(dice: Chance): Promise<Child> {
  child = await startChild({
    hub,
    cacheDir,
    env: { HUBMIRROR_PULL_ABANDONED: dice.oneOf(['stop', 'stop', 'auto']) },
  })
  expect(await readdir(join(cacheDir, 'tmp')), 'litter of the one before').toEqual([])
  hub.ledger.clear()
  return child
}

async function killed(dice: Chance, running: Child): Promise<StoreState> {
  hub.bytesPerSecond = dice.below(24 * MIB, 4 * MIB)
  const clients = Array.from({ length: CLIENTS }, () => client(dice, running.url))
  await hub.ledger.whenSeen({ server: 'cdn' })
  // From here on the moment is what is tried: it must depend on nothing that happens.
  await delay(dice.below(450, 5))
  running.kill('SIGKILL')
  expect(await running.ended).toBe('SIGKILL')
  await Promise.all(clients)
  expect(badLines(running.log())).toEqual([])
  return checkStore(cacheDir, model)
}

it(`a process that is killed ${ROUNDS} times loses nothing it has recorded, and no byte is ever wrong`, async () => {
  const dice = chance('kill loop')
  let found = NOTHING
  let resumed = 0
  const largest = () => found.partials.get(file(NEVER_WHOLE).name)?.bytes ?? 0
  for (let round = 0; round < ROUNDS || largest() === 0; round += 1) {
    // A fast machine gets through: with nothing left to fetch there would be nothing to kill.
    if (found.blobs.has(file(NEVER_WHOLE).name)) {
      await rm(cacheDir, { recursive: true })
      found = NOTHING
    }
    const state = await killed(dice, await start(dice))
    expectKept(found, state)
    for (const [path, { bytes, name }] of files) {
      const due = missingBytes(found, name, bytes.length)
      if (found.blobs.has(name)) expect(sentBytes(path), `${path} was there`).toBe(0)
      expect(sentBytes(path), `${path} in round ${round}`).toBeLessThanOrEqual(due + UNDERWAY_BYTES)
      if (found.partials.has(name) && sentBytes(path) > 0) resumed += 1
    }
    found = state
  }
  expect(resumed, 'pulls that went on from what the one before had left').toBeGreaterThan(ROUNDS / 2)

  const last = await start(dice)
  hub.bytesPerSecond = undefined
  for (const path of files.keys()) {
    const { bytes, name } = file(path)
    expect(await take(last.url, `${FILE}/${path}`, bytes)).toBe('whole')
    expect(sentBytes(path), `${path} at the end`).toBe(missingBytes(found, name, bytes.length))
  }
  const done = await eventually(
    () => checkStore(cacheDir, model),
    ({ blobs, partials }) => blobs.size === files.size && partials.size === 0,
  )
  expect([...done.blobs].sort()).toEqual([...files.values()].map(({ name }) => name).sort())
  last.kill('SIGTERM')
  expect(await last.ended).toBe(0)
})
