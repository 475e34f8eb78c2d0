// What a client sends is read twice where there are workers: by one of them and by the main process. Here clients try
// to have it read in two ways, so that a part of it counts as another request, or as that of no client.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Hub, startHub } from '../../hub-simulator/server.ts'
import { eventually } from '../../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../../support/mirror-world.ts'
import { badLines, type Child, startChild } from '../../support/process.ts'
import { rawHttp } from '../../support/raw-http.ts'

const TARGET = '/acme/open/resolve/main/config.json'
/** More fields than Node reads by itself. */
const MANY = 'a:\r\n'.repeat(1_100)

let hub: Hub
let cacheDir: string
let child: Child

async function start(env: Record<string, string>): Promise<void> {
  hub = await startHub({ world: mirrorWorld() })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-workers-'))
  child = await startChild({ hub, cacheDir, env })
}

async function stop(): Promise<void> {
  await child.stop()
  expect(badLines(child.log())).toEqual([])
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
}

const requests = () => child.entries().filter(({ msg }) => msg === 'request')

describe('a body that is not forwarded', () => {
  afterEach(stop)

  it('takes nothing of the next request with it, whatever the answer to the request before', async () => {
    await start({
      HUBMIRROR_WORKERS: '2',
      HUBMIRROR_CLIENTS_ALLOW: '10.0.0.0/8',
      HUBMIRROR_TRUST_PROXY: '127.0.0.1',
    })
    const length = 2_000
    const from = (address: string) => `Host: m\r\nX-Forwarded-For: ${address}\r\n`
    const inner = `GET ${TARGET} HTTP/1.1\r\n${from('10.0.0.7')}x-hubmirror-peer: 1 127.0.0.1\r\nX-Request-Id: inner\r\n\r\n`
    const content = `${'\r\n'.repeat(length / 2)}${inner}`
    const ask = (method: string, body: string) =>
      rawHttp(
        child.url,
        `${method} ${TARGET} HTTP/1.1\r\n${from('192.0.2.1')}Content-Length: ${body.length}\r\n\r\n${body}`,
        { quietMs: 100 },
      )
    // By as many connections as reach each worker.
    for (const method of ['GET', 'GET', 'HEAD', 'HEAD', 'POST', 'POST', 'POST', 'POST']) {
      const { status, text } = await ask(method, method === 'POST' ? content : 'z'.repeat(length))
      expect([status, text.includes('inner')]).toEqual([403, false])
    }
    const lines = await eventually(requests, (found) => found.length >= 8)
    expect(new Set(lines.map(({ client, status }) => `${String(client)} ${String(status)}`))).toEqual(
      new Set(['192.0.2.1 403']),
    )
    expect(hub.ledger.requests()).toEqual([])
  })
})

describe.each(['1', '2'])('the fields of a request, with HUBMIRROR_WORKERS=%s,', (workers) => {
  beforeAll(() => start({ HUBMIRROR_WORKERS: workers, HUBMIRROR_CLIENTS_ALLOW: '127.0.0.0/8' }))
  beforeEach(() => hub.ledger.clear())
  afterAll(stop)

  it('are all read, however many there are', async () => {
    const answer = await rawHttp(
      child.url,
      `GET /api/models/acme/open HTTP/1.1\r\nHost: m\r\n${MANY}X-Request-Id: last\r\nConnection: close\r\n\r\n`,
    )
    expect([answer.status, answer.headers['x-request-id']]).toEqual([200, 'last'])
    const [line] = await eventually(
      () => requests().filter(({ requestId }) => requestId === 'last'),
      (lines) => lines.length === 1,
    )
    expect(line).toMatchObject({ client: '127.0.0.1' })
  })

  it('are refused when repeated, also with many others between', async () => {
    const answer = await rawHttp(
      child.url,
      `GET ${TARGET} HTTP/1.1\r\nHost: m\r\n${MANY}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`,
    )
    expect([answer.status, answer.end]).toEqual([400, 'closed'])
  })

  it('may announce an empty body, and the connection stays open', async () => {
    for (const method of ['GET', 'POST']) {
      const asked = `${method} ${TARGET} HTTP/1.1\r\nHost: m\r\nContent-Length: 0\r\n\r\n`
      const answer = await rawHttp(child.url, asked, { quietMs: 100 })
      expect([answer.status, answer.end]).toEqual([method === 'GET' ? 200 : 405, 'silent'])
    }
  })

  it('frame the body, also as the last ones', async () => {
    const body = 'name=acme'
    const asked = `GET ${TARGET} HTTP/1.1\r\nHost: m\r\n${MANY}Content-Length: ${body.length}\r\n\r\n${body}`
    expect((await rawHttp(child.url, asked)).status).toBe(400)
    const target = '/api/models/acme/open/discussions'
    const head = `POST ${target} HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer ${TOKENS.bob}\r\n`
    const many = 'a:\r\n'.repeat(1_005)
    await rawHttp(
      child.url,
      `${head}${many}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    )
    const [entry] = hub.ledger.requests({ method: 'POST' })
    expect(entry?.headers['content-length']).toBe(String(body.length))
  })
})
