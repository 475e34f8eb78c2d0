// How long a mirror with many blobs and as many facts takes until it serves, and what its walk through the store costs
// those who ask meanwhile. The directory is warm in the page cache: a cold disk makes the walk longer, not the start.

import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { request } from 'undici'
import type { Hub } from '../hub-simulator/server.ts'
import type { Note } from './many-readers.ts'
import { peakRssBytes } from './process-figures.ts'
import { spawnMirror, startMirror } from './servers.ts'

const MIB = 1024 ** 2

export async function startUp(options: {
  readonly hub: Hub
  readonly commit: string
  readonly count: number
  readonly note: Note
}): Promise<void> {
  const { hub, commit, count, note } = options
  const cacheDir = mkdtempSync(path.join(tmpdir(), 'hubmirror-start-'))
  const file = `/bench/files/resolve/${commit}/config.json`
  try {
    const first = await startMirror(hub, { HUBMIRROR_CACHE_DIR: cacheDir })
    await (await request(first.url + file)).body.dump()
    await first.stop()
    plant(cacheDir, count)
    await measure(hub, { cacheDir, file, count, note })
  } finally {
    rmSync(cacheDir, { recursive: true, force: true })
  }
}

async function measure(
  hub: Hub,
  what: { readonly cacheDir: string; readonly file: string; readonly count: number; readonly note: Note },
): Promise<void> {
  const { cacheDir, file, count, note } = what
  const startedAt = performance.now()
  // Offline, so that no answer is anybody's but the mirror's.
  const { child, url, directory } = await spawnMirror(hub, {
    HUBMIRROR_CACHE_DIR: cacheDir,
    HUBMIRROR_OFFLINE: 'on',
  })
  const pid = child.pid ?? 0
  const since = (): number => performance.now() - startedAt
  try {
    await until(() => answers('HEAD', url + file))
    const servesAfter = since()
    await until(() => answers('GET', `${url}/readyz`))
    const readyAfter = since()
    let slowestMs = 0
    const slowest = async (): Promise<boolean> => {
      const askedAt = performance.now()
      await answers('HEAD', url + file)
      slowestMs = Math.max(slowestMs, performance.now() - askedAt)
      return (await blobs(url)) > count
    }
    await until(slowest)
    const walkedAfter = since()
    const many = count.toLocaleString('en')
    const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`
    note(`start with ${many} blobs and facts, first HEAD`, seconds(servesAfter), '', '', '<= 2 s')
    note('… /readyz', seconds(readyAfter), '', '', '<= 2 s')
    note('… all blobs in the books', seconds(walkedAfter), '', '', '')
    note('… slowest HEAD until then', `${slowestMs.toFixed(0)} ms`, '', '', '')
    note('… peak RSS', `${(peakRssBytes(pid) / MIB).toFixed(0)} MiB`, '', '', '')
  } finally {
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await ended
    rmSync(directory, { recursive: true, force: true })
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5)
}

async function answers(method: 'GET' | 'HEAD', url: string): Promise<boolean> {
  try {
    const { statusCode, body } = await request(url, { method })
    await body.dump()
    return statusCode === 200
  } catch {
    return false
  }
}

async function blobs(url: string): Promise<number> {
  const text = await (await request(`${url}/metrics`)).body.text()
  return Number(/^hubmirror_cache_blobs (\d+)/m.exec(text)?.[1])
}

/** Blobs of a byte and facts of files, as a mirror that has seen much would leave them. */
function plant(cacheDir: string, count: number): void {
  for (const shelf of ['blobs/sha256', 'facts/files']) {
    for (let fan = 0; fan < 256; fan += 1)
      mkdirSync(path.join(cacheDir, shelf, fan.toString(16).padStart(2, '0')), { recursive: true })
  }
  for (let index = 0; index < count; index += 1) {
    const blob = randomBytes(32).toString('hex')
    writeFileSync(path.join(cacheDir, 'blobs/sha256', blob.slice(0, 2), blob), '.')
    const key = `https://hub.example/ models/org/name ${'c'.repeat(40)} "file-${index}"`
    const fact = createHash('sha256').update(key).digest('hex')
    const value = { commit: 'c'.repeat(40), etag: blob, sizeBytes: 1, lfs: true, key: `sha256:${blob}` }
    writeFileSync(
      path.join(cacheDir, 'facts/files', fact.slice(0, 2), `${fact}.json`),
      JSON.stringify({ key, value }),
    )
  }
}
