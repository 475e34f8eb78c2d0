// A large file that is stored, read by one and by many.

import type { Work } from '../bench.ts'
import { bulkCosts, bulkValues, ratioAtMost, wall } from '../figures.ts'
import { sizeText } from '../scale.ts'

const READERS = 16

export const warm: Work = {
  name: 'warm',
  contestants: ['mirror', 'nginx', 'plainFiles', 'olah'],
  async run(bench, servers) {
    const { largeBytes, sharedBytes } = bench.scale
    for (const [file, readers] of [
      [bench.largeFile('large', largeBytes), 1],
      [bench.largeFile('shared', sharedBytes), READERS],
    ] as const) {
      const able = await bench.warmUp(servers, file)
      const { sizeBytes } = file.content
      const group = bench.reporter.group(
        `warm-${readers}`,
        `stored file of ${sizeText(sizeBytes)}, ${readers} ${readers === 1 ? 'client' : 'clients'}`,
        readers === 1
          ? { wall: wall(ratioAtMost(0.9)), ...bulkCosts({ cpu: ratioAtMost(0.9) }) }
          : { wall: wall(), ...bulkCosts() },
      )
      await bench.rounds(able, group, async (server) => {
        const targets = [bench.target(server, file)]
        const { result, usage } = await bench.measure(server, () =>
          bench.get({ targets, connections: readers, until: { answers: readers } }),
        )
        return { wall: result.seconds, ...bulkValues(usage, { served: result.bytes, file: sizeBytes }) }
      })
    }
  },
}
