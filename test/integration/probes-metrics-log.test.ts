// What operators see: probes, metrics, one line per request. And who can never see anything: the Hub, of all that.

import { describe, expect, it } from 'vitest'
import { open, type Reply } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const CONFIG = '/acme/open/resolve/main/config.json'

interface Line {
  readonly [field: string]: unknown
}

/** The one log line of a request, as soon as it is there. */
async function lineOf(scene: Scene, requestId: string | undefined): Promise<Line> {
  const lines = await eventually(
    () => scene.mirror.logLines(`"requestId":"${requestId}"`),
    (found) => found.length > 0,
  )
  expect(lines.length, 'one line for one request').toBe(1)
  return JSON.parse(lines[0] ?? '') as Line
}

const labels = (line: Line) =>
  `{route="${String(line['route'])}",outcome="${String(line['outcome'])}",status="${String(line['status'])}"}`

describe('the probes', () => {
  it('say that the process runs and is ready, without a request to the Hub', async () => {
    const scene = await openScene()
    const alive = await scene.ask('/healthz')
    expect([alive.status, alive.body.toString()]).toEqual([200, '{"status":"ok"}'])
    const ready = await scene.ask('/readyz')
    expect(ready.status).toBe(200)
    expect(JSON.parse(ready.body.toString())).toMatchObject({
      ready: true,
      checks: { serving: { ok: true }, store: { ok: true }, origin: { ok: null, detail: 'not asked yet' } },
    })
    for (const target of ['/healthz', '/readyz', '/metrics']) {
      const head = await scene.ask(target, { method: 'HEAD' })
      expect([head.status, head.body.length]).toEqual([200, 0])
      expect(head.headers['cache-control']).toBe('no-store')
    }
    expect(scene.hub.ledger.requests()).toEqual([])
    await scene.ask('/api/organizations/acme/overview')
    expect((await scene.ask('/readyz')).body.toString()).toContain('"origin":{"ok":true}')
  })

  it('say no while the mirror drains and still serves requests', async () => {
    const scene = await openScene()
    scene.mirror.app.drain()
    expect((await scene.ask('/readyz')).status).toBe(503)
    expect((await scene.ask('/healthz')).status).toBe(200)
    expect((await scene.ask(CONFIG)).status).toBe(200)
  })
})

describe('the metrics', () => {
  it('are what Prometheus reads, and name no repo, path or token', async () => {
    const scene = await openScene()
    await scene.ask(CONFIG, { token: TOKENS.alice })
    await scene.ask('/acme/secret/resolve/main/w.bin', { token: TOKENS.alice })
    await scene.ask('/api/models/acme/open')
    const { body, headers } = await scene.ask('/metrics')
    expect(headers['content-type']).toContain('text/plain')
    const described = new Set<string>()
    const typed = new Map<string, string>()
    for (const line of body.toString().trimEnd().split('\n')) {
      const meta = /^# (HELP|TYPE) ([a-z_:][a-z0-9_:]*) (.+)$/.exec(line)
      if (meta?.[1] === 'HELP') described.add(meta[2] ?? '')
      else if (meta?.[1] === 'TYPE') typed.set(meta[2] ?? '', meta[3] ?? '')
      else if (line !== '') {
        const sample = /^([a-z_:][a-z0-9_:]*)(\{[^}]*\})? (-?[0-9.e+-]+|\+Inf|NaN)$/.exec(line)
        expect(sample, line).not.toBeNull()
        const name = sample?.[1] ?? ''
        const family = typed.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '')
        expect(typed.has(family) && described.has(family), `${name} is described`).toBe(true)
        if (name.startsWith('hubmirror_') && typed.get(family) === 'counter') expect(name).toMatch(/_total$/)
        for (const [, label] of (sample?.[2] ?? '').matchAll(/([a-z_]+)="/g)) {
          if (!name.startsWith('hubmirror_')) continue
          expect(['route', 'outcome', 'status', 'kind', 'reason', 'result', 'version', 'le']).toContain(label)
        }
      }
    }
    expect(body.toString()).not.toMatch(/acme|config\.json|w\.bin|hf_/)
  })

  it('count what was served and what was fetched', async () => {
    const scene = await openScene()
    const size = scene.bytes('acme/open', 'w.bin').length
    for (let round = 0; round < 3; round += 1) {
      await scene.ask('/acme/open/resolve/main/w.bin')
      await scene.settled()
    }
    await eventually(
      async () =>
        metricValue(
          await scene.mirror.metrics(),
          'hubmirror_requests_total{route="file",outcome="hit",status="200"}',
        ),
      (hits) => hits === 2,
    )
    const text = await scene.mirror.metrics()
    expect(metricValue(text, 'hubmirror_requests_total{route="file",outcome="miss",status="200"}')).toBe(1)
    expect(metricValue(text, 'hubmirror_served_bytes_total{route="file",outcome="hit"}')).toBe(2 * size)
    expect(metricValue(text, 'hubmirror_served_bytes_total{route="file",outcome="miss"}')).toBe(size)
    expect(metricValue(text, 'hubmirror_fetched_bytes_total{kind="cdn"}')).toBe(size)
    expect(metricValue(text, 'hubmirror_origin_requests_total{kind="cdn",status="200"}')).toBe(1)
    expect(metricValue(text, 'hubmirror_origin_requests_total{kind="head",status="302"}')).toBe(1)
    expect(metricValue(text, 'hubmirror_access_decisions_total{result="public"}')).toBe(3)
    expect(metricValue(text, 'hubmirror_cache_blobs')).toBe(1)
    // The file, the ref, the names of the refs and the repo: a block each.
    expect(metricValue(text, 'hubmirror_cache_facts_bytes')).toBe(4 * 4096)
    expect(metricValue(text, 'hubmirror_cache_size_bytes')).toBe(size + 4 * 4096)
    expect(metricValue(text, 'hubmirror_flights_in_progress')).toBe(0)
    expect(metricValue(text, 'hubmirror_first_byte_seconds_count{outcome="hit"}')).toBe(2)
  })
})

describe('a request', () => {
  it('is one line with what happened, in the same word as in header and metric', async () => {
    const scene = await openScene()
    const expected: (readonly [Reply, Line])[] = []
    const visit = async (target: string, more: Line, question: Parameters<Scene['ask']>[1] = {}) => {
      expected.push([await scene.ask(target, question), more])
      await scene.settled()
    }
    const file = { method: 'GET', route: 'file', repo: 'models/acme/open', revision: 'main' }
    await visit(CONFIG, { ...file, path: 'config.json', status: 200, outcome: 'miss', bytes: 28 })
    await visit(CONFIG, {
      ...file,
      path: 'config.json',
      status: 200,
      outcome: 'hit',
      bytes: 28,
      originTrips: 0,
    })
    await visit(
      CONFIG,
      { ...file, method: 'HEAD', status: 200, outcome: 'hit', bytes: 0 },
      { method: 'HEAD' },
    )
    await visit(
      CONFIG,
      { ...file, status: 206, outcome: 'hit', bytes: 4 },
      { headers: { range: 'bytes=0-3' } },
    )
    await visit('/acme/open/resolve/main/no.txt', {
      ...file,
      path: 'no.txt',
      status: 404,
      outcome: 'refused',
    })
    await visit(
      '/acme/secret/resolve/main/config.json',
      { ...file, repo: 'models/acme/secret', status: 200, outcome: 'bypass' },
      { token: TOKENS.alice },
    )
    await visit('/acme/secret/resolve/main/config.json', {
      ...file,
      repo: 'models/acme/secret',
      status: 401,
      outcome: 'refused',
      originTrips: 1,
    })
    await visit('/api/models/acme/open', {
      method: 'GET',
      route: 'document',
      repo: 'models/acme/open',
      status: 200,
      outcome: 'miss',
    })
    await visit(
      '/api/whoami-v2',
      { method: 'GET', route: 'document', status: 200, outcome: 'bypass' },
      { token: TOKENS.alice },
    )
    await visit('/api/organizations/acme/overview', {
      method: 'GET',
      route: 'document',
      status: 200,
      outcome: 'miss',
      originTrips: 1,
    })
    await visit('/api/models/acme/open/xet-read-token/main', {
      method: 'GET',
      route: 'xet-token',
      status: 404,
      outcome: 'error',
    })
    await visit('/acme/open/resolve/main/%2e%2e/x', { method: 'GET', status: 400, outcome: 'error' })
    await visit('/-/nothing', { method: 'GET', route: 'ops', status: 404, outcome: 'error', originTrips: 0 })
    await visit('/healthz', { method: 'GET', route: 'ops', status: 200, outcome: 'own', level: 'debug' })
    const metrics = await scene.mirror.metrics()
    for (const [reply, more] of expected) {
      const line = await lineOf(scene, reply.headers['x-request-id'])
      expect(line).toMatchObject({ msg: 'request', client: '127.0.0.1', ...more })
      expect(line['status']).toBe(reply.status)
      expect(line['bytes']).toBe(reply.body.length)
      expect(typeof line['totalMs']).toBe('number')
      expect(metricValue(metrics, `hubmirror_requests_total${labels(line)}`)).toBeGreaterThanOrEqual(1)
      const word = reply.headers['x-cache']
      const outcome = line['outcome']
      if (outcome === 'error' || outcome === 'own') expect(word).toBeUndefined()
      else expect(word).toBe(String(outcome).toUpperCase().replace('PARTIAL-HIT', 'PARTIAL'))
    }
    const secrets = expected.map(
      async ([reply]) => (await lineOf(scene, reply.headers['x-request-id']))['token'],
    )
    const named = (await Promise.all(secrets)).filter((token) => token !== undefined)
    expect(named.length).toBe(2)
    expect(new Set(named).size, 'one token, one name').toBe(1)
    expect(named[0]).toMatch(/^[0-9a-f]{6}$/)
  })

  it('keeps the id of its caller if that is well formed, and gets one otherwise', async () => {
    const scene = await openScene()
    const id = async (headers: Record<string, string>) =>
      (await scene.ask(CONFIG, { headers })).headers['x-request-id'] ?? ''
    expect(await id({ 'x-request-id': 'job-42:a.b=c;d' })).toBe('job-42:a.b=c;d')
    expect(await id({ 'x-amzn-trace-id': '5f1c0a4e-0000-4000-8000-000000000000' })).toBe(
      '5f1c0a4e-0000-4000-8000-000000000000',
    )
    const made = await id({})
    expect(made).toMatch(/^[0-9a-f-]{36}$/)
    expect(await id({})).not.toBe(made)
    for (const bad of ['a b', 'x'.repeat(129), '"quoted"', '<script>']) {
      expect(await id({ 'x-request-id': bad })).toMatch(/^[0-9a-f-]{36}$/)
    }
    expect(await id({ 'x-request-id': 'for-errors' })).toBe('for-errors')
    const refused = await scene.ask('/acme/none/resolve/main/x', { headers: { 'x-request-id': 'told-back' } })
    expect(refused.headers['x-request-id']).toBe('told-back')
    const passed = await scene.ask('/acme/open/raw/main/config.json', {
      headers: { 'x-request-id': 'passed' },
    })
    expect(passed.headers['x-request-id']).toBe('passed')
  })

  it('whose client left before the answer is logged as 499', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', stallHeaders: true })
    const controller = new AbortController()
    const leaving = fetch(scene.mirror.url + CONFIG, {
      headers: { 'x-request-id': 'leaver' },
      signal: controller.signal,
    }).catch(() => undefined)
    await scene.hub.faults.whenStalled()
    controller.abort()
    await leaving
    scene.hub.faults.clear()
    const line = await lineOf(scene, 'leaver')
    expect([line['status'], line['bytes']]).toEqual([499, 0])
    expect((await scene.ask(CONFIG)).status).toBe(200)
  })

  it('whose client left during the answer is logged with the bytes that were sent', async () => {
    const scene = await openScene()
    scene.hub.bytesPerSecond = 500_000
    const leaver = await open(scene.mirror.url, '/acme/open/resolve/main/w.bin', {
      headers: { 'x-request-id': 'midway' },
    })
    leaver.on('error', () => undefined)
    await scene.hub.ledger.whenBytes({ server: 'cdn' }, 300_000)
    leaver.destroy()
    scene.hub.bytesPerSecond = undefined
    const line = await lineOf(scene, 'midway')
    expect(line['status']).toBe(200)
    expect(line['bytes']).toBeLessThan(3_000_000)
    expect(line['err']).toBeUndefined()
  })
})

describe('a request to the mirror itself', () => {
  it.each(['/-/', '/-/x', '/-', '/-/api/x?y=1', '//-/x', '//-', '/-%2Fx', '/%2D/x', '/-/../acme/open'])(
    '%s never reaches the Hub',
    async (target) => {
      const scene = await openScene()
      for (const method of ['GET', 'POST', 'DELETE']) {
        const got = await scene.ask(target, { method, token: TOKENS.alice })
        expect([400, 403, 404]).toContain(got.status)
        expect(got.headers['x-error-code']).toBeDefined()
      }
      expect(scene.hub.ledger.requests()).toEqual([])
    },
  )

  it.each(['PROPFIND', 'TRACE', 'MKCOL', 'LINK', 'SEARCH'])(
    'with method %s is answered by the mirror',
    async (method) => {
      const scene = await openScene()
      for (const target of [CONFIG, '/api/models/acme/open', '/acme/open']) {
        const got = await scene.ask(target, { method })
        expect([got.status, got.headers['x-error-code']]).toEqual([405, 'MethodNotAllowed'])
      }
      expect(scene.hub.ledger.requests()).toEqual([])
    },
  )

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('cannot write to a file with method %s', async (method) => {
    const scene = await openScene()
    const got = await scene.ask(CONFIG, { method, token: TOKENS.alice })
    expect([got.status, got.headers['x-error-code']]).toEqual([405, 'MethodNotAllowed'])
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

it('/readyz reports a file that did not fit, and the file is served all the same', async () => {
  const scene = await openScene({ config: { cacheMaxSizeBytes: 100_000 } })
  const got = await scene.ask('/acme/open/resolve/main/w.bin')
  expect([got.status, got.headers['x-cache']]).toEqual([200, 'BYPASS'])
  expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
  const ready = await scene.ask('/readyz')
  expect(ready.status).toBe(200)
  expect(JSON.parse(ready.body.toString())).toMatchObject({ ready: true, checks: { room: { ok: false } } })
  scene.clock.advance(60_001)
  expect((await scene.ask('/readyz')).body.toString()).toContain('"room":{"ok":true}')
})
