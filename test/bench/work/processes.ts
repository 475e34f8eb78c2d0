// Growth by processes: the same asked of one, two and more that answer. Where clients and servers share the cores, more
// processes than cores that the clients leave free cannot show more.

import type { Work } from '../bench.ts'
import { askOften, bulkSpecs, rateSpecs, readWhole } from '../runs.ts'
import { sizeText } from '../scale.ts'
import { CONNECTIONS, smallFile } from './small.ts'
import { READERS } from './warm.ts'

export const processes: Work = {
  name: 'processes',
  // Started here, each time with another number of processes.
  contestants: [],
  async run(bench) {
    const small = smallFile(bench, 'processes')
    const large = bench.largeFile('shared', bench.scale.sharedBytes)
    for (const count of bench.scale.processes) {
      const words = `${count} ${count === 1 ? 'process' : 'processes'}`
      await bench.serving(['mirror', 'nginx'], { processes: count }, async (servers) => {
        const rates = bench.reporter.group(
          `processes-small-${count}`,
          `GET of a stored file of 4 KiB, ${CONNECTIONS} connections, ${words}`,
          rateSpecs(),
        )
        const able = await bench.warmUp(servers, small)
        await bench.rounds(
          able,
          rates,
          (server) =>
            askOften(bench, server, { targets: [bench.target(server, small)], connections: CONNECTIONS }),
          { warmUp: true },
        )
        const bulk = bench.reporter.group(
          `processes-large-${count}`,
          `stored file of ${sizeText(large.content.sizeBytes)}, ${READERS} clients, ${words}`,
          bulkSpecs(),
        )
        await bench.once(await bench.warmUp(able, large), bulk, (server) =>
          readWhole(bench, server, large, READERS),
        )
      })
    }
  },
}
