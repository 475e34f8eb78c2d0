// The registry of the Hub (/v2), by which Ollama and llama.cpp fetch: blobs are those of the store, manifests of public repos
// are kept for the time the Hub is away, and what is not public passes through with the caller's own token.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { openCompany } from '../support/company-world.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

const MANIFEST = '/v2/acme/gguf/manifests/Q4_K_M'
const LLAMA = { 'user-agent': 'llama-cpp' }
const OLLAMA = { 'user-agent': 'ollama/0.9', accept: 'application/vnd.docker.distribution.manifest.v2+json' }
const FILE = 'model-Q4_K_M.gguf'
const BYTES = Buffer.alloc(3_000_000, 'GGUF weights ')

interface Manifest {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string; readonly size: number }[]
  readonly ggufFile?: { readonly rfilename: string }
}

async function openRegistry(options: Parameters<typeof openScene>[0] = {}): Promise<Scene> {
  const scene = await openScene(options)
  scene.world.model('acme/gguf').commit({ [FILE]: lfs(BYTES), 'README.md': '# gguf\n' })
  return scene
}

async function manifest(scene: Scene, headers: Record<string, string> = OLLAMA): Promise<Manifest> {
  return JSON.parse((await scene.ask(MANIFEST, { headers })).body.toString()) as Manifest
}

const blobOf = ({ layers }: Manifest): string => `/v2/acme/gguf/blobs/${layers[0]?.digest}`

describe('a blob of a public repo', () => {
  it('is fetched from the CDN once, by whichever route it is requested, and stays while the Hub cannot be reached', async () => {
    const scene = await openRegistry()
    const blob = blobOf(await manifest(scene))
    const first = await scene.ask(blob)
    expect([first.status, first.headers['x-cache'], first.body.equals(BYTES)]).toEqual([200, 'MISS', true])
    await scene.settled()
    const again = await scene.ask(blob)
    expect([again.headers['x-cache'], again.body.equals(BYTES)]).toEqual(['HIT', true])
    const file = await scene.ask(`/acme/gguf/resolve/main/${FILE}`)
    expect(file.body.equals(BYTES)).toBe(true)
    // One byte revealed the size.
    expect(scene.hub.ledger.bytes('cdn')).toBeLessThanOrEqual(BYTES.length + 1)
    await scene.hub.stop()
    scene.clock.advance(600_000)
    const away = await scene.ask(blob)
    expect([away.status, away.headers['x-cache'], away.body.equals(BYTES)]).toEqual([200, 'STALE', true])
  })

  it('is served after a single pull, also by a mirror that is offline', async () => {
    const scene = await openRegistry()
    const blob = blobOf(await manifest(scene))
    await scene.ask(blob)
    await scene.settled()
    await scene.restart({ offline: true })
    scene.hub.ledger.clear()
    expect((await scene.ask(blob)).body.equals(BYTES)).toBe(true)
    expect(blobOf(await manifest(scene))).toBe(blob)
    const other = await scene.ask(blob.replace(/.$/, (char) => (char === '0' ? '1' : '0')))
    expect([other.status, other.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('answers HEAD and ranges, as Ollama asks in sixteen parts', async () => {
    const scene = await openRegistry()
    const blob = blobOf(await manifest(scene))
    const head = await scene.ask(blob, { method: 'HEAD' })
    expect([head.status, head.headers['content-length'], head.headers['accept-ranges']]).toEqual([
      200,
      String(BYTES.length),
      'bytes',
    ])
    const size = BYTES.length / 16
    const parts = await Promise.all(
      Array.from({ length: 16 }, (_, index) =>
        scene.ask(blob, { headers: { range: `bytes=${index * size}-${(index + 1) * size - 1}` } }),
      ),
    )
    expect(parts.map(({ status }) => status)).toEqual(Array.from({ length: 16 }, () => 206))
    expect(Buffer.concat(parts.map(({ body }) => body)).equals(BYTES)).toBe(true)
  })

  it('that is small and sent by the Hub itself is stored by its digest as well', async () => {
    const scene = await openRegistry()
    const config = `/v2/acme/gguf/blobs/${(await manifest(scene)).config.digest}`
    for (let time = 0; time < 2; time += 1) {
      expect((await scene.ask(config)).body.toString()).toBe('{"model_format":"gguf"}')
      await scene.settled()
    }
    await scene.hub.stop()
    expect((await scene.ask(config)).body.toString()).toBe('{"model_format":"gguf"}')
  })

  it('of which the Hub has not given the exact size is served after a single pull, also by a mirror that is offline', async () => {
    const scene = await openRegistry()
    const { config } = await manifest(scene)
    const blob = `/v2/acme/gguf/blobs/${config.digest}`
    const first = await scene.ask(blob)
    expect(first.status).toBe(200)
    await scene.settled()
    await scene.restart({ offline: true })
    const head = await scene.ask(blob, { method: 'HEAD' })
    expect([head.status, head.headers['content-length']]).toEqual([200, String(first.body.length)])
    expect((await scene.ask(blob)).body.equals(first.body)).toBe(true)
  })

  it('of which a gateway encodes every answer is sent plain, whole and in ranges, by the size in the manifest', async () => {
    const scene = await openRegistry()
    const blob = blobOf(await manifest(scene))
    await scene.settled()
    scene.hub.faults.add({ where: 'cdn', gzipAlways: true, times: Number.POSITIVE_INFINITY })
    const range = { range: 'bytes=1000-1999' }
    for (const state of ['cold', 'stored']) {
      const part = await scene.ask(blob, { headers: range })
      expect([state, part.status, part.headers['content-encoding']]).toEqual([state, 206, undefined])
      expect(part.body.equals(BYTES.subarray(1_000, 2_000))).toBe(true)
      const whole = await scene.ask(blob)
      expect([whole.status, whole.body.equals(BYTES)]).toEqual([200, true])
      await scene.settled()
    }
    expect((await scene.ask(blob)).headers['x-cache']).toBe('HIT')
  })

  it('with wrong bytes never looks whole', async () => {
    const scene = await openRegistry()
    const blob = blobOf(await manifest(scene))
    scene.hub.faults.add({ where: 'cdn', corruptAt: 1_000, times: 9 })
    expect((await scene.ask(blob)).whole).toBe(false)
  })

  it('that the repo lacks is refused by the Hub', async () => {
    const scene = await openRegistry()
    const got = await scene.ask(`/v2/acme/gguf/blobs/sha256:${'0'.repeat(64)}`)
    expect([got.status, got.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
  })
})

describe('a manifest', () => {
  it('of a public repo is requested from the Hub, and kept for the time when the Hub cannot be reached', async () => {
    const scene = await openRegistry()
    const before = await manifest(scene)
    scene.hub.ledger.clear()
    expect((await scene.ask(MANIFEST, { headers: OLLAMA })).headers['x-cache']).toBe('HIT')
    expect(scene.hub.ledger.requests({ url: MANIFEST })).toEqual([])
    scene.clock.advance(10_000)
    expect((await scene.ask(MANIFEST, { headers: OLLAMA })).headers['x-cache']).toBe('REVALIDATED')
    expect(scene.hub.ledger.requests({ url: MANIFEST }).length).toBe(1)
    scene.clock.advance(10_000)
    scene.hub.faults.add({ where: 'hub', match: /manifests/, status: { code: 503 } })
    expect((await scene.ask(MANIFEST, { headers: OLLAMA })).headers['x-cache']).toBe('STALE')
    await scene.hub.stop()
    scene.clock.advance(600_000)
    const away = await scene.ask(MANIFEST, { headers: OLLAMA })
    expect([away.status, away.headers['x-cache'], JSON.parse(away.body.toString())]).toEqual([
      200,
      'STALE',
      before,
    ])
  })

  it('is kept for each kind of client separately', async () => {
    const scene = await openRegistry()
    expect((await manifest(scene, LLAMA)).ggufFile?.rfilename).toBe(FILE)
    expect((await manifest(scene)).ggufFile).toBeUndefined()
    await scene.hub.stop()
    expect((await manifest(scene, LLAMA)).ggufFile?.rfilename).toBe(FILE)
    expect((await manifest(scene)).ggufFile).toBeUndefined()
  })

  it('that does not exist is refused in the words of the Hub', async () => {
    const scene = await openRegistry()
    const got = await scene.ask('/v2/acme/gguf/manifests/Q9', { headers: OLLAMA })
    expect([got.status, got.headers['x-error-message']]).toEqual([404, 'No GGUF file for this tag'])
  })
})

describe('content that is not public', () => {
  it('passes through with the caller’s own token, and is not stored', async () => {
    const scene = await openRegistry()
    const found = await manifest(scene)
    scene.world.model('acme/gguf').private(['alice'])
    scene.clock.advance(600_000)
    for (const target of [MANIFEST, blobOf(found)]) {
      expect((await scene.ask(target)).status).toBe(401)
      expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(404)
      const got = await scene.ask(target, { token: TOKENS.alice })
      expect([got.status, got.headers['x-cache']]).toEqual([200, 'BYPASS'])
    }
    await scene.hub.stop()
    for (const target of [MANIFEST, blobOf(found)])
      for (const token of [undefined, TOKENS.alice])
        expect((await scene.ask(target, { token })).status).toBe(502)
  })

  it('is not answered from the store though its blob is stored for another repo', async () => {
    const scene = await openRegistry()
    scene.world
      .model('acme/copy')
      .private(['alice'])
      .commit({ [FILE]: lfs(BYTES) })
    const blob = blobOf(await manifest(scene))
    await scene.ask(blob)
    await scene.settled()
    expect((await scene.ask(blob.replace('gguf', 'copy'))).status).toBe(401)
  })
})

it('the registry is subject to rules, and to the repos that a mirror token is for', async () => {
  const denied = await openRegistry({
    config: { policies: policiesOf('- {match: {repo: acme/gguf}, action: deny}') },
  })
  expect((await denied.ask(MANIFEST)).headers['x-error-code']).toBe('GatedRepo')
  const unstored = await openRegistry({
    config: { policies: policiesOf('- {match: {repo: acme/gguf}, action: no-store}') },
  })
  const blob = blobOf(await manifest(unstored))
  for (let time = 0; time < 2; time += 1) expect((await unstored.ask(blob)).headers['x-cache']).toBe('BYPASS')
  const { scene, issue } = await openCompany()
  scene.world.model('acme/gguf').commit({ [FILE]: lfs(BYTES) })
  const got = await scene.ask(MANIFEST, { token: await issue('narrow', { repos: ['acme/open'] }) })
  expect([got.status, got.headers['x-hf-warning']?.startsWith('MirrorTokenScope;')]).toEqual([403, true])
})

it.each([
  ['a filter', { edge: { code: 403, headers: { 'Content-Type': 'text/html' }, body: '<html>' } }],
  ['a login page', { captivePortal: true }],
] as const)('a manifest that is kept stays while %s answers in place of the Hub', async (_, fault) => {
  const scene = await openRegistry()
  const before = await scene.ask(MANIFEST, { headers: OLLAMA })
  expect(before.status).toBe(200)
  await scene.ask(blobOf(await manifest(scene)))
  await scene.settled()
  scene.clock.advance(10_000)
  scene.hub.faults.add({ where: 'hub', ...fault, times: Number.POSITIVE_INFINITY })
  const kept = await scene.ask(MANIFEST, { headers: OLLAMA })
  expect([kept.status, kept.headers['x-cache'], kept.body.equals(before.body)]).toEqual([200, 'STALE', true])
  const other = await scene.ask(MANIFEST, { headers: LLAMA })
  expect([other.status, other.headers['x-error-code']]).toEqual([502, 'OriginIntercepted'])
  scene.clock.advance(600_000)
  const blob = await scene.ask(blobOf(JSON.parse(before.body.toString()) as Manifest))
  expect([blob.status, blob.body.equals(BYTES)]).toEqual([200, true])
})

it.each([
  ['says 403', 403, 502, /answered 403 in the Hub's place/],
  ['asks for a password', 407, 502, /asks the mirror to sign in/],
  ['says 503', 503, 503, /Hub/],
  ['says 429', 429, 429, /too many requests/],
] as const)(
  'a manifest that was never stored is refused in a sentence when a filter %s',
  async (_, code, status, words) => {
    const scene = await openRegistry()
    const edge = { code, headers: { 'Content-Type': 'text/html' }, body: '<html>' }
    scene.hub.faults.add({ where: 'hub', edge, times: Number.POSITIVE_INFINITY })
    // Ollama prints the body.
    const got = await scene.ask(MANIFEST, { headers: OLLAMA })
    expect([got.status, got.body.toString()]).toEqual([status, expect.stringMatching(words)])
    expect(got.body.toString()).not.toContain('<')
  },
)

it('a manifest is stored under the types that a client accepts, and under no other text of the field', async () => {
  const scene = await openScene()
  scene.world.model('acme/gguf').commit({ 'model-Q4_K_M.gguf': lfs('weights') })
  await scene.ask('/api/models/acme/gguf')
  const target = '/v2/acme/gguf/manifests/Q4_K_M'
  for (const [accept, outcome] of [
    ['application/json, */*', 'MISS'],
    ['*/*,application/json', 'HIT'],
    ['APPLICATION/JSON , */*, */*', 'HIT'],
    ['application/json', 'MISS'],
    ['application/x-1', 'BYPASS'],
    ['application/x-1', 'BYPASS'],
    ['application/json;q=0.1', 'BYPASS'],
  ] as const) {
    const got = await scene.ask(target, { headers: { accept } })
    expect([accept, got.status, got.headers['x-cache']]).toEqual([accept, 200, outcome])
  }
})
