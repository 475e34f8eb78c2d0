// Growth by clients: the same requests from one, ten, a hundred and a thousand.

import type { Work } from '../bench.ts'
import { askOften, rateSpecs } from '../runs.ts'
import { playCrowd } from './crowd.ts'
import { smallFile } from './small.ts'

const COLD_BYTES = 16 * 1024 ** 2

export const clients: Work = {
  name: 'clients',
  isGrowth: true,
  contestants: ['mirror', 'nginx'],
  async run(bench, servers) {
    const file = smallFile(bench, 'clients')
    const able = await bench.warmUp(servers, file)
    for (const connections of bench.scale.clients) {
      const group = bench.reporter.group(
        `clients-${connections}`,
        `GET of a stored file of 4 KiB, ${connections.toLocaleString('en')} ${connections === 1 ? 'connection' : 'connections'}`,
        rateSpecs(),
      )
      await bench.rounds(
        able,
        group,
        (server) => askOften(bench, server, { targets: [bench.target(server, file)], connections }),
        { rounds: 1, warmUp: true },
      )
    }
    for (const clients of bench.scale.clients) {
      const id = `clients-cold-${clients}`
      await playCrowd(bench, able, { id, clients, sizeBytes: COLD_BYTES, rounds: 1 })
    }
  },
}
