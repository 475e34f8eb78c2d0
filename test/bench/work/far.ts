// A snapshot of many small files from a Hub that is far away: by the mirror, which has none of them, and by the same client
// straight from the Hub. The client does what huggingface_hub does: info, listing, then HEAD and GET of each file.

import { Agent, request } from 'node:http'
import type { Work } from '../bench.ts'
import { baseOf } from '../contestants.ts'
import { atMost, requestCosts, requestValues, toStraight, wall } from '../figures.ts'
import { type BenchFile, kilobyteFiles } from '../files.ts'
import { HUB_DELAY_MS } from '../scale.ts'

const WORKERS = 8

export const far: Work = {
  name: 'far',
  contestants: ['mirror'],
  async run(bench, servers) {
    const count = bench.scale.snapshotFiles
    const files = bench.publish('bench/far', kilobyteFiles(count))
    const group = bench.reporter.group(
      'far',
      `HEAD and GET of ${count.toLocaleString('en')} files of 1 KiB, not stored, Hub ${HUB_DELAY_MS} ms away, ${WORKERS} connections`,
      {
        wall: wall(),
        toStraight: toStraight(atMost(0.5)),
        ...requestCosts(),
      },
    )
    await bench.delayed(HUB_DELAY_MS, async () => {
      await bench.once(servers, group, async (server) => {
        const straight = await snapshot(bench.hub.url, files)
        const { result, usage } = await bench.measure(server, () => snapshot(baseOf(server, files), files))
        return { wall: result, toStraight: result / straight, ...requestValues(usage, 2 * count) }
      })
    })
  },
}

/** Resolves to the seconds that it took. Rejects when a file is not the right one. */
async function snapshot(base: string, files: readonly BenchFile[]): Promise<number> {
  const [first] = files
  if (first === undefined) throw new Error('no file')
  const agent = new Agent({ keepAlive: true, maxSockets: WORKERS })
  const startedAt = performance.now()
  try {
    await ask(agent, 'GET', `${base}/api/models/${first.repo}/revision/main`)
    await ask(
      agent,
      'GET',
      `${base}/api/models/${first.repo}/tree/${first.commit}?recursive=true&expand=false`,
    )
    const left = [...files]
    const work = async (): Promise<void> => {
      for (let file = left.shift(); file !== undefined; file = left.shift()) {
        const { repo, commit, path, content } = file
        const head = await ask(agent, 'HEAD', `${base}/${repo}/resolve/${commit}/${path}`)
        const { bytes } = await ask(agent, 'GET', head.url)
        const right = Buffer.concat([...content.pieces(0, content.sizeBytes)])
        if (!bytes.equals(right)) throw new Error(`${path}: wrong bytes`)
      }
    }
    await Promise.all(Array.from({ length: WORKERS }, work))
    return (performance.now() - startedAt) / 1000
  } finally {
    agent.destroy()
  }
}

/** Follows redirects. Rejects for any status but 200. */
async function ask(
  agent: Agent,
  method: 'GET' | 'HEAD',
  url: string,
): Promise<{ readonly url: string; readonly bytes: Buffer }> {
  const { status, location, bytes } = await once(agent, method, url)
  if (status === 307 && location !== undefined) return ask(agent, method, new URL(location, url).href)
  if (status !== 200) throw new Error(`${status} to ${method} ${url}`)
  return { url, bytes }
}

function once(agent: Agent, method: string, url: string) {
  return new Promise<{ status: number | undefined; location: string | undefined; bytes: Buffer }>(
    (resolve, reject) => {
      const sent = request(url, { agent, method }, (answer) => {
        const parts: Buffer[] = []
        answer.on('data', (part: Buffer) => parts.push(part))
        answer.on('error', reject)
        answer.on('end', () => {
          const { statusCode: status, headers } = answer
          resolve({ status, location: headers.location, bytes: Buffer.concat(parts) })
        })
      })
      sent.on('error', reject)
      sent.end()
    },
  )
}
