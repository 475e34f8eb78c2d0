// Makes answers of the API from facts that the Hub has stated in other answers. Pure: facts in, document out. Knows neither
// where the facts are stored nor who may see them.

import { createHash } from 'node:crypto'
import type { CommitHash, Repo } from '../../hub/names.ts'
import { isCommitHash } from '../../hub/names.ts'

/** The info of a repo, as the Hub sent it. */
export type Info = Readonly<Record<string, unknown>>

/** A file or a directory, as the Hub lists it in `tree` and `paths-info`. */
export interface TreeItem {
  readonly type: 'file' | 'directory'
  readonly path: string
  /** The Git object: the pointer of an LFS file, the tree of a directory. */
  readonly oid: string
  /** Bytes of the content; 0 for a directory. */
  readonly size: number
  readonly lfs?: { readonly oid: string; readonly size: number; readonly pointerSize: number }
  readonly [field: string]: unknown
}

/** A file as the info of a repo names it. Everything but the name is present only on request. */
export interface Sibling {
  readonly rfilename: string
  readonly size?: number
  readonly blobId?: string
  readonly lfs?: { readonly sha256: string; readonly size: number; readonly pointerSize: number }
}

/** Where a branch, a tag or another ref was last seen. */
export interface SeenRef {
  readonly revision: string
  readonly commit: CommitHash
}

/** What a client asks of a listing. */
export interface TreeQuestion {
  /** Without a slash at either end; empty for the root. */
  readonly path: string
  readonly recursive: boolean
  readonly expand: boolean
  /** The most entries of a page. */
  readonly limit: number
  /** How many entries were on the pages before. */
  readonly start: number
}

/** The Hub leaves files out of the info of larger repos. For those huggingface_hub asks for the tree. */
const MAX_SIBLINGS = 50_000
const PAGE_SIZE = 1000
const EXPANDED_PAGE_SIZE = 100
/** Of a list of commits: what the Hub sends without being asked, and the most that it sends. */
const COMMITS_PAGE_SIZE = 50
const MAX_COMMITS_PAGE_SIZE = 1000
const CURSOR = /^hubmirror\.([0-9a-f]{40})\.(\d{1,9})$/

/** The JSON of an info; undefined when it is not an object. */
export function parseInfo(body: string): Info | undefined {
  const value = parseJson(body)
  return isRecord(value) && !Array.isArray(value) ? value : undefined
}

/** The items of a listing, in the order of the Hub. Undefined when one of them cannot be read. */
export function parseItems(body: string): readonly TreeItem[] | undefined {
  const value = parseJson(body)
  if (!Array.isArray(value)) return undefined
  const items = (value as unknown[]).map(readItem)
  return items.every((item) => item !== undefined) ? items : undefined
}

function readItem(value: unknown): TreeItem | undefined {
  if (!isRecord(value)) return undefined
  const { type, path, oid, size } = value
  if (type !== 'file' && type !== 'directory') return undefined
  if (typeof path !== 'string' || typeof oid !== 'string' || typeof size !== 'number') return undefined
  return hasReadableLfs(value) ? (value as unknown as TreeItem) : undefined
}

function hasReadableLfs({ lfs }: Readonly<Record<string, unknown>>): boolean {
  return lfs === undefined || isRecord(lfs)
}

/** The files that an info names. Undefined when it does not name all of the commit: the Hub shortens very long lists. */
export function siblingsOf(info: Info): readonly Sibling[] | undefined {
  const siblings = siblingsIn(info)
  return siblings !== undefined && siblings.length < MAX_SIBLINGS ? siblings : undefined
}

function siblingsIn({ siblings }: Info): readonly Sibling[] | undefined {
  const isSibling = (value: unknown): value is Sibling =>
    isRecord(value) && typeof value['rfilename'] === 'string' && hasReadableLfs(value)
  if (!Array.isArray(siblings) || !(siblings as unknown[]).every(isSibling)) return undefined
  return siblings as readonly Sibling[]
}

/** A file as a tree lists it, from its name, its size and its digest. `sha256` is that of an LFS file. */
export function fileItem(
  path: string,
  file: { readonly size: number } & ({ readonly blobId: string } | { readonly sha256: string }),
): TreeItem {
  const { size } = file
  if ('blobId' in file) return { type: 'file', oid: file.blobId, size, path }
  const pointer = Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${file.sha256}\nsize ${size}\n`,
  )
  const lfs = { oid: file.sha256, size, pointerSize: pointer.length }
  return { type: 'file', oid: gitId('blob', pointer), size, path, lfs }
}

/** The files of siblings with sizes and digests. Undefined when one lacks them. */
export function itemsOfSiblings(siblings: readonly Sibling[]): readonly TreeItem[] | undefined {
  const items: TreeItem[] = []
  for (const { rfilename: path, size, blobId, lfs } of siblings) {
    if (typeof size !== 'number' || typeof blobId !== 'string') return undefined
    const item: TreeItem = { type: 'file', oid: blobId, size, path }
    if (lfs === undefined) items.push(item)
    else items.push({ ...item, lfs: { oid: lfs.sha256, size: lfs.size, pointerSize: lfs.pointerSize } })
  }
  return items
}

interface Directory {
  readonly files: Map<string, string>
  readonly directories: Map<string, Directory>
}

/**
 * The whole listing of a commit from its files, with the directories between them. The ids of directories are those that
 * Git computes when no file is executable, as the Hub's own uploads make them.
 */
export function withDirectories(files: readonly TreeItem[]): readonly TreeItem[] {
  const root: Directory = { files: new Map(), directories: new Map() }
  for (const { path, oid } of files) {
    const segments = path.split('/')
    const name = segments.pop() ?? path
    let at = root
    for (const segment of segments) {
      const next = at.directories.get(segment) ?? { files: new Map(), directories: new Map() }
      at.directories.set(segment, next)
      at = next
    }
    at.files.set(name, oid)
  }
  const found: TreeItem[] = []
  addDirectories(root, '', found)
  return [...found, ...files].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}

function addDirectories(directory: Directory, path: string, found: TreeItem[]): string {
  const entries = [...directory.files].map(([name, oid]) => ({ sortedAs: name, head: `100644 ${name}`, oid }))
  for (const [name, child] of directory.directories) {
    const oid = addDirectories(child, path === '' ? name : `${path}/${name}`, found)
    // Git sorts a directory as if its name ended in a slash.
    entries.push({ sortedAs: `${name}/`, head: `40000 ${name}`, oid })
  }
  entries.sort((a, b) => Buffer.compare(Buffer.from(a.sortedAs), Buffer.from(b.sortedAs)))
  const body = entries.flatMap(({ head, oid }) => [Buffer.from(`${head}\0`), Buffer.from(oid, 'hex')])
  const id = gitId('tree', Buffer.concat(body))
  if (path !== '') found.push({ type: 'directory', oid: id, size: 0, path })
  return id
}

function gitId(type: 'blob' | 'tree', body: Buffer): string {
  return createHash('sha1').update(`${type} ${body.length}\0`).update(body).digest('hex')
}

/**
 * What a client asks of a listing, in any spelling of the clients. Undefined for other queries, and for a cursor of the
 * Hub.
 */
export function readTreeQuestion(path: string, query: URLSearchParams): TreeQuestion | undefined {
  let recursive = false
  let expand = false
  let limit = Number.POSITIVE_INFINITY
  let start = 0
  for (const [name, value] of query) {
    if (name === 'recursive') recursive = isTrue(value)
    else if (name === 'expand' || name === 'expand[]') expand = isTrue(value)
    else if (name === 'limit') limit = /^[1-9]\d{0,8}$/.test(value) ? Number(value) : limit
    else if (name === 'cursor') {
      const cursor = CURSOR.exec(value)
      if (cursor === null) return undefined
      start = Number(cursor[2])
    } else return undefined
  }
  return { path, recursive, expand, start, limit: Math.min(limit, expand ? EXPANDED_PAGE_SIZE : PAGE_SIZE) }
}

/** The page that is asked of a list of commits. Undefined for other queries. */
export function readCommitsQuestion(
  query: URLSearchParams,
): { readonly page: number; readonly limit: number } | undefined {
  let [page, limit] = [0, COMMITS_PAGE_SIZE]
  for (const [name, value] of query) {
    if (!/^\d{1,6}$/.test(value)) return undefined
    if (name === 'p') page = Number(value)
    else if (name === 'limit') limit = Math.min(Math.max(1, Number(value)), MAX_COMMITS_PAGE_SIZE)
    else return undefined
  }
  return { page, limit }
}

/** The commit whose listing a cursor continues. Undefined for a cursor that was not made here. */
export function commitOfCursor(query: URLSearchParams): CommitHash | undefined {
  const commit = CURSOR.exec(query.get('cursor') ?? '')?.[1]
  return commit !== undefined && isCommitHash(commit) ? commit : undefined
}

/**
 * A cursor for what follows the first `start` entries. It names the commit, since the branch may move between two pages.
 */
export function cursorAt(commit: CommitHash, start: number): string {
  return `hubmirror.${commit}.${start}`
}

/**
 * One page of a listing from the whole recursive one. `next` says where the page after it begins, `absent` that the commit
 * has no such directory.
 */
export function composeTree(
  items: readonly TreeItem[],
  question: TreeQuestion,
): { readonly page: readonly TreeItem[]; readonly next: number | undefined } | 'absent' {
  const { path, recursive, expand, limit, start } = question
  const prefix = path === '' ? '' : `${path}/`
  const inside = items.filter(
    (item) => item.path.startsWith(prefix) && (recursive || !item.path.slice(prefix.length).includes('/')),
  )
  if (path !== '' && inside.length === 0) return 'absent'
  const end = start + limit
  return {
    page: inside.slice(start, end).map((item) => (expand ? item : plainItem(item))),
    next: end < inside.length ? end : undefined,
  }
}

/** What is asked of `paths-info`, as a form or as JSON; undefined when it is neither. */
export function readPathsQuestion(
  contentType: string | undefined,
  body: Buffer,
): { readonly paths: readonly string[]; readonly expand: boolean } | undefined {
  const text = body.toString('utf8')
  if (contentType?.includes('json') !== true) {
    const form = new URLSearchParams(text)
    return { paths: form.getAll('paths'), expand: isTrue(form.get('expand') ?? '') }
  }
  const value = parseJson(text)
  if (!isRecord(value)) return undefined
  const paths: unknown[] = [value['paths'] ?? []].flat()
  if (!paths.every((path) => typeof path === 'string')) return undefined
  return { paths, expand: value['expand'] === true }
}

/**
 * The items of these paths, each once, however often it is named. Like the Hub, it leaves out what the commit does not
 * have.
 */
export function composePathsInfo(
  items: readonly TreeItem[],
  question: { readonly paths: readonly string[]; readonly expand: boolean },
): readonly TreeItem[] {
  const byPath = new Map(items.map((item) => [item.path, item]))
  const paths = new Set(question.paths.map((path) => path.replace(/\/$/, '')))
  return [...paths].flatMap((path) => {
    const item = byPath.get(path)
    return item === undefined ? [] : [question.expand ? item : plainItem(item)]
  })
}

/** Without what the Hub sends only on request. */
function plainItem({ lastCommit: _commit, securityFileStatus: _status, ...item }: TreeItem): TreeItem {
  return item as unknown as TreeItem
}

/** What every commit of a repo has in common. */
const FIELDS_OF_REPO = [
  '_id',
  'id',
  'modelId',
  'author',
  'private',
  'gated',
  'disabled',
  'downloads',
  'likes',
  'createdAt',
]
/**
 * What an info contains without being asked, where the repo has it. If a field is missing there, the Hub would not send it
 * on request either.
 */
const TOLD_UNASKED: ReadonlySet<string> = new Set(
  [
    ...FIELDS_OF_REPO,
    'sha lastModified siblings tags cardData config library_name pipeline_tag mask_token model-index'.split(
      ' ',
    ),
    'safetensors gguf spaces transformersInfo usedStorage widgetData citation description'.split(' '),
    'paperswithcode_id models datasets sdk subdomain runtime'.split(' '),
  ].flat(),
)

/** What the Hub leaves out of the info of many repos, so that clients read an info without it. */
const OFTEN_ABSENT = 'pipeline_tag'

/** What is known of a repo at one commit. */
export interface InfoFacts {
  readonly repo: Repo
  /** The name that the Hub uses. */
  readonly name: string
  readonly commit: CommitHash
  /** Its info at this commit. */
  readonly info: Info | undefined
  /** Its info at any other. */
  readonly other: Info | undefined
  /** The whole recursive listing of this commit. */
  readonly items: readonly TreeItem[] | undefined
  /** When the commit was made, in the form of the Hub. */
  readonly madeAt?: string | undefined
}

/** What a client asks of an info. */
export interface InfoQuestion {
  readonly blobs: boolean
  /** The names of the requested fields; undefined for all. */
  readonly fields: readonly string[] | undefined
}

/** Undefined for queries that no client sends, or that no stored info can answer. */
export function readInfoQuestion(query: URLSearchParams): InfoQuestion | undefined {
  let blobs = false
  const fields: string[] = []
  for (const [name, value] of query) {
    if (name === 'blobs') blobs = isTrue(value)
    else if (name === 'expand' || name === 'expand[]') fields.push(value)
    else return undefined
  }
  return { blobs, fields: fields.length === 0 ? undefined : fields }
}

/**
 * The info of a public repo at a commit, as far as it is known. Without an info of that commit it has the fields that all
 * commits share, the commit and its files. Undefined when the request names a field that is not known.
 */
export function composeInfo(facts: InfoFacts, { blobs, fields }: InfoQuestion): Info | undefined {
  const { info, commit, madeAt } = facts
  const whole = info ?? partialInfo(facts)
  const siblings = composeSiblings(facts, blobs)
  if (siblings === undefined && (fields === undefined || fields.includes('siblings'))) return undefined
  const composed: Info = {
    ...whole,
    ...(madeAt === undefined ? {} : { lastModified: madeAt }),
    sha: commit,
    ...(siblings === undefined ? {} : { siblings }),
  }
  if (fields === undefined) return composed
  const isTold = (field: string): boolean =>
    Object.hasOwn(composed, field) || (info === undefined ? field === OFTEN_ABSENT : TOLD_UNASKED.has(field))
  if (!fields.every(isTold)) return undefined
  const wanted = new Set(['_id', 'id', ...fields])
  return Object.fromEntries(Object.entries(composed).filter(([name]) => wanted.has(name)))
}

/** The info of a public repo of which only its name is known, and perhaps the commit of its main branch. */
export function composeBareInfo(repo: Repo, name: string, commit: CommitHash | undefined): Info {
  return {
    ...partialInfo({ repo, name, other: undefined }),
    ...(commit === undefined ? {} : { sha: commit }),
  }
}

function partialInfo({ repo, name, other }: Pick<InfoFacts, 'repo' | 'name' | 'other'>): Info {
  const hasGate = repo.type === 'model' || repo.type === 'dataset'
  const open = { private: false, ...(hasGate ? { gated: false } : {}), disabled: false }
  const known = FIELDS_OF_REPO.filter((field) => other !== undefined && Object.hasOwn(other, field))
  return {
    id: name,
    ...(repo.type === 'model' ? { modelId: name } : {}),
    ...(name.includes('/') ? { author: name.split('/')[0] } : {}),
    ...open,
    ...Object.fromEntries(known.map((field) => [field, other?.[field]])),
  }
}

function composeSiblings({ info, items }: InfoFacts, blobs: boolean): readonly Sibling[] | undefined {
  const named = info === undefined ? undefined : siblingsIn(info)
  const files = items?.filter(({ type }) => type === 'file')
  const names = named?.map(({ rfilename }) => rfilename) ?? files?.map(({ path }) => path)
  if (names === undefined) return undefined
  if (!blobs) return names.map((rfilename) => ({ rfilename }))
  const known = new Map(named?.map((sibling) => [sibling.rfilename, sibling]))
  const listed = new Map(files?.map((file) => [file.path, file]))
  const siblings = names.map((name) => detailed(name, known.get(name), listed.get(name)))
  return siblings.every((sibling) => sibling !== undefined) ? siblings : undefined
}

function detailed(
  rfilename: string,
  known: Sibling | undefined,
  file: TreeItem | undefined,
): Sibling | undefined {
  if (known?.size !== undefined && known.blobId !== undefined) return known
  if (file === undefined) return undefined
  const { size, oid: blobId, lfs } = file
  if (lfs === undefined) return { rfilename, size, blobId }
  return {
    rfilename,
    size,
    blobId,
    lfs: { sha256: lfs.oid, size: lfs.size, pointerSize: lfs.pointerSize },
  }
}

/** A ref as the Hub lists it. */
interface RefItem {
  readonly name: string
  readonly ref: string
  readonly targetCommit: string
}

const REF_LISTS = ['branches', 'converts', 'tags', 'pullRequests'] as const
type RefList = (typeof REF_LISTS)[number]

function refsIn(listed: Info | undefined, list: RefList): readonly RefItem[] {
  const items = listed?.[list]
  const isRef = (value: unknown): value is RefItem =>
    isRecord(value) && typeof value['name'] === 'string' && typeof value['ref'] === 'string'
  return Array.isArray(items) ? (items as unknown[]).filter(isRef) : []
}

/** Where a list of refs says that a branch or tag is, by its name or its full name. */
export function commitOfRef(listed: Info, name: string): CommitHash | undefined {
  const named = [...refsIn(listed, 'branches'), ...refsIn(listed, 'tags')].find((item) => item.name === name)
  const full = REF_LISTS.flatMap((list) => refsIn(listed, list)).find(({ ref }) => ref === name)
  const { targetCommit } = named ?? full ?? {}
  return typeof targetCommit === 'string' && isCommitHash(targetCommit) ? targetCommit : undefined
}

/**
 * The refs of a repo, in part: those that the Hub has listed once, and those seen since, each at the commit where it was
 * last seen. A ref that the Hub never listed counts as a branch, unless its name looks like a version.
 */
export function composeRefs(
  listed: Info | undefined,
  seen: readonly SeenRef[],
  withPullRequests: boolean,
): Readonly<Record<string, readonly RefItem[]>> {
  const lists: Record<RefList, RefItem[]> = { branches: [], converts: [], tags: [], pullRequests: [] }
  for (const list of REF_LISTS) lists[list].push(...refsIn(listed, list))
  for (const { revision, commit } of seen) {
    const list = REF_LISTS.find((name) =>
      lists[name].some((item) => item.ref === revision || item.name === revision),
    )
    if (list === undefined) {
      const [kind, item] = newRef(revision, commit)
      lists[kind].push(item)
    } else {
      const at = lists[list].findIndex((item) => item.ref === revision || item.name === revision)
      const item = lists[list][at]
      if (item !== undefined) lists[list][at] = { ...item, targetCommit: commit }
    }
  }
  const { pullRequests, ...rest } = lists
  return withPullRequests ? { ...rest, pullRequests } : rest
}

function newRef(revision: string, targetCommit: string): readonly [RefList, RefItem] {
  const full = /^refs\/(heads|tags|convert|pr)\/(.+)$/.exec(revision)
  const [, space, name = revision] = full ?? []
  switch (space) {
    case 'pr':
      return ['pullRequests', { name: revision, ref: revision, targetCommit }]
    case 'convert':
      return ['converts', { name, ref: revision, targetCommit }]
    case 'tags':
      return ['tags', { name, ref: revision, targetCommit }]
    case 'heads':
      return ['branches', { name, ref: revision, targetCommit }]
    default:
      return /^v?\d+(?:\.\d+)*$/.test(name)
        ? ['tags', { name, ref: `refs/tags/${name}`, targetCommit }]
        : ['branches', { name, ref: `refs/heads/${name}`, targetCommit }]
  }
}

/** True as httpx and JavaScript write it, as requests does, and as people do. */
export function isTrue(value: string): boolean {
  return value === 'true' || value === 'True' || value === '1'
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
