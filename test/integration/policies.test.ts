// What an operator's rules do to requests: no caller gets past one, whatever the route and its spelling, and a denied
// request costs the Hub nothing.

import { describe, expect, it } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { filesBelow, metricValue } from '../support/start-mirror.ts'

/** A scene under the rules of a YAML list. */
const under = (rules: string, config: Partial<Config> = {}): Promise<Scene> =>
  openScene({ config: { ...config, policies: policiesOf(rules) } })

/** The requests to Hub and CDN since the ledger was cleared. */
const asked = (scene: Scene): readonly string[] =>
  scene.hub.ledger.requests().map(({ method, url }) => `${method} ${url}`)

/** The files that were asked for. */
const resolves = (scene: Scene) => asked(scene).filter((line) => line.includes('/resolve/'))

const NO_PICKLES = `
- name: no-pickles
  match: { file: ['*.bin', '*.pkl'] }
  action: deny
  message: Pickles are not allowed here; ask for safetensors.
`
const TEXT = 'Pickles are not allowed here; ask for safetensors. (policy no-pickles of this mirror)'

describe('a file that a rule denies', () => {
  it.each(['HEAD', 'GET'])(
    'is refused by %s in words that Python shows, without a question to the Hub',
    async (method) => {
      const scene = await under(NO_PICKLES)
      const got = await scene.ask('/acme/open/resolve/main/w.bin', { method })
      expect([
        got.status,
        got.headers['x-error-code'],
        got.headers['x-error-message'],
        got.headers['x-cache'],
      ]).toEqual([403, 'GatedRepo', TEXT, 'REFUSED'])
      expect(got.body.toString()).toBe(method === 'HEAD' ? '' : JSON.stringify({ error: TEXT }))
      expect(got.headers['cache-control']).toBe('no-store')
      expect(asked(scene)).toEqual([])
      const [line = ''] = await eventually(
        () => scene.mirror.logLines('w.bin'),
        (lines) => lines.length > 0,
      )
      expect(JSON.parse(line)).toMatchObject({
        level: 'info',
        outcome: 'refused',
        rule: 'no-pickles',
        status: 403,
      })
      const series = 'hubmirror_policy_decisions_total{rule="no-pickles",action="deny"}'
      expect(metricValue(await scene.mirror.metrics(), series)).toBe(1)
      expect(
        metricValue(await scene.mirror.metrics(), 'hubmirror_access_decisions_total{result="denied"}'),
      ).toBe(1)
    },
  )

  it('is refused by every route that shows it, and by git, which can carry any file', async () => {
    const scene = await under(NO_PICKLES)
    const commit = scene.commit('acme/open')
    for (const target of [
      '/acme/open/resolve/main/w.bin',
      '/ACME/Open/resolve/main/W.BIN',
      '//acme/open/resolve/main/%77.bin',
      `/acme/open/resolve/${commit}/w.bin?download=true`,
      `/api/resolve-cache/models/acme/open/${commit}/w.bin`,
      '/acme/open/raw/main/w.bin',
      '/acme%2Fopen/raw/main/w.bin',
      '/models/acme/open/resolve/main/w.bin',
      '/acme/open.git/info/refs?service=git-upload-pack',
      '/api/models/acme/open/xet-read-token/main',
      '/v2/acme/open/manifests/latest',
    ]) {
      const got = await scene.ask(target)
      expect([target, got.status, got.headers['x-error-code']]).toEqual([target, 403, 'GatedRepo'])
    }
    expect(asked(scene)).toEqual([])
  })

  it('leaves all other files of the repo available', async () => {
    const scene = await under(NO_PICKLES)
    for (const target of [
      '/acme/open/resolve/main/config.json',
      '/api/models/acme/open',
      '/api/models/acme/open/tree/main?recursive=true',
      '/api/models/acme/open/refs',
      '/api/models?limit=5',
      '/acme/open/raw/main/config.json',
    ]) {
      expect([target, (await scene.ask(target)).status]).toEqual([target, 200])
    }
  })

  it('is refused though it is stored', async () => {
    const scene = await openScene()
    await scene.ask('/acme/open/resolve/main/w.bin')
    await scene.settled()
    await scene.restart({ policies: policiesOf(NO_PICKLES) })
    scene.hub.ledger.clear()
    const got = await scene.ask('/acme/open/resolve/main/w.bin', { headers: { range: 'bytes=0-9' } })
    expect([got.status, asked(scene)]).toEqual([403, []])
  })
})

describe('a Git LFS batch, which names no path', () => {
  const send = (scene: Scene, body: string) =>
    scene.ask('/acme/open.git/info/lfs/objects/batch', {
      method: 'POST',
      token: TOKENS.alice,
      headers: { 'content-type': 'application/vnd.git-lfs+json' },
      body,
    })
  const batch = (scene: Scene, operation: string) =>
    send(scene, JSON.stringify({ operation, transfers: ['basic'], objects: [] }))

  it('is refused a download if a file of the repo may be denied, with the reason', async () => {
    const scene = await under(NO_PICKLES)
    const got = await batch(scene, 'download')
    expect(got.status).toBe(403)
    expect(got.headers['x-error-message']).toContain('This request can include any file')
    expect(asked(scene)).toEqual([])
  })

  it.each([
    '{"operation":"download","operation":"upload","objects":[]}',
    '{"operation":"upload","Operation":"download","objects":[]}',
    '{"operation":"download","objects":[],}',
  ])('is refused if its operation can be read in two ways: %s', async (body) => {
    const scene = await under(NO_PICKLES)
    const got = await send(scene, body)
    expect([got.status, got.headers['x-error-code']]).toEqual([400, 'BadRequest'])
    expect(got.headers['x-error-message']).toContain('a download or an upload')
    expect(asked(scene)).toEqual([])
    // Without rules, only the Hub interprets it.
    const free = await openScene()
    await send(free, body)
    expect(asked(free)).toHaveLength(1)
  })

  it('that uploads is passed on unchanged', async () => {
    const scene = await under(NO_PICKLES)
    await batch(scene, 'upload')
    expect(asked(scene)).toEqual(['POST /acme/open.git/info/lfs/objects/batch'])
    expect((await batch(await under('- {action: deny, match: {repo: other/*}}'), 'download')).status).toBe(
      200,
    )
  })
})

describe('a repo that a rule denies', () => {
  const RULES =
    '- {name: ours, action: allow, match: {repo: acme/data, type: dataset}}\n- {name: rest, action: deny}'

  it('is refused whole: files, documents, git and writes', async () => {
    const scene = await under(RULES)
    for (const [method, target] of [
      ['HEAD', '/acme/open/resolve/main/config.json'],
      ['GET', '/api/models/acme/open'],
      ['GET', '/api/models/acme/open/tree/main'],
      ['GET', '/api/models/acme/open/auth-check'],
      ['POST', '/api/models/acme/open/paths-info/main'],
      ['POST', '/api/models/acme/open/commit/main'],
      ['GET', '/acme/open.git/info/refs?service=git-upload-pack'],
      ['POST', '/acme/open.git/git-receive-pack'],
      ['GET', '/datasets/acme/other/resolve/main/x'],
      ['GET', '/buckets/acme/b/resolve/x'],
    ] as const) {
      const got = await scene.ask(target, { method, token: TOKENS.alice })
      expect([target, got.status]).toEqual([target, 403])
    }
    expect(asked(scene)).toEqual([])
    expect((await scene.ask('/datasets/acme/data/resolve/main/data/train.csv')).status).toBe(200)
    expect((await scene.ask('/api/whoami-v2', { token: TOKENS.alice })).status).toBe(200)
  })
})

describe('a rule about callers', () => {
  it('uses the address of the client, or the one that a trusted proxy forwards', async () => {
    const rules = '- {action: allow, match: {caller: {network: 10.0.0.0/8}}}\n- {action: deny}'
    const scene = await under(rules, { trustProxy: ['127.0.0.1'] })
    const from = async (address: string) =>
      (await scene.ask('/acme/open/resolve/main/config.json', { headers: { 'x-forwarded-for': address } }))
        .status
    expect([await from('10.9.9.9'), await from('11.9.9.9')]).toEqual([200, 403])
    const plain = await under(rules)
    const spoofed = await plain.ask('/api/models/acme/open', { headers: { 'x-forwarded-for': '10.9.9.9' } })
    expect(spoofed.status).toBe(403)
  })

  it('distinguishes callers with a token from those without', async () => {
    const scene = await under('- {action: deny, match: {caller: {anonymous: on}}}')
    const target = '/acme/open/resolve/main/config.json'
    expect((await scene.ask(target)).status).toBe(403)
    expect((await scene.ask(target, { token: TOKENS.bob })).status).toBe(200)
  })
})

describe('a rule about who may read', () => {
  const target = (id: string) => `/acme/${id}/resolve/main/config.json`

  it.each([
    ['public', 'open'],
    ['gated', 'gated'],
    ['private', 'secret'],
  ])('recognises a %s repo', async (kind, id) => {
    const scene = await under(`- {action: deny, match: {access: ${kind}}}`)
    for (const other of ['open', 'gated', 'secret']) {
      const got = await scene.ask(target(other), { token: TOKENS.alice })
      expect([other, got.status]).toEqual([other, other === id ? 403 : 200])
    }
    expect(resolves(scene).some((line) => line.includes(`/acme/${id}/`))).toBe(false)
  })

  it('asks the Hub once per repo and access TTL', async () => {
    const scene = await under('- {action: deny, match: {access: gated}}')
    const infos = () => asked(scene).filter((line) => line.startsWith('GET /api/models/acme/gated'))
    for (let round = 0; round < 3; round += 1) await scene.ask(target('gated'), { token: TOKENS.alice })
    expect(infos()).toHaveLength(1)
    scene.world.model('acme/gated').open()
    scene.clock.advance(60_000)
    expect((await scene.ask(target('gated'))).status).toBe(200)
    expect(infos().length).toBeGreaterThan(1)
  })

  it('denies while the Hub cannot be reached and it is unknown whether the rule applies', async () => {
    const rules = '- {name: no-gated, action: deny, match: {access: gated}}'
    const scene = await under(rules)
    await scene.hub.close()
    const got = await scene.ask(target('open'))
    expect([got.status, got.headers['x-error-message']]).toEqual([
      403,
      'The rules of this mirror do not allow this. The mirror cannot currently learn from the Hub whether this rule ' +
        'applies (access), so it does. (policy no-gated of this mirror)',
    ])
  })

  it('uses the last known answer while the Hub cannot be reached', async () => {
    const scene = await under('- {action: deny, match: {access: gated}}')
    await scene.ask(target('open'))
    await scene.settled()
    await scene.hub.close()
    scene.clock.advance(3_600_000)
    expect((await scene.ask(target('open'))).status).toBe(200)
  })
})

describe('a rule about licences', () => {
  const RULES = '- {action: deny, match: {licence: "*-nc-*"}}'
  const scenes = async (rules = RULES, config: Partial<Config> = {}) => {
    const world = mirrorWorld()
    world.model('acme/open').licensed('MIT')
    world.model('acme/secret').licensed('cc-by-nc-4.0')
    world.dataset('acme/data').licensed('mit', 'CC-BY-NC-SA-4.0')
    return openScene({ world, config: { ...config, policies: policiesOf(rules) } })
  }

  it('follows what the Hub says of the repo, and for a private one what it says to the caller', async () => {
    const scene = await scenes()
    const status = async (path: string, token?: string) => (await scene.ask(path, { token })).status
    expect(await status('/acme/open/resolve/main/config.json')).toBe(200)
    expect(await status('/datasets/acme/data/resolve/main/data/train.csv')).toBe(403)
    expect(await status('/acme/secret/resolve/main/config.json', TOKENS.alice)).toBe(403)
    expect(resolves(scene).every((line) => line.includes('acme/open'))).toBe(true)
    // A caller who may not know of the repo must not learn its licence from the rule either: in doubt it applies.
    const anonymous = await scene.ask('/acme/secret/resolve/main/config.json')
    expect(anonymous.headers['x-error-message']).toContain('(licence)')
  })

  it('recognises a repo without a licence', async () => {
    const scene = await scenes('- {action: deny, match: {licence: none}}')
    expect((await scene.ask('/acme/open/resolve/main/config.json')).status).toBe(200)
    expect((await scene.ask('/acme/gated/resolve/main/config.json', { token: TOKENS.alice })).status).toBe(
      403,
    )
  })

  it('applies offline to stored content', async () => {
    const scene = await scenes('- {action: deny, match: {licence: apache-2.0}}')
    await scene.ask('/acme/open/resolve/main/config.json')
    await scene.settled()
    await scene.restart({ offline: true })
    expect((await scene.ask('/acme/open/resolve/main/config.json')).status).toBe(200)
    await scene.restart({ offline: true, policies: policiesOf('- {action: deny, match: {licence: mit}}') })
    expect((await scene.ask('/acme/open/resolve/main/config.json')).status).toBe(403)
  })
})

describe('a rule about sizes', () => {
  it('is evaluated when the Hub has sent the size, and counts the whole file of a range', async () => {
    const scene = await under('- {name: small-only, action: deny, match: {size: ">1MB"}}')
    for (const headers of [{}, { range: 'bytes=0-9' }]) {
      for (const method of ['HEAD', 'GET']) {
        const got = await scene.ask('/acme/open/resolve/main/w.bin', { method, headers })
        expect([method, got.status, got.headers['x-error-code']]).toEqual([method, 403, 'GatedRepo'])
      }
    }
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
    expect((await scene.ask('/acme/open/resolve/main/config.json')).status).toBe(200)
    expect((await scene.ask('/acme/open/raw/main/w.bin')).status).toBe(200)
  })

  it('applies to stored content', async () => {
    const scene = await openScene()
    await scene.ask('/acme/open/resolve/main/w.bin')
    await scene.settled()
    await scene.restart({ policies: policiesOf('- {action: deny, match: {size: ">1MB"}}') })
    expect((await scene.ask('/acme/open/resolve/main/w.bin')).status).toBe(403)
  })
})

describe('content that a rule keeps off the disk', () => {
  /** The files of the store that hold one of the traces. */
  const holding = async (scene: Scene, traces: readonly string[]): Promise<readonly string[]> => {
    await scene.mirror.close({ keepDir: true })
    const files = await filesBelow(scene.mirror.cacheDir)
    expect(files.size, 'the store has files to search').toBeGreaterThan(0)
    return [...files].flatMap(([path, bytes]) =>
      traces
        .filter((trace) => path.includes(trace) || bytes.includes(trace))
        .map((trace) => `${path}: ${trace}`),
    )
  }
  const traces = (scene: Scene, id: string, path: string): readonly string[] => {
    const file = scene.world.find('models', id)?.repo.resolve('main')?.files.get(path)
    const bytes = scene.bytes(id, path)
    const kept = [file?.oid, file?.lfs?.sha256, bytes.subarray(0, 64).toString('latin1').trim()]
    return kept.filter((text) => text !== undefined)
  }

  it.each([
    ['off', 'acme/open', undefined],
    ['on', 'acme/open', undefined],
    ['on', 'acme/secret', TOKENS.alice],
  ] as const)('is not written to it (cache.private %s, %s)', async (cachePrivate, id, token) => {
    const scene = await under(`- {name: secret-plans, action: no-store, match: {repo: ${id}}}`, {
      cachePrivate: cachePrivate === 'on',
    })
    for (const path of ['config.json', 'w.bin', 'no-such-file-at-all.txt']) {
      for (const method of ['HEAD', 'GET', 'GET']) {
        const got = await scene.ask(`/${id}/resolve/main/${path}`, { method, token })
        if (path.startsWith('no-such')) expect(got.status).toBe(404)
        else if (method === 'GET') {
          expect([got.headers['x-cache'], got.body.equals(scene.bytes(id, path))]).toEqual(['BYPASS', true])
        }
      }
    }
    for (const route of ['', '/tree/main', '/revision/main', '/refs', '/commits/main']) {
      expect((await scene.ask(`/api/models/${id}${route}`, { token })).status).toBe(200)
    }
    await scene.settled()
    const found = await holding(scene, [
      id,
      'no-such-file-at-all',
      scene.commit(id),
      ...traces(scene, id, 'config.json'),
      ...traces(scene, id, 'w.bin'),
    ])
    expect(found).toEqual([])
  })

  it('may be large files only', async () => {
    const scene = await under('- {action: no-store, match: {size: ">1MB"}}')
    for (let round = 0; round < 2; round += 1) {
      const large = await scene.ask('/acme/open/resolve/main/w.bin')
      expect([large.headers['x-cache'], large.body.equals(scene.bytes('acme/open', 'w.bin'))]).toEqual([
        'BYPASS',
        true,
      ])
      await scene.ask('/acme/open/resolve/main/config.json')
      await scene.settled()
    }
    expect((await scene.ask('/acme/open/resolve/main/config.json')).headers['x-cache']).toBe('HIT')
    expect(await holding(scene, traces(scene, 'acme/open', 'w.bin'))).toEqual([])
  })

  it('is not read from it either', async () => {
    const scene = await openScene()
    await scene.ask('/acme/open/resolve/main/w.bin')
    await scene.settled()
    await scene.restart({ policies: policiesOf('- {action: no-store, match: {repo: acme/*}}') })
    expect((await scene.ask('/acme/open/resolve/main/w.bin')).headers['x-cache']).toBe('BYPASS')
  })
})

it.each([
  ['of a large file', 'w.bin', []],
  // Only there the Hub tells that the repo has another name since the question about the file.
  ['of a small file, but the address of its own', 'config.json', ['GET']],
])('rules about names alone cost the Hub no question %s', async (_, path, more) => {
  const ruled = await under('- {action: allow, match: {repo: acme/*}}\n- {action: deny}')
  const plain = await openScene()
  for (const scene of [ruled, plain]) await scene.ask(`/acme/open/resolve/main/${path}`)
  const own = `/acme/open/resolve/${plain.commit('acme/open')}/${path}`
  const questions = (scene: Scene) => asked(scene).map((line) => line.replace(/\?.*$/, ''))
  const due = [...questions(plain), ...more.map((method) => `${method} ${own}`)]
  expect(questions(ruled).sort()).toEqual(due.sort())
})
