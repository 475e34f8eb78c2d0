// What the mirror can do while the Hub is away, or must not be asked.

import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const LARGE = '/acme/open/resolve/main/w.bin'
const TREE = '/api/models/acme/open/tree/main?recursive=true'

/** Brings files and documents of the public repo in, and those of a closed one past. */
async function warm(scene: Scene): Promise<void> {
  for (const target of [CONFIG, LARGE, '/api/models/acme/open', TREE, '/acme/open/resolve/main/none.txt']) {
    await scene.ask(target)
  }
  for (const path of ['config.json', 'w.bin']) {
    await scene.ask(`/acme/secret/resolve/main/${path}`, { token: TOKENS.alice })
  }
  await scene.ask('/api/models/acme/secret', { token: TOKENS.alice })
  await scene.settled()
}

/** What is stored and public is answered; all else is not. */
async function expectStoredOnly(scene: Scene, how: 'away' | 'offline'): Promise<void> {
  const word = how === 'away' ? 'STALE' : 'HIT'
  for (const token of [undefined, TOKENS.alice, TOKENS.bob]) {
    for (const [target, path] of [
      [CONFIG, 'config.json'],
      [LARGE, 'w.bin'],
    ] as const) {
      const head = await scene.ask(target, { method: 'HEAD', token })
      expect([head.status, head.headers['x-cache']]).toEqual([200, word])
      const got = await scene.ask(target, { token })
      expect([got.status, got.headers['x-cache']]).toEqual([200, word])
      expect(got.body.equals(scene.bytes('acme/open', path))).toBe(true)
      const part = await scene.ask(target, { token, headers: { range: 'bytes=2-5' } })
      expect([part.status, part.body.length]).toEqual([206, 4])
    }
    for (const target of ['/api/models/acme/open', TREE]) {
      const got = await scene.ask(target, { token })
      expect([got.status, got.headers['x-cache']]).toEqual([200, word])
    }
    const absent = await scene.ask('/acme/open/resolve/main/none.txt', { token })
    expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
  }
  for (const target of [
    '/acme/secret/resolve/main/config.json',
    '/acme/secret/resolve/main/w.bin',
    '/api/models/acme/secret',
    '/acme/open/resolve/main/README.md',
    '/acme/open/resolve/v1/config.json',
    '/api/models/acme/odd',
    '/api/whoami-v2',
    '/api/quota',
  ]) {
    const got = await scene.ask(target, { token: TOKENS.alice })
    const isOfRepo = target.includes('/acme/')
    const code = how === 'away' ? 'OriginUnreachable' : isOfRepo ? 'RepoNotFound' : 'OfflineAndAbsent'
    expect([target, got.status, got.headers['x-error-code']]).toEqual([
      target,
      how === 'away' ? 502 : 404,
      code,
    ])
    expect(got.headers['x-error-message']?.length).toBeGreaterThan(20)
    expect(JSON.parse(got.body.toString())).toEqual({ error: got.headers['x-error-message'] })
    // huggingface_hub would say "Rate limited" of it.
    expect(got.headers['retry-after']).toBeUndefined()
    if (how === 'offline' && isOfRepo)
      expect(got.headers['x-hf-warning']).toBe(`OfflineAndAbsent; ${got.headers['x-error-message']}`)
  }
}

describe('while the Hub cannot be reached', () => {
  it('stored public files are served, and no others', async () => {
    const scene = await openScene()
    await warm(scene)
    await scene.hub.stop()
    scene.clock.advance(120_000)
    await expectStoredOnly(scene, 'away')
    expect((await scene.ask('/readyz')).status).toBe(200)
    expect((await scene.ask('/readyz')).body.toString()).toContain('"origin":{"ok":false')
  })

  it('stored public files are served also after a restart', async () => {
    const scene = await openScene()
    await warm(scene)
    await scene.hub.stop()
    await scene.restart()
    await expectStoredOnly(scene, 'away')
  })

  it('a file of a repo that was public and then withdrawn is not served', async () => {
    const scene = await openScene()
    await warm(scene)
    scene.world.model('acme/open').makePrivate([])
    scene.clock.advance(60_000)
    expect((await scene.ask(CONFIG)).status).toBe(401)
    await scene.hub.stop()
    // For a moment the Hub's no is still its last word.
    scene.clock.advance(5_000)
    for (const target of [CONFIG, LARGE, '/api/models/acme/open', TREE]) {
      expect((await scene.ask(target)).status).toBe(502)
    }
    await scene.restart()
    for (const target of [CONFIG, LARGE, '/api/models/acme/open', TREE]) {
      expect((await scene.ask(target)).status).toBe(502)
    }
  })

  it('the mirror asks again when the Hub is back', async () => {
    const scene = await openScene()
    await warm(scene)
    await scene.hub.stop()
    scene.clock.advance(120_000)
    expect((await scene.ask(CONFIG)).headers['x-cache']).toBe('STALE')
    await scene.hub.start()
    const commit = scene.world.model('acme/open').commit({ 'config.json': '{"back":true}\n' })
    expect((await scene.ask(CONFIG)).headers['x-cache'], 'given a moment of rest').toBe('STALE')
    scene.clock.advance(5_001)
    const got = await scene.ask(CONFIG)
    expect([got.body.toString(), got.headers['x-repo-commit']]).toEqual(['{"back":true}\n', commit])
    const own = await scene.ask('/acme/secret/resolve/main/config.json', { token: TOKENS.alice })
    expect(own.status).toBe(200)
    expect((await scene.ask('/readyz')).body.toString()).toContain('"origin":{"ok":true')
  })

  it.each([500, 502, 503, 429])(
    'a Hub that answers %i to everything counts as unreachable for stored content',
    async (code) => {
      const scene = await openScene()
      await warm(scene)
      scene.clock.advance(120_000)
      scene.hub.faults.add({ where: 'hub', status: { code, headers: { 'Retry-After': '7' } }, times: 1_000 })
      for (const target of [CONFIG, LARGE, '/api/models/acme/open', TREE]) {
        const got = await scene.ask(target)
        expect([target, got.status, got.headers['x-cache']]).toEqual([target, 200, 'STALE'])
      }
      const absent = await scene.ask('/acme/open/resolve/main/README.md')
      expect(absent.status).toBe(code === 429 || code === 503 ? code : 502)
      expect(absent.headers['retry-after']).toBe(code === 429 || code === 503 ? '7' : undefined)
    },
  )

  it('a network that sends every question to its login page counts as unreachable for stored content', async () => {
    const scene = await openScene()
    await warm(scene)
    scene.clock.advance(120_000)
    scene.hub.faults.add({ where: 'hub', redirectTo: 'http://127.0.0.3:1/login', times: 1_000 })
    for (const target of [CONFIG, LARGE, '/api/models/acme/open', TREE]) {
      const got = await scene.ask(target)
      expect([target, got.status, got.headers['x-cache']]).toEqual([target, 200, 'STALE'])
    }
    const absent = await scene.ask('/acme/open/resolve/main/README.md')
    expect([absent.status, absent.headers['x-error-code']]).toEqual([502, 'RedirectRefused'])
  })

  it.each([
    ['GET', CONFIG],
    ['HEAD', CONFIG],
    ['GET', LARGE],
    ['GET', TREE],
    ['GET', '/api/models/acme/open'],
  ])('a silent Hub is waited for once, and for 5 s at most: %s %s', async (method, target) => {
    // Without its own impatience the mirror would wait longer than this test may take.
    const scene = await openScene({ config: { originTimeoutMs: 3_600_000 } })
    await warm(scene)
    scene.clock.advance(120_000)
    scene.hub.faults.add({ where: 'hub', stallHeaders: true, times: 1_000 })
    scene.hub.ledger.clear()
    // All that the mirror waits for passes when the test says so, and never else.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    let answered = false
    const asking = scene.ask(target, { method }).finally(() => {
      answered = true
    })
    await scene.hub.faults.whenStalled()
    await vi.advanceTimersByTimeAsync(3_000)
    expect(answered, 'a Hub that is slow is heard').toBe(false)
    await vi.advanceTimersByTimeAsync(2_000)
    const got = await asking
    expect([got.status, got.headers['x-cache']]).toEqual([200, 'STALE'])
    const asked = scene.hub.ledger.requests().length
    // Not a moment passes for those who come now.
    for (const other of [CONFIG, LARGE, TREE, '/api/models/acme/open'])
      expect((await scene.ask(other)).headers['x-cache']).toBe('STALE')
    expect(scene.hub.ledger.requests().length).toBe(asked)
    scene.hub.faults.clear()
  })
})

describe('a mirror that is offline by configuration', () => {
  it('serves stored public content without one request', async () => {
    const scene = await openScene()
    await warm(scene)
    await scene.restart({ offline: true })
    scene.hub.ledger.clear()
    await expectStoredOnly(scene, 'offline')
    const upload = await scene.ask('/api/models/acme/open/commit/main', {
      method: 'POST',
      token: TOKENS.alice,
      body: '{}',
    })
    expect([upload.status, upload.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

it('a folder is reported as absent at once if the Hub has said so before, and only in public repos', async () => {
  const scene = await openScene()
  const folder = '/api/models/acme/open/tree/main/additional_chat_templates?recursive=false&expand=false'
  const closed = folder.replace('open', 'secret')
  await scene.ask('/api/models/acme/open')
  expect((await scene.ask(folder)).status).toBe(404)
  expect((await scene.ask(closed, { token: TOKENS.alice })).status).toBe(404)
  scene.clock.advance(10_000)
  // The Hub has been there until now.
  await scene.ask('/api/whoami-v2', { token: TOKENS.alice })
  await scene.hub.stop()
  const again = await scene.ask(folder)
  expect([again.status, again.headers['x-error-code'], again.headers['x-cache']]).toEqual([
    404,
    'EntryNotFound',
    'STALE',
  ])
  expect((await scene.ask(closed, { token: TOKENS.alice })).status).toBe(502)
})
