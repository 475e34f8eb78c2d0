// Growth by blobs: how long a mirror with many blobs takes until it serves, its memory at that time, and the latency of a
// request. The directory is warm in the page cache. A cold disk prolongs the scan of the store, not the start.

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeFact, encodeFact, factId, type ReadFact } from '../../../src/store/facts/fact-bytes.ts'
import { type Change, openTable, type Table } from '../../../src/store/table/table.ts'
import { lfs } from '../../hub-simulator/repos.ts'
import type { Bench, Work } from '../bench.ts'
import { checksum } from '../client/checksum.ts'
import type { Target } from '../client/job.ts'
import { atMost, p50, p99, rss, startCosts } from '../figures.ts'
import { peakRssBytes } from '../process-figures.ts'
import { type Spawned, spawnMirror, untilUp } from '../servers.ts'

const MIB = 1024 ** 2
const CONNECTIONS = 8
const ASKED_FOR = 2000
const BLOB_BYTES = 1024

export const blobs: Work = {
  name: 'blobs',
  isGrowth: true,
  // Other contestants start in the same way, but only the mirror can be filled by writing files to its store.
  contestants: [],
  async run(bench) {
    for (const count of bench.scale.blobs) await grow(bench, count)
  },
}

async function grow(bench: Bench, count: number): Promise<void> {
  const group = bench.reporter.group(
    `blobs-${count}`,
    `start with ${count.toLocaleString('en')} stored files`,
    {
      ...startCosts({ start: atMost(2) }),
      p50: p50(),
      p99: p99(),
      rss: rss(),
    },
  )
  const cacheDir = mkdtempSync(path.join(tmpdir(), 'hubmirror-blobs-'))
  try {
    const stored = await fill(bench, cacheDir, count)
    await compact(bench, cacheDir)
    group.add('mirror', await start(bench, cacheDir, stored))
  } catch (error) {
    group.fail('mirror', error instanceof Error ? error.message : String(error))
  } finally {
    rmSync(cacheDir, { recursive: true, force: true })
  }
  group.close()
}

/**
 * Starts and ends a mirror on a store that was filled by a few large commits. They leave more than half of the database free, so
 * this start copies it. A store that mirrors have filled, which commit less at once, needs that seldom.
 */
async function compact(bench: Bench, cacheDir: string): Promise<void> {
  const server = bench.track(await spawnMirror(bench.hub, { HUBMIRROR_CACHE_DIR: cacheDir }))
  await untilUp(server)
  await server.stop()
}

/** Starts a mirror on a store, offline, so that every answer is its own. Resolves to what its start and its first answers cost. */
export async function start(bench: Bench, cacheDir: string, stored: readonly Stored[]) {
  const startedAt = performance.now()
  const seconds = (): number => (performance.now() - startedAt) / 1000
  const settings = { HUBMIRROR_CACHE_DIR: cacheDir, HUBMIRROR_OFFLINE: 'on' }
  const server = bench.track(await spawnMirror(bench.hub, settings))
  try {
    await untilUp(server)
    const one = server.url + (stored[0]?.path ?? '')
    await until(() => answers('HEAD', one))
    const first = seconds()
    await until(() => answers('GET', `${server.url}/readyz`))
    const ready = seconds()
    let slowest = 0
    await until(async () => {
      const askedAt = performance.now()
      await answers('HEAD', one)
      slowest = Math.max(slowest, performance.now() - askedAt)
      return (await blobsOf(server)) >= stored.length
    })
    const counted = seconds()
    const targets = stored.slice(0, ASKED_FOR).map((file) => targetOf(server, file))
    const { lastByteMs } = await bench.get({
      targets,
      connections: CONNECTIONS,
      until: { answers: targets.length },
    })
    return { first, ready, counted, slowest, ...lastByteMs, rss: peakRssBytes(server.pid) / MIB }
  } finally {
    await server.stop()
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5)
}

async function answers(method: 'GET' | 'HEAD', url: string): Promise<boolean> {
  const response = await fetch(url, { method })
  await response.arrayBuffer()
  return response.ok
}

/** How many files the mirror counts in its store. */
export async function blobsOf(server: Spawned): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  return Number(/^hubmirror_cache_blobs (\d+)/m.exec(text)?.[1])
}

/** A stored file. */
export interface Stored {
  readonly path: string
  readonly content: string
}

function targetOf(server: Spawned, file: Stored): Target {
  const sum = checksum('crc32')
  const bytes = Buffer.from(file.content)
  sum.update(bytes)
  return { url: server.url + file.path, right: { status: 200, sizeBytes: bytes.length, digest: sum.hex() } }
}

/** Lets a mirror fetch one file, and writes `count` more in the same form: each a blob and a fact. */
async function fill(bench: Bench, cacheDir: string, count: number): Promise<readonly Stored[]> {
  const name = 'file-0000000.bin'
  const content = (index: number): string => `file ${index} `.padEnd(BLOB_BYTES, '.')
  const [file] = bench.publish(`bench/blobs-${count}`, { [name]: lfs(content(0)) })
  if (file === undefined) throw new Error('no file')
  const server = bench.track(await spawnMirror(bench.hub, { HUBMIRROR_CACHE_DIR: cacheDir }))
  const filePath = `/${file.repo}/resolve/${file.commit}/${name}`
  await untilUp(server)
  await answers('GET', server.url + filePath)
  await server.stop()

  const table = await openTable(path.join(cacheDir, 'facts'), { readOnly: false })
  try {
    const fact = factOf(table, name)
    const digest = sha256(content(0))
    const puts: Change[] = []
    const stored = Array.from({ length: count }, (_, index) => {
      const other = name.replace('0000000', String(index + 1).padStart(7, '0'))
      const blob = sha256(content(index + 1))
      const { key, value } = JSON.parse(fact.replaceAll(name, other).replaceAll(digest, blob)) as ReadFact
      const bytes = encodeFact(key, value)
      puts.push({ act: 'put', kind: 'files', id: factId(key), bytes, usedAt: Date.now() })
      const small = Buffer.from(content(index + 1))
      const row = { sizeBytes: small.length, usedAt: Date.now(), bytes: small }
      puts.push({ act: 'add-blob', key: `sha256:${blob}`, ...row })
      return { path: filePath.replace(name, other), content: content(index + 1) }
    })
    for (let start = 0; start < puts.length; start += 10_000)
      table.change(puts.slice(start, start + 10_000), Number.POSITIVE_INFINITY)
    return stored
  } finally {
    await table.close()
  }
}

/** The fact that the mirror has stored about the file of that name, as JSON. */
function factOf(table: Table, name: string): string {
  for (const { bytes } of table.walkFacts('files')) {
    const text = JSON.stringify(decodeFact(bytes))
    if (text.includes(name)) return text
  }
  throw new Error(`no fact about ${name}`)
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
