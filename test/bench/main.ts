// npm run bench: what the same work costs the mirror, nginx and olah, on one machine, against one simulated Hub. It
// starts and ends everything itself. Absolute times mean little on a shared machine; the contestants take turns.

import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { Bench, type Work } from './bench.ts'
import { CONTESTANTS, type Contestant, type ContestantName } from './contestants.ts'
import { measureHost } from './host.ts'
import { type Report, reportText } from './report.ts'
import { Reporter } from './reporter.ts'
import { SCALES } from './scale.ts'
import { groupLines, hostText } from './text.ts'
import { blobs } from './work/blobs.ts'
import { clients } from './work/clients.ts'
import { cold } from './work/cold.ts'
import { crowd } from './work/crowd.ts'
import { dataset } from './work/dataset.ts'
import { download } from './work/download.ts'
import { far } from './work/far.ts'
import { largeInfo } from './work/large-info.ts'
import { ownTls } from './work/own-tls.ts'
import { pipelining } from './work/pipelining.ts'
import { processes } from './work/processes.ts'
import { ranges } from './work/ranges.ts'
import { readers } from './work/readers.ts'
import { small } from './work/small.ts'
import { snapshot } from './work/snapshot.ts'
import { strangers } from './work/strangers.ts'
import { tls } from './work/tls.ts'
import { warm } from './work/warm.ts'

const WORKS: readonly Work[] = [
  warm,
  small,
  cold,
  tls,
  crowd,
  ranges,
  snapshot,
  far,
  download,
  readers,
  pipelining,
  clients,
  processes,
  blobs,
  dataset,
  ownTls,
  strangers,
  largeInfo,
]
const USAGE = `usage: npm run bench -- [PART...] [--full] [--json FILE]
parts:   ${names(false)}
growth:  ${names(true)}, where they are named or with --full
--full   as much as is asked for: larger files, more rounds, all steps of growth
--smoke  as little as possible, to see that everybody gives the right bytes`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    full: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const unknown = positionals.filter((name) => !WORKS.some((work) => work.name === name))
if (values.help || unknown.length > 0) {
  console.log(USAGE)
  process.exit(unknown.length > 0 ? 2 : 0)
}

const scale = SCALES[values.smoke ? 'smoke' : values.full ? 'full' : 'default']
const reporter = new Reporter({
  group: (group) => {
    // The figures of a smoke run mean nothing.
    for (const line of values.smoke ? [group.title] : groupLines(group)) console.log(line)
  },
  complaint: (line) => console.log(`! ${line}`),
})
const versions: Partial<Record<ContestantName, string>> = {}
const installed: Contestant[] = []
for (const contestant of CONTESTANTS) {
  const version = await contestant.version().catch(() => undefined)
  if (version === undefined) {
    reporter.lack(`${contestant.title} is not installed: ${contestant.setup}`)
  } else {
    versions[contestant.name] = version
    installed.push(contestant)
    console.log(`${contestant.title}: ${version}`)
  }
}

const host = await measureHost()
console.log(hostText(host))

const startedAt = performance.now()
const hub = await startHub({ world: new World() })
const bench = new Bench({ hub, scale, reporter, contestants: installed })
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // No process that was started may outlive the bench.
  process.once(signal, () => void bench.stop().finally(() => process.exit(130)))
}
try {
  for (const work of WORKS) {
    if (isAskedFor(work)) await bench.play(work)
  }
} finally {
  await bench.stop()
}
const seconds = Math.round((performance.now() - startedAt) / 1000)

if (values.smoke) {
  // The work is small: every contestant must be able to do it.
  if (reporter.complaints.length > 0) process.exitCode = 1
  else console.log(`everybody gave the right bytes: ${reporter.groups.length} kinds of work, ${seconds} s`)
} else {
  console.log(`\n${seconds} s`)
}
if (values.json !== undefined) {
  const report: Report = {
    day: new Date().toISOString().slice(0, 10),
    scale: scale.name,
    machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}`,
    host,
    versions,
    seconds,
    groups: reporter.groups,
  }
  writeFileSync(values.json, reportText(report))
}

function isAskedFor(work: Work): boolean {
  if (positionals.length > 0) return positionals.includes(work.name)
  return work.isGrowth !== true || values.full || values.smoke
}

function names(growth: boolean): string {
  return WORKS.filter((work) => (work.isGrowth ?? false) === growth)
    .map((work) => work.name)
    .join(', ')
}
