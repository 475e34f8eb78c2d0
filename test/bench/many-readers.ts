// What many readers of one stored file cost in memory: slow ones, and such as read nothing at all.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { request } from 'undici'
import { peakRssBytes, resetPeakRss, rssBytes } from './process-figures.ts'
import type { Running } from './servers.ts'

const MIB = 1024 ** 2
const SETTLE_MS = 10_000

type FileUrl = (server: { url: string }, name: string) => string
export type Note = (name: string, mirror: string, other: string, ratio: string, target: string) => void

/** 200 readers at 1 MiB/s each, for half a minute: longer than the kernel takes to fill its own buffers. */
export async function slowReaders(mirror: Running, fileUrl: FileUrl, note: Note): Promise<void> {
  const url = fileUrl(mirror, 'large.bin')
  await store(url)
  const before = (await settledRss(mirror.pid)) / MIB
  resetPeakRss(mirror.pid, (file, text) => writeFileSync(file, text))
  const readers = await begin(url, 200, MIB)
  await sleep(30_000)
  const left = await end(readers)
  const peak = peakRssBytes(mirror.pid) / MIB
  note('200 slow readers of one stored 1 GiB file, peak RSS', `${peak.toFixed(0)} MiB`, '', '', '< 256 MiB')
  note('… before them', `${before.toFixed(0)} MiB`, '', '', '')
  note('… still connected', `${left} of 200`, '', '', '200')
}

/** 2,000 readers that let their answer begin and read no more. */
export async function stalledReaders(mirror: Running, fileUrl: FileUrl, note: Note): Promise<void> {
  const url = fileUrl(mirror, 'large.bin')
  await store(url)
  const before = await settledRss(mirror.pid)
  const readers = await begin(url, 2000, 0)
  const growth = ((await settledRss(mirror.pid)) - before) / MIB
  const left = await end(readers)
  note('2,000 stalled readers of one stored file, RSS', `+${growth.toFixed(0)} MiB`, '', '', '< +100 MiB')
  note('… still connected', `${left} of 2000`, '', '', '2000')
}

async function store(url: string): Promise<void> {
  const { body, statusCode } = await request(url)
  await body.dump({ limit: Number.POSITIVE_INFINITY })
  if (statusCode !== 200) throw new Error(`${statusCode} for ${url}`)
}

/** Resident size once nothing has been asked for a while: garbage of what was before is not counted as growth. */
async function settledRss(pid: number): Promise<number> {
  await sleep(SETTLE_MS)
  return rssBytes(pid)
}

async function begin(url: string, count: number, bytesPerSecond: number): Promise<ChildProcess> {
  const script = fileURLToPath(new URL('./readers.ts', import.meta.url))
  const args = ['--import', 'tsx', script, url, String(count), String(bytesPerSecond)]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  if (child.stdout === null) throw new Error('no output')
  await once(child.stdout, 'data')
  return child
}

/** How many readers were still connected. */
async function end(readers: ChildProcess): Promise<number> {
  if (readers.stdout === null) throw new Error('no output')
  const said = once(readers.stdout, 'data')
  readers.stdin?.end()
  const [text] = (await said) as [Buffer]
  return Number(text.toString())
}
