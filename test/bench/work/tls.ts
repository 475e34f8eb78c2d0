// Large files that are not stored, from a CDN that speaks TLS and sends as fast as it can: one file, and several at once.
// curl is the client. Each run has a server with an empty cache, and the bytes are compared when they are stored.

import type { Bench, Work } from '../bench.ts'
import { CURL_SETUP, curl, hasCurl } from '../curl.ts'
import { atMost, cpuPerGib, ratioAtMost, rss, wall } from '../figures.ts'
import type { BenchFile } from '../files.ts'
import { cpuSeconds, firstThreadCpuSeconds, peakRssBytes } from '../process-figures.ts'
import { sizeText } from '../scale.ts'
import { openTlsScene, type TlsScene } from '../tls-scene.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const FILES_AT_ONCE = 4

export const tls: Work = {
  name: 'tls',
  // Started here, each time with an empty cache.
  contestants: [],
  async run(bench) {
    if (!(await hasCurl())) return bench.reporter.lack(`curl is not installed: ${CURL_SETUP}`)
    const sizeBytes = bench.scale.tlsBytes
    const one = [bench.largeFile('tls', sizeBytes)]
    const many = Array.from({ length: FILES_AT_ONCE }, (_, index) =>
      bench.largeFile(`tls-${index}`, sizeBytes / 2),
    )
    const scene = bench.track(await openTlsScene(bench.hub.world, [...one, ...many]))
    const words = 'not stored, CDN over TLS without limit'
    try {
      await play(bench, scene, { id: 'tls', title: `file of ${sizeText(sizeBytes)}, ${words}`, files: one })
      const title = `${FILES_AT_ONCE} files of ${sizeText(sizeBytes / 2)} at once, ${words}`
      await play(bench, scene, { id: `tls-${FILES_AT_ONCE}`, title, files: many })
    } finally {
      await scene.stop()
    }
  },
}

interface Part {
  readonly id: string
  readonly title: string
  readonly files: readonly BenchFile[]
}

async function play(bench: Bench, scene: TlsScene, { id, title, files }: Part): Promise<void> {
  const gib = files.reduce((sum, { content }) => sum + content.sizeBytes, 0) / GIB
  const group = bench.reporter.group(id, title, {
    wall: wall(ratioAtMost(0.9)),
    toCurl: { title: 'wall time to that of curl', unit: 'x', better: 'less', goal: atMost(1.5) },
    cpu: cpuPerGib(ratioAtMost(1.5)),
    firstThread: {
      title: 'CPU seconds per GiB of the first thread',
      unit: 's',
      better: 'less',
      ...(files.length === 1 ? {} : { goal: atMost(0.5) }),
    },
    rss: rss(),
  })
  for (let round = 0; round < bench.scale.rounds; round += 1) {
    try {
      const direct = await fetchAll(bench, scene, files, (file) => scene.cdnUrl(file))
      group.add('curl', { wall: direct.seconds, toCurl: 1, cpu: direct.clientCpuSeconds / gib })
      for (const name of ['mirror', 'nginx'] as const) {
        const server = bench.track(await scene.start[name]())
        try {
          const before = { cpu: cpuSeconds(server.pid), firstThread: firstThreadCpuSeconds(server.pid) }
          const { seconds } = await fetchAll(bench, scene, files, (file) => server.fileUrl(file))
          const firstThread = (firstThreadCpuSeconds(server.pid) - before.firstThread) / gib
          group.add(name, {
            wall: seconds,
            toCurl: seconds / direct.seconds,
            cpu: (cpuSeconds(server.pid) - before.cpu) / gib,
            ...(name === 'mirror' ? { firstThread } : {}),
            rss: peakRssBytes(server.pid) / MIB,
          })
          const targets = files.map((file) => bench.target(server, file))
          await bench.get({ targets, connections: 1, until: { answers: files.length } })
        } finally {
          await server.stop()
        }
      }
    } catch (error) {
      group.fail('mirror', error instanceof Error ? error.message : String(error))
      break
    }
  }
  group.close()
}

/** All files at once, each by a curl of its own. */
async function fetchAll(
  bench: Bench,
  { caFile }: TlsScene,
  files: readonly BenchFile[],
  urlOf: (file: BenchFile) => string,
) {
  const { deadlineSeconds } = bench.scale
  const startedAt = performance.now()
  const costs = await Promise.all(
    files.map((file) => {
      const { sizeBytes } = file.content
      return curl(urlOf(file), { sizeBytes, caFile, deadlineSeconds })
    }),
  )
  const clientCpuSeconds = costs.reduce((sum, cost) => sum + cost, 0)
  return { seconds: (performance.now() - startedAt) / 1000, clientCpuSeconds }
}
