// One socket that requests a large file many times without waiting, and closes. The server must not keep files open.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { atMost, rss } from '../figures.ts'
import { openDescriptors } from '../process-figures.ts'

const MIB = 1024 ** 2
/** As many as the mirror accepts on one socket, and far more than a client should send. */
const REQUESTS = [16, 500]
const GIVES_BACK_WITHIN_MS = 5000
const POLL_MS = 20

export const pipelining: Work = {
  name: 'pipelining',
  contestants: ['mirror', 'otherNode', 'nginx', 'olah'],
  async run(bench, servers) {
    const file = bench.largeFile('shared', bench.scale.sharedBytes)
    const able = await bench.warmUp(servers, file)
    for (const requests of REQUESTS) {
      const group = bench.reporter.group(
        `pipelining-${requests}`,
        `${requests} GETs at once on one socket, which closes when the first answer begins`,
        {
          left: { title: 'descriptors that stay open', unit: '', better: 'less', goal: atMost(0) },
          rss: rss(),
          answered: { title: 'began to answer (1), or closed the socket (0)', unit: '', better: 'more' },
        },
      )
      await bench.rounds(able, group, async (server) => {
        const before = openDescriptors(server.pid)
        const { result, usage } = await bench.measure(server, () =>
          bench.client.play({ job: 'pipeline', url: server.fileUrl(file), requests }),
        )
        const left = await leftOpen(server, before)
        return { left, rss: usage.peakRssBytes / MIB, answered: Number(result.answered) }
      })
    }
  },
}

/** How many more descriptors than `before` the server has, after a time to close them. */
async function leftOpen(server: Server, before: number): Promise<number> {
  const deadlineAt = Date.now() + GIVES_BACK_WITHIN_MS
  for (;;) {
    const left = Math.max(0, openDescriptors(server.pid) - before)
    if (left === 0 || Date.now() > deadlineAt) return left
    await sleep(POLL_MS)
  }
}
