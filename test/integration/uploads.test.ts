// Uploads and Git LFS through the mirror alone: no address of an answer leads past it, and those it makes open nothing but
// what the Hub has allowed.

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { Reply } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene } from '../support/scene.ts'

const LFS_JSON = { 'content-type': 'application/vnd.git-lfs+json', accept: 'application/vnd.git-lfs+json' }
const BATCH = '/alice/notes.git/info/lfs/objects/batch'

interface Action {
  readonly href: string
  readonly header?: Readonly<Record<string, string>>
}
interface Batch {
  readonly transfer: string
  readonly objects: readonly { readonly oid: string; readonly actions?: Readonly<Record<string, Action>> }[]
}

const oidOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const read = (reply: Reply): Batch => JSON.parse(reply.body.toString()) as Batch
const actionOf = (reply: Reply, name: string): Action =>
  read(reply).objects[0]?.actions?.[name] ?? { href: '' }
/** The request target of an address at the mirror. Throws for any other. */
function at(scene: Scene, href: string): string {
  if (!href.startsWith(`${scene.mirror.url}/`)) throw new Error(`${href} leads past the mirror`)
  return href.slice(scene.mirror.url.length)
}

async function openUploads(options: Parameters<typeof openScene>[0] = {}): Promise<Scene> {
  const scene = await openScene(options)
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  return scene
}

function batch(scene: Scene, objects: readonly Buffer[], more: object = {}, target = BATCH) {
  return scene.ask(target, {
    method: 'POST',
    token: TOKENS.alice,
    headers: LFS_JSON,
    body: JSON.stringify({
      operation: 'upload',
      transfers: ['basic', 'multipart'],
      objects: objects.map((bytes) => ({ oid: oidOf(bytes), size: bytes.length })),
      ...more,
    }),
  })
}

/** A batch for the download of `w.bin`. */
async function download(
  scene: Scene,
  id: string,
): Promise<{ readonly target: string; readonly bytes: Buffer }> {
  const bytes = scene.bytes(id, 'w.bin')
  const got = await batch(scene, [bytes], { operation: 'download' }, `/${id}.git/info/lfs/objects/batch`)
  return { target: at(scene, actionOf(got, 'download').href), bytes }
}

const OBJECT = Buffer.alloc(3_000_000, 'some bytes of an object. ')

describe('an upload by Git LFS', () => {
  it('in one piece goes through the mirror, and is verified there', async () => {
    const scene = await openUploads()
    const got = await batch(scene, [OBJECT])
    expect(got.body.toString()).not.toContain(new URL(scene.hub.cdnUrl).host)
    const put = await scene.ask(at(scene, actionOf(got, 'upload').href), { method: 'PUT', body: OBJECT })
    expect([put.status, put.headers['etag']]).toEqual([200, expect.stringMatching(/^"[0-9a-f]{32}"$/)])
    expect(scene.world.lfsObjects.has(oidOf(OBJECT))).toBe(true)
    const verify = actionOf(got, 'verify').href
    expect(verify).toBe(`${scene.mirror.url}/alice/notes.git/info/lfs/objects/verify`)
    const question = {
      method: 'POST',
      headers: LFS_JSON,
      body: JSON.stringify({ oid: oidOf(OBJECT), size: OBJECT.length }),
    }
    expect((await scene.ask(at(scene, verify), { ...question, token: TOKENS.alice })).status).toBe(200)
    expect((await scene.ask(at(scene, verify), question)).status).toBe(401)
    const [sent, ...more] = scene.hub.ledger.requests({ server: 'cdn' })
    expect([more, sent?.method, sent?.headers['content-length']]).toEqual([[], 'PUT', String(OBJECT.length)])
  })

  it('in parts goes through the mirror, including the request that completes it', async () => {
    const scene = await openUploads({ hub: { partBytes: 1_000_000 } })
    const { href, header = {} } = actionOf(await batch(scene, [OBJECT]), 'upload')
    const parts = []
    for (const part of [1, 2, 3]) {
      const target = at(scene, header[String(part).padStart(5, '0')] ?? '')
      const body = OBJECT.subarray((part - 1) * 1_000_000, part * 1_000_000)
      const put = await scene.ask(target, { method: 'PUT', token: TOKENS.alice, body })
      parts.push({ partNumber: part, etag: put.headers['etag'] })
    }
    expect(header['chunk_size']).toBe('1000000')
    const end = JSON.stringify({ oid: oidOf(OBJECT), parts })
    const got = await scene.ask(at(scene, href), { method: 'POST', headers: LFS_JSON, body: end })
    expect([got.status, scene.world.lfsObjects.has(oidOf(OBJECT))]).toEqual([200, true])
  })

  it('is not offered Xet, whichever side offers it', async () => {
    const scene = await openUploads()
    for (const [transfers, taken] of [
      [['basic', 'multipart', 'xet'], 'multipart'],
      [['xet'], 'basic'],
      [undefined, 'basic'],
    ] as const) {
      const got = await batch(scene, [OBJECT], { transfers })
      expect([read(got).transfer, at(scene, actionOf(got, 'upload').href)]).toEqual([
        taken,
        expect.stringMatching(/^\/-\/lfs\//),
      ])
    }
    const direct = await fetch(`${scene.hub.url}${BATCH}`, {
      method: 'POST',
      headers: { ...LFS_JSON, authorization: `Bearer ${TOKENS.alice}` },
      body: JSON.stringify({
        operation: 'upload',
        transfers: ['basic', 'xet'],
        objects: [{ oid: oidOf(OBJECT), size: 1 }],
      }),
    })
    expect(((await direct.json()) as Batch).transfer).toBe('xet')
  })

  it('that storage refuses gets the answer of storage', async () => {
    const scene = await openUploads()
    const target = at(scene, actionOf(await batch(scene, [OBJECT]), 'upload').href)
    scene.hub.faults.add({ where: 'cdn', status: { code: 503, body: '<Error>SlowDown</Error>' } })
    const early = await scene.ask(target, { method: 'PUT', body: OBJECT })
    expect([early.status, early.body.toString()]).toEqual([503, '<Error>SlowDown</Error>'])
  })

  it('continues after a restart of the mirror', async () => {
    const scene = await openUploads()
    const { pathname } = new URL(actionOf(await batch(scene, [OBJECT]), 'upload').href)
    await scene.restart()
    expect((await scene.ask(pathname, { method: 'PUT', body: OBJECT })).status).toBe(200)
  })

  it('keeps an address at a host that is not allowed, and the mirror logs that', async () => {
    const scene = await openUploads({ config: { redirectHosts: ['cdn.example'] } })
    for (let time = 0; time < 2; time += 1) {
      const got = await batch(scene, [OBJECT])
      expect(actionOf(got, 'upload').href.startsWith(scene.hub.cdnUrl)).toBe(true)
      expect(got.headers['x-hf-warning']).toContain(
        `The Hub directs this transfer to ${new URL(scene.hub.cdnUrl).host}`,
      )
    }
    expect(scene.mirror.logLines('bypass the mirror').length).toBe(1)
  })
})

describe('a transfer link', () => {
  it('is valid only for its method, its object and its time', async () => {
    let wallMs = Date.now()
    const scene = await openUploads({ mirror: { now: () => wallMs } })
    const target = at(scene, actionOf(await batch(scene, [OBJECT]), 'upload').href)
    const other = await scene.another()
    scene.hub.ledger.clear()
    const refused = async (reply: Promise<Reply>): Promise<void> => {
      const { status, headers } = await reply
      expect([status, headers['x-error-code']]).toEqual([403, 'TransferLinkRefused'])
    }
    for (const method of ['GET', 'HEAD']) await refused(scene.ask(target, { method }))
    await refused(scene.ask(target, { method: 'POST', body: 'x' }))
    for (const place of [12, 40, target.length - 2]) {
      const letter = target[place] === 'A' ? 'B' : 'A'
      const changed = `${target.slice(0, place)}${letter}${target.slice(place + 1)}`
      await refused(scene.ask(changed, { method: 'PUT', body: OBJECT }))
    }
    for (const made of ['', 'x', Buffer.from('["https://127.0.0.2/"]').toString('base64url')])
      await refused(scene.ask(`/-/lfs/${made}`, { method: 'PUT', body: 'x' }))
    const elsewhere = await fetch(`${other.url}${target}`, { method: 'PUT', body: 'x' })
    expect(elsewhere.status).toBe(403)
    wallMs += 3_700_000
    await refused(scene.ask(target, { method: 'PUT', body: OBJECT }))
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('carries no credential to storage, whatever the request holds', async () => {
    const scene = await openUploads()
    const target = at(scene, actionOf(await batch(scene, [OBJECT]), 'upload').href)
    const headers = { cookie: 'token=abc', 'x-custom': 'mine' }
    const put = await scene.ask(target, { method: 'PUT', token: TOKENS.alice, headers, body: OBJECT })
    expect(put.status).toBe(200)
    const [sent] = scene.hub.ledger.requests({ server: 'cdn' })
    for (const name of ['authorization', 'cookie', 'x-custom']) expect(sent?.headers[name]).toBeUndefined()
  })

  it('is answered by storage with the fields that the Hub demands, except for credentials', async () => {
    const scene = await openUploads()
    const href = `${scene.hub.cdnUrl}/lfs-uploads/x/y`
    const header = {
      'X-Amz-Acl': 'private',
      Authorization: 'Basic abc',
      'Content-Type': 'application/x-object',
    }
    const bytes = Buffer.from('x')
    const answer = { objects: [{ oid: oidOf(bytes), size: 1, actions: { upload: { href, header } } }] }
    const status = { code: 200, headers: LFS_JSON, body: JSON.stringify(answer) }
    scene.hub.faults.add({ where: 'hub', match: /batch/, status })
    const got = await batch(scene, [OBJECT])
    expect(actionOf(got, 'upload').header).toEqual(header)
    await scene.ask(at(scene, actionOf(got, 'upload').href), { method: 'PUT', body: bytes })
    const [sent] = scene.hub.ledger.requests({ server: 'cdn' })
    expect([sent?.headers['x-amz-acl'], sent?.headers['content-type'], sent?.headers.authorization]).toEqual([
      'private',
      'application/x-object',
      undefined,
    ])
  })

  it('takes no upload if the mirror takes no writes any more', async () => {
    const scene = await openUploads()
    const { pathname } = new URL(actionOf(await batch(scene, [OBJECT]), 'upload').href)
    await scene.restart({ writes: 'deny' })
    const put = await scene.ask(pathname, { method: 'PUT', body: OBJECT })
    expect([put.status, put.headers['x-error-code']]).toEqual([403, 'MirrorIsReadOnly'])
  })

  it('does not follow a redirect of an upload', async () => {
    const scene = await openUploads()
    const target = at(scene, actionOf(await batch(scene, [OBJECT]), 'upload').href)
    scene.hub.faults.add({ where: 'cdn', redirectTo: 'http://127.0.0.3:9/x' })
    const put = await scene.ask(target, { method: 'PUT', body: OBJECT })
    expect([put.status, put.headers['x-error-code']]).toEqual([502, 'RedirectRefused'])
    expect(put.headers['x-error-message']).toContain('does not follow that')
    scene.hub.faults.add({ where: 'hub', match: /commit/, redirectTo: 'http://127.0.0.2:9/x' })
    const route = '/api/models/alice/notes/commit/main'
    const commit = await scene.ask(route, { method: 'POST', token: TOKENS.alice, body: '{}' })
    expect([commit.status, commit.headers['x-error-message']]).toEqual([502, put.headers['x-error-message']])
  })

  it('of a mirror behind this one is opened by that one', async () => {
    const scene = await openUploads()
    const front = await scene.another({ config: { origin: new URL(scene.mirror.url), redirectHosts: [] } })
    const reply = await fetch(`${front.url}${BATCH}`, {
      method: 'POST',
      headers: { ...LFS_JSON, authorization: `Bearer ${TOKENS.alice}` },
      body: JSON.stringify({ operation: 'upload', objects: [{ oid: oidOf(OBJECT), size: OBJECT.length }] }),
    })
    const { upload } = ((await reply.json()) as Batch).objects[0]?.actions ?? {}
    expect(upload?.href.startsWith(`${front.url}/-/lfs/`)).toBe(true)
    const put = await fetch(upload?.href ?? '', { method: 'PUT', body: OBJECT })
    expect([put.status, scene.world.lfsObjects.has(oidOf(OBJECT))]).toEqual([200, true])
  })

  it('is below the base path, and can be used by browsers', async () => {
    const scene = await openUploads({ config: { basePath: '/hf' } })
    const got = await batch(scene, [OBJECT], {}, `/hf${BATCH}`)
    const target = at(scene, actionOf(got, 'upload').href)
    expect(target).toMatch(/^\/hf\/-\/lfs\//)
    const preflight = await scene.ask(target, {
      method: 'OPTIONS',
      headers: { 'access-control-request-method': 'PUT' },
    })
    expect([preflight.status, preflight.headers['access-control-allow-methods']]).toEqual([
      204,
      expect.stringContaining('PUT'),
    ])
    expect((await scene.ask(target, { method: 'PUT', body: OBJECT })).status).toBe(200)
  })
})

describe('a download by Git LFS', () => {
  it('comes from the store if the file is there, also while the Hub cannot be reached', async () => {
    const scene = await openScene()
    await scene.ask('/acme/open/resolve/main/w.bin')
    await scene.settled()
    const { target, bytes } = await download(scene, 'acme/open')
    await scene.hub.stop()
    const got = await scene.ask(target)
    expect([got.status, got.whole, got.body.equals(bytes)]).toEqual([200, true, true])
    const head = await scene.ask(target, { method: 'HEAD' })
    expect([head.status, head.headers['content-length']]).toEqual([200, String(bytes.length)])
    const part = await scene.ask(target, { headers: { range: 'bytes=10-19' } })
    expect([part.status, part.body.equals(bytes.subarray(10, 20))]).toEqual([206, true])
  })

  it('of a public repo fills the store, for files as well', async () => {
    const scene = await openScene()
    const { target, bytes } = await download(scene, 'acme/open')
    const got = await scene.ask(target)
    expect([got.status, got.body.equals(bytes)]).toEqual([200, true])
    await scene.settled()
    const file = await scene.ask('/acme/open/resolve/main/w.bin')
    expect([file.headers['x-cache'], file.body.equals(bytes)]).toEqual(['REVALIDATED', true])
    // One byte revealed the size.
    expect(scene.hub.ledger.bytes('cdn')).toBe(bytes.length + 1)
  })

  it('of a private repo passes through, verified and not stored', async () => {
    const scene = await openScene()
    const { target, bytes } = await download(scene, 'acme/secret')
    for (let time = 0; time < 2; time += 1) expect((await scene.ask(target)).body.equals(bytes)).toBe(true)
    expect(scene.hub.ledger.bytes('cdn')).toBe(2 * (bytes.length + 1))
    scene.hub.faults.add({ where: 'cdn', corruptAt: 1_000, times: 2 })
    expect((await scene.ask(target)).whole).toBe(false)
  })

  it('gets no address for content that the Hub does not show', async () => {
    const scene = await openScene()
    const bytes = scene.bytes('acme/secret', 'w.bin')
    for (const [token, status] of [
      [undefined, 401],
      [TOKENS.bob, 404],
    ] as const) {
      const got = await scene.ask('/acme/secret.git/info/lfs/objects/batch', {
        method: 'POST',
        token,
        headers: LFS_JSON,
        body: JSON.stringify({ operation: 'download', objects: [{ oid: oidOf(bytes), size: bytes.length }] }),
      })
      expect([got.status, got.body.toString()]).toEqual([status, expect.not.stringContaining('/-/lfs/')])
    }
  })

  it('counts for the caller that a trusted proxy names, and for one caller if that is no plain address', async () => {
    const clientsRateLimit = { max: 2, windowMs: 3_600_000 }
    const scene = await openUploads({ config: { trustProxy: ['127.0.0.1'], clientsRateLimit } })
    const { target } = await download(scene, 'acme/secret')
    const got: number[] = []
    for (const address of ['unknown', '10.1.2.3:443', 'nonsense', '10.1.2.3'])
      got.push((await scene.ask(target, { headers: { 'x-forwarded-for': address } })).status)
    expect(got).toEqual([200, 200, 429, 200])
  })

  it('of a private repo that is stored is not opened by its digest alone', async () => {
    const scene = await openUploads({ config: { cachePrivate: true } })
    const own = await download(scene, 'acme/secret')
    expect((await scene.ask(own.target)).status).toBe(200)
    await scene.settled()
    // Asked of another repo, a Hub may sign an address without a look at whether there is such an object.
    const object = { oid: oidOf(own.bytes), size: own.bytes.length }
    const actions = { download: { href: `${scene.hub.cdnUrl}/nothing/there` } }
    const body = JSON.stringify({ transfer: 'basic', objects: [{ ...object, actions }] })
    const match = /objects\/batch$/
    scene.hub.faults.add({ where: 'hub', match, times: 1, status: { code: 200, headers: LFS_JSON, body } })
    const { href } = actionOf(await batch(scene, [own.bytes], { operation: 'download' }), 'download')
    const got = await scene.ask(at(scene, href))
    expect([got.status, got.headers['x-error-code']]).toEqual([403, 'TransferLinkRefused'])
    const again = await scene.ask(own.target)
    expect([again.headers['x-cache'], again.body.equals(own.bytes)]).toEqual(['REVALIDATED', true])
    await scene.restart({ cachePrivate: true, offline: true })
    const kept = await scene.ask(own.target)
    expect([kept.whole, kept.body.equals(own.bytes)]).toEqual([true, false])
  })

  it('stays off the disk if a rule says so', async () => {
    const policies = policiesOf('- {match: {repo: acme/open}, action: no-store}')
    const scene = await openScene({ config: { policies } })
    const { target, bytes } = await download(scene, 'acme/open')
    for (let time = 0; time < 2; time += 1) expect((await scene.ask(target)).body.equals(bytes)).toBe(true)
    expect(scene.hub.ledger.bytes('cdn')).toBe(2 * (bytes.length + 1))
  })

  it.each([5, 0])('of a wrong size (%s) does not disturb a download of the file', async (size) => {
    const scene = await openScene()
    const bytes = scene.bytes('acme/open', 'w.bin')
    const got = await scene.ask('/acme/open.git/info/lfs/objects/batch', {
      method: 'POST',
      headers: LFS_JSON,
      body: JSON.stringify({ operation: 'download', objects: [{ oid: oidOf(bytes), size }] }),
    })
    const link = await scene.ask(at(scene, actionOf(got, 'download').href))
    expect([link.status, link.headers['x-error-code']]).toEqual([403, 'TransferLinkRefused'])
    expect((await scene.ask('/acme/open/resolve/main/w.bin')).headers['x-cache']).toBe('MISS')
  })

  it('says that its address has expired when storage refuses it', async () => {
    const scene = await openScene()
    const { target } = await download(scene, 'acme/open')
    scene.hub.faults.add({ where: 'cdn', expireSignedUrls: true })
    const got = await scene.ask(target)
    expect([got.status, got.headers['x-error-code']]).toEqual([403, 'TransferLinkRefused'])
  })
})

describe('an upload by Xet', () => {
  it('is refused before it begins, and the client is warned in the field whose text it prints', async () => {
    const scene = await openUploads()
    const token = await scene.ask('/api/models/alice/notes/xet-write-token/main', { token: TOKENS.alice })
    expect([token.status, token.headers['x-error-code'], token.headers['x-error-message']]).toEqual([
      404,
      'XetDisabled',
      expect.stringContaining('HF_HUB_DISABLE_XET=1'),
    ])
    const preupload = (path: string, agent: string) =>
      scene.ask('/api/models/alice/notes/preupload/main', {
        method: 'POST',
        token: TOKENS.alice,
        headers: { 'content-type': 'application/json', 'user-agent': agent },
        body: JSON.stringify({ files: [{ path, size: 3, sample: '' }] }),
      })
    for (const [path, agent, isWarned] of [
      ['x.bin', 'unknown/None; hf_hub/2.4.0; python/3.11.7', true],
      ['x.bin', 'unknown/None; hf_hub/1.20.1', true],
      // They offer Xet in the batch, or know none.
      ['x.bin', 'unknown/None; hf_hub/1.19.0', false],
      ['x.bin', 'unknown/None; hf_hub/0.36.2', false],
      ['x.bin', 'curl/8', false],
      ['x.txt', 'unknown/None; hf_hub/2.4.0', false],
    ] as const) {
      const got = await preupload(path, agent)
      expect([path, agent, got.headers['x-hf-warning']?.includes('HF_HUB_DISABLE_XET=1') ?? false]).toEqual([
        path,
        agent,
        isWarned,
      ])
    }
    expect(scene.hub.ledger.requests({ url: /xet/ })).toEqual([])
  })
})
