// The Hub or its storage answers an upload before it has read all of it. The client gets that answer, whenever it reads, and no upload
// counts as done because of it.

import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { Damage } from '../hub-simulator/faults.ts'
import type { Reply } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { oidOf, openUpload } from '../support/lfs-upload.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

/** More than all buffers between a client and the simulator hold. */
const OBJECT = Buffer.alloc(16_000_000, 'some bytes of an object. ')
const OTHER = Buffer.concat([OBJECT.subarray(0, -1), Buffer.from('?')])
const ENDS: readonly (readonly [string, Damage])[] = [
  ['keeps the connection', {}],
  ['ends the connection', { thenClose: 'fin' }],
]
const ROUTES: readonly (readonly [string, 'hub' | 'cdn', string])[] = [
  ['an object of Git LFS', 'cdn', ''],
  ['a commit', 'hub', '/api/models/alice/notes/commit/main'],
  ['a push', 'hub', '/alice/notes.git/git-receive-pack'],
]

async function openNotes(): Promise<Scene> {
  const scene = await openScene()
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  return scene
}

/** Sends the whole request before it reads a byte of the answer, as Python does. Resolves with the head of the answer. */
function sendThenRead(scene: Scene, method: string, target: string, body: Buffer): Promise<string> {
  const { hostname, port } = new URL(scene.mirror.url)
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) }).pause()
    socket.on('error', reject)
    socket.write(
      `${method} ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKENS.alice}\r\nContent-Length: ${body.length}\r\n\r\n`,
    )
    socket.write(body, () => {
      socket.once('data', (bytes: Buffer) => {
        socket.destroy()
        resolve(bytes.toString('latin1').split('\r\n\r\n')[0] ?? '')
      })
      socket.resume()
    })
  })
}

async function targetOf(scene: Scene, target: string, body: Buffer): Promise<readonly [string, string]> {
  if (target !== '') return ['POST', target]
  return ['PUT', (await openUpload(scene, 'alice/notes', body)).target]
}

describe.each(ROUTES)('%s that is refused before its end', (_what, where, route) => {
  it.each(ENDS)('gets the refusal, where the other side %s', async (_how, damage) => {
    const scene = await openNotes()
    const [method, target] = await targetOf(scene, route, OBJECT)
    scene.hub.faults.add({
      where,
      method,
      ...damage,
      atOnce: true,
      times: 2,
      status: { code: 413, headers: { 'Content-Type': 'application/json' }, body: '{"error":"too large"}' },
    })
    const got = await scene.ask(target, { method, token: TOKENS.alice, body: OBJECT })
    expect([got.status, got.whole, got.body.toString()]).toEqual([413, true, '{"error":"too large"}'])
    expect(await sendThenRead(scene, method, target, OBJECT)).toMatch(/^HTTP\/1\.1 413 /)
    await eventually(
      async () =>
        metricValue(await scene.mirror.metrics(), 'hubmirror_origin_connections_in_progress{kind="relay"}'),
      (count) => count === 0,
    )
  })

  it('gets an error of the mirror, where the other side resets the connection', async () => {
    const scene = await openNotes()
    const [method, target] = await targetOf(scene, route, OBJECT)
    scene.hub.faults.add({ where, method, resetBeforeHeaders: true, times: 2 })
    const got = await scene.ask(target, { method, token: TOKENS.alice, body: OBJECT })
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
    expect(await sendThenRead(scene, method, target, OBJECT)).toMatch(/^HTTP\/1\.1 502 /)
  })
})

describe('an upload that the mirror itself refuses before its end', () => {
  const SMALL = Buffer.from('what was announced')

  it.each([
    ['of another length', 'link', 422],
    ['by a forged link', '/-/lfs/forged', 403],
    ['as a batch that is too long', '/alice/notes.git/info/lfs/objects/batch', 413],
    ['as a question that is too long', '/api/models/alice/notes/paths-info/main', 413],
  ] as const)('%s gets the refusal', async (_what, place, status) => {
    const scene = await openNotes()
    const isLink = place === 'link'
    const target = isLink ? (await openUpload(scene, 'alice/notes', SMALL)).target : place
    const method = target.startsWith('/-/') ? 'PUT' : 'POST'
    const got = await scene.ask(target, { method, token: TOKENS.alice, body: OBJECT })
    expect([got.status, got.whole, got.headers['x-error-message']]).toEqual([
      status,
      true,
      expect.any(String),
    ])
    expect(await sendThenRead(scene, method, target, OBJECT)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  })

  it('because it is longer than announced, which only its bytes show, gets the refusal', async () => {
    const scene = await openNotes()
    const upload = await openUpload(scene, 'alice/notes', SMALL)
    const got = await upload.putInChunks([SMALL, OBJECT])
    expect([got.status, got.headers['x-error-code']]).toEqual([422, 'UploadMismatch'])
  })

  it('on a mirror without writes gets the refusal', async () => {
    const scene = await openScene({ config: { writes: 'deny' } })
    for (const [method, target] of [
      ['POST', '/api/models/alice/notes/commit/main'],
      ['POST', '/alice/notes.git/git-receive-pack'],
    ] as const)
      expect(await sendThenRead(scene, method, target, OBJECT)).toMatch(/^HTTP\/1\.1 403 /)
  })
})

describe('storage that calls an upload done before it has read all of it', () => {
  const done = (code: number): Damage => ({ status: { code, headers: { ETag: '"made up"' } } })
  const expectRefused = async (scene: Scene, { status, headers }: Reply): Promise<void> => {
    expect([status, headers['x-error-code'], headers['etag']]).toEqual([502, 'OriginBadAnswer', undefined])
    await eventually(
      () => scene.mirror.app.storeStatus().reservedBytes,
      (bytes) => bytes === 0,
    )
    expect(scene.world.lfsObjects.has(oidOf(OBJECT))).toBe(false)
  }

  it.each([200, 201, 204])('is not believed (%i)', async (code) => {
    const scene = await openNotes()
    const upload = await openUpload(scene, 'alice/notes', OBJECT)
    scene.hub.faults.add({ where: 'cdn', ...done(code), atOnce: true })
    await expectRefused(scene, await upload.put(OBJECT))
  })

  it('is not believed by a client that has not sent everything yet', async () => {
    const scene = await openNotes()
    const upload = await openUpload(scene, 'alice/notes', OBJECT)
    scene.hub.faults.add({ where: 'cdn', ...done(200) })
    const { request, reply } = upload.begin()
    request.write(OBJECT.subarray(0, 100_000))
    await expectRefused(scene, await reply)
    request.destroy()
  })

  it('is not believed of a body without a length, of other bytes, or of a part', async () => {
    const scene = await openScene({ hub: { partBytes: 6_000_000 } })
    scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
    const upload = await openUpload(scene, 'alice/notes', OBJECT)
    scene.hub.faults.add({ where: 'cdn', ...done(200), times: 2 })
    await expectRefused(scene, await upload.part(1, OBJECT.subarray(0, 6_000_000)))
    expect((await upload.part(1, OBJECT.subarray(0, 6_000_000))).status).toBe(502)
    const whole = await openNotes()
    const other = await openUpload(whole, 'alice/notes', OBJECT)
    whole.hub.faults.add({ where: 'cdn', ...done(200), times: 2 })
    await expectRefused(whole, await other.putInChunks([OBJECT]))
    await expectRefused(whole, await other.put(OTHER))
  })
})

it('a text that is passed through keeps its bytes, whatever its length', async () => {
  const scene = await openNotes()
  const line = (value: object) => `${JSON.stringify(value)}\n`
  const content = Buffer.alloc(3_000_000, 'a long text. ')
  const body =
    line({ key: 'header', value: { summary: 'long', description: '' } }) +
    line({
      key: 'file',
      value: { path: 'long.txt', content: content.toString('base64'), encoding: 'base64' },
    })
  const got = await scene.ask('/api/models/alice/notes/commit/main', {
    method: 'POST',
    token: TOKENS.alice,
    headers: { 'content-type': 'text/plain' },
    body,
  })
  expect(got.status).toBe(200)
  expect(scene.bytes('alice/notes', 'long.txt').equals(content)).toBe(true)
})
