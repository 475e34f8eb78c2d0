// Turns a raw request target into a typed route, and back. This is the one place that reads Hub URLs: policies, keys
// and the targets for the origin all come from the value made here. It does not know the method.

import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import { type ApiTail, readApiTail, type TailDocument } from './api-tail.ts'
import { canonicalQuery, siteDocumentOf } from './document-query.ts'
import {
  apiPath,
  apiSegment,
  type CommitHash,
  isCommitHash,
  parseRepoId,
  REPO_ID_RULE,
  type Repo,
  type RepoType,
  typeOfApiSegment,
  webPrefix,
} from './names.ts'
import { type Scope, scopeOf } from './scope.ts'
import {
  badUrl,
  checkPath,
  checkRevision,
  checkSegments,
  decodeSegment,
  encodePath,
  encodeSegment,
  escapeHighBytes,
  normalizeSegment,
} from './url-text.ts'

/** API answers that may be kept. */
export type HubDocument = TailDocument | ListDocument | 'whoami' | DatasetsServerDocument

/** Answers about no single repo: `list` has repos of one type, `site` is any other that is not about its caller. */
export type ListDocument = 'list' | 'site'

/** What the datasets-server says of a dataset, and answers that hold rows of it. Their targets are ones there. */
export type DatasetsServerDocument = 'datasets-server' | 'dataset-rows'

/** The purpose of a route that the mirror does not understand. All but `page` is passed through. */
type OtherPurpose =
  /** Git LFS batch: reading or writing stands in its body (`operation`). */
  | 'lfs-batch'
  | 'git-read'
  | 'git-write'
  /** A POST that changes nothing: paths-info of a bucket, validate-yaml. */
  | 'question'
  /** HTML for people, if it is read by GET or HEAD. By other methods it is a form, and like `any`. */
  | 'page'
  /** An image or a sound of a row, at the datasets-server. */
  | 'asset'
  | 'any'

/** One file at one revision, however it was spelled. */
export interface FileRoute {
  readonly kind: 'file'
  readonly repo: Repo
  /** Decoded: `refs/pr/1`. On resolve-cache always a commit. */
  readonly revision: string
  /** Decoded: `a/b c.txt`. */
  readonly path: string
  readonly via: 'resolve' | 'resolve-cache'
  /** `?download=true`: the answer is to be saved, not shown. */
  readonly download: boolean
}

/** `target` is the canonical target for the origin: path and query, encoded again, without the base path. */
export type HubRoute =
  | FileRoute
  | {
      readonly kind: 'document'
      readonly document: TailDocument | DatasetsServerDocument
      readonly repo: Repo
      readonly revision: string | undefined
      readonly target: string
      /** A tree or its size at a commit, without the fields that change after it. */
      readonly immutable: boolean
    }
  | {
      readonly kind: 'document'
      readonly document: ListDocument | 'whoami'
      readonly repo: undefined
      readonly revision: undefined
      readonly target: string
      readonly immutable: false
    }
  | {
      readonly kind: 'xet-token'
      readonly repo: Repo
      readonly revision: string | undefined
      readonly write: boolean
      readonly target: string
    }
  | {
      readonly kind: 'other'
      /** The repo it is about, where the target names one. */
      readonly repo: Repo | undefined
      readonly target: string
      readonly purpose: OtherPurpose
      /** What it may show, read leniently: for rules, never for keys. */
      readonly scope: Scope | undefined
    }

const MAX_TARGET_BYTES = 8192
/** For clients that take the mirror for a forward proxy. They send CONNECT, or the absolute form (RFC 9112 §3.2.2). */
export const NOT_A_PROXY = 'This is a mirror, not a forward proxy: set HF_ENDPOINT to its URL'

interface Target {
  /** As received, to be passed on without knowing its meaning. */
  readonly raw: readonly string[]
  /** Decoded once. */
  readonly parts: readonly string[]
  readonly trailingSlash: boolean
  /** With its question mark, or empty. */
  readonly query: string
}

/**
 * Reads a raw request target (Node's `req.url`: one character per byte). Throws `bad_url` if it is malformed or tries
 * to leave its place, and `not_found` if it is outside of the base path. It splits at '/' before it decodes, since
 * `refs%2Fpr%2F1` is one segment, and decodes exactly once. Repeated slashes are collapsed at the front only: clients
 * that keep the slash of HF_ENDPOINT send `//api/…`.
 */
export function parseHubUrl(rawTarget: string, basePath: string): HubRoute {
  const target = readTarget(rawTarget, basePath)
  const [first = '', ...rest] = target.parts
  if (first === 'api') return parseApi(target, rest)
  // The registry serves the same repos by another route, so the scope of tokens applies to it as well.
  if (first === 'v2' && rest.length >= 2) return other(target, 'any', repoOrNone('model', rest.slice(0, 2)))
  const prefixed = first === 'models' ? undefined : typeOfApiSegment(first)
  return prefixed === undefined ? parseWeb(target, 'model', target.parts) : parseWeb(target, prefixed, rest)
}

function readTarget(rawTarget: string, basePath: string): Target {
  if (rawTarget.length > MAX_TARGET_BYTES) {
    throw badUrl(`A URL may have at most ${MAX_TARGET_BYTES} bytes.`)
  }
  if (/^https?:\/\//i.test(rawTarget))
    throw badUrl(`${NOT_A_PROXY}, and not HTTP_PROXY. The target must begin with a slash.`)
  if (!rawTarget.startsWith('/')) throw badUrl('The request target must begin with a slash.')
  // Blanks and '#' cannot be part of a target; characters above Latin-1 cannot come from a socket.
  if (/[^!"$-\xff]|\x7f/.test(rawTarget)) throw badUrl('This URL contains a character that must be escaped.')
  const mark = rawTarget.indexOf('?')
  const path = mark === -1 ? rawTarget : rawTarget.slice(0, mark)
  const query = mark === -1 ? '' : escapeHighBytes(rawTarget.slice(mark))
  const below = withoutBasePath(collapseFront(path), basePath)
  const trailingSlash = below.length > 1 && below.endsWith('/')
  const raw = below === '/' ? [] : below.slice(1, trailingSlash ? -1 : undefined).split('/')
  const parts = raw.map(decodeSegment)
  // An encoded slash hides neither an empty nor a dot segment; one at the very end counts as a trailing slash.
  const decoded = parts.join('/')
  if (decoded !== '') checkSegments(trailingSlash ? decoded : decoded.replace(/(?<=.)\/$/, ''))
  return { raw, parts, trailingSlash, query }
}

function collapseFront(path: string): string {
  return path.replace(/^\/+/, '/')
}

function withoutBasePath(path: string, basePath: string): string {
  const base = withoutTrailingSlash(basePath)
  if (base === '') return path
  if (path === base) return '/'
  if (!path.startsWith(`${base}/`)) {
    throw new MirrorError('not_found', { message: 'This URL is outside the base path of the mirror.' })
  }
  return collapseFront(path.slice(base.length))
}

function parseApi(target: Target, parts: readonly string[]): HubRoute {
  const [first = '', ...rest] = parts
  if (first === 'resolve-cache') return parseResolveCache(target, rest)
  if (first === 'whoami-v2' && rest.length === 0) {
    return { kind: 'document', document: 'whoami', ...NO_REPO, target: canonicalTarget(target) }
  }
  if (first === 'buckets' && rest.length === 3 && rest[2] === 'paths-info') return other(target, 'question')
  if (first === 'validate-yaml' && rest.length === 0) return other(target, 'question')
  if (isSiteDocument(parts)) return siteRoute(target)
  const type = typeOfApiSegment(first)
  if (type === undefined) return other(target, 'any')
  if (rest.length === 0) {
    return {
      kind: 'document',
      document: 'list',
      ...NO_REPO,
      target: `/api/${apiSegment(type)}${canonicalQuery('list', target.query)}`,
    }
  }
  if (type === 'space' && parts.join('/') === OWN_QUOTA) return other(target, 'any')
  const { idParts, tail } = readApiTail(rest)
  if (tail.kind === 'other') return other(target, 'any', repoOrNone(type, idParts))
  return apiRoute(target, repoOf(type, idParts), tail)
}

/** Lists of the Hub that stand where an id would, which no Space can have: its id has two parts. */
const OF_SPACES = new Set(['hardware', 'templates', 'semantic-search'])
/** What its caller has left. */
const OWN_QUOTA = 'spaces/zero-gpu/quota'
/**
 * What the Hub says of an organization or a user. An `avatar` is left out: it is an image, or leads to one on another host. So
 * are settings, which are for members.
 */
const OF_NAMES: Readonly<Record<'organizations' | 'users', ReadonlySet<string>>> = {
  organizations: new Set(['overview', 'members', 'followers']),
  users: new Set(['overview', 'followers', 'following', 'likes']),
}

/** Whether the API answers alike to all callers who may have the answer, and without a repo in the path. */
function isSiteDocument([first, ...rest]: readonly string[]): boolean {
  switch (first) {
    case 'collections':
      return rest.length === 0 || rest.length === 2
    case 'papers':
      return rest.length === 1
    case 'organizations':
    case 'users':
      return rest.length === 2 && OF_NAMES[first].has(rest[1] ?? '')
    case 'spaces':
      return rest.length === 1 && OF_SPACES.has(rest[0] ?? '')
    case 'daily_papers':
    case 'trending':
    case 'models-tags-by-type':
    case 'datasets-tags-by-type':
    case 'agent-harnesses':
    case 'tasks':
      return rest.length === 0
    default:
      return false
  }
}

function siteRoute(target: Target): HubRoute {
  const path = pathOf(target)
  const document = siteDocumentOf(path)
  const query = document === undefined ? target.query : canonicalQuery(document, target.query)
  return { kind: 'document', document: 'site', ...NO_REPO, target: path + query }
}

const NO_REPO = { repo: undefined, revision: undefined, immutable: false } as const

function apiRoute(target: Target, repo: Repo, tail: Exclude<ApiTail, { kind: 'other' }>): HubRoute {
  const { word, revision, path } = tail
  if (revision !== undefined) checkRevision(revision)
  if (path !== undefined) checkPath(path)
  const pieces = [
    apiPath(repo),
    ...(word === undefined ? [] : [word]),
    ...(revision === undefined ? [] : [encodeSegment(revision)]),
    ...(path === undefined ? [] : [encodePath(path)]),
  ]
  // Behind `treesize/{rev}` a slash stands for the root.
  const slash = word === 'treesize' && target.trailingSlash ? '/' : ''
  const place = pieces.join('/') + slash
  if (tail.kind === 'xet-token') {
    return { kind: 'xet-token', repo, revision, write: tail.write, target: place + target.query }
  }
  const immutable =
    (tail.document === 'tree' || tail.document === 'treesize') &&
    revision !== undefined &&
    isCommitHash(revision) &&
    !asksForExpansion(target.query)
  const text = place + canonicalQuery(tail.document, target.query)
  return { kind: 'document', document: tail.document, repo, revision, target: text, immutable }
}

/**
 * Whether any `expand`, `expand[]`, however it is spelled, asks for more fields. Those of a listing change after the
 * commit, and those of a repo may be visible to its members only.
 */
export function asksForExpansion(query: string): boolean {
  for (const [name, value] of new URLSearchParams(query)) {
    if (name.toLowerCase().startsWith('expand') && value.toLowerCase() !== 'false') return true
  }
  return false
}

function parseResolveCache(target: Target, parts: readonly string[]): HubRoute {
  const [segment = '', ...rest] = parts
  const type = typeOfApiSegment(segment)
  if (type === undefined) return other(target, 'any')
  const idLength = [2, 1].find((length) => isCommitHash(rest[length] ?? ''))
  const commit = rest[idLength ?? -1]
  if (idLength === undefined || commit === undefined || rest.length === idLength + 1) {
    throw badUrl('A resolve-cache URL must name a repo, a commit of 40 hex digits and a path.')
  }
  return fileRoute(
    target,
    repoOf(type, rest.slice(0, idLength)),
    commit,
    rest.slice(idLength + 1),
    'resolve-cache',
  )
}

function parseWeb(target: Target, type: RepoType, parts: readonly string[]): HubRoute {
  // Ids of two segments are tried first. If `/gpt2/resolve/resolve/main/x` were read as a revision of gpt2, a public
  // repo, the bytes of a private `gpt2/resolve` could be taken for public ones.
  const idLength = [2, 1].find((length) => parts[length] === 'resolve' && parts.length >= length + 3)
  const revision = parts[(idLength ?? -2) + 1]
  if (idLength === undefined || revision === undefined) return parseOtherWeb(target, type, parts)
  checkRevision(revision)
  return fileRoute(
    target,
    repoOf(type, parts.slice(0, idLength)),
    revision,
    parts.slice(idLength + 2),
    'resolve',
  )
}

function fileRoute(
  target: Target,
  repo: Repo,
  revision: string,
  pathParts: readonly string[],
  via: FileRoute['via'],
): FileRoute {
  const path = pathParts.join('/')
  checkPath(path)
  const download = target.query.slice(1).split('&').includes('download=true')
  return { kind: 'file', repo, revision, path, via, download }
}

const REPO_PAGES = new Set(
  [
    'raw blob tree resolve commit commits blame discussions settings ask-access',
    'info git-upload-pack git-receive-pack',
  ].flatMap((line) => line.split(' ')),
)

function parseOtherWeb(target: Target, type: RepoType, parts: readonly string[]): HubRoute {
  const page = [2, 1].find((length) => REPO_PAGES.has(parts[length] ?? ''))
  const idLength = page ?? (parts.length <= 2 ? parts.length : undefined)
  if (idLength === undefined) {
    // A file in a spelling that the mirror does not understand.
    const isFile = parts.includes('resolve') || parts.includes('raw')
    return other(target, isFile || isForPrograms(target) ? 'any' : 'page')
  }
  const idParts = parts.slice(0, idLength)
  const last = idParts.at(-1)?.replace(/\.git$/, '') ?? ''
  const repo = repoOrNone(type, [...idParts.slice(0, -1), last])
  const tail = parts.slice(idLength)
  const isPage = !NO_PAGES.has(tail[0] ?? '') && !isForPrograms(target)
  return other(target, isPage ? 'page' : gitPurpose(tail.join('/'), target.query), repo)
}

/** What follows the id of a repo where programs read files, or speak git. */
const NO_PAGES = new Set(['raw', 'resolve', 'info', 'git-upload-pack', 'git-receive-pack'])
/** First segments below which only programs read. `-` is the mirror's own. */
const PROGRAMS = new Set(['buckets', 'v2', '.well-known', '-'])
/** Pages that programs read as Markdown: `/papers/2601.00001.md`, which `hf papers read` requests. */
const WRITTEN = new Set(['papers', 'docs', 'blog'])

/** Whether programs read a target that is neither in the API nor in a repo. */
function isForPrograms({ parts }: Target): boolean {
  const [first = '', second] = parts
  if (PROGRAMS.has(first)) return true
  if (first === 'oauth') return second === 'userinfo'
  return WRITTEN.has(first) && parts.at(-1)?.endsWith('.md') === true
}

function gitPurpose(service: string, query: string): OtherPurpose {
  switch (service) {
    case 'info/lfs/objects/batch':
      return 'lfs-batch'
    case 'git-upload-pack':
      return 'git-read'
    case 'git-receive-pack':
      return 'git-write'
    case 'info/refs':
      // The first request of a push. If it is refused here, git says so before it packs anything.
      return new URLSearchParams(query).get('service') === 'git-receive-pack' ? 'git-write' : 'git-read'
    default:
      return 'any'
  }
}

function other(target: Target, purpose: OtherPurpose, repo?: Repo): HubRoute {
  return { kind: 'other', repo, target: canonicalTarget(target), purpose, scope: scopeOf(target.parts) }
}

function canonicalTarget(target: Target): string {
  return pathOf(target) + (target.trailingSlash ? '/' : '') + target.query
}

/** The path in its canonical spelling, without a slash at the end. */
function pathOf({ raw }: Target): string {
  return `/${raw.map(normalizeSegment).join('/')}`
}

function repoOrNone(type: RepoType, idParts: readonly string[]): Repo | undefined {
  // A slash inside a part came from an escape: `org%2Fname` is another spelling, which no client sends.
  if (idParts.some((part) => part.includes('/'))) return undefined
  const id = parseRepoId(idParts.join('/'))
  return id === undefined ? undefined : { type, id }
}

function repoOf(type: RepoType, idParts: readonly string[]): Repo {
  const repo = repoOrNone(type, idParts)
  if (repo === undefined) throw badUrl(REPO_ID_RULE)
  return repo
}

/**
 * The canonical target of a file at the origin, in the spelling of huggingface_hub:
 * `/datasets/a/b/resolve/refs%2Fpr%2F1/x%20y`. Throws `bad_url` for a path or revision no URL may hold, so that
 * names found in listings are safe to pass in.
 */
export function resolveTarget(repo: Repo, revision: string, path: string): string {
  checkRevision(revision)
  checkPath(path)
  return `/${webPrefix(repo.type)}${repo.id}/resolve/${encodeSegment(revision)}/${encodePath(path)}`
}

/** The pinned form of `resolveTarget`, which the Hub redirects small files to. */
export function resolveCacheTarget(repo: Repo, commit: CommitHash, path: string): string {
  checkPath(path)
  return `/api/resolve-cache/${apiSegment(repo.type)}/${repo.id}/${commit}/${encodePath(path)}`
}

/**
 * The canonical target of a route, without base path. For files it is the inverse of `parseHubUrl`, except for URLs
 * that have two readings: one-segment ids with a revision `resolve`, or a path that begins with a commit.
 */
export function formatHubUrl(route: HubRoute): string {
  if (route.kind !== 'file') return route.target
  const { repo, revision, path } = route
  const target =
    route.via === 'resolve-cache' && isCommitHash(revision)
      ? resolveCacheTarget(repo, revision, path)
      : resolveTarget(repo, revision, path)
  return route.download ? `${target}?download=true` : target
}

/**
 * Which program reads the answer to this route, if it is not a client of the Hub's API. They show errors of different
 * forms.
 */
export function readerOf(route: HubRoute): 'git' | 'git-lfs' | undefined {
  if (route.kind !== 'other') return undefined
  if (route.purpose === 'git-read' || route.purpose === 'git-write') return 'git'
  return route.purpose === 'lfs-batch' || /\.git\/info\/lfs\//.test(route.target) ? 'git-lfs' : undefined
}

/**
 * Whether a request would change something at the Hub, for mirrors that deny writes. Xet write tokens and the first
 * request of a push count, so that a client is refused before it has hashed and packed. A Git LFS batch does not:
 * whether it writes stands in its body, which the caller of this function must read.
 */
export function isWriteRoute(route: HubRoute, method: string): boolean {
  if (route.kind === 'xet-token' && route.write) return true
  if (route.kind === 'other' && route.purpose === 'git-write') return true
  if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return false
  if (method !== 'POST') return true
  if (route.kind === 'document') return route.document !== 'paths-info'
  return route.kind !== 'other' || route.purpose === 'any' || route.purpose === 'page'
}
