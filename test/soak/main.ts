// A mirror under mixed work for a long time: does its memory, its heap or its number of descriptors grow? Prints a line
// each half minute and a summary, and exits 1 where something has grown.
//
//   npm run soak -- --minutes 60 --workers 2

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { DEMO_TOKENS, demoWorld } from '../hub-simulator/demo-world.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { ask, open } from '../support/ask.ts'
import { badLines, startChild } from '../support/process.ts'
import { chance } from '../support/seeded.ts'
import { childrenOf } from '../support/workers.ts'

const SAMPLE_MS = 30_000
const LANES = 4
/** Between two requests of a lane. */
const PAUSE_MS = 150
const MIB = 1024 * 1024
/** Caches of names are bounded, too. These are so few that the caches have them all within minutes. */
const MISSING_REPOS = 300
/** The samples of the first part are not compared: caches fill, and V8 learns. */
const WARM_PART = 1 / 3
const MAY_GROW = 1.15
/** Descriptors come and go with clients. */
const MAY_GROW_FDS = 20

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    workers: { type: 'string', default: '1' },
  },
})

interface Sample {
  readonly rssMiB: number
  readonly heapMiB: number
  readonly descriptors: number
  readonly lagP99Ms: number
}

const world = demoWorld()
const fresh = world.model('acme/fresh')
fresh.commit({ 'README.md': 'fresh\n' })
const hub = await startHub({ world })
const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-soak-'))
const mirror = await startChild({
  hub,
  cacheDir,
  env: {
    HUBMIRROR_WORKERS: values.workers,
    // So small that files are evicted all the time.
    HUBMIRROR_CACHE_MAX_SIZE: '200MB',
    // So small that the caches in memory are full within minutes. A heap that grows after that grows for good.
    HUBMIRROR_MEMORY_CACHE: '1MB',
    HUBMIRROR_ACCESS_TTL: '5s',
    HUBMIRROR_REF_TTL: '2s',
  },
})
const random = chance('soak')
const endsAt = performance.now() + Number(values.minutes) * 60_000
const done = { answers: 0, failures: 0 }
const samples: Sample[] = []
let number = 0

function isOver(): boolean {
  return performance.now() >= endsAt
}

/** New files all the time, small and large, so that the mirror fetches, stores and evicts. */
async function renewing(): Promise<void> {
  while (!isOver()) {
    number += 1
    fresh.commit({
      [`small-${number}.json`]: JSON.stringify({ number, text: 'x'.repeat(random.below(20_000)) }),
      'large.bin': lfs({ sizeBytes: 4 * MIB + random.below(8 * MIB), seed: number }),
    })
    hub.ledger.clear()
    await sleep(10_000)
  }
}

async function lane(): Promise<void> {
  while (!isOver()) {
    const work = random.oneOf(WORK)
    try {
      const { status: answered } = await work()
      done.answers += 1
      if (answered >= 500) done.failures += 1
    } catch {
      done.failures += 1
    }
    await sleep(PAUSE_MS)
  }
}

type Work = () => Promise<{ readonly status: number }>

const at =
  (target: string, options?: Parameters<typeof ask>[2]): Work =>
  () =>
    ask(mirror.url, target, options)
const owner = { token: DEMO_TOKENS.alice }
const WORK: readonly Work[] = [
  at('/acme/tiny-model/resolve/main/config.json'),
  at('/acme/tiny-model/resolve/main/config.json', { method: 'HEAD' }),
  at('/acme/tiny-model/resolve/main/not-there.json'),
  at('/acme/big-model/resolve/main/model.safetensors', { headers: { range: 'bytes=1000000-1100000' } }),
  () => ask(mirror.url, `/acme/fresh/resolve/main/small-${number}.json`),
  () => ask(mirror.url, '/acme/fresh/resolve/main/large.bin'),
  at('/acme/secret-model/resolve/main/config.json', owner),
  at('/acme/secret-model/resolve/main/config.json'),
  at('/acme/gated-model/resolve/main/config.json', owner),
  at('/api/models/acme/tiny-model'),
  at('/api/models/acme/fresh/tree/main?recursive=true'),
  at('/api/whoami-v2', owner),
  () => ask(mirror.url, `/api/models/acme/none-${random.below(MISSING_REPOS)}`),
  leaving,
]

/** A client that leaves in the middle of a large file. */
async function leaving(): Promise<{ readonly status: number }> {
  const answer = await open(mirror.url, '/acme/big-model/resolve/main/model.safetensors')
  answer.on('error', () => undefined)
  answer.resume()
  await sleep(20)
  answer.destroy()
  return { status: answer.statusCode ?? 0 }
}

async function sampling(): Promise<void> {
  console.log('minute  RSS MiB  heap MiB  descriptors  loop delay p99 ms  answers  failures')
  const startedAt = performance.now()
  while (!isOver()) {
    await sleep(Math.min(SAMPLE_MS, Math.max(0, endsAt - performance.now())))
    const sample = await look()
    samples.push(sample)
    const minute = (performance.now() - startedAt) / 60_000
    const cells: readonly (readonly [string, number])[] = [
      [minute.toFixed(1), 6],
      [sample.rssMiB.toFixed(0), 9],
      [sample.heapMiB.toFixed(0), 10],
      [String(sample.descriptors), 13],
      [sample.lagP99Ms.toFixed(1), 19],
      [String(done.answers), 9],
      [String(done.failures), 10],
    ]
    console.log(cells.map(([text, width]) => text.padStart(width)).join(''))
  }
}

/** Of the main process and its workers together; heap and loop delay are those of the main process. */
async function look(): Promise<Sample> {
  const pids = [mirror.pid, ...(await childrenOf(mirror.pid))]
  const rss = await Promise.all(pids.map(rssMiBOf))
  const descriptors = await Promise.all(pids.map(async (pid) => (await readdir(`/proc/${pid}/fd`)).length))
  const metrics = (await ask(mirror.url, '/metrics')).body.toString()
  const value = (name: string): number =>
    Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(metrics)?.[1] ?? Number.NaN)
  return {
    rssMiB: rss.reduce((sum, each) => sum + each, 0),
    heapMiB: value('nodejs_heap_size_used_bytes') / MIB,
    descriptors: descriptors.reduce((sum, each) => sum + each, 0),
    lagP99Ms: value('nodejs_eventloop_lag_p99_seconds') * 1000,
  }
}

async function rssMiBOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024
}

/** Compares the middle third of the samples with the last one, by their medians. Returns the exit status. */
function report(ended: number | NodeJS.Signals, bad: readonly string[]): number {
  const from = Math.floor(samples.length * WARM_PART)
  const half = Math.floor((samples.length - from) / 2)
  const [before, after] = [samples.slice(from, from + half), samples.slice(from + half)]
  const median = (list: readonly Sample[], of: (sample: Sample) => number): number =>
    list.map(of).sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN
  const faults: string[] = []
  const compare = (name: string, of: (sample: Sample) => number, mayBe: (first: number) => number): void => {
    const [first, last] = [median(before, of), median(after, of)]
    console.log(`${name}: median ${first.toFixed(0)} in the middle, ${last.toFixed(0)} at the end`)
    if (last > mayBe(first)) faults.push(`${name} has grown`)
  }
  compare(
    'RSS MiB',
    ({ rssMiB }) => rssMiB,
    (first) => first * MAY_GROW,
  )
  compare(
    'heap MiB',
    ({ heapMiB }) => heapMiB,
    (first) => first * MAY_GROW,
  )
  compare(
    'descriptors',
    ({ descriptors }) => descriptors,
    (first) => first + MAY_GROW_FDS,
  )
  const lag = median(samples, ({ lagP99Ms }) => lagP99Ms)
  console.log(`loop delay: p99 ${lag.toFixed(1)} ms (median of the samples)`)
  console.log(`${done.answers} answers, ${done.failures} failures`)
  if (done.failures > 0) faults.push('requests failed')
  if (ended !== 0) faults.push(`the mirror ended with ${ended}`)
  for (const line of bad.slice(0, 5)) faults.push(line)
  for (const fault of faults) console.error(`FAULT: ${fault}`)
  return faults.length === 0 ? 0 : 1
}

await Promise.all([sampling(), renewing(), ...Array.from({ length: LANES }, () => lane())])
const bad = badLines(mirror.log())
mirror.kill('SIGINT')
const status = await mirror.ended
await hub.close()
await rm(cacheDir, { recursive: true, force: true })
process.exitCode = report(status, bad)
