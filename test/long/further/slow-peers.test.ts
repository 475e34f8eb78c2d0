// Clients that read slowly, not at all, or leave, and an origin that sends slowly.

import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { probe } from '../../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../../hub-simulator/repos.ts'
import { type Hub, startHub } from '../../hub-simulator/server.ts'
import { eventually } from '../../support/eventually.ts'
import { openFilesBelow } from '../../support/fd.ts'
import { metricValue, type RunningMirror, startMirror, whenIdle } from '../../support/start-mirror.ts'
import { verdictOf } from '../../support/verdict.ts'

const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const BLOCK = 256 * 1024
const DRIPPED = 4 * BLOCK
const LARGE = 24_000_000

let hub: Hub
let mirror: RunningMirror

afterEach(async () => {
  hub.faults.clear()
  await mirror.close()
  await hub.close()
})

async function start(): Promise<void> {
  const world = new World().addUser('member', { token: TOKEN })
  const files = {
    'drip.bin': lfs({ sizeBytes: DRIPPED, seed: 1 }),
    'large.bin': lfs({ sizeBytes: LARGE, seed: 2 }),
    'config.json': '{}',
  }
  world.model('acme/open').commit(files)
  world.model('acme/private').private(['member']).commit(files)
  hub = await startHub({ world })
  mirror = await startMirror({ hub })
}

const REPOS = ['open', 'private'] as const
type RepoName = (typeof REPOS)[number]

const right = (path: string) => bytesOf(hub.world.model('acme/open'), 'main', path)
const url = (repo: RepoName, path: string) => `${mirror.url}/acme/${repo}/resolve/main/${path}`
const headersFor = (repo: RepoName) => (repo === 'private' ? { authorization: `Bearer ${TOKEN}` } : {})
const get = (repo: RepoName, path: string) => probe(url(repo, path), { headers: headersFor(repo) })
const bodiesOpen = async () =>
  (await openFilesBelow(mirror.cacheDir)).filter((name) => !/\/(?:LOCK|(?:data|lock)\.mdb)$/.test(name))

/** A client whose answer has begun and that reads nothing more until the test asks it to. */
async function begin(
  repo: RepoName,
  path: string,
): Promise<{ asked: ClientRequest; answer: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const asked = request(url(repo, path), { agent: false, headers: headersFor(repo) })
    asked.on('error', reject)
    asked.on('response', (answer) => {
      answer.on('error', () => undefined)
      resolve({ asked, answer })
    })
    asked.end()
  })
}

describe.each(REPOS)('behind a slow origin, a client of a repo that is %s', (repo) => {
  it('gets every byte when it lands, not when its block is complete', async () => {
    await start()
    hub.faults.add({ where: 'cdn', dripBytesPerSecond: 400_000, times: 100 })
    const { answer } = await begin(repo, 'drip.bin')
    const parts: Buffer[] = []
    let length = 0
    for await (const part of answer) {
      // Clients give up after 3 s at the least patient, and behind a slower origin a block takes longer: what has
      // landed must leave before its block is whole, the first one and the last.
      expect(hub.ledger.bytes('cdn') - length).toBeLessThan(BLOCK)
      parts.push(part as Buffer)
      length += (part as Buffer).length
    }
    expect(Buffer.concat(parts).equals(right('drip.bin'))).toBe(true)
  })
})

describe('a client that reads nothing', () => {
  it.each(REPOS)('does not delay other clients of a repo that is %s', async (repo) => {
    await start()
    const idlers = await Promise.all(Array.from({ length: 20 }, () => begin(repo, 'large.bin')))
    for (const { answer } of idlers) answer.pause()
    expect(verdictOf(await get(repo, 'large.bin'), right('large.bin'))).toBe('whole')
    expect((await get(repo, 'config.json')).status).toBe(200)
    if (repo === 'open') expect(hub.ledger.bytes('cdn')).toBe(LARGE)
    for (const { asked } of idlers) asked.destroy()
    await eventually(bodiesOpen, (open) => open.length === 0)
  })

  it('for a while gets every byte when it reads again', async () => {
    await start()
    const { answer } = await begin('open', 'large.bin')
    answer.pause()
    expect(verdictOf(await get('open', 'large.bin'), right('large.bin'))).toBe('whole')
    const parts: Buffer[] = []
    for await (const part of answer) parts.push(part as Buffer)
    expect(Buffer.concat(parts).equals(right('large.bin'))).toBe(true)
  })

  it.each(REPOS)(
    'but a byte a second, of a repo that is %s, keeps its connection and costs little',
    async (repo) => {
      await start()
      const readers = await Promise.all(Array.from({ length: 4 }, () => begin(repo, 'large.bin')))
      for (const { answer } of readers) await new Promise((resolve) => answer.once('readable', resolve))
      const heads: Buffer[][] = readers.map(() => [])
      for (let second = 0; second < 3; second += 1) {
        // The pace of these clients: no client waits for another.
        await delay(1000)
        for (const [index, { answer }] of readers.entries()) {
          const byte = answer.read(1) as Buffer | null
          expect(byte).toHaveLength(1)
          if (byte !== null) heads[index]?.push(byte)
        }
        expect(verdictOf(await get(repo, 'large.bin'), right('large.bin'))).toBe('whole')
      }
      const [stays, ...leave] = readers
      for (const { asked } of leave) asked.destroy()
      const isOfLeaver = (line: string) => Number(/"bytes":(\d+)/.exec(line)?.[1]) !== LARGE
      const lines = await eventually(
        () => mirror.logLines('"route":"file"').filter(isOfLeaver),
        ({ length }) => length === leave.length,
      )
      // What the kernel takes and one buffer: of the rest nothing was fetched into memory for them.
      for (const line of lines) expect(Number(/"bytes":(\d+)/.exec(line)?.[1])).toBeLessThan(LARGE / 2)
      const parts = heads[0] ?? []
      for await (const part of stays?.answer ?? []) parts.push(part as Buffer)
      expect(Buffer.concat(parts).equals(right('large.bin'))).toBe(true)
      await eventually(bodiesOpen, (open) => open.length === 0)
    },
  )
})

describe('clients that disconnect', () => {
  it.each(REPOS)('at any moment, of a repo that is %s, leave nothing open', async (repo) => {
    await start()
    hub.bytesPerSecond = 8_000_000
    for (let round = 0; round < 12; round += 1) {
      const { asked, answer } = await begin(repo, 'large.bin')
      const until = round * 400_000
      let seen = 0
      answer.on('data', (part: Buffer) => {
        seen += part.length
        if (seen >= until) asked.destroy()
      })
      await new Promise((resolve) => asked.once('close', resolve))
    }
    hub.bytesPerSecond = undefined
    expect(verdictOf(await get(repo, 'large.bin'), right('large.bin'))).toBe('whole')
    await eventually(bodiesOpen, (open) => open.length === 0)
    const metrics = await whenIdle(() => mirror.metrics())
    expect(metrics).not.toContain('NaN')
    expect(mirror.logText()).not.toContain('"level":"error"')
  })

  it('before the first byte, while the others stay, take nothing from them', async () => {
    await start()
    hub.faults.add({ where: 'cdn', stallHeaders: true })
    const gone = request(url('open', 'large.bin'), { agent: false })
    gone.on('error', () => undefined)
    gone.end()
    await hub.faults.whenStalled()
    const stays = get('open', 'large.bin')
    await eventually(
      () => mirror.metrics(),
      (text) => metricValue(text, 'hubmirror_flights_joined_total') === 1,
    )
    gone.destroy()
    hub.faults.release()
    expect(verdictOf(await stays, right('large.bin'))).toBe('whole')
    expect(hub.ledger.bytes('cdn')).toBe(LARGE)
  })

  it('from an origin that hangs release what they held', async () => {
    await start()
    hub.faults.add({ where: 'cdn', stallAfterBytes: 100_000, times: 100 })
    const { asked, answer } = await begin('private', 'large.bin')
    answer.resume()
    await hub.faults.whenStalled()
    asked.destroy()
    const [entry] = await hub.ledger.whenDone({ server: 'cdn' })
    expect(entry?.aborted).toBe(true)
  })
})
