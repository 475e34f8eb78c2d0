// Filters, proxies and CDNs that answer a transfer of an object in the place of storage. Their pages reach no client, and no upload
// counts as done because of one. The client reads who has answered, and whether to try again. What storage itself says stays.

import { describe, expect, it } from 'vitest'
import type { Fault } from '../hub-simulator/faults.ts'
import { lfs } from '../hub-simulator/repos.ts'
import type { Reply } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { oidOf, openUpload } from '../support/lfs-upload.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'

const HTML = { 'Content-Type': 'text/html; charset=utf-8', Server: 'gateway' }
const ALWAYS = { times: Number.POSITIVE_INFINITY }
const LFS_JSON = { 'content-type': 'application/vnd.git-lfs+json' }
const OBJECT = Buffer.alloc(1_000_000, 'some bytes of an object. ')
const PART_BYTES = 400_000
/** Longer than the mirror rests after a rate limit. */
const WAIT_MS = 60_000

type Edge = Omit<Fault, 'where'>
/** What answers, and the status, the code and the words that a client gets in its place. */
type Page = readonly [string, Edge, number, string | undefined, RegExp]

const page = (code: number, headers: Readonly<Record<string, string>> = {}): Edge => ({
  edge: { code, headers: { ...HTML, ...headers }, body: '<html>this is a page' },
})

/** Of something in the place of storage. */
const PAGES: readonly Page[] = [
  [
    'a login page',
    { captivePortal: true },
    502,
    'OriginIntercepted',
    /stores the Hub's files .* answered 200/,
  ],
  ['a filter', page(403), 502, 'OriginIntercepted', /stores the Hub's files .* answered 403/],
  [
    'a filter that writes XHTML',
    { edge: { code: 403, headers: { 'Content-Type': 'application/xhtml+xml' }, body: '<html>' } },
    502,
    'OriginIntercepted',
    /answered 403/,
  ],
  [
    'a proxy that asks for a password, without a page',
    { edge: { code: 407, headers: { 'Proxy-Authenticate': 'Basic realm="p"' }, body: 'sign in' } },
    502,
    'OriginIntercepted',
    /answered 407/,
  ],
  ['a network that wants a login', page(511), 502, 'OriginIntercepted', /answered 511/],
  ['a gateway that has waited in vain', page(408), 502, 'HubInTrouble', /answered 408/],
  ['maintenance', page(503, { 'Retry-After': '40' }), 503, 'HubUnavailable', /unavailable/],
  [
    'a CDN, in plain text',
    { edge: { code: 520, headers: { 'Content-Type': 'text/plain' }, body: 'error code: 520' } },
    502,
    'HubInTrouble',
    /answered 520/,
  ],
  [
    'a rate limit',
    page(429, { 'Retry-After': '17' }),
    429,
    undefined,
    /too many requests|limits the requests of this mirror/,
  ],
]

/** That a client of Git LFS can print why, and gets nothing of what the other side has sent. */
function expectWords({ status, headers, body }: Reply, [, , wanted, code, words]: Page): void {
  expect([status, headers['x-error-code'], headers['content-type']]).toEqual([
    wanted,
    code,
    expect.stringMatching(/^application\/json/),
  ])
  const { message } = JSON.parse(body.toString()) as { readonly message: string }
  expect([message, message]).toEqual([expect.stringMatching(words), headers['x-error-message']])
  expect(JSON.stringify(headers) + body.toString()).not.toMatch(/<|proxy-auth|realm/i)
  const wait = { 429: '17', 503: '40' }[wanted]
  expect(headers['retry-after']).toBe(wait)
}

async function openNotes(options: SceneOptions = {}) {
  const scene = await openScene(options)
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  return { scene, upload: await openUpload(scene, 'alice/notes', OBJECT) }
}

describe.each(PAGES)('%s in the place of storage', (...row) => {
  const [, fault] = row

  it.each([
    ['before the body has arrived', {}],
    ['after the body', { afterBody: true }],
  ] as const)('is not taken for the answer to an upload that it gives %s', async (_when, more) => {
    const { scene, upload } = await openNotes()
    scene.hub.faults.add({ where: 'cdn', method: 'PUT', ...fault, ...more })
    expectWords(await upload.put(OBJECT), row)
    // Nothing was stored as if it were at the Hub.
    await eventually(
      () => scene.mirror.app.storeStatus().reservedBytes,
      (bytes) => bytes === 0,
    )
    scene.clock.advance(WAIT_MS)
    expect((await upload.put(OBJECT)).status).toBe(200)
    expect(scene.world.lfsObjects.has(oidOf(OBJECT))).toBe(true)
  })

  it('is not taken for the answer to a part of an upload', async () => {
    const { scene, upload } = await openNotes({ hub: { partBytes: PART_BYTES } })
    scene.hub.faults.add({ where: 'cdn', method: 'PUT', ...fault })
    expectWords(await upload.part(1, OBJECT.subarray(0, PART_BYTES)), row)
    scene.clock.advance(WAIT_MS)
    expect((await upload.part(1, OBJECT.subarray(0, PART_BYTES))).status).toBe(200)
  })

  it('is not taken for the answer to the end of an upload', async () => {
    const scene = await openScene()
    scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
    const href = `${scene.hub.cdnUrl}/complete`
    const header = { chunk_size: '10', '00001': `${scene.hub.cdnUrl}/part` }
    const upload = await answeredBatch(scene, { actions: { upload: { href, header } } })
    scene.hub.faults.add({ where: 'cdn', method: 'POST', ...fault })
    expectWords(await scene.ask(upload, { method: 'POST', headers: LFS_JSON, body: '{}' }), row)
  })

  it('is named to a download, and not taken for an expired address', async () => {
    const scene = await openScene()
    const { target, bytes } = await download(scene)
    const handle = scene.hub.faults.add({ where: 'cdn', ...ALWAYS, ...fault })
    expectWords(await scene.ask(target), row)
    handle.remove()
    scene.clock.advance(WAIT_MS)
    expect((await scene.ask(target)).body.equals(bytes)).toBe(true)
  })

  it('is named to a download whose size storage has already shown', async () => {
    const scene = await openScene()
    const { target } = await download(scene)
    scene.hub.faults.add({ where: 'cdn', skip: 1, ...ALWAYS, ...fault })
    expectWords(await scene.ask(target), row)
  })

  it('is named to a download of a file', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'cdn', ...ALWAYS, ...fault })
    const { status, headers, body } = await scene.ask('/acme/open/resolve/main/w.bin')
    const [, , wanted, code, words] = row
    expect([status, headers['x-error-code'], headers['x-error-message']]).toEqual([
      wanted,
      code,
      expect.stringMatching(words),
    ])
    expect(body.toString()).not.toContain('<')
  })

  it.each([
    ['public', undefined],
    ['private', TOKENS.alice],
  ] as const)('is named to the download of a blob of the registry from a %s repo', async (state, token) => {
    const scene = await openScene()
    const repo = scene.world.model('acme/gguf')
    repo.commit({ 'model-Q4_K_M.gguf': lfs('weights of a model') })
    if (state === 'private') repo.makePrivate(['alice'])
    scene.hub.faults.add({ where: 'cdn', ...ALWAYS, ...fault })
    const { status, headers, body } = await scene.ask(
      `/v2/acme/gguf/blobs/sha256:${oidOf(Buffer.from('weights of a model'))}`,
      { token },
    )
    const [, , wanted, code, words] = row
    expect([status, headers['x-error-code'], headers['x-error-message']]).toEqual([
      wanted,
      code,
      expect.stringMatching(words),
    ])
    expect(body.toString()).not.toContain('<')
  })

  it('is named where it answers a request that passes through', async () => {
    const scene = await openScene()
    scene.hub.faults.add({ where: 'hub', ...ALWAYS, ...fault })
    const { status, headers } = await scene.ask('/acme/open/raw/main/w.bin')
    const [, , wanted] = row
    // A page may be what was asked for.
    expect([status, headers['proxy-authenticate']]).toEqual([
      'captivePortal' in fault ? expect.any(Number) : wanted,
      undefined,
    ])
  })
})

/** The address at the mirror of the upload in an answer to a batch that is not the simulator's own. */
async function answeredBatch(scene: Scene, object: object): Promise<string> {
  const answer = { transfer: 'multipart', objects: [{ oid: oidOf(OBJECT), size: 10, ...object }] }
  const status = { code: 200, headers: LFS_JSON, body: JSON.stringify(answer) }
  scene.hub.faults.add({ where: 'hub', match: /objects\/batch$/, status })
  const got = await scene.ask('/alice/notes.git/info/lfs/objects/batch', {
    method: 'POST',
    token: TOKENS.alice,
    headers: LFS_JSON,
    body: JSON.stringify({ operation: 'upload', objects: [{ oid: oidOf(OBJECT), size: 10 }] }),
  })
  const { objects } = JSON.parse(got.body.toString()) as {
    readonly objects: readonly { readonly actions: { readonly upload: { readonly href: string } } }[]
  }
  return objects[0]?.actions.upload.href.slice(scene.mirror.url.length) ?? ''
}

/** The address of an object for git-lfs, and its bytes. */
async function download(scene: Scene): Promise<{ readonly target: string; readonly bytes: Buffer }> {
  const bytes = scene.bytes('acme/open', 'w.bin')
  const got = await scene.ask('/acme/open.git/info/lfs/objects/batch', {
    method: 'POST',
    headers: LFS_JSON,
    body: JSON.stringify({ operation: 'download', objects: [{ oid: oidOf(bytes), size: bytes.length }] }),
  })
  const { objects } = JSON.parse(got.body.toString()) as {
    readonly objects: readonly { readonly actions: { readonly download: { readonly href: string } } }[]
  }
  return { target: objects[0]?.actions.download.href.slice(scene.mirror.url.length) ?? '', bytes }
}
