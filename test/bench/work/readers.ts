// Many clients that read one stored file slowly, or stop when it has begun: what they cost in memory.

import type { Bench, Work } from '../bench.ts'
import type { Server } from '../contestants.ts'
import { atMost, rss, rssGrowth } from '../figures.ts'
import { digestOf } from '../files.ts'
import { rssBytes } from '../process-figures.ts'
import type { Goal } from '../report.ts'
import { sizeText } from '../scale.ts'

const MIB = 1024 ** 2
// Fast enough to need more bytes after the kernel has filled its own buffers.
const SLOW_BYTES_PER_SECOND = 2 * MIB

export const readers: Work = {
  name: 'slow',
  contestants: ['mirror', 'nginx', 'olah'],
  async run(bench, servers) {
    const { slowReaders, slowSeconds, stalledReaders } = bench.scale
    await play(bench, servers, {
      id: 'slow-readers',
      title: `at ${sizeText(SLOW_BYTES_PER_SECOND)}/s each`,
      count: slowReaders,
      bytesPerSecond: SLOW_BYTES_PER_SECOND,
      seconds: slowSeconds,
      limits: { rss: 244 },
    })
    if (stalledReaders === 0) return
    await play(bench, servers, {
      id: 'stalled-readers',
      title: 'that stall',
      count: stalledReaders,
      bytesPerSecond: 0,
      seconds: 5,
      limits: { growth: 100 },
    })
  },
}

async function play(
  bench: Bench,
  servers: readonly Server[],
  how: {
    readonly id: string
    readonly title: string
    readonly count: number
    readonly bytesPerSecond: number
    readonly seconds: number
    /** In MiB. */
    readonly limits: { readonly rss?: number; readonly growth?: number }
  },
): Promise<void> {
  const file = bench.largeFile('large', bench.scale.largeBytes)
  const able = await bench.warmUp(servers, file)
  const group = bench.reporter.group(
    how.id,
    `${how.count.toLocaleString('en')} readers of a stored file of ${sizeText(file.content.sizeBytes)} ${how.title}`,
    {
      rss: rss(goalOf(how.limits.rss)),
      growth: rssGrowth(goalOf(how.limits.growth)),
      connected: { title: 'still connected after all', unit: '', better: 'more' },
      read: { title: 'bytes read by each reader', unit: 'MiB', better: 'more' },
    },
  )
  await bench.once(able, group, async (server) => {
    const before = rssBytes(server.pid)
    const { result, usage } = await bench.measure(server, () =>
      bench.client.play({
        job: 'readers',
        url: server.fileUrl(file),
        readers: how.count,
        bytesPerSecond: how.bytesPerSecond,
        seconds: how.seconds,
      }),
    )
    for (const { bytes, digest } of result.read) {
      if (digest !== digestOf(file.content, 'crc32', 0, bytes)) throw new Error('wrong bytes')
    }
    const bytes = result.read.reduce((sum, reader) => sum + reader.bytes, 0)
    return {
      rss: usage.peakRssBytes / MIB,
      growth: (usage.peakRssBytes - before) / MIB,
      connected: result.connected,
      read: bytes / MIB / how.count,
    }
  })
}

function goalOf(limitMib: number | undefined): Goal | undefined {
  return limitMib === undefined ? undefined : atMost(limitMib)
}
