// Write routes: repos come and go, commits are applied for real, branches and tags move. The right to write was checked
// before, except for creation. Every URL in an answer is absolute, as clients of the Hub expect.

import { type Caller, callerOf, judgeWrite, mayCreateIn, REFUSALS, revisionNotFound } from './access.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, notFound, type RepoRequest, refuse, sendJson, webPath } from './hub.ts'
import { answerRepoAction } from './repo-actions.ts'
import { type Change, type LfsFile, type Repo, type RepoType, refName } from './repos.ts'

type Json = Readonly<Record<string, unknown>>

const TYPES: Readonly<Record<string, RepoType>> = {
  model: 'models',
  dataset: 'datasets',
  space: 'spaces',
  kernel: 'kernels',
}
/** What repo-actions.ts answers. */
export const REPO_ACTIONS: ReadonlySet<string> = new Set(['discussions', 'super-squash', 'duplicate'])
const LFS_EXTENSIONS = /\.(bin|safetensors|gguf|onnx|parquet|pt|pth|h5|zip|gz|npz|arrow|ckpt)$/i
const LFS_ABOVE_BYTES = 10 * 1024 * 1024

/** /api/repos/{create|delete|move}. */
export async function answerRepoManagement(hub: HubState, exchange: Exchange, action: string): Promise<void> {
  const caller = callerOf(hub.world, exchange.request.headers)
  if (caller.kind === 'anonymous') return refuse(exchange, REFUSALS.anonymous)
  if (caller.kind === 'invalid') return refuse(exchange, REFUSALS.invalidCredentials)
  const body = parseJson((await exchange.readBody()).toString())
  const type = TYPES[text(body, 'type') ?? 'model']
  if (body === undefined || type === undefined)
    return refuse(exchange, { status: 400, message: 'Invalid request body' })
  if (action === 'create' && exchange.method === 'POST') return create(hub, exchange, caller, type, body)
  if (action === 'delete' && exchange.method === 'DELETE') {
    const id = `${text(body, 'organization') ?? caller.name}/${text(body, 'name') ?? ''}`
    return change(hub, exchange, caller, type, id, (repo) => repo.delete())
  }
  if (action === 'move' && exchange.method === 'POST') {
    const to = text(body, 'toRepo') ?? ''
    if (!mayCreateIn(hub.world, caller, to.split('/')[0] ?? ''))
      return refuse(exchange, REFUSALS.noWriteRight)
    return change(hub, exchange, caller, type, text(body, 'fromRepo') ?? '', (repo) => repo.renamedTo(to))
  }
  await notFound(exchange)
}

/** The write routes of one repo. */
export async function answerRepoWrite(
  hub: HubState,
  exchange: Exchange,
  request: RepoRequest,
): Promise<void> {
  const { repo, action, rest } = request
  const [name] = rest
  const { method } = exchange
  const body = await exchange.readBody()
  if (action === 'settings' && method === 'PUT')
    return applySettings(exchange, repo, parseJson(body.toString()))
  if (action !== undefined && REPO_ACTIONS.has(action))
    return answerRepoAction(hub, exchange, request, parseJson(body.toString()) ?? {})
  if (name === undefined) return notFound(exchange)
  if (action === 'preupload' && method === 'POST')
    return preupload(exchange, repo, name, parseJson(body.toString()))
  if (action === 'commit' && method === 'POST') return commit(hub, exchange, repo, name, body.toString())
  if (action === 'branch' && method === 'POST') {
    const from = repo.resolve(text(parseJson(body.toString()), 'startingPoint') ?? 'main')
    if (from === undefined) return refuse(exchange, revisionNotFound(name))
    if (repo.refs.has(refName(name)))
      return refuse(exchange, { status: 409, message: 'Reference already exists' })
    repo.branch(name, from.id)
    return exchange.send({ status: 201 })
  }
  if (action === 'tag' && method === 'POST') {
    const tag = text(parseJson(body.toString()), 'tag')
    const at = repo.resolve(name)
    if (tag === undefined || at === undefined) return refuse(exchange, revisionNotFound(name))
    if (repo.refs.has(`refs/tags/${tag}`))
      return refuse(exchange, { status: 409, message: 'Tag already exists' })
    repo.tag(tag, at.id)
    return exchange.send({ status: 201 })
  }
  if ((action === 'branch' || action === 'tag') && method === 'DELETE') {
    const isGone = repo.refs.delete(action === 'branch' ? refName(name) : `refs/tags/${name}`)
    return isGone ? exchange.send({ status: 200 }) : refuse(exchange, revisionNotFound(name))
  }
  await notFound(exchange)
}

async function create(
  hub: HubState,
  exchange: Exchange,
  caller: Caller & { readonly kind: 'user' },
  type: RepoType,
  body: Json,
): Promise<void> {
  const name = text(body, 'name') ?? ''
  const namespace = text(body, 'organization') ?? caller.name
  const id = `${namespace}/${name}`
  if (name === '' || name.includes('/'))
    return refuse(exchange, { status: 400, message: 'Invalid repo name' })
  if (!mayCreateIn(hub.world, caller, namespace)) return refuse(exchange, REFUSALS.noWriteRight)
  const url = `${hub.url}/${webPath({ type, id })}`
  if (hub.world.find(type, id) !== undefined) {
    return sendJson(exchange, { error: 'You already created this repo', url }, { status: 409 })
  }
  const repo = hub.world.repo(type, id)
  repo.commit(
    { '.gitattributes': '*.safetensors filter=lfs diff=lfs merge=lfs -text\n' },
    { message: 'initial commit' },
  )
  if (body['private'] === true || body['visibility'] === 'private') repo.makePrivate([caller.name])
  await sendJson(exchange, { url, name: id, id: repo.objectId })
}

async function change(
  hub: HubState,
  exchange: Exchange,
  caller: Caller,
  type: RepoType,
  id: string,
  apply: (repo: Repo) => unknown,
): Promise<void> {
  const found = hub.world.find(type, id)
  const refusal = judgeWrite(hub.world, caller, found)
  if (refusal !== undefined || found === undefined) return refuse(exchange, refusal ?? REFUSALS.repoNotFound)
  apply(found.repo)
  await exchange.send({ status: 200 })
}

async function applySettings(exchange: Exchange, repo: Repo, body: Json | undefined): Promise<void> {
  if (body === undefined) return refuse(exchange, { status: 400, message: 'Invalid request body' })
  const visibility =
    body['private'] ?? (body['visibility'] === undefined ? undefined : body['visibility'] === 'private')
  if (typeof visibility === 'boolean') repo.isPrivate = visibility
  const { gated } = body as { readonly gated?: unknown }
  if (gated === 'auto' || gated === 'manual' || gated === false) repo.gate = gated
  await sendJson(exchange, { private: repo.isPrivate, gated: repo.gate })
}

async function preupload(
  exchange: Exchange,
  repo: Repo,
  revision: string,
  body: Json | undefined,
): Promise<void> {
  const head = repo.resolve(revision)
  if (head === undefined) return refuse(exchange, revisionNotFound(revision))
  const files = Array.isArray(body?.['files']) ? (body['files'] as readonly Json[]) : []
  await sendJson(exchange, {
    files: files.map((file) => {
      const path = text(file, 'path') ?? ''
      const isLfs = LFS_EXTENSIONS.test(path) || Number(file['size']) > LFS_ABOVE_BYTES
      const oid = head.files.get(path)?.oid
      return {
        path,
        uploadMode: isLfs ? 'lfs' : 'regular',
        shouldIgnore: false,
        ...(oid === undefined ? {} : { oid }),
      }
    }),
    commitOid: head.id,
  })
}

async function commit(
  hub: HubState,
  exchange: Exchange,
  repo: Repo,
  revision: string,
  body: string,
): Promise<void> {
  const head = repo.resolve(revision)
  if (head === undefined) return refuse(exchange, revisionNotFound(revision))
  const parsed = parseCommit(hub, body)
  if (typeof parsed === 'string') return refuse(exchange, { status: 400, message: parsed })
  if (parsed.parent !== undefined && parsed.parent !== head.id) {
    return refuse(exchange, {
      status: 412,
      message: 'A commit has happened since. Please refresh and try again.',
    })
  }
  const isPullRequest = exchange.query.get('create_pr') === '1'
  const number = [...repo.refs.keys()].filter((ref) => ref.startsWith('refs/pr/')).length + 1
  const branch = isPullRequest ? `refs/pr/${number}` : revision
  const id = repo.commit(parsed.changes, { branch, message: parsed.message, parent: head.id })
  const url = `${hub.url}/${webPath(repo)}`
  await sendJson(exchange, {
    success: true,
    commitOid: id,
    commitUrl: `${url}/commit/${id}`,
    hookOutput: '',
    ...(isPullRequest ? { pullRequestUrl: `${url}/discussions/${number}` } : {}),
  })
}

interface ParsedCommit {
  readonly changes: Readonly<Record<string, Change>>
  readonly message: string
  readonly parent: string | undefined
}

// Returns a sentence instead of a commit when a line cannot be applied.
function parseCommit(hub: HubState, body: string): ParsedCommit | string {
  const changes: Record<string, Change> = {}
  let header: Json | undefined
  for (const line of body.split('\n').filter((line) => line.trim() !== '')) {
    const parsed = parseJson(line)
    const key = text(parsed, 'key')
    const value = asJson(parsed?.['value'])
    const path = text(value, 'path')
    if (key === 'header') header = value
    else if (path === undefined) return 'A line of the commit has no path'
    else if (key === 'file') {
      changes[path] = Buffer.from(
        text(value, 'content') ?? '',
        value?.['encoding'] === 'base64' ? 'base64' : 'utf8',
      )
    } else if (key === 'lfsFile') {
      const content = hub.world.lfsObjects.get(text(value, 'oid') ?? '')
      if (content === undefined) return 'An LFS object of the commit was not uploaded'
      changes[path] = { lfs: content } satisfies LfsFile
    } else if (key === 'deletedFile' || key === 'deletedEntry') changes[path] = null
    else if (key === 'deletedFolder') changes[`${path.replace(/\/$/, '')}/`] = null
    else return 'A line of the commit has an unknown key'
  }
  if (header === undefined) return 'The commit has no header'
  return { changes, message: text(header, 'summary') ?? '', parent: text(header, 'parentCommit') }
}

function parseJson(body: string): Json | undefined {
  try {
    return asJson(JSON.parse(body))
  } catch {
    return undefined
  }
}

function asJson(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null ? (value as Json) : undefined
}

function text(body: Json | undefined, name: string): string | undefined {
  const value = body?.[name]
  return typeof value === 'string' ? value : undefined
}
