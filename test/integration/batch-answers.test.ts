// What a Hub may say in the answer to a Git LFS batch: addresses and fields that lead nowhere good, and very many of them. No request of
// the mirror goes to a host that is not allowed, and no credential to storage.

import { describe, expect, it } from 'vitest'
import type { Reply } from '../support/ask.ts'
import { oidOf } from '../support/lfs-upload.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const LFS_JSON = { 'content-type': 'application/vnd.git-lfs+json' }
const OBJECT = Buffer.from('some bytes of an object')
const PART_BYTES = 5_000_000

interface Upload {
  readonly href: string
  readonly header: Readonly<Record<string, string>>
}

/** Alice's batch, to which the Hub answers that an upload goes as `upload` says. */
async function batch(
  scene: Scene,
  upload: { readonly href: string; readonly header?: object },
  {
    size = OBJECT.length,
    headers = LFS_JSON,
  }: { readonly size?: number; readonly headers?: Record<string, string> } = {},
): Promise<Reply> {
  const transfer = upload.header !== undefined && 'chunk_size' in upload.header ? 'multipart' : 'basic'
  const body = JSON.stringify({ transfer, objects: [{ oid: oidOf(OBJECT), size, actions: { upload } }] })
  scene.hub.faults.add({ where: 'hub', match: /objects\/batch$/, status: { code: 200, headers, body } })
  return scene.ask('/alice/notes.git/info/lfs/objects/batch', {
    method: 'POST',
    token: TOKENS.alice,
    headers: LFS_JSON,
    body: JSON.stringify({ operation: 'upload', objects: [{ oid: oidOf(OBJECT), size }] }),
  })
}

function uploadIn({ body }: Reply): Upload {
  const { objects } = JSON.parse(body.toString()) as {
    readonly objects: readonly { readonly actions: { readonly upload: Upload } }[]
  }
  return objects[0]?.actions.upload ?? { href: '', header: {} }
}

async function openNotes(): Promise<Scene> {
  const scene = await openScene()
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  return scene
}

describe('an address in the answer to a batch', () => {
  it.each([
    'http://127.0.0.1:9/x',
    'http://169.254.169.254/latest/meta-data',
    'http://[::1]:9/x',
    'http://0x7f000001/x',
    'http://127.0.0.2.example/x',
    'http://127.0.0.2@evil.example/x',
    '//evil.example/x',
    '\\\\evil.example\\x',
    'file:///etc/passwd',
    'unix:/run/control/socket:/x',
    'ftp://127.0.0.2/x',
    'wss://127.0.0.2/x',
    'http://user:pw@127.0.0.2/x',
    `http://${'a'.repeat(100_000)}.example/x`,
    'itself',
  ])('%.40s gets no link of the mirror', async (place) => {
    const scene = await openNotes()
    const href = place === 'itself' ? `${scene.mirror.url}/-/lfs/x` : place
    const got = await batch(scene, { href, header: {} })
    expect([got.status, uploadIn(got).href]).toEqual([200, href])
    expect(got.headers['x-hf-warning']?.length).toBeLessThan(600)
    const lines = scene.mirror.logLines('bypass the mirror')
    expect([lines.length, (lines[0] ?? '').length < 1_000]).toEqual([1, true])
  })

  it('at a route of the mirror itself opens nothing there', async () => {
    const scene = await openNotes()
    for (const path of ['/-/intake/blob', '/-/pins', '/metrics', '/-/lfs/x']) {
      const { href } = uploadIn(await batch(scene, { href: `${scene.hub.url}${path}` }))
      const target = href.slice(scene.mirror.url.length)
      const put = await scene.ask(target, { method: 'PUT', token: TOKENS.alice, body: OBJECT })
      expect([path, put.status >= 400]).toEqual([path, true])
    }
    const reached = scene.hub.ledger.requests({ method: 'PUT' })
    expect(reached.map(({ url, headers }) => [url, headers.authorization === undefined])).toEqual([
      ['/metrics', false],
      ['/-/lfs/x', true],
    ])
  })

  it('is turned whatever the type of the answer, and never appears in log, metrics or audit log', async () => {
    const scene = await openNotes()
    for (const headers of [{}, { 'content-type': 'text/plain' }, { 'content-type': 'text/json' }]) {
      const { href } = uploadIn(
        await batch(scene, { href: `${scene.hub.cdnUrl}/x?sig=SECRETSIG` }, { headers }),
      )
      expect(href.startsWith(`${scene.mirror.url}/-/lfs/`)).toBe(true)
      const target = href.slice(scene.mirror.url.length)
      // One that storage refuses, one of other bytes, and one that does not reach storage.
      await scene.ask(target, { method: 'PUT', body: OBJECT })
      await scene.ask(target, { method: 'PUT', body: 'x' })
      scene.hub.faults.add({ where: 'cdn', resetBeforeHeaders: true })
      await scene.ask(target, { method: 'PUT', body: OBJECT })
      const said = scene.mirror.logText() + (await scene.mirror.auditText()) + (await scene.mirror.metrics())
      expect([said.includes(target.slice(-40)), said.includes('SECRETSIG')]).toEqual([false, false])
    }
  })
})

it('fields in the answer to a batch reach storage only if they are of that transfer', async () => {
  const scene = await openNotes()
  const header = {
    Authorization: `Bearer ${TOKENS.alice}`,
    Cookie: 'a=b',
    Host: 'evil.example',
    'Transfer-Encoding': 'chunked',
    'Content-Length': '3',
    Connection: 'close, x-amz-acl',
    Expect: '100-continue',
    Upgrade: 'h2c',
    'Proxy-Authorization': 'Basic eA==',
    Via: '1.1 other',
    'X-Broken': 'a\r\nInjected: 1',
    'X\r\nInjected': '1',
    'X-Wide': '中',
    'X-Amz-Acl': 'private',
  }
  const { href } = uploadIn(await batch(scene, { href: `${scene.hub.cdnUrl}/x`, header }))
  const headers = { cookie: 'c=d', expect: '100-continue' }
  const target = href.slice(scene.mirror.url.length)
  await scene.ask(target, { method: 'PUT', token: TOKENS.alice, headers, body: OBJECT })
  const [sent] = scene.hub.ledger.requests({ server: 'cdn' })
  expect(sent?.headers).toEqual({
    host: new URL(scene.hub.cdnUrl).host,
    connection: 'keep-alive',
    'accept-encoding': 'identity',
    via: expect.stringMatching(/^1\.1 hubmirror-\w+$/),
    'content-length': String(OBJECT.length),
    'x-amz-acl': 'private',
  })
})

describe('an upload in very many parts', () => {
  /** An answer of about as many bytes a part as that of S3. */
  const inParts = ({ hub }: Scene, count: number) => {
    const header: Record<string, string> = { chunk_size: String(PART_BYTES) }
    for (let part = 1; part <= count; part += 1)
      header[String(part).padStart(5, '0')] =
        `${hub.cdnUrl}/parts?partNumber=${part}&uploadId=${'u'.repeat(700)}`
    return { href: `${hub.url}/api/complete_multipart?uploadId=x`, header }
  }

  it('goes through the mirror with all of them', async () => {
    const scene = await openNotes()
    const upload = inParts(scene, 10_000)
    const got = await batch(scene, upload, { size: 10_000 * PART_BYTES })
    const { href, header } = uploadIn(got)
    const parts = Object.values({ ...header, chunk_size: '' }).filter((url) => url !== '')
    expect([got.status, parts.length, href]).toEqual([
      200,
      10_000,
      `${scene.mirror.url}/api/complete_multipart?uploadId=x`,
    ])
    expect(parts.every((url) => url.startsWith(`${scene.mirror.url}/-/lfs/`))).toBe(true)
    expect(got.headers['x-hf-warning']).toBeUndefined()
  })

  it('is refused where its answer is too long, in words that clients print', async () => {
    const scene = await openNotes()
    const got = await batch(scene, inParts(scene, 24_000), { size: 24_000 * PART_BYTES })
    const { message } = JSON.parse(got.body.toString()) as { readonly message: string }
    expect([got.status, got.headers['x-error-code'], message]).toEqual([
      413,
      'RequestTooLarge',
      expect.stringContaining('longer than 16 MiB'),
    ])
    const used = 'hubmirror_origin_connections_in_progress{kind="relay"}'
    expect(metricValue(await scene.mirror.metrics(), used)).toBe(0)
  })
})
