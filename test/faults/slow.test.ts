import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import { metricValue, type RunningMirror, startMirror } from '../support/start-mirror.ts'
import { verdictOf } from '../support/verdict.ts'

const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const BLOCK = 256 * 1024
const DRIPPED = 2 * BLOCK
const LARGE = 24_000_000

let hub: Hub
let mirror: RunningMirror

afterEach(async () => {
  hub.faults.clear()
  await mirror.close()
  await hub.close()
})

async function start(now?: () => number): Promise<void> {
  const world = new World().addUser('member', { token: TOKEN })
  const files = {
    'drip.bin': lfs({ sizeBytes: DRIPPED, seed: 1 }),
    'large.bin': lfs({ sizeBytes: LARGE, seed: 2 }),
    'config.json': '{}',
  }
  world.model('acme/open').commit(files)
  world.model('acme/private').private(['member']).commit(files)
  hub = await startHub({ world })
  mirror = await startMirror({ hub, ...(now === undefined ? {} : { now }) })
}

const REPOS = ['open', 'private'] as const
type RepoName = (typeof REPOS)[number]

const right = (path: string) => bytesOf(hub.world.model('acme/open'), 'main', path)
const url = (repo: RepoName, path: string) => `${mirror.url}/acme/${repo}/resolve/main/${path}`
const headersFor = (repo: RepoName) => (repo === 'private' ? { authorization: `Bearer ${TOKEN}` } : {})
const get = (repo: RepoName, path: string) => probe(url(repo, path), { headers: headersFor(repo) })
const bodiesOpen = async () =>
  (await openFilesBelow(mirror.cacheDir)).filter((name) => !name.endsWith('/LOCK'))

/** A client that has had its answer begin and reads nothing more until told to. */
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

describe.each(REPOS)('behind an origin that drips, a client of a repo that is %s', (repo) => {
  it('gets every byte when it lands, not when its block is whole', async () => {
    await start()
    hub.faults.add({ where: 'cdn', dripBytesPerSecond: 100_000, times: 100 })
    const { answer } = await begin(repo, 'drip.bin')
    const parts: Buffer[] = []
    for await (const part of answer) {
      // A block takes 2.6 s at this rate, and clients give up after 3 s at the least patient: what has landed must
      // leave before its block is whole.
      if (parts.length === 0) expect(hub.ledger.bytes('cdn')).toBeLessThan(BLOCK)
      parts.push(part as Buffer)
    }
    expect(Buffer.concat(parts).equals(right('drip.bin'))).toBe(true)
  })
})

describe('a client that reads nothing', () => {
  it.each(REPOS)('of a repo that is %s, harms nobody', async (repo) => {
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

  it('but a byte a second keeps its connection, and costs no more than a buffer', async () => {
    await start()
    const { hostname, port } = new URL(mirror.url)
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('error', () => undefined)
    socket.write(`GET /acme/open/resolve/main/large.bin HTTP/1.1\r\nHost: a\r\n\r\n`)
    await new Promise((resolve) => socket.once('readable', resolve))
    for (let second = 0; second < 3; second += 1) {
      expect(socket.read(1)).toHaveLength(1)
      expect(verdictOf(await get('open', 'large.bin'), right('large.bin'))).toBe('whole')
    }
    expect(socket.destroyed).toBe(false)
    socket.destroy()
    await eventually(bodiesOpen, (open) => open.length === 0)
  })
})

describe('clients that leave', () => {
  it.each(REPOS)('in every moment, of a repo that is %s, leave nothing open', async (repo) => {
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
    const metrics = await eventually(
      () => mirror.metrics(),
      (text) => metricValue(text, 'hubmirror_flights_in_progress') === 0,
    )
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

  it('with an origin that hangs, free what they held', async () => {
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

describe('a wall clock that steps', () => {
  it.each([
    ['back by a day', -86_400_000],
    ['on by a day', 86_400_000],
  ])('%s changes nothing that is served', async (_, stepMs) => {
    let offsetMs = 0
    await start(() => Date.now() + offsetMs)
    expect(verdictOf(await get('open', 'large.bin'), right('large.bin'))).toBe('whole')
    await eventually(
      async () => (await get('open', 'large.bin')).headers['x-cache'],
      (word) => word === 'HIT',
    )
    const before = hub.ledger.requests().length
    offsetMs = stepMs
    const again = await get('open', 'large.bin')
    expect([verdictOf(again, right('large.bin')), again.headers['x-cache']]).toEqual(['whole', 'HIT'])
    // Neither fresher nor staler: not a question more.
    expect(hub.ledger.requests().length).toBe(before)
    expect(verdictOf(await get('open', 'drip.bin'), right('drip.bin'))).toBe('whole')
    expect(verdictOf(await get('private', 'drip.bin'), right('drip.bin'))).toBe('whole')
  })
})
