// A mirror of several processes behaves like one: what it stores, whom it trusts and what it counts does not depend on the
// worker that a client has reached. Connections are dealt out in turn, so that a few of them reach all workers.

import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bytesOf, lfs, sha256Of, type World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { ask, open, type Question } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import { mirrorWorld, SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { badLines, type Child, startChild } from '../support/process.ts'
import { rawHttp } from '../support/raw-http.ts'
import { metricValue, whenIdle } from '../support/start-mirror.ts'
import { bytesRead, childrenOf } from '../support/workers.ts'

const MIB = 1024 * 1024
const SIZE = 24 * MIB
/** For many clients at once. */
const SHARED_SIZE = 6 * MIB
const BIG = '/acme/big/resolve/main/big.bin'
const SECRET = '/acme/secret/resolve/main'

let world: World
let hub: Hub
let cacheDir: string
let children: Child[]

async function begin(): Promise<void> {
  world = mirrorWorld()
  world.model('acme/big').commit({
    'big.bin': lfs({ sizeBytes: SIZE, seed: 8 }),
    'other.bin': lfs({ sizeBytes: SIZE, seed: 9 }),
    'shared.bin': lfs({ sizeBytes: SHARED_SIZE, seed: 10 }),
  })
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-workers-'))
  children = []
}

async function end(): Promise<void> {
  hub.faults.clear()
  for (const child of children) {
    await child.stop()
    expect(badLines(child.log())).toEqual([])
  }
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
}

async function start(env: Record<string, string> = {}): Promise<Child> {
  const child = await startChild({ hub, cacheDir, env: { HUBMIRROR_WORKERS: '2', ...env } })
  children.push(child)
  return child
}

const big = () => bytesOf(world.model('acme/big'), 'main', 'big.bin')
const metrics = async (child: Child) => (await ask(child.url, '/metrics')).body.toString()
/** Sends the same request over so many connections that every worker gets one. */
const askAll = (child: Child, target: string, question?: Question) =>
  Promise.all(Array.from({ length: 4 }, () => ask(child.url, target, question)))
const requestsOf = (child: Child) => child.entries().filter(({ msg }) => msg === 'request')
const settled = (child: Child) => whenIdle(() => metrics(child))

describe('several processes of one mirror', () => {
  let child: Child

  beforeAll(async () => {
    await begin()
    child = await start()
  })
  beforeEach(() => hub.ledger.clear())
  afterEach(() => {
    hub.bytesPerSecond = undefined
  })
  afterAll(end)

  it('refuse a request that can be read in two ways before it reaches the Hub', async () => {
    const doubled = ['Authorization: Bearer a', 'Host: other', 'Range: bytes=0-1']
    for (const field of doubled) {
      const [name = ''] = field.split(':')
      const first = name === 'Host' ? '' : `${field}\r\n`
      const got = await rawHttp(child.url, `GET ${BIG} HTTP/1.1\r\nHost: m\r\n${first}${field}\r\n\r\n`)
      expect([got.status, got.body.toString()]).toEqual([400, expect.stringContaining(name.toLowerCase())])
      expect(got.end, 'a connection in doubt is ended').toBe('closed')
    }
    for (const [text, status] of [
      [`GET ${BIG} HTTP/1.1\r\nHost: m\r\nContent-Length: 3\r\n\r\nabc`, 400],
      [`GET ${BIG} HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n`, 400],
      [`GET ${BIG} HTTP/1.1\r\n\r\n`, 400],
      [`GET ${BIG} HTTP/1.1\r\nHost: m\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
      [`POST ${BIG} HTTP/1.1\r\nHost: m\r\nExpect: nonsense\r\nConnection: close\r\n\r\n`, 417],
    ] as const) {
      expect((await rawHttp(child.url, text)).status, text.slice(0, 80)).toBe(status)
    }
    expect(hub.ledger.requests()).toEqual([])
  })

  it('fetch one file once, however many clients ask and whichever worker they reach', async () => {
    const flights = async () => metricValue(await metrics(child), 'hubmirror_flights_total') ?? 0
    const before = await flights()
    const right = sha256Of(world.model('acme/big'), 'main', 'shared.bin')
    const digests = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const answer = await open(child.url, '/acme/big/resolve/main/shared.bin')
        const hash = createHash('sha256')
        for await (const part of answer) hash.update(part as Buffer)
        return answer.complete ? hash.digest('hex') : 'broken'
      }),
    )
    expect(new Set(digests)).toEqual(new Set([right]))
    expect(hub.ledger.bytes('cdn')).toBe(SHARED_SIZE)
    expect((await flights()) - before).toBe(1)
  })

  it('answer ranges, the rest of a download, and clients that have the file already', async () => {
    const bytes = big()
    const first = await ask(child.url, BIG)
    await settled(child)
    hub.ledger.clear()
    for (const [range, start, end] of [
      ['bytes=0-0', 0, 1],
      [`bytes=${MIB}-${9 * MIB - 1}`, MIB, 9 * MIB],
      [`bytes=${SIZE - 5 * MIB}-`, SIZE - 5 * MIB, SIZE],
      ['bytes=-1000000', SIZE - 1_000_000, SIZE],
    ] as const) {
      const got = await ask(child.url, BIG, { headers: { range } })
      expect([got.status, got.whole, got.body.equals(bytes.subarray(start, end))]).toEqual([206, true, true])
      expect(got.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${SIZE}`)
      expect(got.headers['content-length']).toBe(String(end - start))
      expect(got.headers['x-cache']).toBe('HIT')
      expect(got.names.filter((name) => name.startsWith('x-hubmirror'))).toEqual([])
    }
    const etag = first.headers['etag'] ?? ''
    expect((await ask(child.url, BIG, { headers: { 'if-none-match': etag } })).status).toBe(304)
    const beyond = await ask(child.url, BIG, { headers: { range: `bytes=${SIZE}-` } })
    expect([beyond.status, beyond.headers['content-range']]).toEqual([416, `bytes */${SIZE}`])
    const head = await ask(child.url, BIG, { method: 'HEAD' })
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, String(SIZE), 0])
    const old = await rawHttp(child.url, `GET ${BIG} HTTP/1.0\r\nHost: m\r\n\r\n`)
    expect([old.status, old.body.equals(bytes), old.end]).toEqual([200, true, 'closed'])
    expect(hub.ledger.bytes('cdn')).toBe(0)
  })

  it('forward an upload, framed as it came', async () => {
    world.model('alice/mine').commit({ 'x.txt': 'x' })
    const target = '/api/models/alice/mine/commit/main'
    const content = Buffer.alloc(3 * MIB, 'upload ').toString('base64')
    const commit = (path: string): string =>
      [
        { key: 'header', value: { summary: 'add a file' } },
        { key: 'file', value: { path, content, encoding: 'base64' } },
      ]
        .map((line) => JSON.stringify(line))
        .join('\n')
    const fields = { 'content-type': 'application/x-ndjson' }
    for (const [path, more] of [
      ['plain.txt', {}],
      ['asked.txt', { expect: '100-continue' }],
    ] as const) {
      const question = {
        method: 'POST',
        token: TOKENS.alice,
        headers: { ...fields, ...more },
        body: commit(path),
      }
      expect((await ask(child.url, target, question)).status).toBe(200)
    }
    const body = commit('chunked.txt')
    const chunks = [body.slice(0, 70_000), body.slice(70_000)].map(
      (part) => `${part.length.toString(16)}\r\n${part}\r\n`,
    )
    const head = `POST ${target} HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer ${TOKENS.alice}\r\nConnection: close\r\n`
    const framing = 'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n'
    expect((await rawHttp(child.url, `${head}${framing}${chunks.join('')}0\r\n\r\n`)).status).toBe(200)
    for (const path of ['plain.txt', 'asked.txt', 'chunked.txt'])
      expect(bytesOf(world.model('alice/mine'), 'main', path).length, path).toBe(3 * MIB)
    const framings = hub.ledger
      .requests({ method: 'POST' })
      .map(({ headers }) => [headers['content-length'] !== undefined, headers['transfer-encoding']])
    expect(framings).toEqual([
      [true, undefined],
      [true, undefined],
      [false, 'chunked'],
    ])
  })

  it('end the work at the origin when the client disconnects', async () => {
    hub.bytesPerSecond = 50_000
    const answer = await open(child.url, `${SECRET}/w.bin`, {
      token: TOKENS.alice,
      headers: { 'x-request-id': 'leaves' },
    })
    await new Promise((resolve) => answer.once('data', resolve))
    answer.destroy()
    await eventually(
      () => hub.ledger.requests({ server: 'cdn' }),
      (entries) => entries.length === 1 && entries[0]?.aborted === true,
    )
    await eventually(
      () => requestsOf(child).filter(({ requestId }) => requestId === 'leaves'),
      (lines) => lines.length === 1 && Number(lines[0]?.['bytes']) < 300_000,
    )
  })
})

describe('several processes', () => {
  beforeEach(begin)
  afterEach(end)

  it('give a private file to its readers only, and for no longer than the Hub does', async () => {
    const child = await start({ HUBMIRROR_ACCESS_TTL: '1h', HUBMIRROR_REF_TTL: '1h' })
    const secret = `${SECRET}/config.json`
    for (const { status, body } of await askAll(child, secret, { token: TOKENS.alice }))
      expect([status, body.toString()]).toEqual([200, SECRET_CONFIG])
    for (const token of [undefined, TOKENS.bob, TOKENS.invalid]) {
      for (const { status, body } of await askAll(child, secret, { token })) {
        expect([401, 403, 404]).toContain(status)
        expect(body.toString()).not.toContain('of alice')
      }
    }
    world.revokeToken(TOKENS.alice)
    // By one process the mirror learns of it; from then on no process lets her in.
    expect((await ask(child.url, `${SECRET}/w.bin`, { method: 'HEAD', token: TOKENS.alice })).status).toBe(
      401,
    )
    for (const { status } of await askAll(child, secret, { token: TOKENS.alice })) expect(status).toBe(401)
  })

  it('stop giving a public file to anonymous clients as soon as the Hub refuses one of them', async () => {
    const child = await start({ HUBMIRROR_ACCESS_TTL: '1h', HUBMIRROR_REF_TTL: '1h' })
    const target = '/acme/open/resolve/main/config.json'
    for (let round = 0; round < 3; round += 1) {
      for (const { status } of await askAll(child, target)) expect(status).toBe(200)
    }
    world.model('acme/open').makePrivate(['alice'])
    expect((await ask(child.url, '/acme/open/resolve/main/README.md')).status).toBe(401)
    for (const { status } of await askAll(child, target)) expect(status).toBe(401)
  })

  it('take the address of the client from its connection and from trusted proxies, never from a field of the mirror’s own', async () => {
    const forged = { 'X-Hubmirror-Peer': '1 10.1.2.3', 'x-hubmirror-offer': '1 a 2 3 4' }
    const child = await start({ HUBMIRROR_CLIENTS_DENY: '10.0.0.0/8', HUBMIRROR_TRUST_PROXY: '127.0.0.1' })
    const asked = (headers: Record<string, string>) =>
      ask(child.url, '/acme/open/resolve/main/README.md', { headers })
    expect((await asked(forged)).status).toBe(200)
    expect((await asked({ ...forged, 'x-forwarded-for': '192.0.2.7' })).status).toBe(200)
    expect((await asked({ 'x-forwarded-for': '10.9.9.9' })).status).toBe(403)
    await eventually(
      () => requestsOf(child).map(({ client }) => client),
      (clients) => JSON.stringify(clients) === '["127.0.0.1","192.0.2.7","10.9.9.9"]',
    )
    // Nor does it count where there are no workers.
    await child.stop()
    const single = await start({ HUBMIRROR_WORKERS: '1', HUBMIRROR_CLIENTS_DENY: '10.0.0.0/8' })
    expect((await ask(single.url, '/healthz', { headers: forged })).status).toBe(200)
    expect((await ask(single.url, '/acme/open/resolve/main/README.md', { headers: forged })).status).toBe(200)
    await eventually(
      () => requestsOf(single).map(({ client }) => client),
      (clients) => clients.includes('127.0.0.1') && clients.length === 1,
    )
  })

  it('write one complete log line per request, and count each once', async () => {
    const child = await start({ HUBMIRROR_AUDIT_LOG: 'stdout' })
    const target = '/acme/open/resolve/main/config.json'
    // Stored: those who come before that are counted as something else.
    await eventually(
      async () => (await ask(child.url, target)).headers['x-cache'],
      (word) => word === 'HIT',
    )
    const ids = Array.from({ length: 200 }, (_, index) => `request-${index}`)
    await Promise.all(ids.map((id) => ask(child.url, target, { headers: { 'x-request-id': id } })))
    const lines = await eventually(
      () => requestsOf(child).filter(({ requestId }) => String(requestId).startsWith('request-')),
      (found) => found.length >= ids.length,
    )
    expect(new Set(lines.map(({ requestId }) => requestId))).toEqual(new Set(ids))
    expect(lines).toHaveLength(ids.length)
    const series = 'hubmirror_requests_total{route="file",outcome="hit",status="200"}'
    const counted = metricValue(await metrics(child), series) ?? 0
    expect(counted).toBeGreaterThanOrEqual(ids.length)
    const hits = await eventually(
      () =>
        requestsOf(child).filter(
          ({ route, outcome, status }) => route === 'file' && outcome === 'hit' && status === 200,
        ),
      (found) => found.length >= counted,
    )
    expect(hits).toHaveLength(counted)
    const audited = await eventually(
      () =>
        child
          .entries()
          .filter(({ audit, requestId }) => audit === 'access' && ids.includes(String(requestId))),
      (found) => found.length >= ids.length,
    )
    expect(audited).toHaveLength(ids.length)
    const text = child.log()
    for (const line of text.split('\n').slice(0, -1))
      expect(() => JSON.parse(line) as unknown, line).not.toThrow()
  })
})

describe('a large stored file', () => {
  beforeEach(begin)
  afterEach(end)

  /** Reads a little and then nothing. */
  async function stall(child: Child, target: string, question?: Question): Promise<IncomingMessage> {
    const answer = await open(child.url, target, question)
    await new Promise((resolve) => answer.once('readable', resolve))
    return answer
  }

  async function digestOf(answer: IncomingMessage): Promise<string> {
    const hash = createHash('sha256')
    for await (const part of answer) hash.update(part as Buffer)
    return hash.digest('hex')
  }

  it('is read by the main process until it has been checked, if reads are checked, and sent by workers from then on', async () => {
    const child = await start({ HUBMIRROR_CHECK_READS: '1h' })
    const right = sha256Of(world.model('acme/big'), 'main', 'big.bin')
    expect(await digestOf(await open(child.url, BIG))).toBe(right)
    await settled(child)
    const readByMain = async () => {
      const before = bytesRead(child.pid)
      expect(await digestOf(await open(child.url, BIG))).toBe(right)
      return bytesRead(child.pid) - before
    }
    expect(await readByMain()).toBeGreaterThan(SIZE)
    expect(await readByMain()).toBeLessThan(SIZE / 10)
  })

  it('is sent by a worker, while the main process copies nothing and keeps it from eviction', async () => {
    const child = await start({ HUBMIRROR_CACHE_MAX_SIZE: '30MB' })
    const right = sha256Of(world.model('acme/big'), 'main', 'big.bin')
    expect(await digestOf(await open(child.url, BIG))).toBe(right)
    await settled(child)
    const [main, workers] = [child.pid, await childrenOf(child.pid)]
    const before = bytesRead(main)
    const slow = await stall(child, BIG)
    const readers = await Promise.all(workers.map((pid) => openFilesBelow(join(cacheDir, 'blobs'), pid)))
    expect(readers.flat()).toHaveLength(1)
    expect(await openFilesBelow(join(cacheDir, 'blobs'), main)).toHaveLength(1)
    // There is room for one of the two only, and the first one is being read.
    const other = await ask(child.url, '/acme/big/resolve/main/other.bin')
    expect([other.status, other.headers['x-cache'], other.whole]).toEqual([200, 'BYPASS', true])
    const between = bytesRead(main)
    expect(await digestOf(slow)).toBe(right)
    const file = await digestOf(await open(child.url, BIG))
    expect(file).toBe(right)
    // What it read since is less than a tenth of what was sent: questions, and no bytes of files.
    expect(bytesRead(main) - between).toBeLessThan(SIZE / 10)
    expect(between - before, 'the bytes that passed by').toBeGreaterThan(SIZE)
    await eventually(
      () => requestsOf(child).filter(({ bytes, outcome }) => bytes === SIZE && outcome === 'hit'),
      (lines) => lines.length === 2 && lines.every(({ firstByteMs }) => Number(firstByteMs) >= 0),
    )
    await eventually(
      () => openFilesBelow(join(cacheDir, 'blobs'), main),
      (files) => files.length === 0,
    )
  })

  it('is logged with the bytes that were sent when its client left', async () => {
    const child = await start()
    await ask(child.url, BIG)
    await settled(child)
    const slow = await stall(child, BIG, { headers: { 'x-request-id': 'leaves' } })
    slow.destroy()
    const [line] = await eventually(
      () => requestsOf(child).filter(({ requestId }) => requestId === 'leaves'),
      (lines) => lines.length === 1,
    )
    expect(line?.['status']).toBe(200)
    expect(Number(line?.['bytes'])).toBeLessThan(SIZE)
    expect(Number(line?.['bytes'])).toBeGreaterThan(0)
    for (const pid of [child.pid, ...(await childrenOf(child.pid))]) {
      await eventually(
        () => openFilesBelow(join(cacheDir, 'blobs'), pid),
        (files) => files.length === 0,
      )
    }
  })
})
