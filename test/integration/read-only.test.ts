// A mirror that denies writes (HUBMIRROR_WRITES=deny).

import { describe, expect, it } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

describe('a mirror that denies writes', () => {
  const LFS_UPLOAD = JSON.stringify({ operation: 'upload', objects: [{ oid: 'a'.repeat(64), size: 5 }] })

  it.each([
    ['POST', '/api/repos/create', '{"name":"x"}'],
    ['DELETE', '/api/repos/delete', '{"name":"x"}'],
    ['POST', '/api/models/acme/open/commit/main', '{}'],
    ['POST', '/api/models/acme/open/preupload/main', '{"files":[]}'],
    ['POST', '/api/models/acme/open/branch/x', '{}'],
    ['DELETE', '/api/models/acme/open/branch/x', undefined],
    ['PUT', '/api/models/acme/open/settings', '{}'],
    ['POST', '/acme/open.git/info/lfs/objects/batch', LFS_UPLOAD],
    ['POST', '/acme/open.git/info/lfs/objects/batch', 'no json'],
    ['POST', '/acme/open.git/info/lfs/objects/batch', '{"operation":"upload","operation":"download"}'],
    ['GET', '/acme/open.git/info/refs?service=git-receive-pack', undefined],
    ['POST', '/acme/open.git/git-receive-pack', 'x'],
    ['GET', '/api/models/acme/open/xet-write-token/main', undefined],
  ] as const)('refuses %s %s before it reaches the Hub', async (method, target, body) => {
    const scene = await openScene({ config: { writes: 'deny' } })
    const got = await scene.ask(target, {
      method,
      token: TOKENS.alice,
      headers: JSON_TYPE,
      ...(body === undefined ? {} : { body }),
    })
    expect([got.status, got.headers['x-error-code']]).toEqual([403, 'MirrorIsReadOnly'])
    expect(got.headers['x-error-message']).toContain('read-only')
    expect(got.headers['x-cache']).toBe('REFUSED')
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('says so in the form that each program shows', async () => {
    const scene = await openScene({ config: { writes: 'deny' } })
    const token = TOKENS.alice
    const git = await scene.ask('/acme/open.git/info/refs?service=git-receive-pack', { token })
    const sentence = git.headers['x-error-message'] ?? ''
    expect(sentence).toContain('read-only')
    expect([git.status, git.headers['content-type'], git.body.toString()]).toEqual([
      403,
      'text/plain; charset=utf-8',
      `${sentence}\n`,
    ])
    for (const [target, body] of [
      ['/acme/open.git/info/lfs/objects/batch', LFS_UPLOAD],
      ['/acme/open.git/info/lfs/locks/verify', '{}'],
    ] as const) {
      const lfs = await scene.ask(target, { method: 'POST', token, headers: JSON_TYPE, body })
      expect([lfs.headers['content-type'], JSON.parse(lfs.body.toString())]).toEqual([
        'application/json; charset=utf-8',
        { message: sentence, error: sentence },
      ])
    }
    const api = await scene.ask('/api/repos/create', { method: 'POST', token, body: '{}' })
    expect(JSON.parse(api.body.toString())).toEqual({ error: sentence })
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('answers every request that only reads', async () => {
    const scene = await openScene({ config: { writes: 'deny' } })
    const post = (target: string, body: string, type = 'application/json') =>
      scene.ask(target, { method: 'POST', token: TOKENS.alice, headers: { 'content-type': type }, body })
    expect((await post('/api/validate-yaml', '{}')).status).toBe(200)
    expect((await post('/api/models/acme/open/paths-info/main', '{"paths":["w.bin"]}')).status).toBe(200)
    const oid = scene.world.model('acme/open').resolve('main')?.files.get('w.bin')?.lfs?.sha256
    for (const type of ['application/vnd.git-lfs+json', 'application/json']) {
      const batch = await post(
        '/acme/open.git/info/lfs/objects/batch',
        JSON.stringify({ operation: 'download', objects: [{ oid, size: 3_000_000 }] }),
        type,
      )
      expect([batch.status, batch.body.toString().includes('"download"')]).toEqual([200, true])
    }
    expect((await scene.ask('/acme/open/resolve/main/config.json')).status).toBe(200)
    expect((await scene.ask('/api/whoami-v2', { token: TOKENS.alice })).status).toBe(200)
    expect((await scene.ask('/acme/open/raw/main/config.json')).status).toBe(200)
  })
})
