// Growth by the files of a dataset: what many small files cost on the disk once the mirror has fetched them, and how long a start and
// `hubmirror ls` take then. The mirror fills its store itself, so that this holds for any form on the disk.

import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FACT_KINDS } from '../../../src/store/store.ts'
import { type Change, openTable } from '../../../src/store/table/table.ts'
import { run } from '../../support/run-cli.ts'
import type { Bench, Work } from '../bench.ts'
import { atMost, rss, startCosts } from '../figures.ts'
import { kilobyteFiles, target } from '../files.ts'
import { spawnMirror, untilUp } from '../servers.ts'
import { blobsOf, type Stored, start } from './blobs.ts'

const MIB = 1024 ** 2
/** As the kernel counts them, whatever the file system. */
const BLOCK_BYTES = 512
const CONNECTIONS = 8
/** As the mirror commits facts: those of a moment at once. */
const FACTS_PER_COMMIT = 100
/** Files of one job of the client, which has a deadline. */
const PER_JOB = 200

export const dataset: Work = {
  name: 'dataset',
  isGrowth: true,
  contestants: [],
  async run(bench) {
    for (const count of bench.scale.datasetFiles) await grow(bench, count)
  },
}

async function grow(bench: Bench, count: number): Promise<void> {
  const group = bench.reporter.group(
    `dataset-${count}`,
    `a dataset of ${count.toLocaleString('en')} files of 1 KiB, all stored`,
    {
      disk: { title: 'space on the disk', unit: 'MiB', better: 'less' },
      inodes: { title: 'inodes', unit: '', better: 'less', goal: atMost(100) },
      factsDisk: { title: 'space of the facts alone', unit: 'MiB', better: 'less', goal: atMost(100) },
      factsInodes: { title: 'inodes of the facts alone', unit: '', better: 'less', goal: atMost(100) },
      ...startCosts(),
      rss: rss(),
      ls: { title: 'time of hubmirror ls', unit: 's', better: 'less' },
    },
  )
  const cacheDir = mkdtempSync(path.join(tmpdir(), 'hubmirror-dataset-'))
  try {
    const stored = await fetchAll(bench, cacheDir, count)
    const { bytes, inodes } = usageOf(cacheDir)
    const { p50: _p50, p99: _p99, ...started } = await start(bench, cacheDir, stored)
    const ls = await secondsOfLs(bench, cacheDir)
    const facts = await usageOfFacts(cacheDir, count)
    const alone = { factsDisk: facts.bytes / MIB, factsInodes: facts.inodes }
    group.add('mirror', { disk: bytes / MIB, inodes, ...alone, ...started, ls })
  } catch (error) {
    group.fail('mirror', error instanceof Error ? error.message : String(error))
  } finally {
    rmSync(cacheDir, { recursive: true, force: true })
  }
  group.close()
}

/** Lets a mirror fetch and store all files of a new dataset. */
async function fetchAll(bench: Bench, cacheDir: string, count: number): Promise<readonly Stored[]> {
  const contents = kilobyteFiles(count)
  const files = bench.publish(`bench/dataset-${count}`, contents)
  const server = bench.track(await spawnMirror(bench.hub, { HUBMIRROR_CACHE_DIR: cacheDir }))
  try {
    await untilUp(server)
    const stored = files.map(({ repo, commit, path: name }) => ({
      path: `/${repo}/resolve/${commit}/${name}`,
      content: contents[name] ?? '',
    }))
    for (let from = 0; from < count; from += PER_JOB) {
      const targets = files
        .slice(from, from + PER_JOB)
        .map((file, index) => target(server.url + (stored[from + index]?.path ?? ''), file, 'crc32'))
      await bench.get({ targets, connections: CONNECTIONS, until: { answers: targets.length } })
    }
    // A client has its answer before the file is stored.
    while ((await blobsOf(server)) < count) await sleep(5)
    return stored
  } finally {
    await server.stop()
  }
}

/** The space and the inodes of a folder and all that is in it. */
function usageOf(folder: string): { readonly bytes: number; readonly inodes: number } {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const blocks = entries.reduce((sum, entry) => sum + lstatSync(path.join(folder, entry)).blocks, 0)
  return { bytes: (blocks + lstatSync(folder).blocks) * BLOCK_BYTES, inodes: entries.length + 1 }
}

/** The same for a database with the facts of a store and without the bytes of its files. Throws when it lacks one for each file. */
async function usageOfFacts(cacheDir: string, count: number): Promise<ReturnType<typeof usageOf>> {
  const folder = mkdtempSync(path.join(tmpdir(), 'hubmirror-facts-'))
  try {
    const from = await openTable(path.join(cacheDir, 'facts'), { readOnly: true })
    if (from === undefined) throw new Error('the store has no database')
    const to = await openTable(folder, { readOnly: false })
    try {
      for (const kind of FACT_KINDS) {
        let puts: Change[] = []
        const write = (): void => {
          if (puts.length > 0) to.change(puts, Number.POSITIVE_INFINITY)
          puts = []
        }
        for (const { id, bytes } of from.walkFacts(kind)) {
          puts.push({ act: 'put', kind, id, bytes, usedAt: Date.now() })
          if (puts.length === FACTS_PER_COMMIT) write()
        }
        write()
      }
      if (to.countFacts('files') < count) throw new Error(`facts of ${to.countFacts('files')} files`)
    } finally {
      await from.close()
      await to.close()
    }
    return usageOf(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function secondsOfLs(bench: Bench, cacheDir: string): Promise<number> {
  const startedAt = performance.now()
  const { status, stderr } = await run(['ls'], {
    HUBMIRROR_CACHE_DIR: cacheDir,
    HUBMIRROR_ORIGIN: bench.hub.url,
  })
  if (status !== 0) throw new Error(`hubmirror ls ended with ${status}: ${stderr}`)
  return (performance.now() - startedAt) / 1000
}
