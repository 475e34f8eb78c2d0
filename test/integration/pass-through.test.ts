// What the mirror does not understand goes to the Hub as it came, and comes back so that it leads to the mirror.

import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const credentials = (scene: Scene) =>
  scene.hub.ledger.requests({ server: 'hub' }).map((entry) => scene.hub.ledger.credential(entry))

describe('a route that is passed through', () => {
  it.each([
    ['GET', '/acme/open/raw/main/config.json', 200, 'text/plain; charset=utf-8'],
    ['GET', '/api/organizations/acme/overview', 200, 'application/json; charset=utf-8'],
    ['HEAD', '/api/telemetry/transformers/cli', 200, undefined],
    ['POST', '/api/validate-yaml', 200, 'application/json; charset=utf-8'],
    ['GET', '/api/models/acme/secret/auth-check', 200, undefined],
    ['GET', '/api/unknown/route?with=query&and=%2F', 404, 'application/json; charset=utf-8'],
  ] as const)('%s %s reaches the Hub once, with the token', async (method, target, status, type) => {
    const scene = await openScene()
    const got = await scene.ask(target, {
      method,
      token: TOKENS.alice,
      headers: { cookie: 'token=abc', 'x-forwarded-for': '10.1.2.3', 'x-hf-download-counter': '1' },
      ...(method === 'POST' ? { body: '{"content":"x"}' } : {}),
    })
    expect([got.status, got.headers['content-type']]).toEqual([status, type])
    expect(got.headers['x-cache']).toBe(status === 404 ? 'REFUSED' : 'BYPASS')
    const [entry, ...more] = scene.hub.ledger.requests()
    expect(more).toEqual([])
    expect([entry?.method, entry?.url]).toEqual([method, target])
    expect(credentials(scene)).toEqual([TOKENS.alice])
    expect([entry?.headers.cookie, entry?.headers['x-forwarded-for']]).toEqual([undefined, undefined])
    expect(entry?.headers['x-hf-download-counter']).toBe('1')
    expect(entry?.headers['accept-encoding']).toBe('identity')
    for (const name of [
      'set-cookie',
      'ratelimit',
      'ratelimit-policy',
      'x-hf-warning',
      'x-powered-by',
      'via',
    ]) {
      expect(got.headers[name]).toBeUndefined()
    }
  })

  it('counts as an upload for the client that a trusted proxy names, to its end', async () => {
    const scene = await openScene({ config: { trustProxy: ['127.0.0.1'] } })
    const addHeaders = { link: `<${scene.hub.url}/api/organizations/acme/members?p=2>; rel="next"` }
    scene.hub.faults.add({ where: 'hub', addHeaders })
    const got = await scene.ask('/api/validate-yaml', {
      method: 'POST',
      token: TOKENS.alice,
      headers: {
        ...JSON_TYPE,
        'x-request-id': 'mine-1',
        'x-forwarded-for': '10.1.2.3',
        'x-forwarded-host': 'front.example',
        'x-forwarded-proto': 'https',
      },
      body: '{"content":"x"}',
    })
    expect(got.status).toBe(200)
    expect(got.headers['link']).toContain('<https://front.example/api/organizations/acme/members?p=2>')
    const accounts = await eventually(
      async () => [scene.mirror.logText(), await scene.mirror.auditText()],
      (texts) => texts.every((text) => text.includes('mine-1')),
    )
    for (const text of accounts) expect(text).toContain('10.1.2.3')
    expect((await scene.ask('/healthz')).status).toBe(200)
  })

  it.each([
    ['//api/organizations/acme/overview', '/api/organizations/acme/overview'],
    ['/api/organizations/acme/overview?q=100%', undefined],
    ['/api/organizations/acme/overview?q=%ff&next=/../x', undefined],
    ['/api/organizations/acme/overview?a=b?c=d&e=%2F&a=2&x', undefined],
    ['/api/organizations/acme/overview?', undefined],
  ])('%s reaches the Hub with the same meaning', async (target, asked) => {
    const scene = await openScene()
    expect((await scene.ask(target)).status).toBe(200)
    expect(scene.hub.ledger.requests().map(({ url }) => url.replace(/\?$/, ''))).toEqual([
      (asked ?? target).replace(/\?$/, ''),
    ])
  })

  it.each(['GET', 'POST'])('is requested once though the Hub is busy (%s)', async (method) => {
    const scene = await openScene()
    scene.hub.faults.add({
      where: 'hub',
      status: { code: 503, headers: { 'Retry-After': '9' }, body: 'busy' },
      times: 100,
    })
    const got = await scene.ask('/api/organizations/acme/overview', {
      method,
      ...(method === 'POST' ? { body: 'x' } : {}),
    })
    expect([got.status, got.body.toString(), got.headers['retry-after']]).toEqual([503, 'busy', '9'])
    expect(scene.hub.ledger.requests().length).toBe(1)
  })

  it.each(['GET', 'POST'])('is requested once though the Hub hangs up (%s)', async (method) => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', resetBeforeHeaders: true, times: 100 })
    const got = await scene.ask('/api/models/acme/open/commit/main', {
      method,
      token: TOKENS.alice,
      ...(method === 'POST' ? { body: 'x' } : {}),
    })
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
    expect(scene.hub.ledger.requests().length).toBe(1)
  })

  it('is redirected within the mirror if the Hub redirects it within itself', async () => {
    const scene = await openScene()
    const got = await scene.ask('/acme/old/raw/main/config.json?x=1', { token: TOKENS.alice })
    expect(got.status).toBe(307)
    const location = new URL(got.headers['location'] ?? '', scene.mirror.url)
    expect(location.href).toBe(`${scene.mirror.url}/acme/new/raw/main/config.json?x=1`)
    const next = await scene.ask(location.pathname, { token: TOKENS.alice })
    expect(next.body.toString()).toBe('{"renamed":true}\n')
    const redirectTo = `${scene.hub.url}/api/settings?a=b`
    scene.hub.faults.add({ where: 'hub', match: /^\/api\/unknown/, redirectTo })
    const absolute = await scene.ask('/api/unknown')
    expect(new URL(absolute.headers['location'] ?? '', scene.mirror.url).href).toBe(
      `${scene.mirror.url}/api/settings?a=b`,
    )
  })

  it('is followed to the CDN by the mirror, without the token', async () => {
    const scene = await openScene()
    const direct = await fetch(`${scene.hub.url}/acme/open/resolve/main/w.bin`, { redirect: 'manual' })
    await direct.body?.cancel()
    const signed = direct.headers.get('location') ?? ''
    scene.hub.faults.add({ where: 'hub', match: /parquet/, redirectTo: signed, times: 2 })
    scene.hub.ledger.clear()
    const target = '/api/datasets/acme/data/parquet/default/train/0.parquet'
    const got = await scene.ask(target, { token: TOKENS.alice })
    expect([got.status, got.headers['location']]).toEqual([200, undefined])
    expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    const part = await scene.ask(target, { token: TOKENS.alice, headers: { range: 'bytes=5-9' } })
    expect([part.status, part.headers['content-range']]).toEqual([206, 'bytes 5-9/3000000'])
    const cdn = scene.hub.ledger.requests({ server: 'cdn' })
    expect(cdn.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined])
  })

  it('says so if the answer is encoded though the client did not ask for that', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', match: /raw/, gzipAlways: true })
    const got = await scene.ask('/acme/open/raw/main/config.json')
    expect(got.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(got.body).equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
  })

  it('is asked for a range only of the file that the client has begun', async () => {
    const scene = await openScene()
    const target = '/acme/open/raw/main/config.json'
    const { etag = '' } = (await scene.ask(target)).headers
    for (const [ifRange, status] of [
      [etag, 206],
      ['"another"', 200],
    ] as const) {
      const got = await scene.ask(target, { headers: { range: 'bytes=2-4', 'if-range': ifRange } })
      expect([ifRange, got.status]).toEqual([ifRange, status])
    }
  })

  it('that is redirected to a host that is not allowed is refused, and that host gets no request', async () => {
    const scene = await openScene()
    for (const place of ['http://127.0.0.3:9/x', 'http://user:pw@127.0.0.2/x', 'ftp://127.0.0.2/x']) {
      scene.hub.faults.add({ where: 'hub', match: /parquet/, redirectTo: place })
      const got = await scene.ask('/api/datasets/acme/data/parquet', { token: TOKENS.alice })
      expect([place, got.status, got.headers['x-error-code'], got.headers['location']]).toEqual([
        place,
        502,
        'RedirectRefused',
        undefined,
      ])
    }
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
  })

  it('of a repo that an anonymous caller may not know says so in the code that clients understand', async () => {
    const scene = await openScene()
    const anonymous = await scene.ask('/api/models/acme/secret/auth-check')
    expect([
      anonymous.status,
      anonymous.headers['x-error-code'],
      anonymous.headers['x-error-message'],
    ]).toEqual([
      401,
      'RepoNotFound',
      expect.stringMatching(/^Invalid username or password\. No token arrived/),
    ])
    const bad = await scene.ask('/api/models/acme/secret/auth-check', { token: TOKENS.invalid })
    expect([bad.status, bad.headers['x-error-code']]).toEqual([401, undefined])
    const other = await scene.ask('/api/models/acme/gated/auth-check', { token: TOKENS.bob })
    expect([other.status, other.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
  })

  it.each([2_000_000, 500_000])(
    'of %i bytes breaks off where the Hub breaks off, and is logged',
    async (bytes) => {
      const scene = await openScene()
      scene.world.model('acme/open').commit({ 'cut.txt': 'x'.repeat(bytes) })
      scene.hub.faults.add({ where: 'hub', match: /raw/, cutAfterBytes: 200_000 })
      const got = await scene.ask('/acme/open/raw/main/cut.txt', { headers: { 'x-request-id': 'cut' } })
      expect([got.status, got.whole]).toEqual([200, false])
      const [line] = await eventually(
        () => scene.mirror.logLines('"requestId":"cut"'),
        (lines) => lines.length > 0,
      )
      expect(line).toContain('"err"')
    },
  )
})

describe('a write', () => {
  it('is done at the Hub with the caller’s own token', async () => {
    const scene = await openScene()
    const token = TOKENS.alice
    const created = await scene.ask('/api/repos/create', {
      method: 'POST',
      token,
      headers: JSON_TYPE,
      body: JSON.stringify({ name: 'mine', type: 'model' }),
    })
    expect(created.status).toBe(200)
    const lines = [
      { key: 'header', value: { summary: 'first', description: '' } },
      {
        key: 'file',
        value: { path: 'a.txt', content: Buffer.from('hello\n').toString('base64'), encoding: 'base64' },
      },
    ]
    const committed = await scene.ask('/api/models/alice/mine/commit/main', {
      method: 'POST',
      token,
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => JSON.stringify(line)).join('\n'),
    })
    expect(committed.status).toBe(200)
    const branch = { method: 'POST', token, headers: JSON_TYPE, body: '{}' }
    expect((await scene.ask('/api/models/alice/mine/branch/dev', branch)).status).toBe(201)
    expect((await scene.ask('/api/models/alice/mine/branch/dev', branch)).status).toBe(409)
    expect((await scene.ask('/alice/mine/resolve/dev/a.txt')).body.toString()).toBe('hello\n')
    const gone = await scene.ask('/api/models/alice/mine/branch/dev', { method: 'DELETE', token })
    expect(gone.status).toBe(200)
    const settings = await scene.ask('/api/models/alice/mine/settings', {
      method: 'PUT',
      token,
      headers: JSON_TYPE,
      body: '{"private":true}',
    })
    expect([settings.status, scene.world.model('alice/mine').isPrivate]).toEqual([200, true])
    const moved = await scene.ask('/api/repos/move', {
      method: 'POST',
      token,
      headers: JSON_TYPE,
      body: JSON.stringify({ fromRepo: 'alice/mine', toRepo: 'alice/other', type: 'model' }),
    })
    expect([moved.status, scene.world.find('models', 'alice/other')?.how]).toEqual([200, 'exact'])
    const writes = scene.hub.ledger.requests(({ method }) => method !== 'GET' && method !== 'HEAD')
    expect(writes.length).toBe(7)
    for (const entry of writes) expect(scene.hub.ledger.credential(entry)).toBe(token)
  })

  it("is refused by the Hub, in the Hub's words, to a caller without the right", async () => {
    const scene = await openScene()
    const question = { method: 'POST', headers: JSON_TYPE, body: '{}' }
    for (const [token, status] of [
      [undefined, 401],
      [TOKENS.invalid, 401],
      [TOKENS.bob, 403],
    ] as const) {
      const got = await scene.ask('/api/models/acme/open/branch/dev2', { ...question, token })
      expect(got.status).toBe(status)
      expect(got.headers['x-error-message']).toBeDefined()
    }
  })

  it('hands the challenge of an origin to git, although it comes with a page', async () => {
    const scene = await openScene()
    const headers = { 'Content-Type': 'text/html', 'WWW-Authenticate': 'Basic realm="models"' }
    scene.hub.faults.add({ where: 'hub', match: /info\/refs/, edge: { code: 401, headers, body: '<html>' } })
    const got = await scene.ask('/acme/open/info/refs?service=git-upload-pack')
    expect([got.status, got.headers['www-authenticate']]).toEqual([401, 'Basic realm="models"'])
  })

  it.each([
    ['GET', '/api/models/acme/open/discussions', 'json'],
    ['POST', '/api/models/acme/open/branch/dev2', 'json'],
    ['GET', '/acme/open/info/refs?service=git-upload-pack', 'text'],
    ['POST', '/acme/open.git/info/lfs/objects/batch', 'message'],
  ] as const)('%s %s gets a sentence in place of the page of a filter', async (method, target, form) => {
    const scene = await openScene()
    const edge = { code: 403, headers: { 'Content-Type': 'text/html' }, body: '<html>' }
    scene.hub.faults.add({ where: 'hub', match: /acme/, edge, times: Number.POSITIVE_INFINITY })
    const body = method === 'POST' ? { method, headers: JSON_TYPE, body: '{}' } : { method }
    const got = await scene.ask(target, { ...body, token: TOKENS.alice })
    const words = /answered 403 in the Hub's place/
    expect([got.status, got.headers['x-error-code'], got.headers['x-error-message']]).toEqual([
      502,
      'OriginIntercepted',
      expect.stringMatching(words),
    ])
    const said = got.body.toString()
    if (form === 'text')
      expect([got.headers['content-type'], said]).toEqual([
        expect.stringMatching(/^text\/plain/),
        expect.stringMatching(words),
      ])
    else
      expect(JSON.parse(said)).toMatchObject({
        [form === 'json' ? 'error' : 'message']: expect.stringMatching(words) as unknown,
      })
  })

  it("keeps the Hub's own page", async () => {
    const scene = await openScene()
    const headers = { 'Content-Type': 'text/html', 'X-Powered-By': 'huggingface-moon' }
    scene.hub.faults.add({
      where: 'hub',
      match: /discussions/,
      edge: { code: 404, headers, body: '<html>gone' },
    })
    const got = await scene.ask('/api/models/acme/open/discussions', { token: TOKENS.alice })
    expect([got.status, got.body.toString()]).toEqual([404, '<html>gone'])
  })

  it('whose answer names what was made is not taken for a redirect', async () => {
    const scene = await openScene()
    const made = { code: 201, headers: { Location: 'http://127.0.0.3:9/made' }, body: 'made' }
    scene.hub.faults.add({ where: 'hub', method: 'POST', status: made })
    const got = await scene.ask('/api/models/acme/open/branch/dev2', { method: 'POST', body: '{}' })
    expect([got.status, got.body.toString(), got.headers['location']]).toEqual([201, 'made', undefined])
  })

  it('by git push ends a verdict, and a git fetch does not', async () => {
    const scene = await openScene()
    const target = '/acme/open/resolve/main/config.json'
    await scene.ask(target)
    await scene.settled()
    for (const [service, asks] of [
      ['git-upload-pack', 0],
      ['git-receive-pack', 1],
    ] as const) {
      scene.hub.faults.add({ where: 'hub', match: /git-/, status: { code: 200, body: 'pack' } })
      const git = await scene.ask(`/acme/open.git/${service}`, { method: 'POST', body: '0000' })
      expect(git.status).toBe(200)
      scene.hub.ledger.clear()
      expect((await scene.ask(target)).status).toBe(200)
      expect([service, scene.hub.ledger.requests({ method: 'HEAD', url: /resolve\// }).length]).toEqual([
        service,
        asks,
      ])
    }
  })

  it('is passed on whole, however long it is', async () => {
    const scene = await openScene()
    const content = Buffer.alloc(6_000_000, 'z').toString('base64')
    const lines = [
      { key: 'header', value: { summary: 'long', description: '' } },
      { key: 'file', value: { path: 'long.txt', content, encoding: 'base64' } },
    ]
    scene.world.model('alice/mine').commit({ 'x.txt': 'x' })
    const got = await scene.ask('/api/models/alice/mine/commit/main', {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => JSON.stringify(line)).join('\n'),
    })
    expect(got.status).toBe(200)
    expect(scene.bytes('alice/mine', 'long.txt').length).toBe(6_000_000)
  })
})

it('a caller that commits through the mirror sees the new commit at once', async () => {
  const scene = await openScene()
  const file = '/alice/notes/resolve/main/config.json'
  scene.world.model('alice/notes').commit({ 'config.json': '{"old":1}' })
  const before = await scene.ask(file)
  const line = (key: string, value: object): string => JSON.stringify({ key, value })
  const committed = await scene.ask('/api/models/alice/notes/commit/main', {
    method: 'POST',
    token: TOKENS.alice,
    headers: { 'content-type': 'application/x-ndjson' },
    body: [
      line('header', { summary: 'change', description: '' }),
      line('file', {
        path: 'config.json',
        content: Buffer.from('{"new":1}').toString('base64'),
        encoding: 'base64',
      }),
    ].join('\n'),
  })
  expect(committed.status).toBe(200)
  const after = await scene.ask(file)
  expect(after.body.toString()).toBe('{"new":1}')
  expect(after.headers['x-repo-commit']).not.toBe(before.headers['x-repo-commit'])
})

it('after a write the mirror asks again without a token: the write may have made the repo private', async () => {
  const scene = await openScene()
  const file = '/alice/notes/resolve/main/config.json'
  scene.world.model('alice/notes').commit({ 'config.json': '{"old":1}' })
  await scene.ask(file)
  await scene.settled()
  expect((await scene.ask(file)).headers['x-cache']).toBe('HIT')
  const settings = { method: 'PUT', token: TOKENS.alice, headers: JSON_TYPE, body: '{"private":true}' }
  expect((await scene.ask('/api/models/alice/notes/settings', settings)).status).toBe(200)
  expect((await scene.ask(file)).status).toBe(401)
})
