// What a client uploads to a public repo is in the store as soon as it is committed, and is not fetched from the CDN. What may
// not be stored, or turns out to be wrong, leaves nothing behind, and no upload fails or waits because of it.

import { expect, it } from 'vitest'
import type { Reply } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { oidOf, openUpload } from '../support/lfs-upload.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'
import { filesBelow, metricValue } from '../support/start-mirror.ts'
import { smallBlobsIn } from '../support/stored-blobs.ts'

const PART_BYTES = 400_000
const OBJECT = Buffer.alloc(1_000_000, 'some bytes of an object. ')
const OTHER = Buffer.concat([OBJECT.subarray(0, -1), Buffer.from('?')])
const FILE = '/alice/notes/resolve/main/w.bin'
/** The question whether the repo is public. */
const INFO = /^\/api\/models\/alice\/notes\?/

async function openNotes(options: SceneOptions = {}, bytes = OBJECT) {
  const scene = await openScene(options)
  const repo = scene.world.model('alice/notes')
  repo.commit({ 'x.txt': 'x' })
  return { scene, repo, upload: await openUpload(scene, 'alice/notes', bytes) }
}

const fetched = ({ hub }: Scene): number => hub.ledger.requests({ server: 'cdn', method: 'GET' }).length

/** That the committed file can be read, and how many requests to the CDN that took. */
async function readBack(scene: Scene, bytes: Buffer, token?: string): Promise<number> {
  const before = fetched(scene)
  for (const method of ['HEAD', 'GET']) {
    const got = await scene.ask(FILE, { method, token })
    expect([got.status, got.headers['content-length']]).toEqual([200, String(bytes.length)])
    if (method === 'GET') expect(got.body.equals(bytes)).toBe(true)
  }
  await scene.settled()
  return fetched(scene) - before
}

/** The blob or the partial of the object in the store. */
async function pathsOf({ mirror }: Scene, bytes: Buffer): Promise<readonly string[]> {
  return [...(await filesBelow(mirror.cacheDir)).keys()].filter((path) => path.includes(oidOf(bytes)))
}

/** Resolves when the mirror has begun to store the object. */
async function untilStoring(scene: Scene, bytes: Buffer = OBJECT): Promise<void> {
  await eventually(
    () => pathsOf(scene, bytes),
    (paths) => paths.length > 0,
  )
}

/** That neither a blob nor a partial of the object is in the store. */
async function expectNothingStored(scene: Scene, bytes = OBJECT): Promise<void> {
  await eventually(
    () => pathsOf(scene, bytes),
    (paths) => paths.length === 0,
  )
  expect(scene.mirror.app.storeStatus().reservedBytes).toBe(0)
}

it.each([
  ['of a megabyte', OBJECT],
  ['that is small', Buffer.from('a small object')],
])('an object %s that was uploaded in one request is not fetched', async (_how, bytes) => {
  const { scene, upload } = await openNotes({}, bytes)
  expect((await upload.put(bytes)).status).toBe(200)
  expect((await upload.commit()).status).toBe(200)
  expect(await readBack(scene, bytes)).toBe(0)
  await scene.restart()
  expect(await readBack(scene, bytes)).toBe(0)
})

it('an object that was uploaded in parts, one after the other, is not fetched', async () => {
  const { scene, upload } = await openNotes({ hub: { partBytes: PART_BYTES } })
  const etags: (string | undefined)[] = []
  for (let number = 1; number <= 3; number += 1) {
    const put = await upload.part(number, OBJECT.subarray((number - 1) * PART_BYTES, number * PART_BYTES))
    expect(put.status).toBe(200)
    etags.push(put.headers['etag'])
  }
  expect((await upload.complete(etags)).status).toBe(200)
  expect((await upload.commit()).status).toBe(200)
  expect(await readBack(scene, OBJECT)).toBe(0)
})

it('nothing of a private repo is written', async () => {
  const { scene, repo, upload } = await openNotes()
  repo.makePrivate(['alice'])
  const { request, reply } = upload.begin()
  request.write(OBJECT.subarray(0, 500_000))
  await eventually(
    () => scene.hub.ledger.requests({ server: 'cdn', method: 'PUT' }),
    (puts) => puts.length > 0,
  )
  await expectNothingStored(scene)
  request.end(OBJECT.subarray(500_000))
  expect((await reply).status).toBe(200)
  expect((await upload.commit()).status).toBe(200)
  expect(await readBack(scene, OBJECT, TOKENS.alice)).toBe(1)
  await expectNothingStored(scene)
})

it('with HUBMIRROR_CACHE_PRIVATE an object of a private repo is stored, for those who may read it', async () => {
  const { scene, repo, upload } = await openNotes({ config: { cachePrivate: true } })
  repo.makePrivate(['alice'])
  expect((await upload.put(OBJECT)).status).toBe(200)
  expect((await upload.commit()).status).toBe(200)
  expect(await readBack(scene, OBJECT, TOKENS.alice)).toBe(0)
  expect([(await scene.ask(FILE)).status, (await scene.ask(FILE, { token: TOKENS.bob })).status]).toEqual([
    401, 404,
  ])
})

it.each([
  ['turns private', (scene: Scene) => void scene.world.model('alice/notes').makePrivate(['alice'])],
  ['gets a gate', (scene: Scene) => void scene.world.model('alice/notes').gated('manual')],
  [
    'is not called public by the Hub any more',
    ({ hub }: Scene) => void hub.faults.add({ where: 'hub', match: INFO, status: { code: 503 }, times: 100 }),
  ],
])('an object of a repo that %s during the upload is not stored', async (_how, change) => {
  const { scene, upload } = await openNotes()
  const { request, reply } = upload.begin()
  request.write(OBJECT.subarray(0, 500_000))
  await untilStoring(scene)
  scene.clock.advance(1_000)
  change(scene)
  request.end(OBJECT.subarray(500_000))
  expect((await reply).status).toBe(200)
  await expectNothingStored(scene)
})

it('a write that passes while the mirror asks does not keep an object from being stored', async () => {
  const { scene, upload } = await openNotes()
  const { request, reply } = upload.begin()
  request.write(OBJECT.subarray(0, 500_000))
  await untilStoring(scene)
  scene.clock.advance(1_000)
  scene.hub.faults.add({ where: 'hub', match: INFO, stallHeaders: true })
  request.end(OBJECT.subarray(500_000))
  expect((await reply).status).toBe(200)
  await scene.hub.faults.whenStalled()
  scene.clock.advance(1_000)
  expect((await upload.commit()).status).toBe(200)
  scene.hub.faults.release()
  expect(await readBack(scene, OBJECT)).toBe(0)
})

it.each([
  ['with another sha256', async (put: (body: Buffer) => Promise<Reply>) => (await put(OTHER)).status, 422],
  ['that storage refuses', async (put: (body: Buffer) => Promise<Reply>) => (await put(OBJECT)).status, 503],
])('an object %s is not stored', async (_how, send, status) => {
  const { scene, upload } = await openNotes()
  if (status === 503) scene.hub.faults.add({ where: 'cdn', status: { code: 503 } })
  expect(await send((body) => upload.put(body))).toBe(status)
  await expectNothingStored(scene)
})

it('an upload that breaks off in its middle leaves nothing behind', async () => {
  const { scene, upload } = await openNotes()
  const { request, reply } = upload.begin()
  reply.catch(() => undefined)
  request.write(OBJECT.subarray(0, 500_000))
  await untilStoring(scene)
  request.destroy()
  await expectNothingStored(scene)
})

it('an upload in parts that the client gives up leaves nothing behind when the mirror stops', async () => {
  const { scene, upload } = await openNotes({ hub: { partBytes: PART_BYTES } })
  expect((await upload.part(1, OBJECT.subarray(0, PART_BYTES))).status).toBe(200)
  await scene.restart()
  await expectNothingStored(scene)
})

it.each([
  ['has other bytes', OTHER.subarray(500_000)],
  ['breaks off', undefined],
])(
  'two uploads of one object at once, the first of which %s, leave nothing wrong behind',
  async (_how, rest) => {
    const { scene, upload } = await openNotes()
    const { request, reply } = upload.begin()
    reply.catch(() => undefined)
    request.write(OBJECT.subarray(0, 500_000))
    await untilStoring(scene)
    const second = await openUpload(scene, 'alice/notes', OBJECT)
    const other = second.begin()
    other.request.write(OBJECT.subarray(0, 500_000))
    await scene.hub.ledger.whenSeen({ server: 'cdn', method: 'PUT' }, 2)
    if (rest === undefined) request.destroy()
    else {
      request.end(rest)
      expect((await reply).status).toBe(422)
    }
    await expectNothingStored(scene)
    other.request.end(OBJECT.subarray(500_000))
    expect((await other.reply).status).toBe(200)
    expect((await upload.commit()).status).toBe(200)
    // The second could not be stored while the first was.
    expect(await readBack(scene, OBJECT)).toBe(1)
  },
)

it('a download of the same bytes does not wait for the upload', async () => {
  const scene = await openScene()
  const bytes = scene.bytes('acme/open', 'w.bin')
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  scene.world.lfsObjects.delete(oidOf(bytes))
  const upload = await openUpload(scene, 'alice/notes', bytes)
  const { request, reply } = upload.begin()
  request.write(bytes.subarray(0, 1_000_000))
  await untilStoring(scene, bytes)
  const got = await scene.ask('/acme/open/resolve/main/w.bin')
  expect([got.headers['x-cache'], got.body.equals(bytes)]).toEqual(['MISS', true])
  request.end(bytes.subarray(1_000_000))
  expect((await reply).status).toBe(200)
  await scene.settled()
  expect((await scene.ask('/acme/open/resolve/main/w.bin')).body.equals(bytes)).toBe(true)
})

it('a store without space for the object, or a rule against it, does not disturb the upload', async () => {
  for (const config of [
    { cacheMaxSizeBytes: 500_000 },
    { policies: policiesOf('- {match: {repo: alice/notes}, action: no-store}') },
  ]) {
    const { scene, upload } = await openNotes({ config })
    expect((await upload.put(OBJECT)).status).toBe(200)
    await expectNothingStored(scene)
    expect((await upload.commit()).status).toBe(200)
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_cache_blobs')).toBe(0)
  }
})

it.each([
  ['{file: "*.bin"}', 'no-store', false],
  ['{file: "*.bin"}', 'deny', false],
  ['{revision: main}', 'no-store', false],
  ['{repo: alice/*, size: ">500KB"}', 'no-store', false],
  ['{size: ">500KB"}', 'deny', false],
  ['{size: ">2MB"}', 'no-store', true],
  ['{repo: acme/*, file: "*.bin"}', 'no-store', true],
] as const)(
  'with the rule %s %s an object that may be such a file is stored: %j',
  async (match, action, isStored) => {
    const policies = policiesOf(`- {match: ${match}, action: ${action}}`)
    const { scene, upload } = await openNotes({ config: { policies } })
    const { request, reply } = upload.begin()
    request.write(OBJECT.subarray(0, 500_000))
    if (isStored) await untilStoring(scene)
    else await scene.hub.ledger.whenSeen({ server: 'cdn', method: 'PUT' })
    expect((await pathsOf(scene, OBJECT)).length > 0).toBe(isStored)
    request.end(OBJECT.subarray(500_000))
    expect((await reply).status).toBe(200)
    if (!isStored) await expectNothingStored(scene)
  },
)

it('parts of the same object for two repos do not mix, though the Hub gives both uploads one name', async () => {
  const scene = await openScene({ hub: { partBytes: PART_BYTES } })
  scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
  scene.world.model('alice/hidden').private(['alice']).commit({ 'x.txt': 'x' })
  const hidden = await openUpload(scene, 'alice/hidden', OBJECT)
  const open = await openUpload(scene, 'alice/notes', OBJECT)
  const send = async ({ part }: typeof open, number: number, from: Buffer): Promise<number> =>
    (await part(number, from.subarray((number - 1) * PART_BYTES, number * PART_BYTES))).status
  for (const other of [OBJECT, Buffer.alloc(OBJECT.length, 'other bytes')]) {
    const sent = [
      await send(hidden, 1, OBJECT),
      await send(open, 1, other),
      await send(hidden, 2, OBJECT),
      await send(hidden, 3, OBJECT),
    ]
    expect(sent).toEqual([200, 200, 200, 200])
  }
  await scene.restart()
  await expectNothingStored(scene)
})

it('a small object of a private repo is not in the database either', async () => {
  const bytes = Buffer.from('a small object')
  const { scene, repo, upload } = await openNotes({}, bytes)
  repo.makePrivate(['alice'])
  expect((await upload.put(bytes)).status).toBe(200)
  expect((await upload.commit()).status).toBe(200)
  const { cacheDir } = scene.mirror
  await scene.mirror.close({ keepDir: true })
  expect(JSON.stringify([...(await smallBlobsIn(cacheDir))])).not.toContain(oidOf(bytes))
})
