// What becomes of clients, files and the port when one of several processes exits, as intended or unexpectedly.

import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, sha256Of, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { open } from '../support/ask.ts'
import { cutShort } from '../support/damage.ts'
import { eventually } from '../support/eventually.ts'
import { firstFree, openFilesBelow } from '../support/fd.ts'
import { badLines, type Child, limitFiles, runChild, startChild } from '../support/process.ts'
import { filesBelow, metricValue, startMirror, whenIdle } from '../support/start-mirror.ts'
import { childrenOf, isOpen, isRunning, whenGone } from '../support/workers.ts'

const MIB = 1024 * 1024
/** Far more than the buffers of a connection hold, so that a client that stalls keeps its answer from ending. */
const LARGE = 24 * MIB
const FILE = '/acme/open/resolve/main'

let hub: Hub
let cacheDir: string
let temporary: string
let children: Child[] = []

beforeEach(async () => {
  const world = new World()
  world.model('acme/open').commit({
    'large.bin': lfs({ sizeBytes: LARGE, seed: 5 }),
    'small.json': '{"small":true}',
  })
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-workers-'))
  temporary = await mkdtemp(join(tmpdir(), 'hubmirror-tmp-'))
})

afterEach(async () => {
  hub.faults.clear()
  const ended = children
  children = []
  for (const child of ended) await child.stop()
  await hub.close()
  for (const child of ended) expect(badLines(child.log())).toEqual([])
  // Also of a main process that was killed: its workers tidy up.
  await eventually(
    () => readdir(temporary),
    (names) => names.length === 0,
  )
  await rm(cacheDir, { recursive: true, force: true })
  await rm(temporary, { recursive: true, force: true })
})

const settings = (env: Record<string, string> = {}) => ({
  hub,
  cacheDir,
  env: { HUBMIRROR_WORKERS: '2', TMPDIR: temporary, ...env },
})

async function start(env: Record<string, string> = {}): Promise<Child> {
  const child = await startChild(settings(env))
  children.push(child)
  return child
}

const right = () => bytesOf(hub.world.model('acme/open'), 'main', 'large.bin')
const portOf = (child: Child) => Number(new URL(child.url).port)

/** The digest of what came; undefined when it broke off. */
async function digestOf(answer: IncomingMessage): Promise<string | undefined> {
  const hash = createHash('sha256')
  try {
    for await (const part of answer) hash.update(part as Buffer)
  } catch {
    return undefined
  }
  return answer.complete ? hash.digest('hex') : undefined
}

const wholeDigest = () => sha256Of(hub.world.model('acme/open'), 'main', 'large.bin')

/** A reader that has begun and then stalls. */
async function stall(child: Child, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const answer = await open(child.url, `${FILE}/large.bin`, { headers })
  await new Promise((resolve) => answer.once('readable', resolve))
  return answer
}

/** Stores the large file. */
async function warm(child: Child): Promise<void> {
  expect(await digestOf(await open(child.url, `${FILE}/large.bin`))).toBe(wholeDigest())
  await whenIdle(async () => (await probe(`${child.url}/metrics`)).body.toString())
}

async function workersOf(child: Child) {
  const text = (await probe(`${child.url}/metrics`)).body.toString()
  return {
    serving: metricValue(text, 'hubmirror_workers'),
    lost: metricValue(text, 'hubmirror_workers_lost_total'),
  }
}

describe('a worker that is killed', () => {
  it('breaks the connections of its own clients only, and is replaced', async () => {
    const child = await start()
    await warm(child)
    const workers = await childrenOf(child.pid)
    expect(workers).toHaveLength(2)
    const readers = [await stall(child), await stall(child)]
    const blobs = join(cacheDir, 'blobs')
    const holds = await Promise.all(workers.map((pid) => openFilesBelow(blobs, pid)))
    expect(holds.map((files) => files.length)).toEqual([1, 1])
    const [victim = 0] = workers
    process.kill(victim, 'SIGKILL')
    const digests = await Promise.all(readers.map(digestOf))
    expect(digests.filter((digest) => digest === undefined)).toHaveLength(1)
    expect(digests).toContain(wholeDigest())
    await eventually(
      () => workersOf(child),
      ({ serving, lost }) => serving === 2 && lost === 1,
    )
    expect(child.entries().filter(({ pid, signal }) => pid === victim && signal === 'SIGKILL')).toHaveLength(
      1,
    )
    // The main process holds on to nothing for those who have gone.
    await eventually(
      () => openFilesBelow(blobs, child.pid),
      (files) => files.length === 0,
    )
    for (let round = 0; round < 4; round += 1)
      expect(await digestOf(await open(child.url, `${FILE}/large.bin`))).toBe(wholeDigest())
  })

  it('does not end downloads in progress, and two that are killed at once are replaced on the same port', async () => {
    const child = await start()
    hub.bytesPerSecond = 2 * MIB
    const reader = stall(child).then(digestOf)
    await hub.ledger.whenBytes({ server: 'cdn' }, 4 * MIB)
    for (const pid of await childrenOf(child.pid)) process.kill(pid, 'SIGKILL')
    expect(await reader).toBeUndefined()
    hub.bytesPerSecond = undefined
    await eventually(
      () => isOpen(portOf(child)),
      (isThere) => isThere,
    )
    expect(await digestOf(await open(child.url, `${FILE}/large.bin`))).toBe(wholeDigest())
    expect(hub.ledger.bytes('cdn')).toBeLessThan(LARGE + 8 * MIB)
  })
})

describe('a worker that has stopped', () => {
  it('is replaced, and its new clients are answered by another one', async () => {
    const child = await start()
    await warm(child)
    const [stuck = 0] = await childrenOf(child.pid)
    process.kill(stuck, 'SIGSTOP')
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => probe(`${child.url}${FILE}/small.json`).then(({ status }) => status)),
    )
    expect(new Set(answers)).toEqual(new Set([200]))
    expect(await isRunning(stuck)).toBe(false)
    await eventually(
      () => workersOf(child),
      ({ serving, lost }) => serving === 2 && lost === 1,
    )
    const killed = child
      .entries()
      .filter(({ msg }) => msg === 'a worker does not respond; the main process kills it')
    expect(killed.map(({ pid }) => pid)).toEqual([stuck])
    // Said above, and no fault of the mirror.
    children = []
    await child.stop()
    expect(badLines(child.log())).toHaveLength(1)
  })
})

describe('a worker that cannot be started', () => {
  it('is started as soon as it can be', async () => {
    const child = await start()
    await warm(child)
    await limitFiles(child.pid, 10)
    const [victim = 0] = await childrenOf(child.pid)
    process.kill(victim, 'SIGKILL')
    const ends = () => child.entries().filter(({ msg }) => String(msg).startsWith('a worker ended'))
    await eventually(ends, (lines) => lines.length >= 3)
    expect(ends().map(({ code }) => code)).toEqual([
      null,
      ...ends()
        .slice(1)
        .map(() => 'EMFILE'),
    ])
    await limitFiles(child.pid, 1024)
    await eventually(
      () => childrenOf(child.pid),
      (workers) => workers.length === 2,
    )
    await eventually(
      () => workersOf(child),
      ({ serving }) => serving === 2,
    )
  })

  it('keeps no process from ending', async () => {
    const child = await start()
    await limitFiles(child.pid, 10)
    const workers = await childrenOf(child.pid)
    for (const pid of workers) process.kill(pid, 'SIGKILL')
    await eventually(
      () => child.entries().filter(({ code }) => code === 'EMFILE'),
      (lines) => lines.length > 0,
    )
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
  })
})

describe('a main process that is killed', () => {
  it('ends its workers, so that the port is free and the next mirror serves', async () => {
    const child = await start()
    await warm(child)
    const workers = await childrenOf(child.pid)
    const reader = await stall(child)
    child.kill('SIGKILL')
    expect(await child.ended).toBe('SIGKILL')
    expect(await digestOf(reader)).toBeUndefined()
    for (const pid of workers) await whenGone(pid)
    expect(await isOpen(portOf(child))).toBe(false)
    hub.ledger.clear()
    const next = await start({ HUBMIRROR_PORT: String(portOf(child)) })
    expect(await digestOf(await open(next.url, `${FILE}/large.bin`))).toBe(wholeDigest())
    expect(hub.ledger.bytes('cdn')).toBe(0)
  })
})

describe('SIGHUP to all processes of a mirror', () => {
  it('ends none of them', async () => {
    const child = await start()
    const workers = await childrenOf(child.pid)
    for (const pid of workers) process.kill(pid, 'SIGHUP')
    child.kill('SIGHUP')
    await eventually(
      () => child.entries().filter(({ msg }) => String(msg).endsWith('were read again')),
      ({ length }) => length === 1,
    )
    expect(await childrenOf(child.pid)).toEqual(workers)
    expect((await probe(`${child.url}${FILE}/small.json`)).status).toBe(200)
  })
})

describe('the environment of a worker', () => {
  it('holds none of the secrets that the main process was given in its own', async () => {
    const secrets = { HUBMIRROR_TOKEN: `hf_${'x'.repeat(34)}`, HTTPS_PROXY: 'http://user:pass@127.0.0.1:1' }
    const child = await start({ ...secrets, NO_PROXY: '127.0.0.1', NODE_OPTIONS: '--no-deprecation' })
    const workers = await childrenOf(child.pid)
    expect(workers).toHaveLength(2)
    for (const pid of workers) {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8')
      expect(environment).toContain('NODE_OPTIONS=--no-deprecation')
      for (const secret of Object.values(secrets)) expect(environment).not.toContain(secret)
    }
  })
})

describe('SIGTERM', () => {
  it('lets a download finish, accepts no new one, ends with 0, and leaves no process', async () => {
    const child = await start({ HUBMIRROR_DRAIN_TIMEOUT: '1h' })
    await warm(child)
    const workers = await childrenOf(child.pid)
    const agent = new Agent({ keepAlive: true })
    const kept = await probe(`${child.url}${FILE}/small.json`, { agent })
    expect(kept.status).toBe(200)
    const reader = await stall(child)
    // As a terminal does it: the workers get the signal, too, and leave it to the main process.
    for (const pid of workers) process.kill(pid, 'SIGTERM')
    child.kill('SIGTERM')
    await eventually(
      () => isOpen(portOf(child)),
      (isThere) => !isThere,
    )
    expect(await isRunning(child.pid)).toBe(true)
    expect(await digestOf(reader)).toBe(wholeDigest())
    expect(await child.ended).toBe(0)
    expect(child.entries().at(-1)?.['msg']).toBe('closed')
    for (const pid of workers) expect(await isRunning(pid)).toBe(false)
    const lines = child.entries().filter(({ msg, bytes }) => msg === 'request' && bytes === LARGE)
    expect(lines).toHaveLength(2)
    agent.destroy()
  })

  it('waits no longer than its timeout', async () => {
    const child = await start({ HUBMIRROR_DRAIN_TIMEOUT: '1s' })
    await warm(child)
    const workers = await childrenOf(child.pid)
    const reader = await stall(child)
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
    expect(await digestOf(reader)).toBeUndefined()
    for (const pid of workers) expect(await isRunning(pid)).toBe(false)
  })

  it('sent twice ends all processes at once', async () => {
    const child = await start({ HUBMIRROR_DRAIN_TIMEOUT: '1h' })
    await warm(child)
    const workers = await childrenOf(child.pid)
    const reader = await stall(child)
    child.kill('SIGTERM')
    await eventually(
      () => child.entries().some(({ msg }) => msg === 'draining'),
      (isDraining) => isDraining,
    )
    child.kill('SIGTERM')
    expect(await child.ended).toBe(1)
    expect(await digestOf(reader)).toBeUndefined()
    for (const pid of workers) await whenGone(pid)
  })

  it('leaves no socket behind where the main process is killed when its last worker is done', async () => {
    const child = await start({ HUBMIRROR_DRAIN_TIMEOUT: '1h' })
    await warm(child)
    const reader = await stall(child)
    child.kill('SIGTERM')
    const [last = 0] = await eventually(
      () => childrenOf(child.pid),
      (workers) => workers.length === 1,
    )
    // It cannot take the last message of the worker any more.
    child.kill('SIGSTOP')
    expect(await digestOf(reader)).toBe(wholeDigest())
    await eventually(
      () => openFilesBelow(join(cacheDir, 'blobs'), last).catch(() => []),
      (files) => files.length === 0,
    )
    child.kill('SIGKILL')
    await whenGone(last)
    // `afterEach` looks for the folder of the socket.
  })
})

describe('a start that fails', () => {
  it('says the same with workers as without, and leaves no process behind', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const address = taken.address()
    const port = typeof address === 'object' && address !== null ? String(address.port) : ''
    const several = await runChild(settings({ HUBMIRROR_PORT: port }))
    const one = await runChild(settings({ HUBMIRROR_PORT: port, HUBMIRROR_WORKERS: '1' }))
    const words = (log: string) => log.split('\n').filter((line) => line.startsWith('hubmirror: '))
    expect([several.status, words(several.log)]).toEqual([one.status, words(one.log)])
    expect([one.status, words(one.log).join()]).toEqual([1, expect.stringContaining('EADDRINUSE')])
    taken.close()
    await start()
    const second = await runChild(settings())
    expect([second.status, second.log]).toEqual([1, expect.stringContaining('Another hubmirror')])
  })
})

describe('a stored file that a worker cannot read', () => {
  it('is sent by the main process', async () => {
    const child = await start()
    await warm(child)
    const agents = [0, 1].map(() => new Agent({ keepAlive: true, maxSockets: 1 }))
    // A connection to each worker, and one of each to the main process; then no descriptor more.
    for (const agent of agents)
      expect((await probe(`${child.url}${FILE}/small.json`, { agent })).status).toBe(200)
    const workers = await childrenOf(child.pid)
    for (const pid of workers) await limitFiles(pid, await firstFree(pid))
    for (const agent of agents) {
      const got = await new Promise<IncomingMessage>((resolve, reject) => {
        request(`${child.url}${FILE}/large.bin`, { agent }, resolve).once('error', reject).end()
      })
      expect([got.statusCode, await digestOf(got)]).toEqual([200, wholeDigest()])
    }
    await eventually(
      () => child.entries().filter(({ msg }) => msg === 'a worker cannot read a stored file'),
      (lines) => lines.length === 2,
    )
    await eventually(
      () =>
        child
          .entries()
          .filter(({ msg, outcome, bytes }) => msg === 'request' && outcome === 'hit' && bytes === LARGE),
      (lines) => lines.length === 2,
    )
    for (const agent of agents) agent.destroy()
  })

  it('continues from the origin when a range was requested, and breaks off when the digest decides', async () => {
    const mirror = await startMirror({ hub, config: { workers: 2, cacheMinFreeBytes: 0 } })
    try {
      expect(await digestOf(await open(mirror.url, `${FILE}/large.bin`))).toBe(wholeDigest())
      await whenIdle(() => mirror.metrics())
      const part = await open(mirror.url, `${FILE}/large.bin`, {
        headers: { range: `bytes=1000-${LARGE - 2}` },
      })
      const whole = await open(mirror.url, `${FILE}/large.bin`)
      await Promise.all(
        [part, whole].map((answer) => new Promise((resolve) => answer.once('readable', resolve))),
      )
      const [name = ''] = [...(await filesBelow(join(mirror.cacheDir, 'blobs'))).keys()].filter((key) =>
        key.startsWith('sha256'),
      )
      await cutShort(join(mirror.cacheDir, 'blobs', name), 16 * MIB)
      const digest = createHash('sha256')
        .update(right().subarray(1000, LARGE - 1))
        .digest('hex')
      expect(await digestOf(part)).toBe(digest)
      expect(await digestOf(whole)).toBeUndefined()
    } finally {
      await mirror.close()
    }
  })
})
