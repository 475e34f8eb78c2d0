// npm run bench: ratios between the mirror and nginx in one run, on one machine, against one simulator. It starts and
// ends everything itself. Absolute times mean little on a shared machine; the contestants take turns, run by run.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { request } from 'undici'
import { lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { load } from './load.ts'
import { slowReaders, stalledReaders } from './many-readers.ts'
import { cpuSeconds, median, peakRssBytes, resetPeakRss } from './process-figures.ts'
import { type Running, startMirror, startNginx } from './servers.ts'
import { startUp } from './start-up.ts'

const run = promisify(execFile)
const GIB = 1024 ** 3
const ROUNDS = 3
const [only] = process.argv.slice(2).filter((word) => !word.startsWith('--'))
const full = process.argv.includes('--full')

interface Figure {
  readonly name: string
  readonly mirror: string
  readonly other: string
  readonly ratio: string
  readonly target: string
}
const figures: Figure[] = []

const world = new World()
const commit = world.model('bench/files').commit({
  'config.json': JSON.stringify({ padding: 'x'.repeat(4000) }),
  'large.bin': lfs({ sizeBytes: GIB, seed: 1 }),
  'crowd.bin': lfs({ sizeBytes: GIB, seed: 2 }),
  'slow.bin': lfs({ sizeBytes: 256 * 1024 * 1024, seed: 3 }),
  'range.bin': lfs({ sizeBytes: GIB, seed: 4 }),
})
const fileUrl = (server: { url: string }, name: string): string =>
  `${server.url}/bench/files/resolve/${commit}/${name}`

const hub = await startHub({ world })
const servers: Running[] = []
try {
  const mirror = await started(startMirror(hub))
  const nginx = await started(startNginx(hub))
  if (wanted('warm')) await warmLarge(mirror, nginx)
  if (wanted('small')) await small(mirror, nginx)
  if (wanted('range')) await coldRange(mirror, hub)
  if (wanted('crowd')) await crowd(mirror, hub)
  if (wanted('cold')) await throttled(mirror, hub)
  if (wanted('slow')) await slowReaders(await started(startMirror(hub)), fileUrl, note)
  if (wanted('stalled')) await stalledReaders(await started(startMirror(hub)), fileUrl, note)
  if (wanted('start')) await startUp({ hub, commit, count: full ? 1_000_000 : 100_000, note })
  console.table(figures)
} finally {
  for (const server of servers) await server.stop()
  await hub.close()
}

function wanted(name: string): boolean {
  return only === undefined || only === name
}

async function started(starting: Promise<Running>): Promise<Running> {
  const server = await starting
  servers.push(server)
  return server
}

/** Whole body of `url`, thrown away. Wall seconds. */
async function fetchBody(url: string): Promise<number> {
  const { stdout } = await run('curl', ['-sS', '-f', '-o', '/dev/null', '-w', '%{time_total}', url])
  return Number(stdout)
}

async function digestOf(url: string): Promise<string> {
  const { body, statusCode } = await request(url)
  if (statusCode !== 200) throw new Error(`${statusCode} for ${url}`)
  const hash = createHash('sha256')
  for await (const chunk of body) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

async function announcedDigest(server: Running, name: string): Promise<string> {
  const { headers, body } = await request(fileUrl(server, name), { method: 'HEAD' })
  await body.dump()
  return String(headers['x-linked-etag']).replaceAll('"', '')
}

async function warmLarge(mirror: Running, nginx: Running): Promise<void> {
  const url = fileUrl(mirror, 'large.bin')
  const digest = await digestOf(url)
  if (digest !== (await announcedDigest(mirror, 'large.bin'))) throw new Error('wrong bytes')
  const { body } = await request(url)
  await pipeline(body, createWriteStream(path.join(nginx.directory, 'static', 'large.bin')))
  const targets = [
    { server: mirror, url },
    { server: nginx, url: `${nginx.url}/static/large.bin` },
  ]
  const wall = new Map<string, number[]>([
    ['mirror', []],
    ['nginx', []],
  ])
  const cpu = new Map<string, number[]>([
    ['mirror', []],
    ['nginx', []],
  ])
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const { server, url } of targets) {
      const before = cpuSeconds(server.pid)
      const seconds = await fetchBody(url)
      // The first round warms up.
      if (round === 0) continue
      wall.get(server.name)?.push(seconds)
      cpu.get(server.name)?.push(cpuSeconds(server.pid) - before)
    }
  }
  compare('warm 1 GiB GET, CPU s/GiB (nginx: sendfile)', cpu, 's', '<= 1.0')
  compare('warm 1 GiB GET, wall (nginx: sendfile)', wall, 's', '<= 0.9')
}

async function small(mirror: Running, nginx: Running): Promise<void> {
  const cached = `${nginx.url}/api/resolve-cache/models/bench/files/${commit}/config.json`
  const targets = [
    { server: mirror, url: fileUrl(mirror, 'config.json') },
    { server: nginx, url: cached },
  ]
  for (const method of ['GET', 'HEAD'] as const) {
    const perCore = new Map<string, number[]>([
      ['mirror', []],
      ['nginx', []],
    ])
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const { server, url } of targets) {
        const before = cpuSeconds(server.pid)
        const requests = await load(url, method, { connections: 64, seconds: 3 })
        if (round > 0) perCore.get(server.name)?.push(requests / (cpuSeconds(server.pid) - before))
      }
    }
    compare(`warm 4 KiB ${method}, requests per CPU second (nginx: proxy_cache)`, perCore, '/s', '>= 0.8')
  }
}

async function coldRange(mirror: Running, hub: Hub): Promise<void> {
  hub.ledger.clear()
  const middle = GIB / 2
  const { body } = await request(fileUrl(mirror, 'range.bin'), {
    headers: { range: `bytes=${middle}-${middle + 7}` },
  })
  await body.arrayBuffer()
  const bytes = hub.ledger.bytes('cdn')
  note('8 bytes of a cold 1 GiB file, origin bytes', `${bytes}`, '', '', '<= 1 MiB')
}

async function crowd(mirror: Running, hub: Hub): Promise<void> {
  hub.ledger.clear()
  resetPeakRss(mirror.pid, (file, text) => writeFileSync(file, text))
  const url = fileUrl(mirror, 'crowd.bin')
  const digest = await announcedDigest(mirror, 'crowd.bin')
  const startedAt = performance.now()
  const script = fileURLToPath(new URL('./crowd.ts', import.meta.url))
  const { stdout } = await run(process.execPath, ['--import', 'tsx', script, url, '50'])
  const seconds = (performance.now() - startedAt) / 1000
  const right = Number(new RegExp(`^(\\d+) ${digest}$`, 'm').exec(stdout)?.[1] ?? 0)
  const ratio = hub.ledger.bytes('cdn') / GIB
  const rss = peakRssBytes(mirror.pid) / 1e6
  note('50 clients on one cold 1 GiB file, origin bytes', `${ratio.toFixed(3)}x`, '', '', '1.00x')
  note('… digests right', `${right} of 50`, '', '', '50')
  note('… peak RSS', `${rss.toFixed(0)} MB`, '', '', '< 300 MB')
  note('… wall', `${seconds.toFixed(1)} s`, '', '', '')
}

async function throttled(mirror: Running, hub: Hub): Promise<void> {
  hub.bytesPerSecond = 20_000_000
  const direct = await request(`${hub.url}/bench/files/resolve/${commit}/slow.bin`)
  await direct.body.dump()
  const one = await fetchBody(String(direct.headers['location']))
  const pulled = await fetchBody(fileUrl(mirror, 'slow.bin'))
  hub.bytesPerSecond = undefined
  note(
    'cold 256 MiB, origin at 20 MB/s a connection',
    `${pulled.toFixed(1)} s`,
    `${one.toFixed(1)} s`,
    `${(one / pulled).toFixed(2)}x faster`,
    '>= 3x',
  )
}

function compare(name: string, values: Map<string, number[]>, unit: string, target: string): void {
  const mirror = median(values.get('mirror') ?? [])
  const other = median(values.get('nginx') ?? [])
  const spread = (list: readonly number[]): string =>
    `${Math.min(...list).toFixed(2)}–${Math.max(...list).toFixed(2)}`
  const show = (value: number, list: readonly number[]): string =>
    `${value.toFixed(2)} ${unit} (${spread(list)})`
  note(
    name,
    show(mirror, values.get('mirror') ?? []),
    show(other, values.get('nginx') ?? []),
    `${(mirror / other).toFixed(2)}x`,
    target,
  )
}

function note(name: string, mirror: string, other: string, ratio: string, target: string): void {
  console.log(`${name}: ${mirror} | ${other} | ${ratio} (target ${target})`)
  figures.push({ name, mirror, other, ratio, target })
}
