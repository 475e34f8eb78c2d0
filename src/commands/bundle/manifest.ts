// What a bundle says of itself. `bundle.json` comes first, and names the digest of `manifest.jsonl`, which comes second: one
// line of JSON for each repo, revision, document, file and blob. So a reader has verified the whole manifest before it
// sees the first blob, and can refuse at once what the manifest does not name. docs/decisions/0023 has the reasons.

import { createHash } from 'node:crypto'
import { isBareEtag } from '../../hub/file-meta.ts'
import {
  type CommitHash,
  isCommitHash,
  parseRepoId,
  type Repo,
  repoKey,
  typeOfApiSegment,
} from '../../hub/names.ts'
import { checkPath, checkRevision } from '../../hub/url-text.ts'
import { isRecord, parseRecord } from '../../records.ts'
import { type BlobKey, hasDigest, isBlobKey } from '../../store/digest.ts'
import { BadArchive } from './tar.ts'

export const HEAD_NAME = 'bundle.json'
export const MANIFEST_NAME = 'manifest.jsonl'
const FORMAT = 'hubmirror bundle 1'
export const MAX_HEAD_BYTES = 64 * 1024
/** Some million files. It is held in memory, by both sides. */
export const MAX_MANIFEST_BYTES = 256 * 1024 * 1024
/** More than any page of a listing, and than the info of any repo. */
export const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
const MAX_TEXT_CHARS = 4096

/** `bundle.json`. */
export interface Head {
  readonly format: string
  /** Of `manifest.jsonl`. It also names the bundle. */
  readonly sha256: string
  readonly sizeBytes: number
  readonly createdAt: string
  /** The name of the bundle that this one builds on. */
  readonly since?: string
}

export interface BundledRepo {
  readonly repo: Repo
  readonly isPublic: boolean
  /** The name that the Hub uses. */
  readonly name?: string
  readonly licence?: readonly string[]
}

export interface BundledRef {
  readonly repo: Repo
  readonly revision: string
  readonly commit: CommitHash
}

/** An answer of the API. `target` is that of the request. */
export interface BundledDocument {
  readonly repo: Repo
  readonly target: string
  readonly commit?: CommitHash
  /** The target of the page that follows. */
  readonly next?: string
  readonly sha256: string
  readonly sizeBytes: number
}

export interface BundledFile {
  readonly repo: Repo
  readonly commit: CommitHash
  readonly path: string
  readonly etag: string
  readonly lfs: boolean
  readonly contentType?: string
  readonly key: BlobKey
  readonly sizeBytes: number
}

export interface BundledBlob {
  readonly key: BlobKey
  readonly sizeBytes: number
  /** Whether its bytes are in this bundle, and not in the one that it builds on. */
  readonly isCarried: boolean
}

export interface Manifest {
  readonly repos: readonly BundledRepo[]
  readonly refs: readonly BundledRef[]
  readonly documents: readonly BundledDocument[]
  readonly files: readonly BundledFile[]
  readonly blobs: readonly BundledBlob[]
}

/** The name of the member with these bytes. */
export function blobName(key: BlobKey): string {
  return `blobs/${key.replace(':', '/')}`
}

export function documentMember(sha256: string): string {
  return `documents/${sha256}`
}

/** `bundle.json` and `manifest.jsonl`. */
export function formatManifest(
  manifest: Manifest,
  about: { readonly createdAt: Date; readonly since: string | undefined },
): { readonly head: Buffer; readonly body: Buffer; readonly name: string } {
  const lines = [
    ...manifest.repos.map((row) => ({ kind: 'repo', ...row })),
    ...manifest.refs.map((row) => ({ kind: 'ref', ...row })),
    ...manifest.files.map((row) => ({ kind: 'file', ...row })),
    ...manifest.blobs.map((row) => ({ kind: 'blob', ...row })),
    ...manifest.documents.map((row) => ({ kind: 'document', ...row })),
  ].map((row) => `${JSON.stringify('repo' in row ? { ...row, repo: repoKey(row.repo) } : row)}\n`)
  const body = Buffer.concat(lines.map((line) => Buffer.from(line)))
  if (body.length > MAX_MANIFEST_BYTES)
    throw new BadArchive('the bundle would have too many files; make several bundles')
  const name = createHash('sha256').update(body).digest('hex')
  const head: Head = {
    format: FORMAT,
    sha256: name,
    sizeBytes: body.length,
    createdAt: about.createdAt.toISOString(),
    ...(about.since === undefined ? {} : { since: about.since }),
  }
  return { head: Buffer.from(`${JSON.stringify(head, null, 2)}\n`), body, name }
}

/** Throws BadArchive. */
export function parseHead(bytes: Buffer): Head {
  const value = parseRecord(bytes.toString())
  if (value === undefined || typeof value['format'] !== 'string')
    throw new BadArchive(`${HEAD_NAME} cannot be read: it is no bundle of hubmirror`)
  const { format, sha256, sizeBytes, createdAt, since } = value
  if (format !== FORMAT)
    throw new BadArchive(`the format of the bundle is ${JSON.stringify(format)}, and not "${FORMAT}"`)
  if (
    !isDigest(sha256) ||
    !isSize(sizeBytes) ||
    typeof createdAt !== 'string' ||
    (since !== undefined && !isDigest(since))
  )
    throw new BadArchive(`${HEAD_NAME} has a wrong value`)
  if (sizeBytes > MAX_MANIFEST_BYTES) throw new BadArchive('the manifest is larger than this version reads')
  return { format, sha256, sizeBytes, createdAt, ...(since === undefined ? {} : { since }) }
}

/** Throws BadArchive, naming the line. The caller has compared the digest. */
export function parseManifest(bytes: Buffer): Manifest {
  const manifest = new Reading()
  let number = 0
  for (let start = 0; start < bytes.length; ) {
    const found = bytes.indexOf(0x0a, start)
    const end = found === -1 ? bytes.length : found
    number += 1
    const row = parseRecord(bytes.toString('utf8', start, end))
    if (row === undefined || !manifest.add(row))
      throw new BadArchive(`line ${number} of ${MANIFEST_NAME} is wrong`)
    start = end + 1
  }
  manifest.check()
  return manifest
}

/** The rows so far. */
class Reading implements Manifest {
  readonly repos: BundledRepo[] = []
  readonly refs: BundledRef[] = []
  readonly documents: BundledDocument[] = []
  readonly files: BundledFile[] = []
  readonly blobs: BundledBlob[] = []
  readonly #repos = new Map<string, Repo>()
  readonly #sizes = new Map<string, number>()
  readonly #seen = new Set<string>()

  /** False for a row that must not be there. */
  add(row: Record<string, unknown>): boolean {
    switch (row['kind']) {
      case 'repo':
        return this.#addRepo(row)
      case 'ref':
        return this.#addRef(row)
      case 'file':
        return this.#addFile(row)
      case 'blob':
        return this.#addBlob(row)
      case 'document':
        return this.#addDocument(row)
      default:
        return false
    }
  }

  /** Throws BadArchive if a file has no blob. */
  check(): void {
    for (const { key, sizeBytes, path } of this.files)
      if (sizeBytes > 0 && this.#sizes.get(key) !== sizeBytes)
        throw new BadArchive(`${MANIFEST_NAME} names no blob of the right size for ${JSON.stringify(path)}`)
  }

  #isNew(name: string): boolean {
    const { size } = this.#seen
    return this.#seen.add(name).size > size
  }

  #addRepo({ repo: key, isPublic, name, licence }: Record<string, unknown>): boolean {
    const repo = readRepo(key)
    if (repo === undefined || typeof isPublic !== 'boolean' || this.#repos.has(String(key))) return false
    if (name !== undefined && (!isText(name) || parseRepoId(name) === undefined)) return false
    if (licence !== undefined && !(Array.isArray(licence) && licence.length < 100 && licence.every(isText)))
      return false
    this.#repos.set(String(key), repo)
    this.repos.push({
      repo,
      isPublic,
      ...(name === undefined ? {} : { name }),
      ...(licence === undefined ? {} : { licence: licence as string[] }),
    })
    return true
  }

  #addRef({ repo: key, revision, commit }: Record<string, unknown>): boolean {
    const repo = this.#repos.get(String(key))
    if (repo === undefined || !isText(revision) || !isRevision(revision) || !isCommit(commit)) return false
    if (!this.#isNew(`ref ${String(key)} ${revision}`)) return false
    this.refs.push({ repo, revision, commit })
    return true
  }

  #addFile(row: Record<string, unknown>): boolean {
    const { path, commit, etag, lfs, contentType, key, sizeBytes } = row
    const repo = this.#repos.get(String(row['repo']))
    if (repo === undefined || !isCommit(commit) || typeof lfs !== 'boolean' || !isSize(sizeBytes))
      return false
    if (!isText(path) || !isPath(path) || typeof etag !== 'string' || !isBareEtag(etag)) return false
    if (typeof key !== 'string' || !isBlobKey(key) || key !== `${lfs ? 'sha256' : 'gitsha1'}:${etag}`)
      return false
    if (contentType !== undefined && !isMediaType(contentType)) return false
    if (sizeBytes === 0 && !hasDigest(key, Buffer.alloc(0))) return false
    if (!this.#isNew(`file ${String(row['repo'])} ${commit} ${path}`)) return false
    const rest = contentType === undefined ? {} : { contentType }
    this.files.push({ repo, commit, path, etag, lfs, ...rest, key, sizeBytes })
    return true
  }

  #addBlob({ key, sizeBytes, isCarried }: Record<string, unknown>): boolean {
    if (typeof key !== 'string' || !isBlobKey(key) || key.startsWith('opaque:')) return false
    if (!isSize(sizeBytes) || sizeBytes === 0 || typeof isCarried !== 'boolean' || this.#sizes.has(key))
      return false
    this.#sizes.set(key, sizeBytes)
    this.blobs.push({ key, sizeBytes, isCarried })
    return true
  }

  #addDocument({ repo: key, target, commit, next, sha256, sizeBytes }: Record<string, unknown>): boolean {
    const repo = this.#repos.get(String(key))
    if (repo === undefined || !isText(target) || !isDigest(sha256) || !isSize(sizeBytes)) return false
    if (sizeBytes > MAX_DOCUMENT_BYTES || !this.#isNew(`document ${target}`)) return false
    if ((commit !== undefined && !isCommit(commit)) || (next !== undefined && !isText(next))) return false
    const rest = { ...(commit === undefined ? {} : { commit }), ...(next === undefined ? {} : { next }) }
    this.documents.push({ repo, target, ...rest, sha256, sizeBytes })
    return true
  }
}

function readRepo(key: unknown): Repo | undefined {
  if (!isText(key)) return undefined
  const slash = key.indexOf('/')
  const type = typeOfApiSegment(key.slice(0, slash))
  const id = parseRepoId(key.slice(slash + 1))
  return type === undefined || id === undefined ? undefined : { type, id }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT_CHARS
}

function isDigest(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isCommit(value: unknown): value is CommitHash {
  return typeof value === 'string' && isCommitHash(value)
}

/** `type/subtype`, perhaps with a charset. */
function isMediaType(value: unknown): value is string {
  return (
    typeof value === 'string' && /^[\w.+-]{1,100}\/[\w.+-]{1,100}(?:; ?charset=[\w-]{1,40})?$/.test(value)
  )
}

function isPath(text: string): boolean {
  return passes(() => checkPath(text))
}

/** A branch or a tag. */
function isRevision(text: string): boolean {
  return !isCommitHash(text) && passes(() => checkRevision(text))
}

function passes(check: () => void): boolean {
  try {
    check()
    return true
  } catch {
    return false
  }
}

/** Whether a text is JSON that a document may be. */
export function isJson(bytes: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return Array.isArray(value) || isRecord(value)
  } catch {
    return false
  }
}
