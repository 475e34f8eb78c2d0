// What the Hub says about one file in the header fields of a resolve answer, and how the mirror says the same to
// clients. This file does not know who asked, and follows no redirect: it only says which kind of answer it is.

import { createHash } from 'node:crypto'
import { type HeaderBag, headerValue, isHeaderSafe, isPage } from '../http/headers.ts'
import { parseContentRange } from '../http/range.ts'
import { answeredAt } from '../http/retry-after.ts'
import { type CommitHash, isCommitHash, type Repo, repoKey } from './names.ts'
import { EXPOSED_HEADERS, type Refusal, readRefusal } from './refusal.ts'

/** The name of a blob: a digest that can be checked, or `opaque` if the etag was no digest. */
export type BlobKey = `sha256:${string}` | `gitsha1:${string}` | `opaque:${string}`

/** The facts of one file at one commit: everything that the answer to a HEAD needs. They never change. */
export interface FileMeta {
  readonly commit: CommitHash
  /** Bare: no quotes, no `W/`. Clients use it as the name of a file. */
  readonly etag: string
  readonly sizeBytes: number
  /** Whether the etag is that of an LFS or Xet file, whose digest is of the content itself. */
  readonly lfs: boolean
  readonly contentType?: string
}

/** What an answer says of a file. A gateway on the way may have dropped the rest. */
export interface SomeFacts {
  readonly commit?: CommitHash | undefined
  readonly etag?: string | undefined
  readonly sizeBytes?: number | undefined
  /** Whether the etag is that of an LFS or Xet file. */
  readonly lfs: boolean
  readonly contentType?: string | undefined
}

/** Where a redirect leads. */
interface Located {
  readonly location: string
  /** When the Hub sent it, by its own clock (epoch ms): the lifetime of a signed URL counts from then. */
  readonly signedAt?: number
}

/** The kinds of answers of the Hub to a question about a file. */
export type FirstHop =
  /**
   * All facts are present. `location` is the address of the bytes if they are elsewhere: it may be signed and expire.
   */
  | ({ readonly kind: 'meta'; readonly meta: FileMeta } & Partial<Located>)
  /** The facts are behind the location: a small file on resolve-cache, or a renamed repo. */
  | ({ readonly kind: 'redirect'; readonly commit?: CommitHash } & Located)
  /** Some facts are missing. A Hub has them elsewhere. `reason` says which ones, for the log. */
  | ({ readonly kind: 'incomplete'; readonly facts: SomeFacts; readonly reason: string } & Partial<Located>)
  /** Any status from 400 up, without its body. A 429 or 5xx proves nothing about the file. */
  | { readonly kind: 'refusal'; readonly refusal: Refusal }
  /** Not the answer of a Hub, and nothing to pass on. `reason` is for the log. */
  | { readonly kind: 'bad'; readonly reason: string }

const REDIRECTS = new Set([301, 302, 303, 307, 308])
const MAX_ETAG_CHARS = 256

/**
 * Reads the first answer of the origin to HEAD or GET on a resolve URL. X-Repo-Commit and X-Linked-* stand on the
 * first hop only: the CDN behind it has neither, and its ETag is of another kind. A page without X-Repo-Commit comes
 * from a captive portal or a proxy and is bad: a Hub sends the HTML of a repo as plain text.
 */
export function readFirstHop(headers: HeaderBag, status: number): FirstHop {
  if (status >= 400) {
    return { kind: 'refusal', refusal: readRefusal(status, headers, Buffer.alloc(0)) }
  }
  if (REDIRECTS.has(status)) return readRedirect(headers)
  if (status === 200 || status === 206) return readDirect(headers, status)
  return { kind: 'bad', reason: `status ${status} to a file question` }
}

function readRedirect(headers: HeaderBag): FirstHop {
  const location = headerValue(headers, 'location')
  if (location === undefined || location === '' || !isHeaderSafe(location)) {
    return { kind: 'bad', reason: 'a redirect without a usable Location' }
  }
  const signedAt = answeredAt(headers)
  const located = signedAt === undefined ? { location } : { location, signedAt }
  const commit = readCommit(headers)
  const linked = headerValue(headers, 'x-linked-etag')
  if (linked === undefined) {
    return commit === undefined ? { kind: 'redirect', ...located } : { kind: 'redirect', commit, ...located }
  }
  // The Content-Length and Content-Type of a redirect describe its text, not the file.
  const sizeBytes = readSize(headerValue(headers, 'x-linked-size'))
  return { ...completed({ commit, ...readEtag(linked, true), sizeBytes }, 'a redirect'), ...located }
}

function readDirect(headers: HeaderBag, status: 200 | 206): FirstHop {
  const linkedSize = headerValue(headers, 'x-linked-size')
  const encoding = headerValue(headers, 'content-encoding')
  let sizeBytes: number | undefined
  if (linkedSize !== undefined) sizeBytes = readSize(linkedSize)
  else if (status === 206) sizeBytes = parseContentRange(headerValue(headers, 'content-range'))?.sizeBytes
  // The Content-Length of an encoded answer is the length on the wire, which no client can use.
  else if (encoding === undefined || encoding.toLowerCase() === 'identity') {
    sizeBytes = readSize(headerValue(headers, 'content-length'))
  }
  const commit = readCommit(headers)
  const type = headerValue(headers, 'content-type')
  if (commit === undefined && isPage(headers)) return { kind: 'bad', reason: `${status} with a page` }
  const contentType = type === undefined || type === '' || !isHeaderSafe(type) ? undefined : type
  const linked = headerValue(headers, 'x-linked-etag')
  const etag = readEtag(linked ?? headerValue(headers, 'etag'), linked !== undefined)
  return completed({ commit, ...etag, sizeBytes, contentType }, `${status}`)
}

/** The facts of a file, if all of them are present. */
export function completed(
  facts: SomeFacts,
  what: string,
): Extract<FirstHop, { kind: 'meta' | 'incomplete' }> {
  const { commit, etag, sizeBytes, lfs, contentType } = facts
  if (commit !== undefined && etag !== undefined && sizeBytes !== undefined) {
    const meta = { commit, etag, sizeBytes, lfs, ...(contentType === undefined ? {} : { contentType }) }
    return { kind: 'meta', meta }
  }
  const missing = [
    ...(commit === undefined ? ['X-Repo-Commit'] : []),
    ...(etag === undefined ? ['ETag'] : []),
    ...(sizeBytes === undefined ? ['size'] : []),
  ]
  return { kind: 'incomplete', facts, reason: `${what} with no usable ${missing.join(', ')}` }
}

/** A linked etag of 40 digits is a git hash that the Hub repeats for a small file. */
function readEtag(value: string | undefined, isLinked: boolean): Pick<SomeFacts, 'etag' | 'lfs'> {
  const etag = bareEtag(value)
  return { etag, lfs: isLinked && etag !== undefined && !isGitHash(etag) }
}

/** The commit that a canonical file target of the Hub names, pinned or not; undefined where it names a branch. */
export function commitOfPath(pathname: string): CommitHash | undefined {
  const pinned = /\/api\/resolve-cache\/[a-z]+\/[^/]+(?:\/[^/]+)?\/([0-9a-f]{40})\//.exec(pathname)
  const [, commit = ''] = pinned ?? /\/resolve\/([0-9a-f]{40})\//.exec(pathname) ?? []
  return isCommitHash(commit) ? commit : undefined
}

function readCommit(headers: HeaderBag): CommitHash | undefined {
  const commit = headerValue(headers, 'x-repo-commit')
  return commit !== undefined && isCommitHash(commit) ? commit : undefined
}

function readSize(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined
  const sizeBytes = Number(text)
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined
}

/**
 * An etag without `W/` and quotes, and without the suffix of a compressing intermediary (`"…-gzip"`). Undefined if it
 * cannot be both a header value and a file name.
 */
export function bareEtag(value: string | undefined): string | undefined {
  const bare = (value ?? '')
    .trim()
    .replace(/^W\//i, '')
    .replace(/^"(.*)"$/, '$1')
    .replace(/^([0-9a-f]{40}|[0-9a-f]{64})[-;:]+(?:gzip|br|zstd|deflate|df)$/, '$1')
  return isBareEtag(bare) ? bare : undefined
}

/** Whether a text may be the etag of a file: part of a header value, and a file name. */
export function isBareEtag(text: string): boolean {
  return text.length <= MAX_ETAG_CHARS && text !== '.' && text !== '..' && /^[!#-.0-[\]-~]+$/.test(text)
}

function isGitHash(etag: string): boolean {
  return /^[0-9a-f]{40}$/.test(etag)
}

/**
 * The key of the blob that a file consists of. The etag of an LFS file is the sha256 of its content, any other the git
 * blob hash. An etag that is neither cannot be checked, so its key is bound to the place where it was seen: otherwise
 * an origin could make two repos share bytes by announcing one etag.
 */
export function blobKeyOf(
  meta: Pick<FileMeta, 'etag' | 'lfs'>,
  scope: { readonly origin: string; readonly repo: Repo; readonly path: string },
): BlobKey {
  if (meta.lfs && /^[0-9a-f]{64}$/.test(meta.etag)) return `sha256:${meta.etag}`
  if (!meta.lfs && isGitHash(meta.etag)) return `gitsha1:${meta.etag}`
  const identity = JSON.stringify([scope.origin, repoKey(scope.repo), scope.path, meta.etag])
  return `opaque:${createHash('sha256').update(identity).digest('hex')}`
}

/**
 * The header fields of a file answer, the same for HEAD, 200, 206 and 304. The sender adds Content-Length and
 * Content-Range. X-Linked-Size is always present, because intermediaries drop Content-Length from answers to HEAD. No
 * field mentions Xet. The sandbox keeps HTML and SVG of any author from acting as a page of the mirror.
 */
export function fileHeaders(
  meta: FileMeta,
  path: string,
  options: { readonly download: boolean },
): Record<string, string> {
  const contentType = meta.contentType
  const quoted = `"${meta.etag}"`
  return {
    'x-repo-commit': meta.commit,
    etag: quoted,
    'x-linked-size': String(meta.sizeBytes),
    ...(meta.lfs ? { 'x-linked-etag': quoted } : {}),
    'accept-ranges': 'bytes',
    'content-type':
      contentType === undefined || !isHeaderSafe(contentType) ? 'application/octet-stream' : contentType,
    'content-disposition': contentDisposition(path, options.download ? 'attachment' : 'inline'),
    'access-control-allow-origin': '*',
    'access-control-expose-headers': EXPOSED_HEADERS,
    // Shared caches in front of the mirror cannot know who may read this.
    'cache-control': 'private, no-cache',
    vary: 'Authorization, Accept',
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff',
  }
}

/** RFC 6266 with the name twice, in the Hub's own form: extended first, and a semicolon at the end. */
function contentDisposition(path: string, disposition: 'inline' | 'attachment'): string {
  const name = path.slice(path.lastIndexOf('/') + 1)
  // RFC 8187 §3.2.1: a lone surrogate cannot be encoded, and encodeURIComponent leaves more characters than the RFC
  // allows.
  const extended = encodeURIComponent(Buffer.from(name, 'utf8').toString('utf8')).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  const plain = name.replace(/[^\x20-\x7e]|["\\]/gu, '_')
  return `${disposition}; filename*=UTF-8''${extended}; filename="${plain}";`
}
