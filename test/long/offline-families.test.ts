// What a mirror that cannot ask the Hub answers about repos, branches and tags of which only one kind of client has read: each
// kind asks in its own way. All that its answers imply is answered to every other kind as the Hub does, and the rest is refused.

import { expect, it } from 'vitest'
import type { Question, Reply } from '../support/ask.ts'
import { gitClient, hasGit, whenStored } from '../support/git-client.ts'
import { asHub, essence } from '../support/hub-answers.ts'
import { prefetchBy } from '../support/prefetch.ts'
import { openScene, type Scene } from '../support/scene.ts'

const ID = 'acme/open'
const API = `/api/models/${ID}`
const JSON_TYPE = { 'content-type': 'application/json' }
const LFS_TYPE = 'application/vnd.git-lfs+json'
/** The files of the commit to which `v1` and `dev` point. */
const PATHS = ['README.md', 'config.json', 'empty.txt', 'nested/deeper/vocab.txt', 'w.bin']
const file = (revision: string, path: string) => `/${ID}/resolve/${encodeURIComponent(revision)}/${path}`

type Read = (scene: Scene, revision: string, commit: string) => Promise<void>

async function expectAll(scene: Scene, targets: readonly string[], question?: Question): Promise<void> {
  for (const target of targets) {
    const { status } = await scene.ask(target, question)
    expect([target, status]).toEqual([target, status === 206 ? 206 : 200])
  }
}

/** How each kind of client reads a whole revision. */
const FAMILIES = {
  huggingface_hub: async (scene, revision, commit) => {
    await expectAll(scene, [`${API}/revision/${encodeURIComponent(revision)}`])
    await expectAll(scene, [`${API}/tree/${commit}?recursive=true&expand=false`])
    for (const path of PATHS) {
      await expectAll(scene, [file(commit, path)], { method: 'HEAD' })
      await expectAll(scene, [file(commit, path)])
    }
  },
  'hubmirror prefetch': async (scene, revision) => {
    const results = await prefetchBy(await scene.mirror.app.openControl(), [`${ID}@${revision}`])
    expect(results.map(({ files }) => files.length)).toEqual([PATHS.length])
  },
  'the plain info, and files by commit': async (scene, revision, commit) => {
    await expectAll(scene, [revision === 'main' ? API : `${API}/revision/${encodeURIComponent(revision)}`])
    await expectAll(
      scene,
      PATHS.map((path) => file(commit, path)),
    )
  },
  // llama.cpp: it finds the commit in the list of refs.
  'llama.cpp': async (scene, _revision, commit) => {
    await expectAll(scene, [`${API}/refs?include_prs=1`, `${API}/tree/${commit}?recursive=true`])
    await expectAll(
      scene,
      PATHS.map((path) => file(commit, path)),
    )
  },
  'hf-hub of Rust': async (scene, revision) => {
    await expectAll(scene, [`${API}/revision/${encodeURIComponent(revision)}`])
    await expectAll(
      scene,
      PATHS.filter((path) => path !== 'empty.txt').map((path) => file(revision, path)),
      { headers: { range: 'bytes=0-0' } },
    )
    await expectAll(
      scene,
      PATHS.map((path) => file(revision, path)),
    )
  },
  git: async (scene) => {
    const client = await gitClient()
    await client.ok(['clone', '--quiet', `${scene.mirror.url}/${ID}`, 'clone'])
    expect((await objectByBatch(scene, ID, weightsOf(scene, ID))).status).toBe(200)
    await whenStored(scene.mirror.cacheDir)
  },
  '@huggingface/hub': async (scene, revision, commit) => {
    const expand = ['pipeline_tag', 'private', 'gated', 'downloads', 'likes', 'lastModified', 'sha']
    const query = expand.map((field) => `expand=${field}`).join('&')
    await expectAll(scene, [`${API}/revision/${encodeURIComponent(revision)}?${query}`])
    await expectAll(scene, [`${API}/tree/${commit}?recursive=true&expand=false`])
    for (const path of PATHS) {
      const body = JSON.stringify({ paths: [path], expand: true })
      await expectAll(scene, [`${API}/paths-info/${commit}`], { method: 'POST', headers: JSON_TYPE, body })
      await expectAll(scene, [file(commit, path)])
    }
  },
} satisfies Record<string, Read>

/** The Git LFS object of `w.bin`. */
function weightsOf(scene: Scene, id: string): { readonly oid: string; readonly size: number } {
  const { lfs } = scene.world.model(id).resolve('main')?.files.get('w.bin') ?? {}
  if (lfs === undefined) throw new Error(`no w.bin in ${id}`)
  return { oid: lfs.sha256, size: scene.bytes(id, 'w.bin').length }
}

/** Requests an object as git-lfs does. The answer of the batch if that names no link, else what the link leads to. */
async function objectByBatch(
  scene: Scene,
  id: string,
  object: { readonly oid: string; readonly size: number },
): Promise<Reply> {
  const body = JSON.stringify({ operation: 'download', transfers: ['basic'], objects: [object] })
  const headers = { accept: LFS_TYPE, 'content-type': LFS_TYPE }
  const batch = await scene.ask(`/${id}.git/info/lfs/objects/batch`, { method: 'POST', headers, body })
  const href = /"href":"([^"]+)"/.exec(batch.body.toString())?.[1]
  if (href === undefined) return batch
  const { pathname, search } = new URL(href)
  return scene.ask(pathname + search)
}

/** What any client may then ask of the revision, by its name and by its commit. */
function questions(revision: string, commit: string): readonly (readonly [string, Question?])[] {
  const body = JSON.stringify({ paths: [...PATHS, 'nested', 'none.txt'] })
  return [revision, commit].flatMap((name) => {
    const at = encodeURIComponent(name)
    return [
      [`${API}/revision/${at}`],
      [`${API}/revision/${at}?blobs=true`],
      [`${API}/revision/${at}?expand=sha&expand=private`],
      [`${API}/tree/${at}`],
      [`${API}/tree/${at}?recursive=True&expand=False`],
      [`${API}/tree/${at}/nested?recursive=true`],
      [`${API}/paths-info/${at}`, { method: 'POST', headers: JSON_TYPE, body }],
      ...PATHS.flatMap((path) => [[file(name, path), { method: 'HEAD' }], [file(name, path)]] as const),
      [file(name, 'none.txt')],
      [file(name, 'adapter_config.json'), { method: 'HEAD' }],
    ] as const
  })
}

/** It has fields that are known only after the whole info of this commit was requested. */
const isInfo = (target: string) => target.startsWith(`${API}/revision/`)

it.each(
  Object.entries(FAMILIES).flatMap(([family, read]) =>
    ['main', 'v1', 'dev', 'refs/pr/1']
      // A clone brings no pull requests.
      .filter((revision) => family !== 'git' || (hasGit && !revision.startsWith('refs/')))
      .map((revision) => [family, revision, read] as const),
  ),
)('after %s has read %s, all that follows is answered as by the Hub', async (family, revision, read) => {
  const scene = await openScene()
  const commit = scene.commit(ID, revision)
  const asked = questions(revision, commit)
  const right: ReturnType<typeof essence>[] = []
  for (const [target, question] of asked) right.push(essence(await asHub(scene.hub.url, target, question)))
  const whole = new Map<string, Buffer>()
  for (const path of PATHS) whole.set(path, scene.bytes(ID, path, { revision }))
  await read(scene, revision, commit)
  await scene.settled()
  await scene.restart({ offline: true })
  scene.hub.ledger.clear()
  for (const [index, [target, question]] of asked.entries()) {
    const got = await scene.ask(target, question)
    const due = right[index]!
    const path = /\/resolve\/[^/]+\/(.+)$/.exec(target)?.[1]
    if (path !== undefined && whole.has(path)) {
      expect([target, got.status, got.headers['x-repo-commit']]).toEqual([target, 200, commit])
      const bytes = question?.method === 'HEAD' ? Buffer.alloc(0) : whole.get(path)!
      expect([target, got.body.equals(bytes)]).toEqual([target, true])
    } else if (isInfo(target) && ['llama.cpp', '@huggingface/hub', 'git'].includes(family)) {
      expect([target, got.status]).toEqual([target, 200])
      const said = due.body as Record<string, unknown>
      for (const [field, value] of Object.entries(JSON.parse(got.body.toString()) as object))
        expect([target, field, value]).toEqual([target, field, said[field]])
    } else expect([target, essence(got)]).toEqual([target, due])
  }
  const refs = JSON.stringify(JSON.parse((await scene.ask(`${API}/refs?include_prs=1`)).body.toString()))
  expect(refs).toContain(`"targetCommit":"${commit}"`)
  expect(scene.hub.ledger.requests()).toEqual([])
})

it('after huggingface_hub has read a repo, git-lfs is given the objects of that repo, and no other one', async () => {
  const scene = await openScene()
  await FAMILIES.huggingface_hub(scene, 'main', scene.commit(ID))
  await expectAll(scene, [
    `/acme/odd/resolve/main/${encodeURIComponent('a b.txt')}`,
    '/api/models/legacy?blobs=true',
    '/legacy/resolve/main/w.bin',
  ])
  await scene.settled()
  await scene.restart({ offline: true })
  const right = await objectByBatch(scene, ID, weightsOf(scene, ID))
  expect(right.body.equals(scene.bytes(ID, 'w.bin'))).toBe(true)
  // It is stored, but nothing says that it belongs to this repo.
  for (const id of [ID, 'acme/odd']) {
    const other = await objectByBatch(scene, id, weightsOf(scene, 'legacy'))
    expect([other.status, other.body.toString()]).toEqual([404, expect.stringContaining('offline')])
  }
  expect((await objectByBatch(scene, 'legacy', weightsOf(scene, 'legacy'))).status).toBe(200)
})

it.skipIf(!hasGit)(
  'after git has cloned a repo, its commits are listed as by the Hub, page by page',
  async () => {
    const scene = await openScene()
    const right: Record<string, unknown>[][] = []
    for (const revision of ['main', 'v1'])
      right.push(
        JSON.parse((await asHub(scene.hub.url, `${API}/commits/${revision}`)).body.toString()) as never,
      )
    await FAMILIES.git(scene)
    await scene.restart({ offline: true })
    for (const [index, revision] of ['main', 'v1'].entries()) {
      const got: unknown[] = []
      for (let next: string | undefined = `${API}/commits/${revision}?limit=1`; next !== undefined; ) {
        const { status, headers, body } = await scene.ask(next)
        expect([status, headers['x-total-count']]).toEqual([200, String(right[index]?.length)])
        got.push(...(JSON.parse(body.toString()) as unknown[]))
        const link = /^<([^>]+)>; rel="next"$/.exec(headers['link'] ?? '')?.[1]
        next = link === undefined ? undefined : new URL(link).pathname + new URL(link).search
      }
      expect(got).toEqual(
        right[index]?.map((commit) => ({ ...commit, authors: [{ user: expect.any(String) as unknown }] })),
      )
    }
  },
)

it('a file that a listing names is served if its bytes were stored for another revision', async () => {
  const scene = await openScene()
  const v1 = scene.commit(ID, 'v1')
  await expectAll(scene, [
    API,
    `${API}/tree/${v1}?recursive=true`,
    file(v1, 'README.md'),
    file('main', 'w.bin'),
  ])
  await scene.settled()
  await scene.restart({ offline: true })
  const got = await scene.ask(file(v1, 'w.bin'))
  expect([got.status, got.headers['x-repo-commit'], got.body.equals(scene.bytes(ID, 'w.bin'))]).toEqual([
    200,
    v1,
    true,
  ])
  for (const method of ['HEAD', 'GET']) {
    const absent = await scene.ask(file(v1, 'config.json'), { method })
    expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
  }
})

it('after transformers.js has read some files, these are answered by branch and commit, and nothing is invented', async () => {
  const scene = await openScene()
  const commit = scene.commit(ID)
  const some = ['config.json', 'README.md']
  await expectAll(
    scene,
    some.map((path) => file('main', path)),
  )
  await scene.settled()
  await scene.restart({ offline: true })
  for (const name of ['main', 'HEAD', commit]) {
    for (const path of some) {
      for (const method of ['HEAD', 'GET']) {
        const got = await scene.ask(file(name, path), { method })
        expect([name, path, got.status, got.headers['x-repo-commit']]).toEqual([name, path, 200, commit])
      }
    }
  }
  const info = await scene.ask(`${API}/revision/main?expand=sha&expand=private`)
  expect(JSON.parse(info.body.toString())).toEqual({ id: ID, sha: commit, private: false })
  for (const target of [API, `${API}/tree/main`, file('main', 'tokenizer.json')]) {
    const got = await scene.ask(target)
    expect([target, got.status, got.headers['x-error-code']]).toEqual([target, 404, 'OfflineAndUnknown'])
  }
})
