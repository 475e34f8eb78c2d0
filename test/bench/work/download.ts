// A whole model from a Hub that is far away, by huggingface_hub itself: small files and a few large ones. By the mirror, which
// has none of them, and by the same client straight from the Hub.

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { runForJson } from '../../clients/support/run.ts'
import { pythonOf, scriptPath } from '../../clients/support/tools.ts'
import { lfs } from '../../hub-simulator/repos.ts'
import type { Work } from '../bench.ts'
import { baseOf } from '../contestants.ts'
import { atMost, bulkCosts, bulkValues, toStraight, wall } from '../figures.ts'
import { type BenchFile, digestOf, kilobyteFiles } from '../files.ts'
import { HUB_DELAY_MS, LIMIT_BYTES_PER_SECOND, LIMIT_TEXT, sizeText } from '../scale.ts'

/** The newest one that the setup brings. */
const CLIENT = 'hub-2'
const LARGE_FILES = 4

export const download: Work = {
  name: 'download',
  contestants: ['mirror'],
  async run(bench, servers) {
    const python = pythonOf(CLIENT)
    if (!existsSync(python)) {
      bench.reporter.lack('huggingface_hub is not installed: bash test/clients/setup.sh')
      return
    }
    const { modelFiles, coldBytes } = bench.scale
    const files = bench.publish('bench/download', {
      ...kilobyteFiles(modelFiles),
      ...Object.fromEntries(
        Array.from({ length: LARGE_FILES }, (_, index) => [
          `model-${index}.safetensors`,
          lfs({ sizeBytes: coldBytes, seed: 7000 + index }),
        ]),
      ),
    })
    const sizeBytes = files.reduce((sum, { content }) => sum + content.sizeBytes, 0)
    const group = bench.reporter.group(
      'download',
      `snapshot_download of ${modelFiles} files of 1 KiB and ${LARGE_FILES} of ${sizeText(coldBytes)}, not stored, Hub ${HUB_DELAY_MS} ms away, ${LIMIT_TEXT}`,
      { wall: wall(), toStraight: toStraight(atMost(0.4)), ...bulkCosts() },
    )
    await bench.once(servers, group, (server) =>
      bench.delayed(HUB_DELAY_MS, () =>
        bench.limited(LIMIT_BYTES_PER_SECOND, async () => {
          const straight = await take(bench.hub.url, files, true)
          // Only `localhost` is reached: a client that is led past the mirror fails.
          const endpoint = baseOf(server, files).replace('127.0.0.1', 'localhost')
          const { result, usage } = await bench.measure(server, () => take(endpoint, files, false))
          const values = bulkValues(usage, { served: sizeBytes, file: sizeBytes })
          return { wall: result, toStraight: result / straight, ...values }
        }),
      ),
    )
  },
}

/** Resolves to the seconds that the client took. Rejects when it has not the right files. */
async function take(endpoint: string, files: readonly BenchFile[], direct: boolean): Promise<number> {
  const home = mkdtempSync(path.join(tmpdir(), 'hubmirror-bench-'))
  try {
    const env = {
      HF_ENDPOINT: endpoint,
      HF_HUB_DISABLE_PROGRESS_BARS: '1',
      HF_HUB_DISABLE_XET: '1',
      SNAPSHOT_TIMED: '1',
    }
    const args = [scriptPath('snapshot.py'), files[0]?.repo ?? '']
    const result = (await runForJson(pythonOf(CLIENT), args, { home, env, direct })) as {
      readonly files: Readonly<Record<string, string>>
      readonly seconds: number
    }
    for (const file of files) {
      const right = digestOf(file.content, 'sha256', 0, file.content.sizeBytes)
      if (result.files[file.path] !== right) throw new Error(`${file.path}: wrong bytes`)
    }
    return result.seconds
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
