// What a HEAD of a small file costs while several callers read the info of a repo with very many files. The same HEADs go by
// turns to a second mirror without such callers. Client, callers and both mirrors are processes of their own.

import type { Bench, Work } from '../bench.ts'
import { checksum } from '../client/checksum.ts'
import { Client } from '../client/client.ts'
import type { Target } from '../client/job.ts'
import type { Server } from '../contestants.ts'
import { atMost, p50, p99 } from '../figures.ts'
import { type BenchFile, headTarget } from '../files.ts'

const CALLERS = 8
/** Pause between two HEADs. */
const PAUSE_MS = 5
/** A HEAD may take so much longer than the machine needs for it. */
const GOAL_MS = 50
/** Requests before the measurement: connections are opened, and code is compiled. */
const WARM_UP = 20
const REPO = 'bench/large-info'

export const largeInfo: Work = {
  name: 'large-info',
  isGrowth: true,
  contestants: ['mirror'],
  async run(bench, [quiet]) {
    if (quiet === undefined) return
    const { infoFiles, infoHeads } = bench.scale
    const [listed] = bench.publish(REPO, smallFiles(infoFiles))
    const [stored] = bench.publish('bench/beside-info', smallFiles(1))
    if (listed === undefined || stored === undefined) throw new Error('no files')
    const infoOf = (server: Server): string =>
      new URL(`/api/models/${REPO}?blobs=true`, server.fileUrl(listed)).href
    const info = await infoTarget(infoOf(quiet))
    const heads = Array.from({ length: WARM_UP + infoHeads }, () => stored)
    const fresh = bench.publish('bench/new-beside-info', smallFiles(heads.length))
    await play(bench, quiet, { kind: 'stored', heads, infoOf, info })
    await play(bench, quiet, { kind: 'not stored', heads: fresh, infoOf, info })
  },
}

interface Case {
  readonly kind: 'stored' | 'not stored'
  readonly heads: readonly BenchFile[]
  readonly infoOf: (server: Server) => string
  /** The right answer to a request for the info. */
  readonly info: Target
}

async function play(bench: Bench, quiet: Server, { kind, heads, infoOf, info }: Case): Promise<void> {
  const { infoFiles, slowSeconds, deadlineSeconds } = bench.scale
  const group = bench.reporter.group(
    `large-info-${kind.replace(' ', '-')}`,
    `HEAD of small files that are ${kind}, beside ${CALLERS} callers of the info of ${infoFiles.toLocaleString('en')} files`,
    {
      p50: p50(),
      p99: p99(),
      longest: { title: 'latency, longest', unit: 'ms', better: 'less', goal: atMost(GOAL_MS) },
      p50Ratio: { title: 'median beside a mirror without such callers', unit: 'x', better: 'less' },
      longestRatio: { title: 'longest beside a mirror without such callers', unit: 'x', better: 'less' },
      infos: { title: 'infos sent meanwhile', unit: '', better: 'more' },
    },
  )
  await bench.serving(['mirror'], {}, async ([busy]) => {
    if (busy === undefined) return
    const callers = bench.track(new Client(deadlineSeconds + slowSeconds))
    const prompt = bench.track(new Client(deadlineSeconds + slowSeconds))
    const targets = [busy, quiet].map((server) => heads.map((file) => headTarget(server.fileUrl(file), file)))
    const measure = (from: number, to: number) =>
      prompt.play({
        job: 'turns',
        method: 'HEAD',
        servers: targets.map((list) => list.slice(from, to)),
        pauseMs: PAUSE_MS,
      })
    try {
      await bench.once([quiet], group, async () => {
        const [file] = heads
        if (kind === 'stored' && file !== undefined) await bench.warmUp([busy, quiet], file)
        await measure(0, WARM_UP)
        const [{ answers }, { lastByteMs }] = await Promise.all([
          callers.play({
            job: 'load',
            method: 'GET',
            digest: 'crc32',
            targets: [{ ...info, url: infoOf(busy) }],
            connections: CALLERS,
            until: { seconds: slowSeconds },
          }),
          measure(WARM_UP, heads.length),
        ])
        const [beside, alone] = lastByteMs
        if (beside === undefined || alone === undefined) throw new Error('a run without figures')
        return {
          p50: beside.p50,
          p99: beside.p99,
          longest: beside.longest,
          p50Ratio: beside.p50 / alone.p50,
          longestRatio: beside.longest / alone.longest,
          infos: answers,
        }
      })
    } finally {
      await callers.stop()
      await prompt.stop()
    }
  })
}

/** The answer of another mirror is the right one: what all mirrors change in an info is the same. */
async function infoTarget(url: string): Promise<Target> {
  const body = Buffer.from(await (await fetch(url)).arrayBuffer())
  const sum = checksum('crc32')
  sum.update(body)
  return { url, right: { status: 200, sizeBytes: body.length, digest: sum.hex() } }
}

function smallFiles(count: number): Readonly<Record<string, string>> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}.json`, `[${index}]`]))
}
