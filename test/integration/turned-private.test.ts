// A repo that turns private and gets a new commit while its last proof of being public still counts.

import { expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

/** Reading ahead asks whether the repo is public by itself. */
const ALONE = { readAhead: 'off' } as const
const FILES = Object.fromEntries(
  Array.from({ length: 12 }, (_, index) => [`f${index}.json`, `{"n":${index}}\n`]),
)
const SECRETS = {
  ...Object.fromEntries(Object.keys(FILES).map((name) => [name, `{"secret":"${name}"}\n`])),
  'large.bin': lfs({ sizeBytes: 300_000, seed: 4711 }),
  'model-Q4_K_M.gguf': lfs({ sizeBytes: 200_000, seed: 4712 }),
}

/** The question whether the repo is public. */
const INFO = /^\/api\/models\/acme\/turns\?/

/** A scene whose mirror has found the repo public. */
async function openTurning(): Promise<Scene> {
  const world = mirrorWorld()
  world.model('acme/turns').commit(FILES)
  const scene = await openScene({ world, config: ALONE })
  expect((await scene.ask('/acme/turns/resolve/main/f0.json')).status).toBe(200)
  return scene
}

/** The same, where the repo has turned private since, and has a new commit. */
async function openTurned(): Promise<{ readonly scene: Scene; readonly commit: string }> {
  const scene = await openTurning()
  const repo = scene.world.model('acme/turns')
  repo.makePrivate(['alice'])
  const commit = repo.commit(SECRETS)
  scene.clock.advance(20_000)
  return { scene, commit }
}

it.each([
  ['by branch', false],
  ['by commit, after its listing', true],
] as const)('what a member requests %s is neither stored nor given to others', async (_how, isListed) => {
  const { scene, commit } = await openTurned()
  const token = TOKENS.alice
  const revision = isListed ? commit : 'main'
  if (isListed)
    await scene.ask(`/api/models/acme/turns/tree/${commit}?recursive=true&expand=false`, { token })
  for (const name of Object.keys(SECRETS))
    expect((await scene.ask(`/acme/turns/resolve/${revision}/${name}`, { token })).status).toBe(200)
  await scene.settled()
  for (const name of Object.keys(SECRETS)) {
    for (const method of ['HEAD', 'GET']) {
      const got = await scene.ask(`/acme/turns/resolve/${commit}/${name}`, { method })
      expect([name, got.status, got.headers['etag']]).toEqual([name, 401, undefined])
    }
  }
  expect(scene.hub.ledger.requests({ url: /turns/ }).length).toBeGreaterThan(0)
})

it('what a member lists of a new commit is neither stored nor described to others', async () => {
  const { scene, commit } = await openTurned()
  const tree = `/api/models/acme/turns/tree/${commit}?recursive=true&expand=false`
  expect((await scene.ask(tree, { token: TOKENS.alice })).status).toBe(200)
  await scene.settled()
  const head = await scene.ask(`/acme/turns/resolve/${commit}/large.bin`, { method: 'HEAD' })
  expect([head.status, head.headers['etag'], head.headers['x-linked-size']]).toEqual([
    401,
    undefined,
    undefined,
  ])
  expect((await scene.ask(tree)).status).toBe(401)
})

it('what a member requests while the Hub does not say whether the repo is still public is not stored', async () => {
  const { scene } = await openTurned()
  const blobs = async () => metricValue(await scene.mirror.metrics(), 'hubmirror_cache_blobs')
  const before = await blobs()
  scene.hub.faults.add({ where: 'hub', match: INFO, status: { code: 503 }, times: 100 })
  for (const method of ['HEAD', 'GET', 'GET']) {
    const got = await scene.ask('/acme/turns/resolve/main/large.bin', { method, token: TOKENS.alice })
    expect(got.status).toBe(200)
  }
  await scene.settled()
  expect(await blobs()).toBe(before)
})

it.each([
  ['a file', '/acme/turns/resolve/main/large.bin', '/acme/turns/resolve/main/secret.json'],
  ['a listing', '/api/models/acme/turns/tree/main', '/api/models/acme/turns/tree/main'],
])('%s that a member requests while an older question is open is not kept', async (_what, first, second) => {
  const world = mirrorWorld()
  const repo = world.model('acme/turns')
  repo.commit({ 'large.bin': SECRETS['large.bin'] })
  const scene = await openScene({ world, config: ALONE })
  // The head says that the repo is public, and is from before the change.
  scene.hub.faults.add({ where: 'hub', match: INFO, stallAfterBytes: 1 })
  const asked = scene.ask(first)
  await scene.hub.faults.whenStalled()
  repo.makePrivate(['alice'])
  repo.commit({ 'secret.json': '{"a":"secret.json"}' })
  scene.clock.advance(1_000)
  scene.hub.ledger.clear()
  const got = scene.ask(second, { token: TOKENS.alice })
  await eventually(
    () => scene.hub.ledger.requests({ url: new RegExp(second) }),
    (requests) => requests.some(({ done }) => done),
  )
  scene.hub.faults.release()
  expect((await got).body.toString()).toContain('secret.json')
  await asked
  await scene.settled()
  await scene.hub.stop()
  expect((await scene.ask(second)).body.toString()).not.toContain('"secret.json"')
})

it('what a new commit lacks is not described to others after a member has asked', async () => {
  const { scene, commit } = await openTurned()
  const absent = '/acme/turns/resolve/main/absent.json'
  const asked = await scene.ask(absent, { token: TOKENS.alice })
  expect([asked.status, asked.headers['x-repo-commit']]).toEqual([404, commit])
  await scene.settled()
  for (const target of [absent, absent.replace('main', commit)]) {
    const got = await scene.ask(target)
    expect([target, got.status, got.headers['x-repo-commit']]).toEqual([target, 401, undefined])
  }
})

it('a new commit of a public repo costs a member one question more, and is stored', async () => {
  const scene = await openTurning()
  const commit = scene.world.model('acme/turns').commit({ ...FILES, 'f0.json': '{"n":"new"}\n' })
  scene.clock.advance(20_000)
  scene.hub.ledger.clear()
  const token = TOKENS.alice
  for (const name of Object.keys(FILES).slice(0, 2))
    expect((await scene.ask(`/acme/turns/resolve/${commit}/${name}`, { token })).status).toBe(200)
  await scene.settled()
  const questions = scene.hub.ledger.requests({ url: /^\/api\/models\/acme\/turns/ })
  expect(questions.map((entry) => scene.hub.ledger.credential(entry))).toEqual([undefined])
  await scene.hub.stop()
  const got = await scene.ask(`/acme/turns/resolve/${commit}/f0.json`)
  expect([got.status, got.body.toString()]).toEqual([200, '{"n":"new"}\n'])
})

const BY_BRANCH = [
  '/api/models/acme/turns/tree/main?recursive=true&expand=false',
  '/api/models/acme/turns/tree/main/absent',
  '/api/models/acme/turns/commits/main',
  '/api/models/acme/turns/refs',
  '/v2/acme/turns/manifests/Q4_K_M',
] as const

it.each(BY_BRANCH)('what a member is told of a branch is not kept for others: %s', async (target) => {
  const { scene } = await openTurned()
  const asked = await scene.ask(target, { token: TOKENS.alice })
  expect(asked.status).toBe(target.endsWith('absent') ? 404 : 200)
  await scene.settled()
  await scene.hub.stop()
  const got = await scene.ask(target)
  expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
})

it.each(BY_BRANCH)(
  'what a member is told of a branch of a public repo is kept after one question: %s',
  async (target) => {
    const scene = await openTurning()
    scene.world.model('acme/turns').commit(SECRETS)
    scene.clock.advance(20_000)
    scene.hub.ledger.clear()
    const asked = await scene.ask(target, { token: TOKENS.alice })
    const questions = await eventually(
      () => scene.hub.ledger.requests({ url: /^\/api\/models\/acme\/turns\?/ }),
      (requests) => requests.length > 0 && requests.every(({ done }) => done),
    )
    expect(questions.map((entry) => scene.hub.ledger.credential(entry))).toEqual([undefined])
    scene.hub.ledger.clear()
    scene.clock.advance(10_000)
    await scene.ask(target, { token: TOKENS.alice })
    expect(
      scene.hub.ledger.requests().map((entry) => scene.hub.ledger.credential(entry)),
      'the same again',
    ).toEqual([TOKENS.alice])
    await scene.hub.stop()
    const got = await scene.ask(target)
    expect([got.status, got.body.toString()]).toEqual([asked.status, asked.body.toString()])
  },
)

/** Asks for an address of each large file by a Git LFS batch, and follows them. */
async function transfer(scene: Scene, token?: string): Promise<void> {
  const files = [...(scene.world.model('acme/turns').resolve('main')?.files.values() ?? [])]
  const objects = files.flatMap(({ lfs: large, content }) =>
    large === undefined ? [] : [{ oid: large.sha256, size: content.sizeBytes }],
  )
  expect(objects.length).toBe(2)
  const answer = await scene.ask('/acme/turns.git/info/lfs/objects/batch', {
    method: 'POST',
    token,
    headers: { 'content-type': 'application/vnd.git-lfs+json' },
    body: JSON.stringify({ operation: 'download', transfers: ['basic'], objects }),
  })
  const batch = JSON.parse(answer.body.toString()) as {
    readonly objects: readonly { readonly actions: { readonly download: { readonly href: string } } }[]
  }
  for (const { actions } of batch.objects) {
    const { pathname } = new URL(actions.download.href)
    expect((await scene.ask(pathname)).status).toBe(200)
  }
  await scene.settled()
}

it.each([
  ['a member gets by Git LFS from a repo that has turned private is not stored', true, TOKENS.alice, 0],
  ['a member gets by Git LFS from a public repo is stored after one question', false, TOKENS.alice, 1],
  ['a caller without a credential gets by Git LFS is stored without a question', false, undefined, 0],
] as const)('what %s', async (_what, isTurned, token, questions) => {
  const scene = isTurned ? (await openTurned()).scene : await openTurning()
  if (!isTurned) scene.world.model('acme/turns').commit(SECRETS)
  scene.clock.advance(1_000)
  const before = metricValue(await scene.mirror.metrics(), 'hubmirror_cache_blobs') ?? 0
  scene.hub.ledger.clear()
  await transfer(scene, token)
  const after = metricValue(await scene.mirror.metrics(), 'hubmirror_cache_blobs') ?? 0
  expect(after - before).toBe(isTurned ? 0 : 2)
  if (!isTurned)
    expect(scene.hub.ledger.requests({ url: /^\/api\/models\/acme\/turns\?/ }).length).toBe(questions)
})
