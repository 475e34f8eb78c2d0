// Listings of repos that are not public: what they save the caller who was sent them, and that no other caller gains by them.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'
import { names, snapshot, TREE } from '../support/snapshot.ts'
import { filesBelow, metricValue } from '../support/start-mirror.ts'

const COUNT = 20
const KINDS = ['private', 'gated'] as const
type Kind = (typeof KINDS)[number]

interface Restricted extends Scene {
  /** The path of a file by its commit. */
  readonly at: (path: string) => string
  readonly tree: string
}

/** A scene with one repo of small files that only Alice may read, and Bob, too, if `readers` say so. */
async function restrictedScene(
  kind: Kind,
  { readers = ['alice'], ...options }: SceneOptions & { readonly readers?: readonly string[] } = {},
): Promise<Restricted> {
  const world = mirrorWorld()
  const repo = world.model('acme/own')
  if (kind === 'private') repo.private([...readers])
  else repo.gated('manual', [...readers])
  const commit = repo.commit({
    'README.md': '# card\n',
    'w.bin': lfs({ sizeBytes: 90_000, seed: 77 }),
    ...Object.fromEntries(names(COUNT).map((name) => [name, `content of ${name}\n`])),
  })
  const scene = await openScene({ world, ...options })
  return Object.assign(scene, {
    at: (path: string) => `/acme/own/resolve/${commit}/${path}`,
    tree: `/api/models/acme/own/tree/${commit}?recursive=true&expand=false`,
  })
}

const head = (scene: Restricted, path: string, token: string | undefined) =>
  scene.ask(scene.at(path), { method: 'HEAD', token })

/** Alice has listed the commit, and the Hub has shown her one of its files. */
async function knownToAlice(scene: Restricted): Promise<void> {
  expect((await scene.ask(scene.tree, { token: TOKENS.alice })).status).toBe(200)
  expect((await head(scene, 'part-00000.txt', TOKENS.alice)).status).toBe(200)
  expect((await head(scene, 'part-00000.txt', TOKENS.alice)).status).toBe(200)
  scene.hub.ledger.clear()
}

/** The credentials that have reached the Hub, and that none has reached the CDN. */
function credentials(scene: Scene): ReadonlySet<string | undefined> {
  const { ledger } = scene.hub
  expect(ledger.requests({ server: 'cdn' }).filter(({ headers }) => headers.authorization)).toEqual([])
  return new Set(ledger.requests({ server: 'hub' }).map(({ headers }) => headers.authorization))
}

describe.each(KINDS)('the listing of a %s repo', (kind) => {
  it('answers HEADs of the caller who was sent it, and a GET needs no HEAD', async () => {
    const scene = await restrictedScene(kind)
    await knownToAlice(scene)
    const files = [...names(COUNT).slice(1), 'w.bin']
    for (const path of files) {
      const got = await head(scene, path, TOKENS.alice)
      expect([path, got.status, got.headers['content-length']]).toEqual([
        path,
        200,
        String(scene.bytes('acme/own', path).length),
      ])
    }
    expect(scene.hub.ledger.requests()).toEqual([])
    for (const path of files) {
      const got = await scene.ask(scene.at(path), { token: TOKENS.alice })
      expect([path, got.status, got.body.equals(scene.bytes('acme/own', path))]).toEqual([path, 200, true])
    }
    expect(scene.hub.ledger.requests({ server: 'hub' }).map(({ method }) => method)).toEqual(
      files.map(() => 'GET'),
    )
    expect(credentials(scene)).toEqual(new Set([`Bearer ${TOKENS.alice}`]))
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(0)
  })

  it('is read with the own credential of a caller who requests file after file, once', async () => {
    const scene = await restrictedScene(kind)
    await snapshot(scene, names(COUNT), '/acme/own/resolve/main', { token: TOKENS.alice })
    const pages = scene.hub.ledger.requests({ url: TREE })
    expect(pages.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${TOKENS.alice}`])
    const asked = scene.hub.ledger.requests({ method: 'HEAD', url: /\/acme\/own\// })
    // The first requests of eight workers, and those that were under way before the page was there.
    expect(asked.length).toBeLessThan(COUNT)
  })

  it('answers no caller without a right, whom the Hub refuses each time', async () => {
    const scene = await restrictedScene(kind)
    await knownToAlice(scene)
    // Of a gated repo all may read the listing and the card. Neither opens a file.
    await scene.ask(scene.tree, { token: TOKENS.bob })
    const card = await head(scene, 'README.md', TOKENS.bob)
    expect(card.status).toBe(kind === 'gated' ? 200 : 404)
    for (const [token, status] of [
      [TOKENS.bob, kind === 'gated' ? 403 : 404],
      [undefined, 401],
      [TOKENS.invalid, 401],
    ] as const) {
      for (const path of ['part-00003.txt', 'w.bin']) {
        for (const method of ['HEAD', 'GET']) {
          const got = await scene.ask(scene.at(path), { method, token })
          expect([path, method, got.status, got.headers['etag']]).toEqual([path, method, status, undefined])
          expect(got.headers['x-linked-etag']).toBeUndefined()
        }
      }
    }
    expect(credentials(scene)).not.toContain(`Bearer ${TOKENS.alice}`)
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listed_files_total')).toBe(0)
  })

  it('is not used for a second caller with a right, who is asked about and listed with its own credential', async () => {
    const scene = await restrictedScene(kind, { readers: ['alice', 'bob'] })
    await knownToAlice(scene)
    expect((await head(scene, 'part-00005.txt', TOKENS.bob)).status).toBe(200)
    expect(scene.hub.ledger.requests({ method: 'HEAD' }).length).toBe(1)
    // A right to the commit, and no listing of his own.
    expect((await head(scene, 'part-00006.txt', TOKENS.bob)).status).toBe(200)
    expect(scene.hub.ledger.requests({ method: 'HEAD' }).length).toBe(2)
    await scene.ask(scene.tree, { token: TOKENS.bob })
    scene.hub.ledger.clear()
    expect((await head(scene, 'part-00007.txt', TOKENS.bob)).status).toBe(200)
    expect(scene.hub.ledger.requests()).toEqual([])
    await scene.ask(scene.at('part-00007.txt'), { token: TOKENS.bob })
    expect(credentials(scene)).toEqual(new Set([`Bearer ${TOKENS.bob}`]))
  })

  it('does not outlast the right: a GET is refused as the Hub does, and so is every HEAD behind it', async () => {
    const scene = await restrictedScene(kind)
    await knownToAlice(scene)
    expect((await head(scene, 'part-00001.txt', TOKENS.alice)).status).toBe(200)
    const repo = scene.world.model('acme/own')
    if (kind === 'gated') repo.gated('manual', [])
    else repo.makePrivate([])
    const status = kind === 'gated' ? 403 : 404
    const code = kind === 'gated' ? 'GatedRepo' : 'RepoNotFound'
    const got = await scene.ask(scene.at('part-00001.txt'), { token: TOKENS.alice })
    expect([got.status, got.headers['x-error-code'], got.headers['etag']]).toEqual([status, code, undefined])
    const next = await head(scene, 'part-00002.txt', TOKENS.alice)
    expect([next.status, next.headers['etag']]).toEqual([status, undefined])
  })

  it('does not let a signed address of before open a file, once the right to that file must be proved again', async () => {
    const scene = await restrictedScene(kind)
    // The Hub has redirected her to the CDN, and the address stays valid.
    expect((await head(scene, 'w.bin', TOKENS.alice)).status).toBe(200)
    expect((await scene.ask(scene.at('w.bin'), { token: TOKENS.alice })).status).toBe(200)
    scene.clock.advance(60_000)
    await knownToAlice(scene)
    const repo = scene.world.model('acme/own')
    if (kind === 'gated') repo.gated('manual', [])
    else repo.makePrivate([])
    const got = await scene.ask(scene.at('w.bin'), { token: TOKENS.alice })
    expect([got.status, got.headers['etag']]).toEqual([kind === 'gated' ? 403 : 404, undefined])
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
  })

  it.each([
    ['the time for which a right counts', { accessTtlMs: 60_000 }, 60_000],
    ['no time, where each right is proved', { accessTtlMs: 0 }, 0],
  ])('answers for %s', async (_, config, later) => {
    const scene = await restrictedScene(kind, { config })
    await knownToAlice(scene)
    scene.clock.advance(later)
    expect((await head(scene, 'part-00004.txt', TOKENS.alice)).status).toBe(200)
    const asked = scene.hub.ledger.requests({ method: 'HEAD', url: /part-00004/ })
    expect(asked.map(({ headers }) => headers.authorization)).toContain(`Bearer ${TOKENS.alice}`)
  })
})

describe('a listing of a private repo that lies', () => {
  it('costs its reader an error and no wrong byte, and is not used again', async () => {
    const scene = await restrictedScene('private')
    const own = { headers: { authorization: `Bearer ${TOKENS.alice}` } }
    const real = await (await fetch(scene.hub.url + scene.tree, own)).text()
    scene.hub.faults.add({
      where: 'hub',
      match: TREE,
      times: 1,
      status: {
        code: 200,
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: real.replaceAll(/"oid":"[0-9a-f]{40}"/g, `"oid":"${'ab'.repeat(20)}"`),
      },
    })
    await knownToAlice(scene)
    expect((await head(scene, 'part-00001.txt', TOKENS.alice)).headers['etag']).toContain('abab')
    const got = await scene.ask(scene.at('part-00001.txt'), { token: TOKENS.alice }).catch(() => undefined)
    expect(got === undefined || got.status >= 500).toBe(true)
    const right = await head(scene, 'part-00002.txt', TOKENS.alice)
    expect([right.status, right.headers['etag']?.includes('abab')]).toEqual([200, false])
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_listings_distrusted_total')).toBe(1)
  })
})

describe('with HUBMIRROR_CACHE_PRIVATE=on', () => {
  const ON = { cachePrivate: true } as const

  it('each file that is stored is asked about with the credential of each caller, as without a listing', async () => {
    const scene = await restrictedScene('private', { config: ON, readers: ['alice', 'bob'] })
    await snapshot(scene, names(3), '/acme/own/resolve/main', { token: TOKENS.alice })
    await scene.settled()
    await scene.ask(scene.tree, { token: TOKENS.bob })
    await head(scene, 'w.bin', TOKENS.bob)
    await head(scene, 'w.bin', TOKENS.bob)
    for (const path of names(3)) {
      scene.hub.ledger.clear()
      const got = await scene.ask(scene.at(path), { token: TOKENS.bob })
      expect(got.body.equals(scene.bytes('acme/own', path))).toBe(true)
      expect(scene.hub.ledger.requests().map(({ method }) => method)).toEqual(['HEAD'])
      expect(credentials(scene)).toEqual(new Set([`Bearer ${TOKENS.bob}`]))
    }
  })

  it('what a GET by a listing has brought is there for its caller alone while the Hub is away', async () => {
    const scene = await restrictedScene('private', { config: ON })
    await knownToAlice(scene)
    const path = 'part-00009.txt'
    const bytes = scene.bytes('acme/own', path)
    expect((await scene.ask(scene.at(path), { token: TOKENS.alice })).body.equals(bytes)).toBe(true)
    expect(scene.hub.ledger.requests({ method: 'HEAD' })).toEqual([])
    await scene.settled()
    await scene.hub.stop()
    scene.clock.advance(120_000)
    const got = await scene.ask(scene.at(path), { token: TOKENS.alice })
    expect([got.status, got.body.equals(bytes)]).toEqual([200, true])
    for (const token of [TOKENS.bob, undefined])
      expect((await scene.ask(scene.at(path), { token })).status).toBeGreaterThanOrEqual(500)
    expect((await head(scene, 'part-00010.txt', TOKENS.alice)).status).toBeGreaterThanOrEqual(500)
  })

  it('is not what the audit log names as the reason when the Hub cannot be asked about a stored file', async () => {
    const scene = await restrictedScene('private', { config: { ...ON, staleGraceMs: 0 } })
    await knownToAlice(scene)
    const path = 'part-00009.txt'
    await scene.ask(scene.at(path), { token: TOKENS.alice })
    await scene.settled()
    // The right to that file must be proved again, and that to another one was proved a moment ago.
    scene.clock.advance(60_000)
    await knownToAlice(scene)
    await scene.hub.stop()
    const { headers, status } = await head(scene, path, TOKENS.alice)
    expect(status).toBeGreaterThanOrEqual(500)
    const line = await eventually(
      async () =>
        (await scene.mirror.auditText())
          .split('\n')
          .find((text) => text.includes(headers['x-request-id'] ?? '?')),
      (found) => found !== undefined,
    )
    expect(JSON.parse(line ?? '')).toMatchObject({ path, decision: 'unknown', reason: 'error' })
  })

  it('neither the repo nor its listing is named on the disk', async () => {
    const scene = await restrictedScene('private', { config: ON })
    await knownToAlice(scene)
    for (const path of names(3)) await scene.ask(scene.at(path), { token: TOKENS.alice })
    await scene.settled()
    await scene.mirror.close({ keepDir: true })
    for (const [path, bytes] of await filesBelow(scene.mirror.cacheDir))
      for (const name of ['acme/own', 'part-0000'])
        expect(bytes.includes(name) && !bytes.includes(`content of ${name}`), path).toBe(false)
  })
})
