// Growth by clients: the same asked by one, ten, a hundred, a thousand.

import type { Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { rates, rateValues } from '../figures.ts'
import { playCrowd } from './crowd.ts'
import { SMALL_TEXT } from './small.ts'

const COLD_BYTES = 16 * 1024 ** 2

export const clients: Work = {
  name: 'clients',
  contestants: ['mirror', 'nginx', 'olah'],
  async run(bench, servers) {
    const [file] = bench.publish('bench/clients', { 'config.json': SMALL_TEXT })
    if (file === undefined) return
    const able = await bench.warmUp(servers, file)
    for (const connections of bench.scale.clients) {
      const group = bench.reporter.group(
        `clients-${connections}`,
        `GET of a stored file of 4 KiB, ${connections.toLocaleString('en')} connections`,
        rates(),
      )
      const run = async (server: Server) => {
        const targets = [bench.target(server, file)]
        const { result, usage } = await bench.measure(server, () =>
          bench.get({ targets, connections, until: bench.scale.until }),
        )
        return rateValues(result, usage)
      }
      await bench.rounds(able, group, run, { rounds: 1, warmUp: true })
    }
    for (const clients of bench.scale.clients) {
      await playCrowd(bench, able, {
        id: `clients-cold-${clients}`,
        clients,
        sizeBytes: COLD_BYTES,
        rounds: 1,
      })
    }
  },
}
