// A small stored file, requested as fast as 64 connections can.

import type { Bench, Work } from '../bench.ts'
import { ratioAtLeast } from '../figures.ts'
import { type BenchFile, headTarget } from '../files.ts'
import { askOften, rateSpecs } from '../runs.ts'

export const CONNECTIONS = 64

export const small: Work = {
  name: 'small',
  contestants: ['mirror', 'nginx', 'plainFiles', 'olah'],
  async run(bench, servers) {
    const file = smallFile(bench, 'small')
    const able = await bench.warmUp(servers, file)
    for (const method of ['GET', 'HEAD'] as const) {
      const group = bench.reporter.group(
        `small-${method.toLowerCase()}`,
        `${method} of a stored file of 4 KiB, ${CONNECTIONS} connections`,
        rateSpecs(ratioAtLeast(1)),
      )
      await bench.rounds(
        able,
        group,
        (server) => {
          const target =
            method === 'GET' ? bench.target(server, file) : headTarget(server.fileUrl(file), file)
          return askOften(bench, server, { targets: [target], connections: CONNECTIONS, method })
        },
        { warmUp: true },
      )
    }
  },
}

/** A text of 4 KiB in a repo of that name. */
export function smallFile(bench: Bench, name: string): BenchFile {
  const text = JSON.stringify({ padding: 'x'.repeat(4082) })
  const [file] = bench.publish(`bench/${name}`, { 'config.json': text })
  if (file === undefined) throw new Error('no file')
  return file
}
