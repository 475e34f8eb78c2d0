// Growth by processes: the same requests to one, two and more processes. Clients and servers share the cores. More processes
// than the clients leave cores can't show more.

import type { Bench, Work } from '../bench.ts'
import type { ContestantName, Server } from '../contestants.ts'
import { atLeast } from '../figures.ts'
import { bulkSpecs, rateSpecs, rateValues, readWhole } from '../runs.ts'
import { sizeText } from '../scale.ts'
import { median } from '../statistics.ts'
import { hasWrk, WRK_SETUP, wrk } from '../wrk.ts'
import { CONNECTIONS, smallFile } from './small.ts'
import { READERS } from './warm.ts'

/** How much more than one process two must answer. */
const GROWS_BY = 1.3

type Rates = ReadonlyMap<ContestantName, readonly number[]>

export const processes: Work = {
  name: 'processes',
  isGrowth: true,
  // Started here, each time with another number of processes.
  contestants: [],
  async run(bench) {
    const rates = new Map<number, Rates>()
    const canAsk = await hasWrk()
    if (!canAsk) bench.reporter.lack(`wrk is not installed: ${WRK_SETUP}`)
    for (const count of bench.scale.processes) {
      await bench.serving(['mirror', 'nginx'], { processes: count }, async (servers) => {
        const words = `${count} ${count === 1 ? 'process' : 'processes'}`
        if (canAsk) rates.set(count, await askSmall(bench, servers, { count, words }))
        await askLarge(bench, servers, { count, words })
      })
    }
    for (const [count, few] of rates) {
      const one = rates.get(1)
      if (count > 1 && one !== undefined) tellGrowth(bench, count, { one, few })
    }
  },
}

interface How {
  readonly count: number
  readonly words: string
}

/** Returns the requests per second of each contestant. */
async function askSmall(bench: Bench, servers: readonly Server[], { count, words }: How): Promise<Rates> {
  const file = smallFile(bench, 'processes')
  const rates = new Map<ContestantName, number[]>()
  const group = bench.reporter.group(
    `processes-small-${count}`,
    `GET of a stored file of 4 KiB by wrk, ${CONNECTIONS} connections, ${words}`,
    rateSpecs(),
  )
  const { until } = bench.scale
  const seconds = 'seconds' in until ? Math.ceil(until.seconds) : 1
  const able = await bench.warmUp(servers, file)
  await bench.rounds(
    able,
    group,
    async (server, round) => {
      // So that every process has it.
      if (round < 0) await bench.get(warming(bench, server, file))
      const { result, usage } = await bench.measure(server, () =>
        wrk(server.fileUrl(file), { connections: CONNECTIONS, seconds }),
      )
      const values = rateValues(usage, result, result.waits)
      if (round >= 0) rates.set(server.name, [...(rates.get(server.name) ?? []), values.perSecond])
      return values
    },
    { warmUp: true },
  )
  return rates
}

function warming(bench: Bench, server: Server, file: ReturnType<typeof smallFile>) {
  return {
    targets: [bench.target(server, file)],
    connections: CONNECTIONS,
    until: { answers: 10 * CONNECTIONS },
  }
}

async function askLarge(bench: Bench, servers: readonly Server[], { count, words }: How): Promise<void> {
  const large = bench.largeFile('shared', bench.scale.sharedBytes)
  const bulk = bench.reporter.group(
    `processes-large-${count}`,
    `stored file of ${sizeText(large.content.sizeBytes)}, ${READERS} clients, ${words}`,
    bulkSpecs(),
  )
  await bench.once(await bench.warmUp(servers, large), bulk, (server) =>
    readWhole(bench, server, large, READERS),
  )
}

function tellGrowth(bench: Bench, count: number, { one, few }: { one: Rates; few: Rates }): void {
  const group = bench.reporter.group(
    `processes-growth-${count}`,
    `GET of a stored file of 4 KiB by wrk: ${count} processes compared with one`,
    { times: { title: 'requests per second', unit: 'x', better: 'more', goal: atLeast(GROWS_BY) } },
  )
  for (const [name, values] of few) {
    const before = one.get(name)
    if (before !== undefined) group.add(name, { times: median(values) / median(before) })
  }
  group.close()
}
