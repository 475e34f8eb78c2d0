// Ranges of 8 KiB all over a file, as clients request them that read tensors by name.

import type { Bench, Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { atMost, firstByte, p50, p99, ratioAtLeast, requestCosts, requestValues } from '../figures.ts'
import type { Range } from '../files.ts'
import { askOften, rateSpecs } from '../runs.ts'
import { LIMIT_BYTES_PER_SECOND, LIMIT_TEXT, sizeText } from '../scale.ts'
import { CONNECTIONS } from './small.ts'

const RANGE_BYTES = 8 * 1024
const PLACES = 256
/** Far more than the mirror keeps in memory: nearly each is read from the page cache. */
const MANY_PLACES = 8192

export const ranges: Work = {
  name: 'ranges',
  contestants: ['mirror', 'nginx', 'plainFiles', 'olah'],
  async run(bench, servers) {
    await stored(bench, servers)
    const caches = servers.filter((server) => server.put === undefined)
    await notStored(bench, caches)
    await middle(bench, caches)
  },
}

async function stored(bench: Bench, servers: readonly Server[]): Promise<void> {
  const file = bench.largeFile('ranges', bench.scale.sharedBytes)
  const able = await bench.warmUp(servers, file)
  const size = sizeText(file.content.sizeBytes)
  for (const [id, count, of] of [
    ['ranges-stored', PLACES, `of a stored file of ${size}`],
    ['ranges-scattered', MANY_PLACES, `at ${MANY_PLACES.toLocaleString('en')} places of the same file`],
  ] as const) {
    const group = bench.reporter.group(
      id,
      `ranges of 8 KiB ${of}, ${CONNECTIONS} connections`,
      rateSpecs(ratioAtLeast(0.7)),
    )
    const places = scattered(file.content.sizeBytes, 0, count)
    await bench.rounds(
      able,
      group,
      (server) => {
        const targets = places.map((range) => bench.target(server, file, range))
        return askOften(bench, server, { targets, connections: CONNECTIONS })
      },
      { warmUp: true },
    )
  }
}

/** One range after the other, of a file that is far larger than all of them. */
async function notStored(bench: Bench, servers: readonly Server[]): Promise<void> {
  const { vastBytes, coldRanges } = bench.scale
  const file = bench.largeFile('vast', vastBytes, 'invented')
  const group = bench.reporter.group(
    'ranges-cold',
    `${coldRanges} ranges of 8 KiB, one after the other, of a file of ${sizeText(vastBytes)} that is not stored`,
    { p50: p50(), p99: p99(), ...requestCosts({ bytes: atMost(1024) }) },
  )
  await bench.rounds(servers, group, async (server, round) => {
    // Other positions in each round.
    const places = scattered(vastBytes, round * coldRanges, coldRanges)
    const targets = places.map((range) => bench.target(server, file, range))
    const { result, usage } = await bench.measure(server, () =>
      bench.get({ targets, connections: 1, until: { answers: coldRanges } }),
    )
    return { ...result.lastByteMs, ...requestValues(usage, coldRanges) }
  })
}

/** The first range that is requested of a file. */
async function middle(bench: Bench, servers: readonly Server[]): Promise<void> {
  const { vastBytes } = bench.scale
  const group = bench.reporter.group(
    'range-middle',
    `8 KiB in the middle of a file of ${sizeText(vastBytes)} that was not requested before, ${LIMIT_TEXT}`,
    { firstByte: firstByte(), ...requestCosts({ bytes: atMost(1024) }) },
  )
  await bench.rounds(servers, group, async (server, round) => {
    const file = bench.largeFile(`middle-${round}`, vastBytes, 'invented')
    const targets = [bench.target(server, file, [vastBytes / 2, vastBytes / 2 + RANGE_BYTES - 1])]
    const { result, usage } = await bench.limited(LIMIT_BYTES_PER_SECOND, () =>
      bench.measure(server, () => bench.get({ targets, connections: 1, until: { answers: 1 } })),
    )
    return { firstByte: result.firstByteMs.p50, ...requestValues(usage, 1) }
  })
}

/** Scattered positions, the same in every run: multiples of the golden ratio, from the `from`th on. */
function scattered(sizeBytes: number, from: number, count: number): readonly Range[] {
  const ranges = Math.floor(sizeBytes / RANGE_BYTES)
  return Array.from({ length: count }, (_, index) => {
    const place = Math.floor((((from + index + 1) * 0.618_033_988_75) % 1) * ranges) * RANGE_BYTES
    return [place, place + RANGE_BYTES - 1]
  })
}
