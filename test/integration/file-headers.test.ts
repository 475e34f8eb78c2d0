// How a file is answered: one 200 with everything clients read, whatever the Hub's own way to it is.

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { encodePath } from '../hub-simulator/hub.ts'
import { ODD_NAMES, TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

/** Every header a file answer may have; anything else came through by mistake. */
const FILE_HEADERS = new Set([
  'x-request-id',
  'x-repo-commit',
  'etag',
  'x-linked-size',
  'x-linked-etag',
  'accept-ranges',
  'content-type',
  'content-disposition',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'cache-control',
  'vary',
  'content-security-policy',
  'x-content-type-options',
  'content-length',
  'cache-status',
  'x-cache',
  'date',
  'connection',
  'keep-alive',
])

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitSha1 = (bytes: Buffer) =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

const CASES = [
  {
    what: 'A, a small file',
    target: '/acme/open/resolve/main/config.json',
    id: 'acme/open',
    path: 'config.json',
  },
  {
    what: 'A in a folder',
    target: '/acme/open/resolve/main/nested/deeper/vocab.txt',
    id: 'acme/open',
    path: 'nested/deeper/vocab.txt',
  },
  { what: 'B, a large file', target: '/acme/open/resolve/main/w.bin', id: 'acme/open', path: 'w.bin' },
  {
    what: 'C, a small file of a one-segment repo',
    target: '/legacy/resolve/main/config.json',
    id: 'legacy',
    path: 'config.json',
  },
  {
    what: 'C, an empty file',
    target: '/acme/open/resolve/main/empty.txt',
    id: 'acme/open',
    path: 'empty.txt',
  },
  { what: 'B of a one-segment repo', target: '/legacy/resolve/main/w.bin', id: 'legacy', path: 'w.bin' },
  {
    what: 'C, a small private file',
    target: '/acme/secret/resolve/main/config.json',
    id: 'acme/secret',
    path: 'config.json',
    token: TOKENS.alice,
  },
  {
    what: 'C, a small gated file',
    target: '/acme/gated/resolve/main/config.json',
    id: 'acme/gated',
    path: 'config.json',
    token: TOKENS.alice,
  },
  {
    what: 'B, a large private file',
    target: '/acme/secret/resolve/main/w.bin',
    id: 'acme/secret',
    path: 'w.bin',
    token: TOKENS.alice,
  },
  {
    what: 'D, a small file of a renamed repo',
    target: '/acme/old/resolve/main/config.json',
    id: 'acme/new',
    path: 'config.json',
  },
  {
    what: 'D, a large file of a renamed repo',
    target: '/acme/old/resolve/main/w.bin',
    id: 'acme/new',
    path: 'w.bin',
  },
  {
    what: 'a small file of a dataset',
    target: '/datasets/acme/data/resolve/main/data/train.csv',
    id: 'acme/data',
    path: 'data/train.csv',
    type: 'datasets',
  },
  {
    what: 'a large file of a dataset',
    target: '/datasets/acme/data/resolve/main/data/train.parquet',
    id: 'acme/data',
    path: 'data/train.parquet',
    type: 'datasets',
  },
  {
    what: 'a small file of a space',
    target: '/spaces/acme/demo/resolve/main/app.py',
    id: 'acme/demo',
    path: 'app.py',
    type: 'spaces',
  },
  {
    what: 'a large file of a space',
    target: '/spaces/acme/demo/resolve/main/logo.png',
    id: 'acme/demo',
    path: 'logo.png',
    type: 'spaces',
  },
] as const

describe('a file', () => {
  it.each(CASES)(
    'of shape $what is one 200 with all fields that clients read, the same for HEAD and GET',
    async (example) => {
      const { target, id, path } = example
      const token = 'token' in example ? example.token : undefined
      const type = 'type' in example ? example.type : 'models'
      const scene = await openScene()
      const bytes = scene.bytes(id, path, { type })
      const file = scene.world.find(type, id)?.repo.resolve('main')?.files.get(path)
      const commit = scene.world.find(type, id)?.repo.resolve('main')?.id
      const isLfs = file?.lfs !== undefined

      const head = await scene.ask(target, { method: 'HEAD', token })
      expect(head.status).toBe(200)
      expect(scene.hub.ledger.bodyRequests(), 'a HEAD costs no body').toEqual([])
      const gets = scene.hub.ledger.requests({ method: 'GET' })
      expect(gets.filter(({ url }) => !url.startsWith('/api/'))).toEqual([])
      const got = await scene.ask(target, { token })
      expect(got.status).toBe(200)
      expect(got.whole).toBe(true)
      expect(got.body.equals(bytes)).toBe(true)

      for (const reply of [head, got]) {
        expect(reply.headers).toMatchObject({
          'x-repo-commit': commit,
          etag: `"${isLfs ? sha256(bytes) : gitSha1(bytes)}"`,
          'x-linked-size': String(bytes.length),
          'content-length': String(bytes.length),
          'accept-ranges': 'bytes',
          vary: 'Authorization, Accept',
          'cache-control': 'private, no-cache',
        })
        expect(reply.headers['x-linked-etag']).toBe(isLfs ? `"${sha256(bytes)}"` : undefined)
        expect(reply.headers['access-control-expose-headers']).toContain('X-Linked-ETag')
        expect(reply.headers['content-disposition']).toMatch(/^inline; filename\*=UTF-8''/)
        expect(reply.headers['content-security-policy']).toContain('sandbox')
        expect(reply.names.filter((name) => !FILE_HEADERS.has(name))).toEqual([])
        expect(new Set(reply.names).size, 'no header twice').toBe(reply.names.length)
      }
      expect(head.headers['content-type']).toBe(got.headers['content-type'])
      expect(head.headers['content-disposition']).toBe(got.headers['content-disposition'])
    },
  )

  it.each(ODD_NAMES)('named %s is sent with that name', async (name) => {
    const scene = await openScene()
    const target = `/acme/odd/resolve/main/${encodePath(name)}`
    const bytes = scene.bytes('acme/odd', name)
    const head = await scene.ask(target, { method: 'HEAD' })
    expect([head.status, head.headers['content-length']]).toEqual([200, String(bytes.length)])
    expect((await scene.ask(target)).body.equals(bytes)).toBe(true)
    const plain = name.slice(name.lastIndexOf('/') + 1).replace(/[^\x20-\x7e]/g, '_')
    expect(head.headers['content-disposition']).toContain(`filename="${plain}"`)
    await scene.settled()
    expect((await scene.ask(target)).headers['x-cache']).toBe('HIT')
  })

  it('is found by a tag, a branch, a pull request and a commit', async () => {
    const scene = await openScene()
    const commit = scene.commit('acme/open', 'v1')
    const proposal = scene.commit('acme/open', 'refs/pr/1')
    for (const [revision, path, text, sha] of [
      ['v1', 'config.json', '{"model_type":"open"}\n', commit],
      ['dev', 'config.json', '{"model_type":"open"}\n', commit],
      ['main', 'config.json', '{"model_type":"open","v":2}\n', scene.commit('acme/open')],
      ['refs%2Fpr%2F1', 'README.md', '# proposed\n', proposal],
      [commit, 'config.json', '{"model_type":"open"}\n', commit],
    ] as const) {
      const got = await scene.ask(`/acme/open/resolve/${revision}/${path}`)
      expect([got.status, got.body.toString(), got.headers['x-repo-commit']]).toEqual([200, text, sha])
    }
    const bare = await scene.ask('/acme/open/resolve/refs/pr/1/README.md')
    expect([bare.status, bare.headers['x-error-code']]).toEqual([404, 'RevisionNotFound'])
  })

  it.each(['', '?%2Facme%2Fopen%2Fresolve%2Fmain%2Fconfig.json=&etag=%22abc%22'])(
    'is answered on resolve-cache, query "%s"',
    async (query) => {
      const scene = await openScene()
      const commit = scene.commit('acme/open')
      const target = `/api/resolve-cache/models/acme/open/${commit}/config.json${query}`
      const bytes = scene.bytes('acme/open', 'config.json')
      for (const method of ['HEAD', 'GET']) {
        const reply = await scene.ask(target, { method })
        expect([reply.status, reply.headers['content-length'], reply.headers['x-repo-commit']]).toEqual([
          200,
          String(bytes.length),
          commit,
        ])
      }
      const large = await scene.ask(`/api/resolve-cache/models/acme/open/${commit}/w.bin${query}`)
      expect(large.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    },
  )

  it('is refused on resolve-cache by a branch', async () => {
    const scene = await openScene()
    const got = await scene.ask('/api/resolve-cache/models/acme/open/main/config.json')
    expect([got.status, got.headers['x-error-code']]).toEqual([400, 'BadUrl'])
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('is found after the double slashes that a trailing slash in HF_ENDPOINT makes', async () => {
    const scene = await openScene()
    const got = await scene.ask('//acme/open/resolve/main/config.json')
    expect(got.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    const info = await scene.ask('//api/models/acme/open')
    expect([info.status, JSON.parse(info.body.toString()).id]).toEqual([200, 'acme/open'])
    const listed = await scene.ask('/api/models/acme/open/tree/main/')
    expect(listed.status).toBe(200)
  })

  it('is sent to be saved, not shown, if the client asks for that', async () => {
    const scene = await openScene()
    const got = await scene.ask('/acme/open/resolve/main/config.json?download=true')
    expect(got.headers['content-disposition']).toMatch(/^attachment;/)
    expect(got.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
  })

  it('is sent without content coding, whichever codings the client accepts', async () => {
    const scene = await openScene()
    const got = await scene.ask('/acme/open/resolve/main/config.json', {
      headers: { 'accept-encoding': 'gzip, deflate, br, zstd', accept: 'application/vnd.xet-fileinfo+json' },
    })
    expect(got.headers['content-encoding']).toBeUndefined()
    expect(got.headers['content-length']).toBe(String(got.body.length))
    expect(got.body.equals(scene.bytes('acme/open', 'config.json'))).toBe(true)
    const large = await scene.ask('/acme/open/resolve/main/w.bin', {
      headers: { accept: 'application/vnd.xet-fileinfo+json' },
    })
    expect(large.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
  })
})

describe('a refused file', () => {
  it.each([
    {
      what: 'a file',
      target: '/acme/open/resolve/main/no.txt',
      status: 404,
      code: 'EntryNotFound',
      message: 'Entry not found',
      commit: true,
    },
    {
      what: 'a revision',
      target: '/acme/open/resolve/nowhere/config.json',
      status: 404,
      code: 'RevisionNotFound',
      message: 'Invalid rev id: nowhere',
    },
    {
      what: 'a repo, to an anonymous caller',
      target: '/acme/none/resolve/main/config.json',
      status: 401,
      code: 'RepoNotFound',
      message: 'Invalid username or password.',
    },
    {
      what: 'a repo, to a user',
      target: '/acme/none/resolve/main/config.json',
      status: 404,
      code: 'RepoNotFound',
      message: 'Repository not found',
      token: TOKENS.bob,
    },
    {
      what: 'a private repo, to an anonymous caller',
      target: '/acme/secret/resolve/main/config.json',
      status: 401,
      code: 'RepoNotFound',
      message: 'Invalid username or password.',
    },
    {
      what: 'a private repo, to another user',
      target: '/acme/secret/resolve/main/config.json',
      status: 404,
      code: 'RepoNotFound',
      message: 'Repository not found',
      token: TOKENS.bob,
    },
    {
      what: 'a gated file, to an anonymous caller',
      target: '/acme/gated/resolve/main/config.json',
      status: 401,
      code: 'GatedRepo',
      message: /restricted/,
    },
    {
      what: 'a gated file, to another user',
      target: '/acme/gated/resolve/main/config.json',
      status: 403,
      code: 'GatedRepo',
      message: /restricted/,
      token: TOKENS.bob,
    },
    {
      what: 'anything, to a bad token',
      target: '/acme/open/resolve/main/config.json',
      status: 401,
      code: undefined,
      message: 'Invalid credentials in Authorization header',
      token: TOKENS.invalid,
    },
  ])(
    'is refused with the words of the Hub: $what',
    async ({ target, status, code, message, commit, token }) => {
      for (const method of ['HEAD', 'GET']) {
        // One for each: in the meantime the mirror finds out that the repo is public, and then it knows the file as absent.
        const scene = await openScene()
        const reply = await scene.ask(target, { method, token })
        expect(reply.status).toBe(status)
        expect(reply.headers['x-error-code']).toBe(code)
        expect(reply.headers['x-error-message']).toMatch(message)
        expect(reply.headers['x-repo-commit']).toBe(commit === true ? scene.commit('acme/open') : undefined)
        expect(reply.headers['x-cache']).toBe('REFUSED')
        expect(reply.headers['www-authenticate'] !== undefined).toBe(status === 401)
        if (method === 'GET') expect(reply.body.toString()).toMatch(message)
        else expect(reply.body.length).toBe(0)
        expect(scene.hub.ledger.bodyRequests()).toEqual([])
      }
    },
  )

  it('of a disabled repo has no error code, as at the Hub', async () => {
    const scene = await openScene()
    scene.world.model('acme/open').disabled()
    const got = await scene.ask('/acme/open/resolve/main/config.json')
    expect([got.status, got.headers['x-error-code'], got.headers['x-error-message']]).toEqual([
      403,
      undefined,
      'Access to this resource is disabled.',
    ])
  })

  it('is reported as refused also if the refusal comes with the request for its bytes', async () => {
    const scene = await openScene()
    const target = '/acme/open/resolve/main/w.bin'
    expect((await scene.ask(target, { method: 'HEAD' })).status).toBe(200)
    const status = { code: 451, headers: { 'X-Error-Message': 'Not here.' }, body: 'Not here.' }
    for (const where of ['hub', 'cdn'] as const) scene.hub.faults.add({ where, status, times: 10 })
    const got = await scene.ask(target)
    expect([got.status, got.headers['x-error-message']]).toEqual([451, 'Not here.'])
    expect([got.headers['x-cache'], got.headers['cache-status']]).toEqual([
      'REFUSED',
      'hubmirror; fwd=uri-miss; fwd-status=451',
    ])
  })
})
