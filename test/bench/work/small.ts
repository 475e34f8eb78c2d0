// A small file that is stored, asked for as fast as 64 connections can.

import type { Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { rates, rateValues, ratioAtLeast } from '../figures.ts'
import { headTarget } from '../files.ts'

const CONNECTIONS = 64

/** A text of 4 KiB. */
export const SMALL_TEXT = JSON.stringify({ padding: 'x'.repeat(4082) })

export const small: Work = {
  name: 'small',
  contestants: ['mirror', 'nginx', 'plainFiles', 'olah'],
  async run(bench, servers) {
    const [file] = bench.publish('bench/small', { 'config.json': SMALL_TEXT })
    if (file === undefined) return
    const able = await bench.warmUp(servers, file)
    for (const method of ['GET', 'HEAD'] as const) {
      const group = bench.reporter.group(
        `small-${method.toLowerCase()}`,
        `${method} of a stored file of 4 KiB, ${CONNECTIONS} connections`,
        rates(ratioAtLeast(1)),
      )
      const run = async (server: Server) => {
        const target = method === 'GET' ? bench.target(server, file) : headTarget(server.fileUrl(file), file)
        const { result, usage } = await bench.measure(server, () =>
          bench.client.play({
            job: 'load',
            method,
            digest: 'crc32',
            targets: [target],
            connections: CONNECTIONS,
            until: bench.scale.until,
          }),
        )
        return rateValues(result, usage)
      }
      await bench.rounds(able, group, run, { warmUp: true })
    }
  },
}
