import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { openCount, openFilesBelow } from '../support/fd.ts'
import { type RawAnswer, rawHttp } from '../support/raw-http.ts'
import { filesBelow, type RunningMirror, startMirror, whenIdle } from '../support/start-mirror.ts'

const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const FILE = '/acme/open/resolve/main/config.json'
const BIG = '/acme/open/resolve/main/w.bin'
/** What the mirror does not understand, and passes through. */
const PASSED = '/acme/open/raw/main/config.json'
const SIZE = 3_000_000

let hub: Hub
let mirror: RunningMirror

beforeAll(async () => {
  const world = new World().addUser('member', { token: TOKEN })
  const files = { 'config.json': '{}', 'w.bin': lfs({ sizeBytes: SIZE, seed: 3 }) }
  world.model('acme/open').commit(files)
  world.model('acme/private').private(['member']).commit(files)
  hub = await startHub({ world })
  mirror = await startMirror({ hub })
  await ask(`GET ${BIG} HTTP/1.1\r\n`)
})

afterAll(async () => {
  await mirror.close()
  await hub.close()
})

const ask = (head: string, body = ''): Promise<RawAnswer> =>
  rawHttp(mirror.url, `${head}Host: mirror.test\r\nConnection: close\r\n\r\n${body}`)
/** What comes back at all, where a connection may be left open behind it. */
const raw = (text: string): Promise<RawAnswer> => rawHttp(mirror.url, text, { quietMs: 300 })
const answersIn = (answer: RawAnswer): number => answer.text.match(/^HTTP\/1\.1 /gm)?.length ?? 0

describe('a request that can be read in two ways is refused before it reaches the Hub', () => {
  const GET = `GET ${FILE} HTTP/1.1\r\n`
  const HOST = 'Host: mirror.test\r\n'
  const smuggled = `GET /acme/private HTTP/1.1\r\n${HOST}\r\n`
  it.each([
    ['two Authorization', `${GET}${HOST}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`],
    [
      'two Authorization that agree',
      `${GET}${HOST}authorization: Bearer a\r\nAUTHORIZATION: Bearer a\r\n\r\n`,
    ],
    ['two Host', `${GET}${HOST}Host: other.test\r\n\r\n`],
    ['two Range', `${GET}${HOST}Range: bytes=0-0\r\nRange: bytes=1-1\r\n\r\n`],
    ['two If-Range', `${GET}${HOST}If-Range: "a"\r\nIf-Range: "b"\r\n\r\n`],
    ['no Host', `${GET}\r\n`],
    [
      'chunks in HTTP/1.0',
      `POST /api/x HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    ['HTTP/0.9', `GET ${FILE}\r\n\r\n`],
    ['HTTP/2 in plain', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/1.2', `GET ${FILE} HTTP/1.2\r\n${HOST}\r\n`],
    ['HTTP/3.0', `GET ${FILE} HTTP/3.0\r\n${HOST}\r\n`],
    ['two lengths', `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 5\r\n\r\n`],
    [
      'two lengths that agree',
      `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n`,
    ],
    ['a list of lengths', `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: 0, 0\r\n\r\n`],
    ['a signed length', `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: +5\r\n\r\nhello`],
    ['a negative length', `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`],
    ['a length in hex', `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: 0x5\r\n\r\nhello`],
    [
      'a length that overflows',
      `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: 99999999999999999999\r\n\r\n`,
    ],
    [
      'length and chunks',
      `POST /api/x HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    [
      'chunks and length',
      `POST /api/x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    [
      'an unknown coding',
      `POST /api/x HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    [
      'chunked before another coding',
      `POST /api/x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
    ],
    [
      'two Transfer-Encoding',
      `POST /api/x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
    ],
    ['a blank before the colon', `${GET}${HOST}Content-Length : 0\r\n\r\n`],
    ['a folded line', `${GET}${HOST}X-A: b\r\n c\r\n\r\n`],
    ['a bare line feed', `GET ${FILE} HTTP/1.1\nHost: mirror.test\n\n`],
    ['a bare carriage return', `${GET}${HOST}X-A: b\rX-B: c\r\n\r\n`],
    ['a NUL in a header', `${GET}${HOST}X-A: b\0c\r\n\r\n`],
    ['a header without a name', `${GET}${HOST}: x\r\n\r\n`],
    ['a chunk size that is none', `POST /api/x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
    [
      'a chunk that ends in a line feed',
      `POST /api/x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n`,
    ],
    ['a GET with a body', `${GET}${HOST}Content-Length: 5\r\n\r\nhello`],
    ['a GET with chunks', `${GET}${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['a HEAD with a body', `HEAD ${FILE} HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`],
    ['a blank in the target', `GET /acme/open /resolve HTTP/1.1\r\n${HOST}\r\n`],
    ['a tab in the target', `GET /acme/open\t/resolve HTTP/1.1\r\n${HOST}\r\n`],
    ['a fragment', `GET ${FILE}#x HTTP/1.1\r\n${HOST}\r\n`],
    ['a target without a slash', `GET acme/open HTTP/1.1\r\n${HOST}\r\n`],
    ['another host as target', `GET http://evil.test${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['ourselves as absolute target', `GET http://mirror.test${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['https as target', `GET https://evil.test/ HTTP/1.1\r\n${HOST}\r\n`],
    ['a file as target', `GET file:///etc/passwd HTTP/1.1\r\n${HOST}\r\n`],
    ['an authority as target', `GET evil.test:443 HTTP/1.1\r\n${HOST}\r\n`],
    ['a star as target', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`],
    ['CONNECT', `CONNECT evil.test:443 HTTP/1.1\r\n${HOST}\r\n`],
    ['TRACE', `TRACE ${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['a method nobody knows', `BREW ${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['a method in lower case', `get ${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['a WebDAV method', `PROPFIND ${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['a purge', `PURGE ${FILE} HTTP/1.1\r\n${HOST}\r\n`],
    ['a write to a file', `PUT ${FILE} HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`],
    ['an expectation nobody knows', `${GET}${HOST}Expect: tea\r\n\r\n`],
    ['an overlong target', `GET /acme/${'x'.repeat(9000)} HTTP/1.1\r\n${HOST}\r\n`],
    ['an overlong header', `${GET}${HOST}X-A: ${'x'.repeat(20_000)}\r\n\r\n`],
    ['an overlong heap of headers', `${GET}${HOST}${'X-A: yyyyyyyy\r\n'.repeat(4000)}\r\n`],
    ['an overlong name', `${GET}${HOST}${'x'.repeat(20_000)}: y\r\n\r\n`],
    ['TLS', Buffer.from('16030100c8010000c40303', 'hex').toString('latin1')],
    ['noise', '\0\x01\x02\xff\xfe\r\n\r\n'],
  ])('%s', async (name, text) => {
    hub.ledger.clear()
    const answer = await raw(text)
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.status).toBeLessThan(name === 'HTTP/3.0' || name === 'HTTP/1.2' ? 506 : 500)
    expect(answersIn(answer), 'what was smuggled in was answered').toBeLessThanOrEqual(1)
    expect(hub.ledger.requests()).toEqual([])
  })
})

describe('a request that looks odd and is legal', () => {
  const stored = () => ask(`GET ${FILE} HTTP/1.1\r\n`)
  it.each([
    [
      'a range of a thousand parts',
      `Range: bytes=${Array.from({ length: 1000 }, (_, i) => `${i}-${i}`).join(',')}`,
      200,
    ],
    ['a range of twenty digits', 'Range: bytes=0-99999999999999999999', 206],
    ['a range that begins beyond all numbers', 'Range: bytes=99999999999999999999-', 416],
    ['a range of ten thousand digits', `Range: bytes=${'9'.repeat(10_000)}-`, 416],
    ['a suffix of ten thousand digits', `Range: bytes=-${'9'.repeat(10_000)}`, 206],
    ['a negative range', 'Range: bytes=--1', 200],
    ['a backward range', 'Range: bytes=5-3', 200],
    ['a range of spaces', `Range: ${' '.repeat(5000)}`, 200],
    ['another unit', 'Range: items=0-5', 200],
    ['a header called __proto__', '__proto__: x', 200],
    ['a header called constructor', 'constructor: x', 200],
    ['a header called hasOwnProperty', 'hasOwnProperty: x', 200],
    ['an upgrade', 'Connection: upgrade\r\nUpgrade: websocket', 200],
    ['an upgrade to h2c', 'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA', 200],
    ['an expectation that is kept', 'Expect: 100-continue', 200],
    [
      'a Connection that names what is ours',
      'Connection: x-repo-commit, etag, content-length, authorization',
      200,
    ],
    ['a condition of a thousand tags', `If-None-Match: ${'"x", '.repeat(1000)}"y"`, 200],
    ['a hostile request id', `X-Request-Id: ${'<script>'.repeat(20)}`, 200],
    ['a method override', 'X-HTTP-Method-Override: DELETE', 200],
    ['a rewritten URL', 'X-Original-URL: /acme/private\r\nX-Rewrite-URL: /acme/private', 200],
  ])('%s', async (_, header, status) => {
    const answer = await ask(`GET ${FILE} HTTP/1.1\r\n${header}\r\n`)
    const statuses = answer.text.match(/^HTTP\/1\.1 \d{3}/gm)?.map((line) => Number(line.slice(9)))
    expect(statuses?.filter((each) => each !== 100)).toEqual([status])
    expect(answer.text).not.toContain('<script>')
    if (status === 200 && !header.startsWith('Expect')) expect(answer.body.toString()).toBe('{}')
    expect((await stored()).body.toString()).toBe('{}')
  })

  it('pipelined requests are answered in order, each with its own bytes', async () => {
    const one = (range: string, last = '') =>
      `GET ${BIG} HTTP/1.1\r\nHost: a\r\nRange: bytes=${range}\r\n${last}\r\n`
    const answer = await rawHttp(
      mirror.url,
      one('0-9') + one('100-109') + one('200-209', 'Connection: close\r\n'),
    )
    const ranges = answer.text.match(/content-range: bytes \S+/gi)
    expect(ranges).toEqual(
      [`0-9/${SIZE}`, `100-109/${SIZE}`, `200-209/${SIZE}`].map((range) => `content-range: bytes ${range}`),
    )
  })
})

describe('the input of one caller does not reach another', () => {
  const names = `
    X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix Forwarded X-Real-IP
    X-Original-URL X-Rewrite-URL X-Host X-Original-Host Via True-Client-IP X-Client-IP Cookie Referer Origin
    User-Agent Accept-Language From X-HTTP-Method-Override X-Api-Version Pragma Cache-Control If-Modified-Since
    Proxy-Authorization X-HF-Bill-To X-HF-Download-Counter X-Amzn-Trace-Id TE Trailer Accept-Encoding
    X-Requested-With`
    .trim()
    .split(/\s+/)
  it.each(names)('%s', async (name) => {
    const canary = `canary-${name.toLowerCase()}`
    const targets = ['/api/models/acme/open', '/api/models/acme/open/tree/main', FILE, PASSED]
    for (const target of targets) {
      const mine = await rawHttp(
        mirror.url,
        `GET ${target} HTTP/1.1\r\nHost: ${canary}.test\r\n${name}: ${canary}\r\nConnection: close\r\n\r\n`,
      )
      expect(mine.status).toBe(200)
      const yours = await ask(`GET ${target} HTTP/1.1\r\n`)
      expect([yours.status, yours.text.includes(canary)]).toEqual([200, false])
    }
    for (const entry of hub.ledger.requests()) expect(entry.url).not.toContain(canary)
    for (const entry of hub.ledger.requests({ server: 'cdn' }))
      expect([entry.headers.cookie, entry.headers['proxy-authorization']]).toEqual([undefined, undefined])
    expect(await filesHolding(canary)).toEqual([])
    hub.ledger.clear()
  })

  it('a Host that is no host stays out of every link', async () => {
    for (const host of [
      'a b',
      '"><script>',
      'evil.test/x?',
      'a@evil.test',
      'x'.repeat(3000),
      'evil.test:99999999',
    ]) {
      const answer = await rawHttp(
        mirror.url,
        `GET /api/models?limit=1 HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      )
      expect([200, 400]).toContain(answer.status)
      expect(answer.text).not.toMatch(/<script>|evil\.test\/x\?|@evil/)
    }
  })
})

async function filesHolding(text: string): Promise<string[]> {
  const files = await filesBelow(mirror.cacheDir)
  return [...files].filter(([, bytes]) => bytes.length < 1e6 && bytes.includes(text)).map(([name]) => name)
}

const openBodies = async () =>
  (await openFilesBelow(mirror.cacheDir)).filter((name) => !/\/(?:LOCK|(?:data|lock)\.mdb)$/.test(name))

describe('one connection cannot hold what all others need', () => {
  it.each([
    ['a stored file', () => BIG],
    ['a file of a private repo', () => '/acme/private/resolve/main/w.bin'],
    ['a request that is passed through', () => PASSED],
  ])('two thousand requests at once for %s, whose client disconnects', async (_, target) => {
    const base = await openCount()
    const { hostname, port } = new URL(mirror.url)
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('error', () => undefined)
    const text = `GET ${target()} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`
    socket.write(text.repeat(2000))
    await eventually(
      () => socket.bytesRead > 0 || socket.destroyed,
      (began) => began,
    )
    expect((await openBodies()).length).toBeLessThanOrEqual(32)
    socket.destroy()
    await eventually(
      () => openBodies(),
      (open) => open.length === 0,
    )
    // Connections to the origin may stay in the pool.
    await eventually(
      () => openCount(),
      (count) => count <= base + 40,
    )
    const idle = await whenIdle(() => mirror.metrics())
    expect(idle).toContain('hubmirror')
    expect((await ask(`GET ${FILE} HTTP/1.1\r\n`)).body.toString()).toBe('{}')
  })

  it('headers that never end are cut off', async () => {
    const { server } = mirror.app.server
    expect(server.headersTimeout).toBeLessThanOrEqual(15_000)
    const before = server.headersTimeout
    server.headersTimeout = 500
    try {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => rawHttp(mirror.url, `GET ${FILE} HTTP/1.1\r\nHost: a\r\nX-A`)),
      )
      for (const answer of answers) expect([answer.status, answer.end]).not.toEqual([0, 'silent'])
      expect((await ask(`GET ${FILE} HTTP/1.1\r\n`)).status).toBe(200)
    } finally {
      server.headersTimeout = before
    }
  })

  it('five hundred requests on twenty connections that disconnect at once', async () => {
    const text = `GET ${FILE} HTTP/1.1\r\nHost: a\r\n\r\n`
    const { hostname, port } = new URL(mirror.url)
    for (let round = 0; round < 20; round += 1) {
      const socket = connect({ host: hostname, port: Number(port) })
      socket.on('error', () => undefined)
      socket.write(text.repeat(25))
      await delay(1)
      socket.destroy()
    }
    await eventually(
      () => openBodies(),
      (open) => open.length === 0,
    )
    expect((await ask(`GET ${FILE} HTTP/1.1\r\n`)).status).toBe(200)
  })
})

describe('after all these requests', () => {
  it('the log has no error of the mirror itself', () => {
    expect(
      mirror
        .logText()
        .split('\n')
        .filter((line) => line.includes('"level":"error"')),
    ).toEqual([])
  })
})
