// Every write that passes through the mirror ends what the mirror believed of the repos that it changes: the next read is
// answered as the Hub answers it now, to every caller. Nothing expires here, since the clock of the mirror stands still.

import { once } from 'node:events'
import { expect, it } from 'vitest'
import { type Repo, type RepoType, type World } from '../hub-simulator/repos.ts'
import { open, type Question } from '../support/ask.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const NDJSON = { 'content-type': 'application/x-ndjson' }

/** What is read of a repo: `config.json` at a revision. */
interface Place {
  readonly type?: RepoType
  readonly id: string
  readonly revision?: string
}

interface Write {
  readonly method: string
  readonly target: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

interface Row {
  readonly name: string
  readonly type?: RepoType
  /** The revision that is read. */
  readonly revision?: string
  /** Repos that are read as well, by the id of the row's own. */
  readonly others?: (id: string) => readonly string[]
  readonly prepare?: (repo: Repo) => void
  /** The repo does not exist before. */
  readonly isNew?: true
  readonly write: (id: string) => Write
  /** What the Hub does with a write that the simulator does not know. */
  readonly atHub?: (repo: Repo) => void
}

const CONFIG = { key: 'file', value: { path: 'config.json', content: 'eyJ2IjoyfQ==', encoding: 'base64' } }
const COMMIT = ['header', 'file']
  .map((key) => (key === 'file' ? CONFIG : { key, value: { summary: 'x', description: '' } }))
  .map((line) => JSON.stringify(line))
  .join('\n')
const post = (target: string, body: object = {}): Write => ({
  method: 'POST',
  target,
  body: JSON.stringify(body),
})
const settings = (id: string, body: object): Write => ({
  ...post(`/api/models/${id}/settings`, body),
  method: 'PUT',
})
const nameOf = (id: string): string => id.slice('alice/'.length)
const commitNow = (repo: Repo): void => void repo.commit({ 'config.json': '{"v":2}' })
const openProposal = (repo: Repo): void => {
  const proposal = repo.commit({ 'config.json': '{"v":2}' }, { branch: 'refs/pr/1' })
  repo.ref('refs/pr/1', proposal)
}

const ROWS: readonly Row[] = [
  {
    name: 'a commit',
    write: (id) => ({ ...post(`/api/models/${id}/commit/main`), body: COMMIT, headers: NDJSON }),
  },
  {
    name: 'a commit to a dataset',
    type: 'datasets',
    write: (id) => ({ ...post(`/api/datasets/${id}/commit/main`), body: COMMIT, headers: NDJSON }),
  },
  {
    name: 'a commit that opens a pull request',
    revision: 'refs/pr/1',
    write: (id) => ({
      ...post(`/api/models/${id}/commit/main?create_pr=1`),
      body: COMMIT,
      headers: NDJSON,
    }),
  },
  {
    name: 'a new pull request',
    revision: 'refs/pr/1',
    write: (id) => post(`/api/models/${id}/discussions`, { title: 'x', pullRequest: true }),
  },
  {
    name: 'a merge of a pull request',
    prepare: openProposal,
    write: (id) => post(`/api/models/${id}/discussions/1/merge`),
  },
  {
    name: 'a new branch',
    revision: 'dev',
    write: (id) => post(`/api/models/${id}/branch/dev`),
  },
  {
    name: 'the end of a branch',
    revision: 'dev',
    prepare: (repo) => repo.branch('dev', repo.resolve('main')?.id ?? ''),
    write: (id) => ({ method: 'DELETE', target: `/api/models/${id}/branch/dev` }),
  },
  {
    name: 'a new tag',
    revision: 'v1',
    write: (id) => post(`/api/models/${id}/tag/main`, { tag: 'v1' }),
  },
  {
    name: 'the end of a tag',
    revision: 'v1',
    prepare: (repo) => repo.tag('v1', repo.resolve('main')?.id ?? ''),
    write: (id) => ({ method: 'DELETE', target: `/api/models/${id}/tag/v1` }),
  },
  { name: 'a squashed history', write: (id) => post(`/api/models/${id}/super-squash/main`) },
  { name: 'settings that make it private', write: (id) => settings(id, { private: true }) },
  { name: 'settings that close a gate', write: (id) => settings(id, { gated: 'manual' }) },
  {
    name: 'settings that make it public',
    prepare: (repo) => repo.makePrivate(['alice']),
    write: (id) => settings(id, { private: false }),
  },
  {
    name: 'settings that open a gate',
    prepare: (repo) => repo.gated('manual'),
    write: (id) => settings(id, { gated: false }),
  },
  {
    name: 'the creation of a repo',
    isNew: true,
    write: (id) => post('/api/repos/create', { name: nameOf(id), organization: 'alice', type: 'model' }),
  },
  {
    name: 'the creation of a repo in the namespace of the caller',
    isNew: true,
    write: (id) => post('/api/repos/create', { name: nameOf(id), organization: null }),
  },
  {
    name: 'the end of a repo',
    write: (id) => ({
      ...post('/api/repos/delete', { name: nameOf(id), organization: 'alice', type: 'model' }),
      method: 'DELETE',
    }),
  },
  {
    name: 'the end of a repo in the namespace of the caller',
    write: (id) => ({ ...post('/api/repos/delete', { name: nameOf(id) }), method: 'DELETE' }),
  },
  {
    name: 'a new name',
    others: (id) => [`${id}-moved`],
    write: (id) => post('/api/repos/move', { fromRepo: id, toRepo: `${id}-moved`, type: 'model' }),
  },
  {
    name: 'the end of a repo that is read by its old name as well',
    others: (id) => [`${id}-renamed`],
    prepare: (repo) => void repo.renamedTo(`${repo.id}-renamed`),
    write: (id) => ({
      ...post('/api/repos/delete', { name: `${nameOf(id)}-renamed`, organization: 'alice', type: 'model' }),
      method: 'DELETE',
    }),
  },
  {
    name: 'a commit to a repo that is read by its old name as well',
    others: (id) => [`${id}-renamed`],
    prepare: (repo) => void repo.renamedTo(`${repo.id}-renamed`),
    write: (id) => ({ ...post(`/api/models/${id}-renamed/commit/main`), body: COMMIT, headers: NDJSON }),
  },
  {
    name: 'a copy',
    others: (id) => [`${id}-copy`],
    write: (id) => post(`/api/models/${id}/duplicate`, { repository: `${id}-copy` }),
  },
  { name: 'a push', write: (id) => post(`/${id}.git/git-receive-pack`), atHub: commitNow },
  {
    name: 'an end of LFS files',
    write: (id) => post(`/api/models/${id}/lfs-files/batch`),
    atHub: commitNow,
  },
  {
    name: 'an answer to a request for access',
    prepare: (repo) => repo.gated('manual'),
    write: (id) => post(`/api/models/${id}/user-access-request/handle`),
    atHub: (repo) => void repo.gated('manual', ['bob']),
  },
]

const CALLERS = [undefined, TOKENS.bob]

/** What the Hub would answer to each caller: status and commit. */
function truth(world: World, { type = 'models', id, revision = 'main' }: Place): string[] {
  const repo = world.find(type, id)?.repo
  return CALLERS.map((token) => {
    const refused = token === undefined ? '401' : '404'
    if (repo === undefined || repo.isPrivate) return refused
    const isLetIn = token === TOKENS.bob && repo.approved.has('bob')
    if (repo.gate !== false && !isLetIn) return token === undefined ? '401' : '403'
    const commit = repo.resolve(revision)
    const hasFile = commit?.files.has('config.json') === true
    return hasFile ? `200 ${commit.id}` : '404'
  })
}

async function seen(scene: Scene, { type = 'models', id, revision = 'main' }: Place): Promise<string[]> {
  const prefix = type === 'models' ? '' : `${type}/`
  const target = `/${prefix}${id}/resolve/${encodeURIComponent(revision)}/config.json`
  const said: string[] = []
  for (const token of CALLERS) {
    const { status, headers } = await scene.ask(target, { token })
    said.push(status === 200 ? `200 ${headers['x-repo-commit']}` : String(status))
  }
  return said
}

/** Plays a row in a scene, and returns what each caller saw before and after the write, and should have seen. */
async function play(scene: Scene, row: Row, id: string) {
  const { type = 'models', revision = 'main' } = row
  const { world } = scene
  if (row.isNew === undefined) {
    const repo = world.repo(type, id)
    repo.commit({ 'config.json': '{"v":1}' })
    row.prepare?.(repo)
  }
  const places: Place[] = [id, ...(row.others?.(id) ?? [])].map((name) => ({ type, id: name, revision }))
  const truths = () => places.map((place) => truth(world, place))
  const views = async () => {
    const all: string[][] = []
    for (const place of places) all.push(await seen(scene, place))
    return all
  }
  const before = truths()
  // More than once: the first answers are learnt, later ones are repeated.
  await views()
  await scene.settled()
  const sawBefore = await views()
  const { method, target, body, headers = JSON_TYPE } = row.write(id)
  if (row.atHub !== undefined) {
    const onRequest = (): void => row.atHub?.(world.repo(type, id))
    scene.hub.faults.add({ where: 'hub', method, onRequest, status: { code: 200, body: 'done' } })
  }
  const question: Question = { method, token: TOKENS.alice, headers, ...(body === undefined ? {} : { body }) }
  const { status } = await scene.ask(target, question)
  return {
    row: row.name,
    isAccepted: status < 300,
    before,
    sawBefore,
    after: truths(),
    sawAfter: await views(),
  }
}

it.each([1, 2])(
  'with %s processes, the next read after each kind of write is answered as the Hub answers it now',
  async (workers) => {
    const scene = await openScene({ world: mirrorWorld(), config: { workers } })
    for (const [index, row] of ROWS.entries()) {
      // What was asked in the instant of a write counts as older.
      scene.clock.advance(1)
      const played = await play(scene, row, `alice/row${index}`)
      const { before, after } = played
      expect(played).toEqual({ ...played, isAccepted: true, sawBefore: before, sawAfter: after })
      expect([row.name, after]).not.toEqual([row.name, before])
    }
  },
)

it.each([
  ['an old name', 'alice/notes', 'alice/kept'],
  ['another case of it', 'Alice/Notes', undefined],
])(
  'a private repo that only its reader is led to by %s is not believed in after a write',
  async (_, read, moved) => {
    const world = mirrorWorld()
    const repo = world.model('alice/notes').private(['bob'])
    repo.commit({ 'config.json': '{"v":1}' })
    if (moved !== undefined) repo.renamedTo(moved)
    const scene = await openScene({ world })
    const target = `/${read}/resolve/main/config.json`
    const seenByBob = async () => {
      const { status, headers } = await scene.ask(target, { token: TOKENS.bob, method: 'HEAD' })
      return [status, headers['x-repo-commit']]
    }
    expect(await seenByBob()).toEqual([200, repo.resolve('main')?.id])
    expect(await seenByBob()).toEqual([200, repo.resolve('main')?.id])
    const write = { method: 'POST', token: TOKENS.alice, headers: NDJSON, body: COMMIT }
    expect((await scene.ask(`/api/models/${repo.id}/commit/main`, write)).status).toBe(200)
    expect(await seenByBob()).toEqual([200, repo.resolve('main')?.id])
  },
)

/** A scene that has read `config.json` of a repo of Alice, which is fresh for as long as nothing ends it. */
async function openWarm() {
  const world = mirrorWorld()
  const repo = world.model('alice/notes')
  repo.commit({ 'config.json': '{"v":1}' })
  const scene = await openScene({ world })
  const read = async () => (await seen(scene, { id: 'alice/notes' }))[0]
  await read()
  await scene.settled()
  return { scene, repo, read, now: () => truth(world, { id: 'alice/notes' })[0] }
}

it('a push that moves its branch after the head of its answer ends what was read meanwhile', async () => {
  const { scene, repo, read, now } = await openWarm()
  const status = { code: 200, body: 'progress, and then: ok' }
  scene.hub.faults.add({ where: 'hub', method: 'POST', status, stallAfterBytes: 8 })
  const push = await open(scene.mirror.url, '/alice/notes.git/git-receive-pack', {
    method: 'POST',
    token: TOKENS.alice,
    body: '0000',
  })
  await once(push, 'readable')
  scene.clock.advance(1)
  expect(await read()).toBe(now())
  commitNow(repo)
  const stale = await read()
  scene.hub.faults.release()
  push.resume()
  await once(push, 'end')
  expect(stale).not.toBe(now())
  expect(await read()).toBe(now())
})

it.each([
  ['whose answer is lost', { resetBeforeHeaders: true as const }],
  ['for which a gateway has given up', { status: { code: 504, body: 'timeout' } }],
])('the next read after a write %s is asked of the Hub', async (_how, damage) => {
  const { scene, repo, read, now } = await openWarm()
  scene.hub.faults.add({ where: 'hub', method: 'POST', onRequest: () => commitNow(repo), ...damage })
  const commit = { method: 'POST', headers: NDJSON, body: COMMIT }
  const lost = await scene.ask('/api/models/alice/notes/commit/main', { ...commit, token: TOKENS.alice })
  expect(lost.status).toBeGreaterThanOrEqual(500)
  expect(await read()).toBe(now())
})

it('a caller without a credential cannot make the mirror ask again by a write that fails', async () => {
  const { scene, read } = await openWarm()
  scene.hub.faults.add({ where: 'hub', method: 'POST', status: { code: 502 } })
  const commit = { method: 'POST', headers: NDJSON, body: COMMIT }
  expect((await scene.ask('/api/models/alice/notes/commit/main', commit)).status).toBe(502)
  scene.hub.ledger.clear()
  await read()
  expect(scene.hub.ledger.requests()).toEqual([])
})

it('a read after a write does not share the answer to a question that was asked before', async () => {
  const { scene, read, now } = await openWarm()
  scene.clock.advance(20_000)
  scene.hub.faults.add({ where: 'hub', method: 'HEAD', match: /resolve\/main/, stallHeaders: true })
  const old = scene.ask('/alice/notes/resolve/main/config.json')
  await scene.hub.faults.whenStalled()
  const commit = { method: 'POST', token: TOKENS.alice, headers: NDJSON, body: COMMIT }
  expect((await scene.ask('/api/models/alice/notes/commit/main', commit)).status).toBe(200)
  expect(await read()).toBe(now())
  scene.hub.faults.release()
  await old
})
