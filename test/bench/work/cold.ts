// A file that was not requested before, from an origin that limits each connection and from one that does not.

import type { Work } from '../bench.ts'
import { atMost, ratioAtMost } from '../figures.ts'
import { bulkSpecs, readWhole } from '../runs.ts'
import { LIMIT_BYTES_PER_SECOND, LIMIT_TEXT, sizeText } from '../scale.ts'

const ORIGINS = [
  { id: 'limited', limit: LIMIT_BYTES_PER_SECOND, words: LIMIT_TEXT, goal: { wall: ratioAtMost(0.33) } },
  { id: 'unlimited', limit: undefined, words: 'origin without limit', goal: {} },
]

export const cold: Work = {
  name: 'cold',
  contestants: ['mirror', 'nginx', 'olah'],
  async run(bench, servers) {
    const sizeBytes = bench.scale.coldBytes
    for (const { id, limit, words, goal } of ORIGINS) {
      const group = bench.reporter.group(
        `cold-${id}`,
        `file of ${sizeText(sizeBytes)} that is not stored, ${words}`,
        bulkSpecs({ bytes: atMost(1), ...goal }),
      )
      // Each round requests another file.
      await bench.rounds(servers, group, (server, round) =>
        bench.limited(limit, () =>
          readWhole(bench, server, bench.largeFile(`cold-${id}-${round}`, sizeBytes), 1),
        ),
      )
    }
  },
}
