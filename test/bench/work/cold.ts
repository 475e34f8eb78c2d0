// A file that nobody has asked for yet, from an origin that limits each connection and from one that does not.

import type { Work } from '../bench.ts'
import { atMost, bulkCosts, bulkValues, firstByte, ratioAtMost, wall } from '../figures.ts'
import { LIMIT_BYTES_PER_SECOND, LIMIT_TEXT, sizeText } from '../scale.ts'

export const cold: Work = {
  name: 'cold',
  contestants: ['mirror', 'nginx', 'olah'],
  async run(bench, servers) {
    const sizeBytes = bench.scale.coldBytes
    const origins = [
      { id: 'limited', limit: LIMIT_BYTES_PER_SECOND, title: LIMIT_TEXT },
      { id: 'unlimited', limit: undefined, title: 'an origin without limit' },
    ] as const
    for (const { id, limit, title } of origins) {
      const specs = {
        wall: wall(limit === undefined ? undefined : ratioAtMost(0.33)),
        firstByte: firstByte(),
        ...bulkCosts({ bytes: atMost(1.005) }),
      }
      const group = bench.reporter.group(
        `cold-${id}`,
        `file of ${sizeText(sizeBytes)} that is not stored, ${title}`,
        specs,
      )
      await bench.rounds(servers, group, async (server, round) => {
        // Each round asks for a file of its own.
        const file = bench.largeFile(`cold-${id}-${round}`, sizeBytes)
        const targets = [bench.target(server, file)]
        const { result, usage } = await bench.limited(limit, () =>
          bench.measure(server, () => bench.get({ targets, connections: 1, until: { answers: 1 } })),
        )
        return {
          wall: result.seconds,
          firstByte: result.firstByteMs.p50,
          ...bulkValues(usage, { served: sizeBytes, file: sizeBytes }),
        }
      })
    }
  },
}
