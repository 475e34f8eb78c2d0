// Many clients at once on one file that is not stored yet.

import type { Bench, Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { atMost, bulkCosts, bulkValues, wall } from '../figures.ts'
import { sizeText } from '../scale.ts'

export const crowd: Work = {
  name: 'crowd',
  contestants: ['mirror', 'nginx', 'olah'],
  run: (bench, servers) =>
    playCrowd(bench, servers, { id: 'crowd', clients: bench.scale.crowd, sizeBytes: bench.scale.coldBytes }),
}

/** One group: so many clients on a new file in each round. */
export async function playCrowd(
  bench: Bench,
  servers: readonly Server[],
  how: {
    readonly id: string
    readonly clients: number
    readonly sizeBytes: number
    readonly rounds?: number
  },
): Promise<void> {
  const { id, clients, sizeBytes } = how
  const group = bench.reporter.group(
    id,
    `${clients.toLocaleString('en')} ${clients === 1 ? 'client' : 'clients at once'} on one file of ${sizeText(sizeBytes)} that is not stored`,
    { wall: wall(), ...bulkCosts({ bytes: atMost(1.005) }) },
  )
  const run = async (server: Server, round: number) => {
    const file = bench.largeFile(`${id}-${round}`, sizeBytes)
    const targets = [bench.target(server, file)]
    const { result, usage } = await bench.measure(server, () =>
      bench.get({ targets, connections: clients, until: { answers: clients } }),
    )
    return { wall: result.seconds, ...bulkValues(usage, { served: result.bytes, file: sizeBytes }) }
  }
  await bench.rounds(servers, group, run, how)
}
