// Cached responses are sent without a decision. Each must be the very answer that the decision would give, for as long as
// it would give it, and to no caller who would get another.

import { describe, expect, it } from 'vitest'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { changeTokenFile, mirrorTokensPath } from '../../src/callers/token-file.ts'
import { tokenHash } from '../../src/callers/token-list.ts'
import { Secret } from '../../src/config/secret.ts'
import { comparable, FULL_PATH, cachedScene as openCached } from '../support/cached-scene.ts'
import { basic } from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { rawHttp } from '../support/raw-http.ts'
import { metricValue } from '../support/start-mirror.ts'

const BRANCH = '/acme/open/resolve/main/config.json'
const FIRST = '{"model_type":"open","v":2}\n'
const SECOND = '{"moved":true}\n'
const LAST = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
const METHODS = ['GET', 'HEAD'] as const

async function cachedScene(config: Parameters<typeof openCached>[0] = {}) {
  const scene = await openCached(config)
  return { ...scene, pinned: BRANCH.replace('main', scene.commit('acme/open')) }
}

describe.each(METHODS)('a cached response to %s', (method) => {
  it.each(['main', 'the commit'])('of a file at %s is the answer that the full path gives', async (where) => {
    const scene = await cachedScene()
    const target = where === 'main' ? BRANCH : scene.pinned
    await scene.warm(target, { method })
    const full = await scene.asks(target, { method, headers: FULL_PATH })
    const fast = await scene.asks(target, { method })
    expect([full.cached, fast.cached, fast.headers['x-cache']]).toEqual([false, true, 'HIT'])
    expect(comparable(fast)).toEqual(comparable(full))
    expect(fast.body.toString()).toBe(method === 'GET' ? FIRST : '')
  })

  it('of a stored file is left by the first request that finds the file on the disk', async () => {
    const scene = await cachedScene()
    await scene.ask(scene.pinned)
    await scene.settled()
    const [first, second] = [
      await scene.asks(scene.pinned, { method }),
      await scene.asks(scene.pinned, { method }),
    ]
    expect([first.cached, first.headers['x-cache'], second.cached]).toEqual([false, 'HIT', true])
    expect(comparable(second)).toEqual(comparable(first))
  })

  it('that a file is absent is the answer that the full path gives', async () => {
    const scene = await cachedScene()
    const target = BRANCH.replace('config.json', 'adapter_config.json')
    await scene.warm(target, { method })
    const full = await scene.asks(target, { method, headers: FULL_PATH })
    const fast = await scene.asks(target, { method, token: TOKENS.invalid })
    expect([full.cached, fast.cached, fast.status]).toEqual([false, true, 404])
    expect(fast.headers['x-error-code']).toBe('EntryNotFound')
    expect(comparable(fast)).toEqual(comparable(full))
    scene.world.model('acme/open').commit({ 'adapter_config.json': '{}' })
    scene.clock.advance(3_600_000)
    expect((await scene.asks(target, { method })).status).toBe(200)
  })

  it('has the same fields from the early read as from Node’s HTTP', async () => {
    const scene = await cachedScene()
    const byNode: string[] = []
    scene.mirror.app.server.server.on('request', ({ url }) => byNode.push(url ?? ''))
    for (const [target, headers] of [
      [scene.pinned, {}],
      [BRANCH, {}],
      [BRANCH.replace('config.json', 'adapter_config.json'), {}],
      [scene.pinned, method === 'GET' ? { range: 'bytes=1-4' } : {}],
    ] as const) {
      await scene.warm(target, { method })
      byNode.length = 0
      const early = await scene.asks(target, { method, headers })
      // What says nothing here, and is not looked at.
      const node = await scene.asks(target, { method, headers: { ...headers, te: 'trailers' } })
      expect([early.cached, node.cached]).toEqual([true, true])
      expect(comparable(early)).toEqual(comparable(node))
      expect(early.headers['connection']).toBe('keep-alive')
      // Where workers stand before it, Node's HTTP is theirs.
      if (scene.mirror.config.workers === 1) expect(byNode).toEqual([target])
    }
  })

  it('is counted, logged and audited like any other', async () => {
    const scene = await cachedScene()
    await scene.warm(scene.pinned, { method })
    const count = async () => {
      const text = await scene.mirror.metrics()
      return [
        metricValue(text, 'hubmirror_requests_total{route="file",outcome="hit",status="200"}'),
        metricValue(text, 'hubmirror_access_decisions_total{result="public"}'),
        metricValue(text, 'hubmirror_served_bytes_total{route="file",outcome="hit"}'),
      ].map(Number)
    }
    const before = await count()
    const headers = { 'x-request-id': 'mine-1' }
    const reply = await scene.asks(scene.pinned, { method, token: TOKENS.bob, headers })
    expect([reply.cached, reply.headers['x-request-id']]).toEqual([true, 'mine-1'])
    const bytes = method === 'GET' ? FIRST.length : 0
    const after = await count()
    expect(after.map((value, index) => value - (before[index] ?? 0))).toEqual([1, 1, bytes])
    const lineOf = (text: string) => text.split('\n').filter((line) => line.includes('mine-1'))
    const logged = lineOf(scene.mirror.logText())
    expect(logged).toHaveLength(1)
    expect(JSON.parse(logged[0] ?? '')).toMatchObject({
      method,
      route: 'file',
      repo: 'models/acme/open',
      revision: scene.commit('acme/open'),
      path: 'config.json',
      status: 200,
      outcome: 'hit',
      bytes,
      originTrips: 0,
      client: '127.0.0.1',
      token: expect.stringMatching(/^[0-9a-f]{6}$/),
    })
    const audited = await eventually(
      async () => lineOf(await scene.mirror.auditText()),
      (lines) => lines.length > 0,
    )
    expect(audited).toHaveLength(1)
    expect(JSON.parse(audited[0] ?? '')).toMatchObject({
      caller: { kind: 'hub-token' },
      decision: 'allowed',
      reason: 'public',
    })
  })

  it('is dropped as soon as an anonymous caller is refused anything of the repo', async () => {
    const scene = await cachedScene()
    await scene.warm(scene.pinned, { method })
    scene.world.model('acme/open').makePrivate(['alice'])
    expect((await scene.asks(scene.pinned, { method })).cached).toBe(true)
    expect((await scene.ask('/acme/open/resolve/main/none.txt')).status).toBe(401)
    expect((await scene.asks(scene.pinned, { method })).status).toBe(401)
    expect((await scene.asks(scene.pinned, { method, token: TOKENS.bob })).status).toBe(404)
    expect((await scene.asks(scene.pinned, { method, token: TOKENS.alice })).status).toBe(200)
  })

  it('is dropped when the verdict expires, though a branch may be trusted for longer', async () => {
    const scene = await cachedScene({ accessTtlMs: 20_000, refTtlMs: 3_600_000 })
    await scene.warm(BRANCH, { method })
    scene.world.model('acme/open').makePrivate(['alice'])
    scene.clock.advance(19_999)
    expect((await scene.asks(BRANCH, { method })).status).toBe(200)
    scene.clock.advance(1)
    expect((await scene.asks(BRANCH, { method })).status).toBe(401)
  })

  it('is dropped when a caller writes to the repo through the mirror', async () => {
    const scene = await cachedScene()
    await scene.warm(BRANCH, { method })
    const commit = JSON.stringify({ key: 'header', value: { summary: 'x' } })
    const written = await scene.ask('/api/models/acme/open/commit/main', {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/x-ndjson' },
      body: commit,
    })
    scene.hub.ledger.clear()
    const reply = await scene.asks(BRANCH, { method })
    // What the Hub refused has changed nothing.
    expect(reply.cached).toBe(written.status >= 400)
  })

  it('is sent to no caller whose network is not served, and logged with the address that the proxy names', async () => {
    const scene = await cachedScene({ trustProxy: ['127.0.0.1'], clientsDeny: ['10.1.0.0/16'] })
    const from = (address: string) => ({ method, headers: { 'x-forwarded-for': address } })
    await scene.warm(scene.pinned, from('10.2.0.1'))
    expect((await scene.asks(scene.pinned, from('10.1.0.1'))).status).toBe(403)
    const reply = await scene.asks(scene.pinned, from('10.2.0.7'))
    expect([reply.status, reply.cached]).toEqual([200, true])
    expect(scene.mirror.logText()).toContain('"client":"10.2.0.7"')
  })

  it('is not sent to a caller with a mirror token, in whatever form the token is sent', async () => {
    const scene = await cachedScene()
    await scene.warm(scene.pinned, { method })
    const token = createMirrorToken()
    const entry = { name: 'ci', sha256: tokenHash(token), createdAt: Date.now() }
    await changeTokenFile(mirrorTokensPath(scene.mirror.config), () => [entry])
    for (const authorization of [`Bearer ${token}`, basic('ci', token)]) {
      for (const connection of ['keep-alive', 'close']) {
        const reply = await scene.asks(scene.pinned, { method, headers: { authorization, connection } })
        expect([reply.status, reply.cached]).toEqual([200, false])
      }
    }
  })

  it.each([
    ['two Authorization fields', 'Authorization: Bearer a\r\nAuthorization: Bearer b\r\n', 400],
    ['two Range fields', 'Range: bytes=0-1\r\nRange: bytes=0-2\r\n', 400],
    ['a body', 'Content-Length: 1\r\n\r\nx', 400],
    ['a mirror token that is unknown', `Authorization: Bearer hf_mirror${'a'.repeat(40)}\r\n`, 401],
    ['a mirror token in the wrong place', `X-Note: hf_mirror${'a'.repeat(40)}\r\n`, 401],
    ['its own mark in Via', 'Via: MARK\r\n', 508],
  ])('is not sent to a request with %s', async (_what, fields, status) => {
    const scene = await cachedScene()
    await scene.warm(scene.pinned, { method })
    const seen = scene.hub.ledger.requests().flatMap(({ headers }) => headers['via'] ?? [])
    const lines = fields.replace('MARK', String(seen[0]))
    const head = `${method} ${scene.pinned} HTTP/1.1\r\nHost: x\r\n`
    // By the early read, and by Node's HTTP, which reads requests that say that they are the last.
    for (const bytes of [`${head}${lines}\r\n${LAST}`, `${head}Connection: close\r\n${lines}\r\n`])
      expect((await rawHttp(scene.mirror.url, bytes)).status).toBe(status)
  })
})

describe('a cached response', () => {
  it('keeps its age', async () => {
    const scene = await cachedScene({ refTtlMs: 3_600_000, accessTtlMs: 3_600_000 })
    await scene.warm(BRANCH)
    const { age } = (await scene.asks(BRANCH)).headers
    scene.clock.advance(7_000)
    const later = await scene.asks(BRANCH)
    expect([later.cached, Number(later.headers['age'])]).toEqual([true, Number(age) + 7])
  })

  it('is not the answer to a request with a range or a condition', async () => {
    const scene = await cachedScene()
    await scene.warm(scene.pinned)
    const part = await scene.ask(scene.pinned, { headers: { range: 'bytes=2-6' } })
    expect([part.status, part.body.toString()]).toEqual([206, FIRST.slice(2, 7)])
    const { etag = '' } = part.headers
    const same = await scene.ask(scene.pinned, { headers: { 'if-none-match': etag } })
    expect(same.status).toBe(304)
  })

  it('to a HEAD is a promise: the GET of that client means the same commit though the branch moves', async () => {
    const scene = await cachedScene()
    await scene.warm(BRANCH, { method: 'HEAD' })
    const before = scene.commit('acme/open')
    const head = await scene.asks(BRANCH, { method: 'HEAD' })
    expect([head.cached, head.headers['x-repo-commit']]).toEqual([true, before])
    const commit = scene.world.model('acme/open').commit({ 'config.json': SECOND })
    scene.clock.advance(30_000)
    // Another caller learns that it moved. For some time the first caller may still fetch the commit that it was promised.
    expect((await scene.ask(BRANCH, { method: 'HEAD', token: TOKENS.bob })).headers['x-repo-commit']).toBe(
      commit,
    )
    for (let round = 0; round < 3; round += 1) {
      expect((await scene.ask(BRANCH, { token: TOKENS.bob })).body.toString()).toBe(SECOND)
      expect((await scene.ask(BRANCH)).body.toString()).toBe(FIRST)
    }
    scene.clock.advance(60_001)
    expect((await scene.ask(BRANCH)).body.toString()).toBe(SECOND)
  })

  it('keeps the promise of a HEAD that was answered while the Hub could not be reached, too', async () => {
    const scene = await cachedScene()
    await scene.warm(BRANCH)
    await scene.restart()
    await scene.hub.stop()
    const old = await scene.ask(BRANCH, { method: 'HEAD' })
    expect([old.headers['x-cache'], old.headers['x-repo-commit']]).toEqual([
      'STALE',
      scene.commit('acme/open'),
    ])
    scene.world.model('acme/open').commit({ 'config.json': SECOND })
    await scene.hub.start()
    scene.clock.advance(40_000)
    for (let round = 0; round < 3; round += 1) {
      expect((await scene.ask(BRANCH, { token: TOKENS.bob })).body.toString()).toBe(SECOND)
      expect((await scene.ask(BRANCH)).body.toString()).toBe(FIRST)
      await scene.settled()
    }
    scene.clock.advance(20_001)
    await scene.warm(BRANCH)
    expect((await scene.ask(BRANCH)).body.toString()).toBe(SECOND)
  })

  it('to a HEAD of an absent file is no promise', async () => {
    const scene = await cachedScene()
    const target = BRANCH.replace('config.json', 'adapter_config.json')
    await scene.warm(target, { method: 'HEAD' })
    const absent = await scene.asks(target, { method: 'HEAD' })
    expect([absent.cached, absent.status]).toEqual([true, 404])
    scene.world.model('acme/open').commit({ 'adapter_config.json': SECOND })
    scene.clock.advance(20_000)
    expect((await scene.ask(target)).body.toString()).toBe(SECOND)
  })

  it('does not wait behind others on its connection', async () => {
    const scene = await cachedScene()
    await scene.warm(scene.pinned)
    const question = `GET ${scene.pinned} HTTP/1.1\r\nHost: x\r\n\r\n`
    const last = question.replace('Host: x', 'Host: x\r\nConnection: close')
    const raw = await rawHttp(scene.mirror.url, question.repeat(9) + last)
    expect(raw.text.split(FIRST)).toHaveLength(11)
    const flood = await rawHttp(scene.mirror.url, question.repeat(500))
    expect(flood.end).toBe('closed')
    expect(flood.text.split(FIRST).length).toBeLessThan(400)
  })

  it('is sent only to callers that the rules allow, and counts the rules that decided', async () => {
    const rules = policiesOf(`
- {name: lab, action: deny, match: {repo: acme/*, caller: {network: 10.1.0.0/16}}}
- {name: ours, action: allow, match: {repo: acme/*}}
- {name: rest, action: deny, match: {repo: "*"}}`)
    const scene = await cachedScene({ trustProxy: ['127.0.0.1'], policies: rules })
    const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })
    await scene.warm(scene.pinned, from('10.2.0.1'))
    const denied = await scene.asks(scene.pinned, from('10.1.0.1'))
    expect([denied.status, denied.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
    const count = async () =>
      metricValue(
        await scene.mirror.metrics(),
        'hubmirror_policy_decisions_total{rule="ours",action="allow"}',
      )
    const before = await count()
    const let_ = await scene.asks(scene.pinned, {
      headers: { 'x-forwarded-for': '10.2.0.1', 'x-request-id': 'by-rule' },
    })
    expect([let_.status, let_.cached]).toEqual([200, true])
    expect(await count()).toBe(Number(before) + 1)
    const [line = ''] = scene.mirror.logLines('by-rule')
    expect(JSON.parse(line)).toMatchObject({ outcome: 'hit', rule: 'ours' })
  })

  it.each([
    ['weigh sizes', '- {action: deny, match: {size: ">1GB"}}'],
    [
      'lend a token',
      '- {action: use-token, token: lab, match: {repo: acme/*, caller: {network: 127.0.0.1}}}',
    ],
    ['want nothing stored', '- {action: no-store, match: {repo: acme/open, file: config.json}}'],
  ])('is not made if rules %s', async (_what, yaml) => {
    const hubTokens = new Map([['lab', Secret.of(TOKENS.alice)]])
    const scene = await cachedScene({ hubTokens, policies: policiesOf(yaml) })
    for (let round = 0; round < 4; round += 1) await scene.ask(scene.pinned)
    const { status, cached } = await scene.asks(scene.pinned)
    expect([status, cached]).toEqual([200, false])
  })

  it('is made once the facts that the rules need are known', async () => {
    const scene = await cachedScene({ policies: policiesOf('- {action: deny, match: {licence: gpl-3.0}}') })
    await scene.warm(scene.pinned)
    // As long as it may be believed.
    scene.clock.advance(60_000)
    const again = await scene.asks(scene.pinned)
    expect([again.status, again.cached]).toEqual([200, false])
  })
})
