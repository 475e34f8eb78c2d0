// A large stored file, read by one client and by many.

import type { Work } from '../bench.ts'
import { ratioAtMost } from '../figures.ts'
import { bulkSpecs, readWhole } from '../runs.ts'
import { sizeText } from '../scale.ts'

export const READERS = 16

export const warm: Work = {
  name: 'warm',
  contestants: ['mirror', 'sendfile', 'nginx', 'plainFiles', 'olah'],
  async run(bench, servers) {
    const { largeBytes, sharedBytes } = bench.scale
    const large = bench.largeFile('large', largeBytes)
    const one = bench.reporter.group(
      'warm-1',
      `stored file of ${sizeText(largeBytes)}, 1 client`,
      bulkSpecs({ wall: ratioAtMost(0.9), cpu: ratioAtMost(1.5) }),
    )
    const able = await bench.warmUp(servers, large)
    // The first run after the file was stored shares the machine with the write-back of its pages.
    const rounds = bench.scale.rounds === 1 ? 1 : 2 * bench.scale.rounds + 1
    await bench.rounds(able, one, (server) => readWhole(bench, server, large, 1), { rounds, warmUp: true })

    const shared = bench.largeFile('shared', sharedBytes)
    const many = bench.reporter.group(
      `warm-${READERS}`,
      `stored file of ${sizeText(sharedBytes)}, ${READERS} clients`,
      bulkSpecs({ cpu: ratioAtMost(1.5) }),
    )
    await bench.rounds(await bench.warmUp(able, shared), many, (server) =>
      readWhole(bench, server, shared, READERS),
    )
  },
}
