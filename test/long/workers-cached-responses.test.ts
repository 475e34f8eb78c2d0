// Answers that a worker repeats by itself, while the main process is stopped. They are those of the main process, for as long
// as it would give them, and they appear in the log and the metrics.

import { mkdtemp, rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Asked, type Got, probe } from '../hub-simulator/probe.ts'
import type { World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { ask } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { badLines, type Child, startChild } from '../support/process.ts'
import { metricValue, whenIdle } from '../support/start-mirror.ts'
import { childrenOf, whenGone } from '../support/workers.ts'

const TARGET = '/acme/open/resolve/main/config.json'
const BODY = '{"model_type":"open","v":2}\n'
const WORKERS = 2

let world: World
let hub: Hub
let cacheDir: string
let child: Child
let agents: Agent[]

beforeEach(async () => {
  world = mirrorWorld()
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-workers-'))
})

afterEach(async () => {
  child.kill('SIGCONT')
  for (const pid of await childrenOf(child.pid)) process.kill(pid, 'SIGCONT')
  await child.stop()
  for (const agent of agents) agent.destroy()
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
})

async function start(env: Record<string, string> = {}): Promise<void> {
  child = await startChild({
    hub,
    cacheDir,
    env: { HUBMIRROR_WORKERS: String(WORKERS), HUBMIRROR_ACCESS_TTL: '1h', HUBMIRROR_REF_TTL: '1h', ...env },
  })
  agents = Array.from({ length: WORKERS }, () => new Agent({ keepAlive: true, maxSockets: 1 }))
  // Connections are dealt out in turn.
  await askEach('/healthz')
}

/** The same question to every worker, by a connection that each of them was given before. */
async function askEach(target: string, asked: Asked = {}): Promise<Got[]> {
  const replies: Got[] = []
  for (const agent of agents) replies.push(await probe(child.url + target, { ...asked, agent }))
  return replies
}

const metrics = async () => (await ask(child.url, '/metrics')).body.toString()
const requestsOf = (id: string) => child.entries().filter(({ requestId }) => requestId === id)

/** Asks until every worker has cached the answer, and so has the main process. */
async function warm(target: string, question?: Asked): Promise<void> {
  await askEach(target, question)
  await whenIdle(metrics)
  for (let round = 0; round < 3; round += 1)
    for (const { headers } of await askEach(target, question))
      expect(['HIT', 'MISS', 'REVALIDATED']).toContain(headers['x-cache'])
}

describe('a response that a worker has cached', () => {
  it('is sent while the main process is stopped, and is logged and counted', async () => {
    await start({ HUBMIRROR_AUDIT_LOG: 'stdout' })
    // In this order: the first promise of a branch invalidates what was cached of it.
    await warm(TARGET, { method: 'HEAD' })
    await warm(TARGET)
    const [long] = await askEach(TARGET, {
      headers: { 'if-none-match': '"other"', 'x-request-id': 'long' },
      token: TOKENS.bob,
    })
    const series = 'hubmirror_requests_total{route="file",outcome="hit",status="200"}'
    child.kill('SIGSTOP')
    const gets = await askEach(TARGET, { headers: { 'x-request-id': 'repeated' }, token: TOKENS.bob })
    const heads = await askEach(TARGET, { method: 'HEAD', headers: { 'x-request-id': 'repeated' } })
    child.kill('SIGCONT')
    const comparable = ({ status, headers }: Got) => {
      const { 'x-request-id': _id, date: _date, age: _age, ...rest } = headers
      return { status, headers: rest }
    }
    for (const got of gets) {
      expect(got.body.toString()).toBe(BODY)
      expect(comparable(got)).toEqual(comparable(long as Got))
      expect(Number(got.headers['age'])).toBeGreaterThanOrEqual(0)
    }
    for (const got of heads) expect([got.status, got.body.length]).toEqual([200, 0])
    const lines = await eventually(
      () => requestsOf('repeated').filter(({ msg }) => msg === 'request'),
      (found) => found.length === gets.length + heads.length,
    )
    // A token has one name in all processes.
    const [{ token: named } = {}] = requestsOf('long').filter(({ msg }) => msg === 'request')
    expect(named).toMatch(/^[0-9a-f]{6}$/)
    for (const line of lines) {
      expect(line).toMatchObject({
        repo: 'models/acme/open',
        path: 'config.json',
        outcome: 'hit',
        client: '127.0.0.1',
      })
      if (line['method'] === 'GET') expect(line['token']).toBe(named)
    }
    await eventually(
      () => requestsOf('repeated').filter((entry) => entry['audit'] === 'access'),
      (audited) => audited.length === lines.length,
    )
    // Lines take a way of their own: what is counted may not have been read here yet.
    const counted = metricValue(await metrics(), series) ?? 0
    expect(counted).toBeGreaterThan(lines.length)
    const hits = await eventually(
      () =>
        child
          .entries()
          .filter(({ route, outcome, status }) => route === 'file' && outcome === 'hit' && status === 200),
      (found) => found.length >= counted,
    )
    expect(hits).toHaveLength(counted)
    expect(badLines(child.log())).toEqual([])
  })

  it('is the source of ranges while the main process is stopped, and a range never counts as the whole', async () => {
    await start()
    const part = { headers: { range: 'bytes=2-6' } }
    for (let round = 0; round < 3; round += 1)
      for (const got of await askEach(TARGET, part)) expect(got.body.toString()).toBe(BODY.slice(2, 7))
    for (const got of await askEach(TARGET)) expect([got.status, got.body.toString()]).toEqual([200, BODY])
    await warm(TARGET)
    child.kill('SIGSTOP')
    const parts = await askEach(TARGET, part)
    child.kill('SIGCONT')
    for (const { status, headers, body } of parts) {
      expect([status, headers['content-length'], headers['content-range'], body.toString()]).toEqual([
        206,
        '5',
        `bytes 2-6/${BODY.length}`,
        BODY.slice(2, 7),
      ])
    }
  })

  it('is not sent to a request with a mirror token, with conditions, or from a network that is not served', async () => {
    await start({ HUBMIRROR_CLIENTS_DENY: '10.0.0.0/8', HUBMIRROR_TRUST_PROXY: '127.0.0.1' })
    await warm(TARGET)
    const mirrorToken = `hf_mirror${'a'.repeat(40)}`
    for (const [headers, status] of [
      [{ authorization: `Bearer ${mirrorToken}` }, 401],
      [{ 'if-none-match': '"other"', range: 'bytes=0-3' }, 206],
      [{ 'x-forwarded-for': '10.1.1.1' }, 403],
    ] as const) {
      for (const got of await askEach(TARGET, { headers })) expect(got.status).toBe(status)
    }
  })

  it('is dropped by every worker before any client sees that its grounds have ended', async () => {
    await start()
    await warm(TARGET)
    world.model('acme/open').makePrivate(['alice'])
    // Many anonymous callers at once, while one of them makes the mirror ask.
    let isTold = false
    const after: number[] = []
    const anonymous = Array.from({ length: 8 }, async () => {
      for (let round = 0; round < 40; round += 1) {
        const wasTold = isTold
        const { status } = await ask(child.url, TARGET)
        if (wasTold) after.push(status)
      }
    })
    const refused = ask(child.url, '/acme/open/resolve/main/README.md').then(({ status }) => {
      isTold = true
      return status
    })
    expect(await refused).toBe(401)
    await Promise.all(anonymous)
    for (const { status } of await askEach(TARGET)) after.push(status)
    expect(new Set(after)).toEqual(new Set([401]))
  })

  it('is dropped when a client writes to the repo through the mirror', async () => {
    await start()
    world.model('alice/mine').commit({ 'a.txt': 'first\n' })
    const target = '/alice/mine/resolve/main/a.txt'
    await warm(target)
    const lines = [
      { key: 'header', value: { summary: 'change it' } },
      {
        key: 'file',
        value: { path: 'a.txt', content: Buffer.from('second\n').toString('base64'), encoding: 'base64' },
      },
    ]
    const committed = await ask(child.url, '/api/models/alice/mine/commit/main', {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => JSON.stringify(line)).join('\n'),
    })
    expect(committed.status).toBe(200)
    for (const { body } of await askEach(target)) expect(body.toString()).toBe('second\n')
  })

  it('to a HEAD promises its commit, also if the branch moves', async () => {
    await start({ HUBMIRROR_REF_TTL: '3s' })
    await warm(TARGET, { method: 'HEAD' })
    const heads = await askEach(TARGET, { method: 'HEAD', token: TOKENS.bob })
    const before = heads[0]?.headers['x-repo-commit']
    const commit = world.model('acme/open').commit({ 'config.json': '{"moved":true}\n' })
    await eventually(
      async () => (await ask(child.url, TARGET, { token: TOKENS.alice })).headers['x-repo-commit'],
      (seen) => seen === commit,
    )
    for (const got of await askEach(TARGET, { token: TOKENS.bob }))
      expect([got.headers['x-repo-commit'], got.body.toString()]).toEqual([before, BODY])
  })

  it('ends with a worker that does not acknowledge its invalidation, since that worker is killed', async () => {
    await start()
    await warm(TARGET)
    const [stuck = 0] = await childrenOf(child.pid)
    process.kill(stuck, 'SIGSTOP')
    world.model('acme/open').makePrivate(['alice'])
    // A connection that the stuck worker has been given is not answered; any other is, once it is gone.
    const answers = Array.from({ length: 4 }, () =>
      ask(child.url, '/acme/open/resolve/main/README.md').then(
        ({ status }) => status,
        () => 0,
      ),
    )
    await whenGone(stuck)
    expect(
      await Promise.any(
        answers.map(async (answer) => ((await answer) === 401 ? true : Promise.reject(new Error()))),
      ),
    ).toBe(true)
    await Promise.all(answers)
    await eventually(
      async () => metricValue(await metrics(), 'hubmirror_workers'),
      (count) => count === WORKERS,
    )
    for (const { status } of await askEach(TARGET)) expect(status).toBe(401)
    expect(
      child
        .entries()
        .some(
          ({ msg, pid }) => msg === 'a worker does not respond; the main process kills it' && pid === stuck,
        ),
    ).toBe(true)
  })
})

describe('a stop of the mirror', () => {
  it('loses no line and no count of the responses that workers sent by themselves', async () => {
    await start({ HUBMIRROR_AUDIT_LOG: 'stdout' })
    await warm(TARGET)
    const ids = Array.from({ length: 120 }, (_, index) => `last-${index}`)
    await Promise.all(ids.map((id) => ask(child.url, TARGET, { headers: { 'x-request-id': id } })))
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
    for (const id of ids)
      expect(requestsOf(id).map((entry) => entry['audit'] ?? entry['msg'])).toHaveLength(2)
    expect(child.entries().at(-1)?.['msg']).toBe('closed')
  })
})
