import { afterEach, describe, expect, it } from 'vitest'
import { mayCarryCredential, redirectTarget } from '../../src/origin/redirect.ts'
import type { Fault } from '../hub-simulator/faults.ts'
import { type Asked, type Got, probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { rawHttp } from '../support/raw-http.ts'
import { type RunningMirror, startMirror } from '../support/start-mirror.ts'
import { verdictOf } from '../support/verdict.ts'

const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const SIZE = 300_000
const FILE = '/acme/open/resolve/main/w.bin'
const API = '/api/models/acme/open'
/** What the mirror does not understand, and passes through. */
const PASSED = '/acme/open/raw/main/w.bin'

let hub: Hub
let otherHub: Hub | undefined
let mirror: RunningMirror

afterEach(async () => {
  hub.faults.clear()
  await mirror.close()
  await hub.close()
  await otherHub?.close()
  otherHub = undefined
})

async function start(originTimeoutMs = 20_000, refTtlMs = 10_000): Promise<void> {
  const world = new World().addUser('member', { token: TOKEN })
  const files = { 'w.bin': lfs({ sizeBytes: SIZE, seed: 3 }), 'config.json': '{"a":1}' }
  world.model('acme/open').commit(files)
  world.model('acme/private').private(['member']).commit(files)
  hub = await startHub({ world })
  mirror = await startMirror({ hub, config: { originTimeoutMs, refTtlMs } })
}

const get = (path: string, asked?: Asked): Promise<Got> => probe(mirror.url + path, asked)
const right = () => bytesOf(hub.world.model('acme/open'), 'main', 'w.bin')
const onHub = (fault: Omit<Fault, 'where'>) => hub.faults.add({ where: 'hub', ...fault })
const ALWAYS = { times: 10_000 }

/** A status of the mirror's own, with words that a person and a client can use. */
function expectFailure(got: Got, status: number, code: string): void {
  expect([got.status, got.headers['x-error-code'], got.isComplete]).toEqual([status, code, true])
  expect(got.headers['x-error-message']).toMatch(/\w+ .*\./)
}

describe('a client does not notice a fault of the first question:', () => {
  it.each([
    ['one reset', { resetBeforeHeaders: true }],
    ['one 503', { status: { code: 503, body: 'x' } }],
    ['one 500', { status: { code: 500, body: 'x' } }],
  ] satisfies [string, Omit<Fault, 'where'>][])('%s', async (_, fault) => {
    await start()
    onHub({ method: 'HEAD', ...fault })
    expect(verdictOf(await get(FILE), right())).toBe('whole')
  })
})

describe('a client gets an error, and the next client the file, when', () => {
  const cases: readonly [string, Omit<Fault, 'where'>, number, string][] = [
    ['all connections are reset', { resetBeforeHeaders: true }, 502, 'OriginUnreachable'],
    ['a login page answers', { captivePortal: true }, 502, 'OriginIntercepted'],
    ['only 503 come', { status: { code: 503, body: 'x' } }, 503, 'HubUnavailable'],
    ['only 500 come', { status: { code: 500, body: 'x' } }, 502, 'HubInTrouble'],
    ['the redirect leads to itself', { redirectTo: 'self' }, 502, 'OriginBadAnswer'],
    ['the redirect leads nowhere', { status: { code: 302 } }, 502, 'OriginBadAnswer'],
    ['there is no commit', { dropHeader: 'x-repo-commit' }, 502, 'OriginBadAnswer'],
    ['there is no size', { dropHeader: 'x-linked-size' }, 502, 'OriginBadAnswer'],
    ['there is no digest', { dropHeader: ['x-linked-etag', 'etag'] }, 502, 'OriginBadAnswer'],
    ['the redirect is no URL', { redirectTo: 'http://[::bad/' }, 502, 'OriginBadAnswer'],
    ['the redirect is no http', { redirectTo: 'file:///etc/passwd' }, 502, 'RedirectRefused'],
    ['the redirect holds a password', { redirectTo: 'http://a:b@127.0.0.2/' }, 502, 'RedirectRefused'],
    ['the redirect leads away', { redirectTo: 'http://127.0.0.3:1/x' }, 502, 'RedirectRefused'],
    ['the redirect leads to metadata', { redirectTo: 'http://169.254.169.254/' }, 502, 'RedirectRefused'],
    ['the redirect looks like ours', { redirectTo: 'http://127.0.0.2.evil.test/' }, 502, 'RedirectRefused'],
  ]
  it.each(cases)('%s (file)', async (_, fault, status, code) => {
    await start()
    const handle = onHub({ match: /resolve/, ...ALWAYS, ...fault })
    // What is missing stands nowhere else either.
    onHub({ match: /paths-info|\/revision\//, edge: { code: 404 }, ...ALWAYS })
    const credential = { token: TOKEN }
    expectFailure(await get(FILE, credential), status, code)
    expectFailure(await get(FILE), status, code)
    const head = await get(FILE, { method: 'HEAD' })
    expect([head.status, head.headers['x-error-code']]).toEqual([status, code])
    handle.remove()
    expect(verdictOf(await get(FILE), right())).toBe('whole')
  })

  it('the origin does not answer', async () => {
    await start(2_000)
    onHub({ stallHeaders: true, ...ALWAYS })
    expectFailure(await get(FILE), 504, 'OriginTimeout')
    expectFailure(await get(API), 504, 'OriginTimeout')
    hub.faults.clear()
    expect(verdictOf(await get(FILE), right())).toBe('whole')
  })
})

describe('a redirect to another host', () => {
  it('is not followed: neither a question nor a token arrives there', async () => {
    await start()
    otherHub = await startHub({ cdnHost: '127.0.0.3' })
    const redirectTo = `${otherHub.cdnUrl}/collect`
    onHub({ redirectTo, ...ALWAYS })
    expectFailure(await get(FILE, { token: TOKEN }), 502, 'RedirectRefused')
    expectFailure(await get(API, { token: TOKEN }), 502, 'RedirectRefused')
    expectFailure(await get(PASSED, { token: TOKEN }), 502, 'RedirectRefused')
    expect(otherHub.ledger.requests()).toEqual([])
    expect(mirror.logText()).toContain(new URL(redirectTo).host)
  })

  it('is refused in the middle of a download, too', async () => {
    await start()
    hub.faults.add({ where: 'cdn', redirectTo: 'http://127.0.0.3:1/x', ...ALWAYS })
    expectFailure(await get(FILE), 502, 'RedirectRefused')
    hub.faults.clear()
    expect(verdictOf(await get(FILE), right())).toBe('whole')
  })

  it('from the CDN back to a document of the Hub makes no file of it', async () => {
    await start()
    hub.faults.add({ where: 'cdn', redirectTo: `${hub.url}/api/whoami-v2`, ...ALWAYS })
    expect((await get(FILE, { token: TOKEN })).status).toBe(502)
  })

  it('never goes from https to http', () => {
    const policy = { base: new URL('https://hub.example'), allowedHosts: ['cdn.example', '*.hub.example'] }
    for (const target of ['http://cdn.example/x', 'http://hub.example/x', 'http://a.hub.example/x']) {
      expect(() => redirectTarget(policy, policy.base, target), target).toThrow(/redirected/)
    }
    expect(mayCarryCredential(policy, new URL('http://hub.example/x'))).toBe(false)
    expect(mayCarryCredential(policy, new URL('https://hub.example:8443/x'))).toBe(false)
    expect(redirectTarget(policy, policy.base, 'https://cdn.example/x').href).toBe('https://cdn.example/x')
  })
})

describe('the mirror asks the origin with care:', () => {
  it('a 429 is passed on unchanged, and requested once', async () => {
    await start()
    onHub({ rateLimit429: { retryAfter: 33 }, ...ALWAYS })
    for (const asked of [{}, { token: TOKEN }]) {
      hub.ledger.clear()
      const got = await get('/acme/private/resolve/main/w.bin', asked)
      expect([got.status, got.headers['retry-after']]).toEqual([429, '33'])
      const own = hub.ledger.requests().filter((entry) => entry.headers.authorization !== undefined)
      expect(own.length).toBeLessThanOrEqual(1)
      const questions = hub.ledger
        .requests()
        .map((entry) => `${entry.method} ${entry.url} ${entry.headers.authorization !== undefined}`)
      expect(new Set(questions).size, 'none is repeated').toBe(questions.length)
    }
    const api = await get(API)
    expect([api.status, api.headers['retry-after']]).toEqual([429, '33'])
  })

  it('a 429 between HEAD and GET is passed on, too', async () => {
    await start()
    onHub({ method: 'GET', rateLimit429: { retryAfter: 7 }, ...ALWAYS })
    const got = await get('/acme/private/resolve/main/config.json', { token: TOKEN })
    expect([got.status, got.headers['retry-after']]).toEqual([429, '7'])
    expect(hub.ledger.requests({ method: 'GET', url: /resolve/ })).toHaveLength(1)
  })

  it('a URL that was signed for HEAD is replaced by one for GET', async () => {
    await start()
    hub.faults.add({ where: 'cdn', methodBoundUrls: true, ...ALWAYS })
    expect((await get(FILE, { method: 'HEAD' })).status).toBe(200)
    expect(verdictOf(await get(FILE), right())).toBe('whole')
    const statuses = hub.ledger.requests({ server: 'cdn' }).map(({ status }) => status)
    expect(statuses).toEqual([403, 200])
  })

  it('a signed URL that ends in the middle of a download is replaced, for the missing bytes', async () => {
    await start()
    hub.faults.add({ where: 'cdn', cutAfterBytes: 100_000 })
    hub.faults.add({ where: 'cdn', skip: 1, expireSignedUrls: true })
    expect(verdictOf(await get(FILE), right())).toBe('whole')
    expect(hub.ledger.bytes('cdn')).toBe(SIZE)
    const last = hub.ledger.requests({ server: 'cdn' }).at(-1)
    expect(last?.headers.range).toBe(`bytes=100000-${SIZE - 1}`)
  })

  it('surplus bytes of one answer are not the start of the next', async () => {
    await start()
    hub.faults.add({ where: 'cdn', extraBytes: 5000 })
    const many = await Promise.all([get(FILE), get('/acme/open/resolve/main/config.json'), get(FILE)])
    expect(many.map((got) => got.status)).toEqual([200, 200, 200])
    expect(many[1]?.body.toString()).toBe('{"a":1}')
    expect(verdictOf(await get(FILE), right())).toBe('whole')
  })
})

describe('a JSON document with a fault does not reach a client:', () => {
  const document = { match: /^\/api\/models/, ...ALWAYS }
  it.each([
    ['half', { cutAfterBytes: 20 }, 'OriginUnreachable'],
    ['half, by reset', { cutAfterBytes: 20, cutWith: 'rst' }, 'OriginUnreachable'],
    [
      'half, where only the end of the connection ends it',
      { noContentLength: true, cutAfterBytes: 20 },
      'OriginBadAnswer',
    ],
    [
      'half, that says it is whole',
      { status: { code: 200, body: '{"id":"acme/open","sha' } },
      'OriginBadAnswer',
    ],
    [
      'one that is not encoded as it says',
      { status: { code: 200, headers: { 'Content-Encoding': 'gzip' }, body: '{"id":"acme/open"}' } },
      'OriginBadAnswer',
    ],
    ['a coding that nobody knows', { addHeaders: { 'Content-Encoding': 'zstd' } }, 'OriginBadAnswer'],
    ['a login page', { captivePortal: true }, 'OriginIntercepted'],
    ['a list in place of an object', { status: { code: 200, body: '[]' } }, 'OriginBadAnswer'],
    ['nothing', { status: { code: 200, body: '' } }, 'OriginBadAnswer'],
    ['a bottomless one', { status: { code: 200, body: '{"a":'.repeat(50_000) } }, 'OriginBadAnswer'],
    [
      'a deep one',
      { status: { code: 200, body: `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}` } },
      'OriginBadAnswer',
    ],
    ['a redirect loop', { redirectTo: 'self' }, 'OriginBadAnswer'],
  ] satisfies [string, Omit<Fault, 'where'>, string][])('%s', async (_, fault, code) => {
    await start()
    const handle = onHub({ ...document, ...fault })
    expectFailure(await get(API), 502, code)
    handle.remove()
    const healed = await get(API)
    expect([healed.status, JSON.parse(healed.body.toString()).id]).toEqual([200, 'acme/open'])
  })

  it('a stored document is served while the origin sends a damaged one', async () => {
    await start(20_000, 0)
    const before = await get(API)
    onHub({ ...document, captivePortal: true })
    const after = await get(API)
    expect([after.status, after.headers['x-cache']]).toEqual([200, 'STALE'])
    expect(after.body.equals(before.body)).toBe(true)
  })
})

describe('in a response that is passed through,', () => {
  it('a body that breaks off at the Hub breaks off for the client', async () => {
    await start()
    onHub({ match: /raw/, cutAfterBytes: 10, ...ALWAYS })
    expect((await get(PASSED)).isComplete).toBe(false)
    onHub({ match: /raw/, cutAfterBytes: 10, noContentLength: true, ...ALWAYS })
    const answer = await rawHttp(mirror.url, `GET ${PASSED} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    // The mirror cannot know that such a body is short. It must at least not get a length that fits it.
    expect(answer.headers['content-length']).toBeUndefined()
  })

  it('a reset is a 502, and a silence a 504', async () => {
    await start(2_000)
    const handle = onHub({ match: /raw/, resetBeforeHeaders: true, ...ALWAYS })
    expectFailure(await get(PASSED), 502, 'OriginUnreachable')
    handle.remove()
    onHub({ match: /raw/, stallHeaders: true, ...ALWAYS })
    expectFailure(await get(PASSED), 504, 'OriginTimeout')
  })
})
