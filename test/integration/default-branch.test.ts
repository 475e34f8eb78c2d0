// The default branch by the name HEAD, as @huggingface/hub asks for it: the Hub answers it as it answers `main`, and so does the
// mirror, from the Hub, from the store, while the Hub is away and offline.

import { expect, it } from 'vitest'
import type { RepoType } from '../hub-simulator/repos.ts'
import { openScene, type Scene } from '../support/scene.ts'

const REPOS: readonly (readonly [RepoType, string])[] = [
  ['models', 'acme/open'],
  ['datasets', 'acme/data'],
  ['spaces', 'acme/demo'],
]
const EXPAND = '?expand=sha&expand=private'

const infoOf = (type: RepoType, id: string, revision = 'HEAD'): string =>
  `/api/${type}/${id}/revision/${revision}`
const headOf = ({ world }: Scene, type: RepoType, id: string): string | undefined =>
  world.find(type, id)?.repo.resolve('main')?.id

/** What the mirror says: status, commit, and where the answer is from. */
async function seen(scene: Scene, target: string) {
  const { status, headers, body } = await scene.ask(target)
  const { sha } = JSON.parse(body.toString()) as { readonly sha?: string }
  return [status, sha, headers['x-cache']]
}

it.each(REPOS)('of %s is described from the Hub, from the store, and without the Hub', async (type, id) => {
  const scene = await openScene()
  const commit = headOf(scene, type, id)
  const target = infoOf(type, id)
  expect(await seen(scene, target)).toEqual([200, commit, 'MISS'])
  scene.hub.ledger.clear()
  expect(await seen(scene, target)).toEqual([200, commit, 'HIT'])
  expect(scene.hub.ledger.requests()).toEqual([])

  await scene.hub.stop()
  scene.clock.advance(600_000)
  expect(await seen(scene, target)).toEqual([200, commit, 'STALE'])
  await scene.restart({ offline: true })
  // Nothing has named `main` to this mirror. What is said of HEAD is said of it.
  for (const revision of ['HEAD', 'main'])
    for (const query of ['', EXPAND])
      expect(
        [revision, query, ...(await seen(scene, infoOf(type, id, revision) + query))].slice(0, 4),
      ).toEqual([revision, query, 200, commit])
  expect((await seen(scene, `/api/${type}/${id}`)).slice(0, 2)).toEqual([200, commit])
})

it.each(REPOS)('of %s is described offline when only main was asked for', async (type, id) => {
  const scene = await openScene()
  const commit = headOf(scene, type, id)
  await scene.ask(infoOf(type, id, 'main'))
  await scene.restart({ offline: true })
  for (const query of ['', EXPAND])
    expect((await seen(scene, infoOf(type, id) + query)).slice(0, 2)).toEqual([200, commit])
  expect(scene.hub.ledger.requests({ url: '/revision/HEAD' })).toEqual([])
})

it('moves at once when main is seen to have moved', async () => {
  const scene = await openScene()
  const main = infoOf('models', 'acme/open', 'main')
  const head = infoOf('models', 'acme/open')
  await scene.ask(main)
  scene.clock.advance(6_000)
  await scene.ask(head)
  const next = scene.world.model('acme/open').commit({ 'config.json': '{"v":3}' })
  scene.clock.advance(6_000)
  expect((await seen(scene, main))[1]).toBe(next)
  expect((await seen(scene, head))[1]).toBe(next)
})

/** As @huggingface/hub asks. Some of the fields belong to the commit, and no other answer here has them. */
const FIELDS = '?expand=pipeline_tag&expand=lastModified&expand=likes&expand=sha'

it('and any other name of the commit are described offline by what was asked for one of them', async () => {
  const scene = await openScene()
  const model = scene.world.model('acme/open')
  const first = model.resolve('main')?.id ?? ''
  model.tag('v1', first)
  model.commit({ 'config.json': '{"v":3}' })
  await scene.ask(infoOf('models', 'acme/open', 'main'))
  const right = await scene.ask(infoOf('models', 'acme/open', 'v1') + FIELDS)
  expect(JSON.parse(right.body.toString())).toMatchObject({ sha: first, lastModified: expect.any(String) })
  await scene.restart({ offline: true })
  for (const revision of ['v1', first]) {
    const { status, headers, body } = await scene.ask(infoOf('models', 'acme/open', revision) + FIELDS)
    expect([status, JSON.parse(body.toString())]).toEqual([200, JSON.parse(right.body.toString())])
    expect(headers['x-repo-commit']).toBe(right.headers['x-repo-commit'])
  }
  // Nothing says that there is such a commit.
  const { status } = await scene.ask(`/api/models/acme/open/revision/${'0'.repeat(40)}${FIELDS}`)
  expect(status).toBe(404)
})
