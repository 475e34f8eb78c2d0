// Read routes of the API about one repo: info, tree, paths-info, refs, commits. Access has been granted before.
// Knows nothing of file bytes beyond their ids and sizes.

import { type Caller, entryNotFound, passesGate, revisionNotFound } from './access.ts'
import { readContent } from './content.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import { type HubState, refuse, sendJson } from './hub.ts'
import type { Commit, FileEntry, Repo } from './repos.ts'

const CREATED_AT = '2026-01-01T00:00:00.000Z'
const EXPANDED_PAGE_SIZE = 100
const MOST_PATHS = 2000
// Python reads both scans by name and fails without them.
const SAFE = { status: 'safe', avScan: { status: 'safe' }, pickleImportScan: { status: 'unscanned' } }

/** GET info, at HEAD of main or at a revision. */
export async function answerInfo(
  hub: HubState,
  exchange: Exchange,
  repo: Repo,
  revision: string | undefined,
): Promise<void> {
  const commit = repo.resolve(revision ?? 'main')
  if (commit === undefined && revision !== undefined) return refuse(exchange, revisionNotFound(revision))
  const info = repoInfo(hub, repo, commit, isTrue(exchange.query.get('blobs')))
  const expand = [...exchange.query.getAll('expand'), ...exchange.query.getAll('expand[]')]
  if (expand.length === 0) return sendJson(exchange, info)
  const wanted = new Set(['_id', 'id', ...expand])
  await sendJson(exchange, Object.fromEntries(Object.entries(info).filter(([name]) => wanted.has(name))))
}

/** What the Hub tells of a repo. Also the items of lists. */
export function repoInfo(
  hub: HubState,
  repo: Repo,
  commit: Commit | undefined,
  withBlobs: boolean,
): Record<string, unknown> {
  const files = [...(commit?.files.values() ?? [])].sort(byPath)
  const config = configOf(commit)
  const usedStorage = files.reduce((sum, file) => sum + file.content.sizeBytes, 0)
  const lastModified = new Date(commit?.atMs ?? Date.parse(CREATED_AT)).toISOString()
  return {
    _id: repo.objectId,
    id: repo.id,
    ...(repo.type === 'models' ? { modelId: repo.id } : {}),
    author: repo.id.split('/')[0],
    ...(commit === undefined ? {} : { sha: commit.id }),
    lastModified,
    createdAt: CREATED_AT,
    private: repo.isPrivate,
    gated: repo.gate,
    disabled: repo.isDisabled,
    downloads: repo.downloads,
    likes: repo.likes,
    tags: [
      ...(config === undefined ? [] : ['transformers', 'safetensors']),
      ...repo.licences.map((licence) => `license:${licence}`),
    ],
    ...(repo.type === 'models' && config !== undefined ? { library_name: 'transformers', config } : {}),
    ...(repo.type === 'datasets' ? { description: '' } : {}),
    ...(repo.type === 'spaces' ? { sdk: 'static', runtime: { stage: 'RUNNING' } } : {}),
    cardData:
      repo.licences.length === 0
        ? {}
        : { license: repo.licences.length === 1 ? repo.licences[0] : repo.licences },
    usedStorage,
    // Asked for by clients of 2025 before they upload.
    ...(hub.xet ? { xetEnabled: true } : {}),
    siblings: files.map((file) => sibling(file, withBlobs)),
  }
}

/** GET tree, one page. `path` has no slash at either end. */
export async function answerTree(
  hub: HubState,
  exchange: Exchange,
  target: { readonly repo: Repo; readonly caller: Caller; readonly revision: string; readonly path: string },
): Promise<void> {
  const { repo, revision, path, caller } = target
  const commit = repo.resolve(revision)
  if (commit === undefined) return refuse(exchange, revisionNotFound(revision))
  if (path !== '' && !commit.trees.has(path)) return refuse(exchange, entryNotFound(commit.id))
  const isRecursive = isTrue(exchange.query.get('recursive'))
  const isExpanded = isTrue(exchange.query.get('expand'))
  const prefix = path === '' ? '' : `${path}/`
  const inside = [...commit.trees.keys(), ...commit.files.keys()]
    .filter((name) => name !== '' && name.startsWith(prefix))
    .filter((name) => isRecursive || !name.slice(prefix.length).includes('/'))
    .sort()
  const largest = isExpanded ? Math.min(EXPANDED_PAGE_SIZE, hub.pageSize) : hub.pageSize
  const limit = Math.max(1, Math.min(Number(exchange.query.get('limit') ?? largest) || largest, largest))
  const start = readCursor(exchange.query.get('cursor'))
  const masked = !passesGate(hub.world, caller, repo)
  const page = inside
    .slice(start, start + limit)
    .map((name) => treeItem(hub, commit, name, { isExpanded, masked }))
  const headers: HeaderMap = {}
  if (start + limit < inside.length) {
    const query = new URLSearchParams(exchange.query)
    query.set('limit', String(limit))
    query.set('cursor', writeCursor(start + limit))
    headers['Link'] = nextLink(hub, exchange, query)
  }
  await sendJson(exchange, page, { headers })
}

/** POST paths-info: form or JSON. Unknown paths are left out. */
export async function answerPathsInfo(
  hub: HubState,
  exchange: Exchange,
  target: { readonly repo: Repo; readonly caller: Caller; readonly revision: string },
): Promise<void> {
  const commit = target.repo.resolve(target.revision)
  if (commit === undefined) return refuse(exchange, revisionNotFound(target.revision))
  const asked = parsePaths(exchange.header('content-type') ?? '', (await exchange.readBody()).toString())
  if (asked === undefined || asked.paths.length > MOST_PATHS) {
    return refuse(exchange, { status: 400, message: 'Invalid request body' })
  }
  const masked = !passesGate(hub.world, target.caller, target.repo)
  const items = asked.paths
    .map((path) => path.replace(/\/$/, ''))
    .filter((path) => path !== '' && (commit.files.has(path) || commit.trees.has(path)))
    .map((path) => treeItem(hub, commit, path, { isExpanded: asked.isExpanded, masked }))
  await sendJson(exchange, items)
}

/** GET refs. */
export async function answerRefs(exchange: Exchange, repo: Repo): Promise<void> {
  const under = (prefix: string, keepsFullName = false) =>
    [...repo.refs]
      .filter(([ref]) => ref.startsWith(prefix))
      .map(([ref, targetCommit]) => ({
        name: keepsFullName ? ref : ref.slice(prefix.length),
        ref,
        targetCommit,
      }))
  const refs = {
    branches: under('refs/heads/'),
    converts: under('refs/convert/'),
    tags: under('refs/tags/'),
  }
  const withPullRequests = ['1', 'true', 'True'].includes(exchange.query.get('include_prs') ?? '')
  await sendJson(exchange, withPullRequests ? { ...refs, pullRequests: under('refs/pr/', true) } : refs)
}

/** GET commits of a revision, newest first. */
export async function answerCommits(
  hub: HubState,
  exchange: Exchange,
  repo: Repo,
  revision: string,
): Promise<void> {
  const tip = repo.resolve(revision)
  if (tip === undefined) return refuse(exchange, revisionNotFound(revision))
  const all: Commit[] = []
  for (let at: Commit | undefined = tip; at !== undefined; ) {
    all.push(at)
    at = at.parent === undefined ? undefined : repo.commits.get(at.parent)
  }
  const limit = Math.max(1, Math.min(Number(exchange.query.get('limit') ?? 50) || 50, hub.pageSize))
  const pageIndex = Number(exchange.query.get('p') ?? 0) || 0
  const headers: HeaderMap = { 'X-Total-Count': all.length }
  if ((pageIndex + 1) * limit < all.length) {
    const query = new URLSearchParams(exchange.query)
    query.set('p', String(pageIndex + 1))
    headers['Link'] = nextLink(hub, exchange, query)
  }
  const page = all.slice(pageIndex * limit, (pageIndex + 1) * limit).map((commit) => ({
    id: commit.id,
    title: titleOf(commit),
    message: commit.message.split('\n').slice(1).join('\n').trim(),
    date: new Date(commit.atMs).toISOString(),
    authors: [{ user: 'simulator', avatar: '/avatars/simulator.svg' }],
  }))
  await sendJson(exchange, page, { headers })
}

/** GET treesize. */
export async function answerTreeSize(
  exchange: Exchange,
  repo: Repo,
  revision: string,
  path: string,
): Promise<void> {
  const commit = repo.resolve(revision)
  if (commit === undefined) return refuse(exchange, revisionNotFound(revision))
  const size = [...commit.files.values()]
    .filter((file) => path === '' || file.path.startsWith(`${path}/`))
    .reduce((sum, file) => sum + file.content.sizeBytes, 0)
  await sendJson(exchange, { path: `/${path}`, size })
}

/** The Link of the next page: absolute, on the Hub's own base, the only form all clients parse. */
export function nextLink(hub: HubState, exchange: Exchange, query: URLSearchParams): string {
  return `<${hub.url}${exchange.rawPath}?${query}>; rel="next"`
}

/** Opaque to callers; a position inside. */
export function writeCursor(position: number): string {
  return Buffer.from(JSON.stringify({ position })).toString('base64url')
}

/** The position in a cursor; the beginning, when it is absent or not ours. */
export function readCursor(cursor: string | null): number {
  if (cursor === null) return 0
  try {
    const parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as { position?: unknown }
    return typeof parsed.position === 'number' ? parsed.position : 0
  } catch {
    return 0
  }
}

/** `true` of httpx and JavaScript, `True` of requests. */
export function isTrue(value: string | null): boolean {
  return value === 'true' || value === 'True' || value === '1'
}

function treeItem(
  hub: HubState,
  commit: Commit,
  path: string,
  options: { readonly isExpanded: boolean; readonly masked: boolean },
): Record<string, unknown> {
  const last = { id: commit.id, title: titleOf(commit), date: new Date(commit.atMs).toISOString() }
  const file = commit.files.get(path)
  if (file === undefined) {
    const item = { type: 'directory', oid: commit.trees.get(path), size: 0, path }
    return options.isExpanded ? { ...item, lastCommit: last } : item
  }
  const item: Record<string, unknown> = { type: 'file', oid: file.oid, size: file.content.sizeBytes, path }
  if (file.lfs !== undefined) {
    item['lfs'] = { oid: file.lfs.sha256, size: file.content.sizeBytes, pointerSize: file.lfs.pointer.length }
    if (hub.xet) item['xetHash'] = options.masked ? '*'.repeat(64) : file.lfs.xetHash
  }
  return options.isExpanded ? { ...item, lastCommit: last, securityFileStatus: SAFE } : item
}

function sibling(file: FileEntry, withBlobs: boolean): Record<string, unknown> {
  const item: Record<string, unknown> = { rfilename: file.path }
  if (!withBlobs) return item
  item['size'] = file.content.sizeBytes
  item['blobId'] = file.oid
  if (file.lfs !== undefined) {
    const { sha256, pointer } = file.lfs
    item['lfs'] = { sha256, size: file.content.sizeBytes, pointerSize: pointer.length }
  }
  return item
}

function configOf(commit: Commit | undefined): Record<string, unknown> | undefined {
  const file = commit?.files.get('config.json')
  if (file === undefined || file.content.sizeBytes > 64 * 1024) return undefined
  try {
    const parsed = JSON.parse(readContent(file.content).toString()) as Record<string, unknown>
    return { architectures: parsed['architectures'], model_type: parsed['model_type'] }
  } catch {
    return undefined
  }
}

function parsePaths(
  contentType: string,
  body: string,
): { readonly paths: readonly string[]; readonly isExpanded: boolean } | undefined {
  if (!contentType.includes('json')) {
    const form = new URLSearchParams(body)
    return { paths: form.getAll('paths'), isExpanded: isTrue(form.get('expand')) }
  }
  try {
    const parsed = JSON.parse(body) as { paths?: unknown; expand?: unknown }
    const paths = [parsed.paths ?? []].flat().filter((path) => typeof path === 'string')
    return { paths, isExpanded: parsed.expand === true }
  } catch {
    return undefined
  }
}

function titleOf(commit: Commit): string {
  return commit.message.split('\n')[0] ?? ''
}

function byPath(left: FileEntry, right: FileEntry): number {
  if (left.path === right.path) return 0
  return left.path < right.path ? -1 : 1
}
