import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readBlockMap } from '../../src/store/partials/block-map.ts'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, sha256Of, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { digestFrom } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { openCount } from '../support/fd.ts'
import {
  badLines,
  type Child,
  type ChildOptions,
  limitFiles,
  runChild,
  startChild,
} from '../support/process.ts'
import { verdictOf } from '../support/verdict.ts'

const MIB = 1024 * 1024
const LARGE = 160 * MIB
const MEDIUM = 12 * MIB
/** For 50 clients at once; more than the buffers of a connection hold, so that clients who do not read keep it from its end. */
const SHARED = 8 * MIB
const FILE = '/acme/open/resolve/main'

let hub: Hub
let cacheDir: string
let children: Child[] = []

beforeEach(async () => {
  const world = new World()
  world.model('acme/open').commit({
    'large.bin': lfs({ sizeBytes: LARGE, seed: 5 }),
    'medium.bin': lfs({ sizeBytes: MEDIUM, seed: 6 }),
    'other.bin': lfs({ sizeBytes: MEDIUM, seed: 7 }),
    'stored.bin': lfs({ sizeBytes: SHARED, seed: 8 }),
    'pulled.bin': lfs({ sizeBytes: SHARED, seed: 9 }),
    'small.json': '{"small":true}',
  })
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-process-'))
})

afterEach(async () => {
  hub.faults.clear()
  for (const child of children) {
    await child.stop()
    expect(badLines(child.log())).toEqual([])
  }
  children = []
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
})

async function start(options: Partial<ChildOptions> = {}): Promise<Child> {
  const child = await startChild({ hub, cacheDir, ...options })
  children.push(child)
  return child
}

const get = (child: Child, path: string) => probe(`${child.url}${FILE}/${path}`)
const right = (path: string) => bytesOf(hub.world.model('acme/open'), 'main', path)
const digestOf = (path: string) => sha256Of(hub.world.model('acme/open'), 'main', path)

/** The digest of a body, without keeping it; undefined if the body broke off. */
function pull(child: Child, path: string): Promise<string | undefined> {
  return begin(child, path).then(
    ({ answer }) => digestFrom(answer),
    () => undefined,
  )
}

/** Sends a request, and reads nothing of the body. Rejects if no response begins. */
function begin<Path extends string>(
  child: Child,
  path: Path,
): Promise<{ readonly path: Path; readonly answer: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const asked = request(`${child.url}${FILE}/${path}`, { agent: false }, (answer) =>
      resolve({ path, answer }),
    )
    asked.on('error', reject)
    asked.end()
  })
}

/** Resolves once no process takes new connections. */
const whenClosed = (child: Child) =>
  eventually(
    () => probe(`${child.url}/healthz`).catch(() => undefined),
    (answer) => answer === undefined,
  )

// test/long/killed-downloads.test.ts kills a process three times in a row.
describe('a process that is killed during a download', () => {
  it('has recorded most of a large file, which is not fetched again', async () => {
    const child = await start()
    hub.bytesPerSecond = 20 * MIB
    const reader = pull(child, 'large.bin')
    await hub.ledger.whenBytes({ server: 'cdn' }, 70 * MIB)
    // From now on the origin is slow, so that the download is far from its end when the map vouches for what has come.
    hub.bytesPerSecond = MIB
    const partial = join(cacheDir, 'partial', `sha256-${digestOf('large.bin')}`)
    await eventually(
      async () => (await readBlockMap(join(partial, 'blocks'), LARGE))?.presentBytes ?? 0,
      (bytes) => bytes >= 60 * MIB,
    )
    child.kill('SIGKILL')
    await child.ended
    expect(await reader).toBeUndefined()

    hub.bytesPerSecond = undefined
    const next = await start()
    hub.ledger.clear()
    expect(await pull(next, 'large.bin')).toBe(digestOf('large.bin'))
    expect(hub.ledger.bytes('cdn')).toBeLessThanOrEqual(LARGE - 60 * MIB)
    expect(await readdir(join(cacheDir, 'tmp'))).toEqual([])
    await eventually(
      () => readdir(join(cacheDir, 'partial')),
      (names) => names.length === 0,
    )
  })
})

describe('a second process', () => {
  it('on the same directory refuses to start, names the owner, and does not disturb it', async () => {
    const first = await start()
    expect((await get(first, 'medium.bin')).status).toBe(200)
    const { status, log } = await runChild({ hub, cacheDir })
    expect(status).toBe(1)
    expect(log).toContain(`Another hubmirror (process ${first.pid}) uses ${cacheDir}`)
    expect(log).toContain('HUBMIRROR_CACHE_DIR')
    expect(log).not.toMatch(/\n\s+at /)
    expect(verdictOf(await get(first, 'medium.bin'), right('medium.bin'))).toBe('whole')
  })

  it('may take the directory as soon as the first has ended, however it ended', async () => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const child = await start()
      expect((await get(child, 'small.json')).body.toString()).toBe('{"small":true}')
      child.kill(signal)
      await child.ended
    }
    expect((await get(await start(), 'small.json')).headers['x-cache']).toMatch(/HIT|REVALIDATED/)
  })
})

describe('SIGUSR2', () => {
  it('makes the audit log continue under its name, and does not end a mirror without one', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hubmirror-audit-'))
    const file = join(folder, 'audit.log')
    const child = await start({ env: { HUBMIRROR_AUDIT_LOG: file } })
    const lines = async (name: string) =>
      (await readFile(name, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '')
    await get(child, 'small.json')
    await eventually(
      () => lines(file),
      ({ length }) => length === 1,
    )
    await rename(file, `${file}.1`)
    child.kill('SIGUSR2')
    await eventually(
      () => readdir(folder),
      (names) => names.includes('audit.log'),
    )
    await get(child, 'small.json')
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
    expect([(await lines(`${file}.1`)).length, (await lines(file)).length]).toEqual([1, 1])
    await rm(folder, { recursive: true })
    const other = await start({ env: { HUBMIRROR_AUDIT_LOG: 'stdout' } })
    other.kill('SIGUSR2')
    expect((await get(other, 'small.json')).status).toBe(200)
    await eventually(
      () => other.entries(),
      (entries) => entries.some(({ audit, decision }) => audit === 'access' && decision === 'allowed'),
    )
  })

  it('ends no mirror whose audit log cannot be opened, since that one does not start', async () => {
    const env = { HUBMIRROR_AUDIT_LOG: join(cacheDir, 'no', 'such', 'audit.log') }
    const { status, log } = await runChild({ hub, cacheDir, env })
    expect([status, log.includes('cannot write the audit log')]).toEqual([1, true])
    // One sentence, and no stack of a stream that could not be ended.
    expect(log).not.toContain('    at ')
  })
})

describe('SIGTERM', () => {
  it('lets a download finish, accepts no new one, and ends with 0', async () => {
    const child = await start()
    hub.bytesPerSecond = 8 * MIB
    const reader = pull(child, 'medium.bin')
    await hub.ledger.whenBytes({ server: 'cdn' }, 2 * MIB)
    child.kill('SIGTERM')
    const ready = await eventually(
      () => probe(`${child.url}/readyz`).catch(() => undefined),
      (answer) => answer?.status !== 200,
    )
    expect([503, undefined]).toContain(ready?.status)
    expect(await reader).toBe(digestOf('medium.bin'))
    expect(await child.ended).toBe(0)
    expect(child.entries().at(-1)?.['msg']).toBe('closed')
  })

  it.each([1, 2])('breaks none of 50 downloads in a mirror of %i processes that answer', async (workers) => {
    // The drain timeout is an hour: the mirror must end with the last download, or this test fails.
    const child = await start({
      env: { HUBMIRROR_WORKERS: String(workers), HUBMIRROR_DRAIN_TIMEOUT: '1h' },
    })
    expect(await pull(child, 'stored.bin')).toBe(digestOf('stored.bin'))
    hub.faults.add({ where: 'cdn', stallAfterBytes: 4 * MIB, times: 100 })
    // Half of them from the disk, whose clients read nothing for now, and half on one pull whose origin says nothing.
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => begin(child, index % 2 === 0 ? 'stored.bin' : 'pulled.bin')),
    )
    await hub.faults.whenStalled()
    child.kill('SIGTERM')
    await whenClosed(child)
    hub.faults.release()
    const whole = { 'stored.bin': digestOf('stored.bin'), 'pulled.bin': digestOf('pulled.bin') }
    const digests = await Promise.all(answers.map(({ answer }) => digestFrom(answer)))
    expect(digests).toEqual(answers.map(({ path }) => whole[path]))
    expect(await child.ended).toBe(0)
  })

  it('waits no longer than its timeout, and keeps the bytes that have arrived', async () => {
    // An origin that is waited for longer than this test has.
    const child = await start({ env: { HUBMIRROR_DRAIN_TIMEOUT: '1s', HUBMIRROR_ORIGIN_TIMEOUT: '1h' } })
    hub.faults.add({ where: 'cdn', stallAfterBytes: 4 * MIB, times: 100 })
    const reader = pull(child, 'medium.bin')
    await hub.faults.whenStalled()
    child.kill('SIGTERM')
    expect(await reader).toBeUndefined()
    expect(await child.ended).toBe(0)
    hub.faults.clear()
    hub.ledger.clear()
    expect(await pull(await start(), 'medium.bin')).toBe(digestOf('medium.bin'))
    expect(hub.ledger.bytes('cdn')).toBeLessThan(MEDIUM - 3 * MIB)
  })

  it('does not wait for connections whose last answer has ended', async () => {
    const child = await start({ env: { HUBMIRROR_DRAIN_TIMEOUT: '1h' } })
    const agent = new Agent({ keepAlive: true })
    hub.faults.add({ where: 'cdn', stallAfterBytes: 4 * MIB, times: 100 })
    const reader = probe(`${child.url}${FILE}/medium.bin`, { agent })
    await hub.faults.whenStalled()
    child.kill('SIGTERM')
    await whenClosed(child)
    hub.faults.release()
    expect((await reader).body.length).toBe(MEDIUM)
    expect(await child.ended).toBe(0)
    agent.destroy()
  })

  it.each([1, 2])(
    'sends Connection: close to a client that sends its request only then, in a mirror of %i processes',
    async (workers) => {
      const child = await start({ env: { HUBMIRROR_WORKERS: String(workers) } })
      // The last ones are answered by the early read.
      for (let round = 0; round < 5; round += 1) await get(child, 'small.json')
      const { hostname, port } = new URL(child.url)
      const socket = connect(Number(port), hostname)
      await once(socket, 'connect')
      child.kill('SIGTERM')
      await whenClosed(child)
      socket.write(`GET ${FILE}/small.json HTTP/1.1\r\nHost: x\r\n\r\n`)
      let text = ''
      for await (const part of socket) text += (part as Buffer).toString()
      expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n(?:.*\r\n)?connection: close\r\n.*\{"small":true\}$/is)
      expect(await child.ended).toBe(0)
    },
  )

  it.each([1, 2])(
    'starts the drain delay: not ready, still serving, and each connection ends with its answer (processes that answer: %i)',
    async (workers) => {
      const env = { HUBMIRROR_WORKERS: String(workers), HUBMIRROR_DRAIN_DELAY: '1h' }
      const child = await start({ env })
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      const ask = (path: string) => probe(child.url + path, { agent })
      // The last ones are answered by the early read.
      for (let round = 0; round < 5; round += 1)
        expect((await ask(`${FILE}/small.json`)).headers.connection).not.toBe('close')
      hub.faults.add({ where: 'cdn', stallAfterBytes: 4 * MIB, times: 1 })
      const reader = ask(`${FILE}/medium.bin`)
      await hub.faults.whenStalled()
      child.kill('SIGTERM')
      const others = new Agent({ keepAlive: true, maxSockets: 1 })
      await eventually(
        () => probe(`${child.url}/readyz`, { agent: others }),
        ({ status }) => status === 503,
      )
      for (const path of [
        `${FILE}/small.json`,
        '/healthz',
        '/api/models/acme/open',
        '/acme/open/raw/main/small.json',
        `${FILE}/none`,
      ]) {
        const { status, headers } = await probe(child.url + path, { agent: others })
        expect([path, status, headers.connection]).toEqual([path, path.endsWith('none') ? 404 : 200, 'close'])
      }
      // Under way since before: it comes whole, and the next answer on its connection is the last.
      hub.faults.release()
      expect(
        createHash('sha256')
          .update((await reader).body)
          .digest('hex'),
      ).toBe(digestOf('medium.bin'))
      expect((await ask(`${FILE}/small.json`)).headers.connection).toBe('close')
      child.kill('SIGTERM')
      expect(await child.ended).toBe(1)
      for (const each of [agent, others]) each.destroy()
    },
  )

  it('ends the mirror at once if it is sent twice', async () => {
    const child = await start()
    hub.faults.add({ where: 'cdn', stallAfterBytes: 4 * MIB, times: 100 })
    const reader = pull(child, 'medium.bin')
    await hub.faults.whenStalled()
    child.kill('SIGTERM')
    await eventually(
      () => child.entries().some((entry) => entry['msg'] === 'draining'),
      (draining) => draining,
    )
    child.kill('SIGTERM')
    expect(await child.ended).toBe(1)
    expect(await reader).toBeUndefined()
  })
})

describe('SIGINT', () => {
  it('ends a mirror without the delay for load balancers', async () => {
    const child = await start({ env: { HUBMIRROR_DRAIN_DELAY: '1h' } })
    child.kill('SIGINT')
    expect(await child.ended).toBe(0)
    expect(child.entries().find(({ msg }) => msg === 'draining')).toMatchObject({
      signal: 'SIGINT',
      delayMs: 0,
    })
  })
})

describe('a process without free descriptors', () => {
  it('refuses or serves right bytes, stays alive, and recovers', async () => {
    const child = await start()
    for (const path of ['medium.bin', 'small.json']) expect((await get(child, path)).status).toBe(200)
    const base = await openCount(child.pid)
    await limitFiles(child.pid, base + 12)
    const many = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const path = index % 3 === 0 ? 'other.bin' : 'medium.bin'
        return { path, digest: await pull(child, path) }
      }),
    )
    for (const { path, digest } of many) if (digest !== undefined) expect(digest).toBe(digestOf(path))
    // No client is left waiting: each connection was answered or ended.
    await limitFiles(child.pid, 4096)
    await eventually(
      () => openCount(child.pid),
      (count) => count <= base + 12,
    )
    expect(await pull(child, 'medium.bin')).toBe(digestOf('medium.bin'))
    expect((await get(child, 'small.json')).body.toString()).toBe('{"small":true}')
    expect((await probe(`${child.url}/healthz`)).status).toBe(200)
  })

  it('answers what it has accepted already with right bytes or a refusal', async () => {
    const child = await start()
    for (const path of ['medium.bin', 'small.json']) expect((await get(child, path)).status).toBe(200)
    const agent = new Agent({ keepAlive: true, maxSockets: 20 })
    const ask = (path: string) => probe(child.url + path, { agent })
    await Promise.all(Array.from({ length: 20 }, () => ask('/healthz')))
    await limitFiles(child.pid, await openCount(child.pid))
    const paths = ['medium.bin', 'other.bin', 'small.json', 'absent.txt'].map((name) => `${FILE}/${name}`)
    const answers = await Promise.all(
      [...paths, '/api/models/acme/open', '/acme/open', '/readyz', '/metrics'].flatMap((path) => [
        ask(path).then((got) => ({ path, got })),
        ask(path).then((got) => ({ path, got })),
      ]),
    )
    for (const { path, got } of answers) {
      expect([200, 404, 502, 503, 504], `${path} ${got.body.toString().slice(0, 200)}`).toContain(got.status)
      if (path.endsWith('.bin')) verdictOf(got, right(path.slice(FILE.length + 1)))
      if (got.status > 404) expect(got.headers['x-error-message']).toBeTruthy()
    }
    agent.destroy()
    await limitFiles(child.pid, 4096)
    for (const path of ['medium.bin', 'other.bin']) expect(await pull(child, path)).toBe(digestOf(path))
  })
})
