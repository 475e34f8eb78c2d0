// A repo of many small files, as a client downloads it: HEAD of each, then GET of each, eight at a time.

import type { Bench, Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { atMost, ratioAtMost, requestCosts, requestValues, wall } from '../figures.ts'
import { type BenchFile, headTarget, kilobyteFiles } from '../files.ts'
import type { Goal } from '../report.ts'

const WORKERS = 8
const COLD_GOALS = { wall: ratioAtMost(2), cpu: atMost(800) }

export const snapshot: Work = {
  name: 'snapshot',
  contestants: ['mirror', 'nginx', 'olah'],
  async run(bench, servers) {
    const count = bench.scale.snapshotFiles
    const files = bench.publish('bench/snapshot', kilobyteFiles(count))
    const group = (id: string, state: string, goals: { readonly wall: Goal; readonly cpu?: Goal }) =>
      bench.reporter.group(
        id,
        `HEAD and GET of ${count.toLocaleString('en')} files of 1 KiB, ${state}, ${WORKERS} connections`,
        { wall: wall(goals.wall), ...requestCosts(goals) },
      )
    const play = (server: Server) => take(bench, server, files)
    // Files that were fetched are not cold a second time, so there is one cold round.
    const able = await bench.once(servers, group('snapshot-cold', 'not stored', COLD_GOALS), play)
    const warm = group('snapshot-warm', 'stored', { wall: ratioAtMost(1.5) })
    for (const server of servers) {
      if (!able.includes(server)) warm.fail(server.name, 'could not store them before')
    }
    await bench.rounds(able, warm, play)
  },
}

async function take(bench: Bench, server: Server, files: readonly BenchFile[]) {
  const until = { answers: files.length }
  const { result, usage } = await bench.measure(server, async () => {
    const heads = files.map((file) => headTarget(server.fileUrl(file), file))
    const head = await bench.client.play({
      job: 'load',
      method: 'HEAD',
      digest: 'crc32',
      targets: heads,
      connections: WORKERS,
      until,
    })
    const targets = files.map((file) => bench.target(server, file))
    const get = await bench.get({ targets, connections: WORKERS, until })
    return head.seconds + get.seconds
  })
  return { wall: result, ...requestValues(usage, 2 * files.length) }
}
