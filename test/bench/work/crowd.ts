// Many clients at once on one file that is not stored.

import type { Bench, Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { atMost, ratioAtMost } from '../figures.ts'
import type { Goal } from '../report.ts'
import { bulkSpecs, readWhole } from '../runs.ts'
import { sizeText } from '../scale.ts'

/** 300 MB. */
const MAX_RSS_MIB = 286

export const crowd: Work = {
  name: 'crowd',
  contestants: ['mirror', 'nginx', 'olah'],
  run: (bench, servers) =>
    playCrowd(bench, servers, {
      id: 'crowd',
      clients: bench.scale.crowd,
      sizeBytes: bench.scale.coldBytes,
      rssMib: MAX_RSS_MIB,
      cpu: ratioAtMost(1.5),
    }),
}

/** One group: this many clients, on a new file in each round. */
export async function playCrowd(
  bench: Bench,
  servers: readonly Server[],
  how: {
    readonly id: string
    readonly clients: number
    readonly sizeBytes: number
    readonly rssMib?: number
    readonly cpu?: Goal
    readonly rounds?: number
  },
): Promise<void> {
  const { id, clients, sizeBytes, rssMib, cpu } = how
  const group = bench.reporter.group(
    id,
    `${clients.toLocaleString('en')} ${clients === 1 ? 'client' : 'clients at once'} on one file of ${sizeText(sizeBytes)} that is not stored`,
    bulkSpecs({
      bytes: atMost(1),
      ...(rssMib === undefined ? {} : { rss: atMost(rssMib) }),
      ...(cpu === undefined ? {} : { cpu }),
    }),
  )
  const run = (server: Server, round: number) =>
    readWhole(bench, server, bench.largeFile(`${id}-${round}`, sizeBytes), clients)
  await bench.rounds(servers, group, run, how)
}
