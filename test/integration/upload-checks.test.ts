// What a client uploads through a transfer link must be what it has announced in the batch. Storage never gets a whole object
// that is another one.

import { expect, it } from 'vitest'
import type { Reply } from '../support/ask.ts'
import { oidOf, openUpload } from '../support/lfs-upload.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'

const PART_BYTES = 400_000
const OBJECT = Buffer.alloc(1_000_000, 'some bytes of an object. ')
const OTHER = Buffer.concat([OBJECT.subarray(0, -1), Buffer.from('?')])
const PARTS = [1, 2, 3].map((number) => OBJECT.subarray((number - 1) * PART_BYTES, number * PART_BYTES))
const IN_PARTS = { hub: { partBytes: PART_BYTES } }

/** A scene in which Alice may upload an object. */
async function openNotes(options: SceneOptions = {}, bytes = OBJECT) {
  const scene = await openScene(options)
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  return { scene, ...(await openUpload(scene, 'alice/notes', bytes)) }
}

/** That the upload was refused with a sentence that git-lfs prints, and storage has no such object. */
function expectRefused(scene: Scene, { status, headers, body }: Reply): void {
  expect([status, headers['x-error-code']]).toEqual([422, 'UploadMismatch'])
  const { message } = JSON.parse(body.toString()) as { readonly message: string }
  expect([message, headers['x-error-message']]).toEqual([
    expect.stringContaining('size or the sha256'),
    message,
  ])
  expect([scene.world.lfsObjects.has(oidOf(OBJECT)), scene.world.lfsObjects.has(oidOf(OTHER))]).toEqual([
    false,
    false,
  ])
}

it.each([
  ['shorter', OBJECT.subarray(1)],
  ['longer', Buffer.concat([OBJECT, Buffer.from('x')])],
  ['empty', Buffer.alloc(0)],
])('a body that is %s is refused before a byte of it is passed on', async (_how, body) => {
  const { scene, put } = await openNotes()
  expectRefused(scene, await put(body))
  expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
})

it('a body with another sha256 never ends at storage', async () => {
  const { scene, put } = await openNotes()
  expectRefused(scene, await put(OTHER))
  const [sent] = scene.hub.ledger.requests({ server: 'cdn' })
  expect([sent?.method, sent?.headers['content-length'], sent?.status]).toEqual([
    'PUT',
    String(OBJECT.length),
    0,
  ])
  expect((await put(OBJECT)).status).toBe(200)
  expect(scene.world.lfsObjects.has(oidOf(OBJECT))).toBe(true)
})

it.each([
  ['shorter', [OBJECT.subarray(1)]],
  ['longer', [OBJECT, Buffer.from('x')]],
  ['of other bytes', [OTHER]],
])('a body of unknown length that turns out to be %s never ends at storage', async (_how, chunks) => {
  const { scene, putInChunks } = await openNotes()
  expectRefused(scene, await putInChunks(chunks))
})

it('a body of unknown length is sent to storage with its length', async () => {
  const { scene, putInChunks } = await openNotes()
  const { status } = await putInChunks([OBJECT])
  const [sent] = scene.hub.ledger.requests({ server: 'cdn' })
  expect([status, sent?.headers['content-length']]).toEqual([200, String(OBJECT.length)])
})

it('an empty object is taken, and nothing else in its place', async () => {
  const { put } = await openNotes({}, Buffer.alloc(0))
  expect((await put(Buffer.alloc(0))).status).toBe(200)
  expect((await put(Buffer.from('x'))).status).toBe(422)
})

it('a part of another size is refused before a byte of it is passed on', async () => {
  const { scene, part } = await openNotes(IN_PARTS)
  expectRefused(scene, await part(1, OBJECT.subarray(0, 1)))
  expectRefused(scene, await part(3, OBJECT.subarray(0, PART_BYTES)))
  expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
})

it('parts in order are checked as a whole: the last one of another object never ends at storage', async () => {
  const { scene, part, complete } = await openNotes(IN_PARTS)
  const [first, second, third] = PARTS as [Buffer, Buffer, Buffer]
  const etags = [(await part(1, first)).headers['etag'], (await part(2, second)).headers['etag']]
  expectRefused(scene, await part(3, OTHER.subarray(2 * PART_BYTES)))
  expect(scene.hub.ledger.requests({ server: 'cdn' }).map(({ status }) => status)).toEqual([200, 200, 0])
  // The client may send it again. It is not known any more what came before it.
  etags.push((await part(3, third)).headers['etag'])
  expect((await complete(etags)).status).toBe(200)
  expect(scene.world.lfsObjects.has(oidOf(OBJECT))).toBe(true)
})

it.each([
  ['in another order', [2, 1, 3]],
  ['one of them again', [1, 2, 2, 3]],
])('parts that come %s are left to the check of the Hub', async (_how, order) => {
  const { scene, part, complete } = await openNotes(IN_PARTS)
  const etags: (string | undefined)[] = []
  const wrong = [...PARTS.slice(0, 2), OTHER.subarray(2 * PART_BYTES)]
  for (const bytes of [wrong, PARTS]) {
    for (const number of order) {
      const put = await part(number, bytes[number - 1] ?? OBJECT)
      expect(put.status).toBe(200)
      etags[number - 1] = put.headers['etag']
    }
    expect((await complete(etags)).status).toBe(bytes === wrong ? 400 : 200)
  }
  expect(scene.world.lfsObjects.has(oidOf(OBJECT))).toBe(true)
})

it('two clients that upload the same object in parts at once do not disturb each other', async () => {
  const { scene, ...one } = await openNotes(IN_PARTS)
  const other = await openUpload(scene, 'alice/notes', OBJECT)
  const etags: (string | undefined)[] = []
  for (const [index, bytes] of PARTS.entries()) {
    const both = await Promise.all([one.part(index + 1, bytes), other.part(index + 1, bytes)])
    expect(both.map(({ status }) => status)).toEqual([200, 200])
    etags.push(both[0]?.headers['etag'])
  }
  expect((await one.complete(etags)).status).toBe(200)
})
