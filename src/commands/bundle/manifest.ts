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
import { type ManifestVariant, manifestName } from '../../hub/registry.ts'
import { parseHubUrl } from '../../hub/route.ts'
import { checkPath, checkRevision } from '../../hub/url-text.ts'
import { isRecord, parseRecord } from '../../records.ts'
import { type BlobKey, hasDigest, isBlobKey } from '../../store/digest.ts'
import { formatSize } from '../store-output.ts'
import { BadArchive } from './tar.ts'

export const HEAD_NAME = 'bundle.json'
export const MANIFEST_NAME = 'manifest.jsonl'
const FORMAT = 'hubmirror bundle 1'
export const MAX_HEAD_BYTES = 64 * 1024
/** Some million files. It is held in memory, by both sides. */
export const MAX_MANIFEST_BYTES = 256 * 1024 * 1024
/** More than any page of a listing, and than the info of any repo. */
export const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
/**
 * One body may answer several requests, such as a page of two commits with the same files, and each answer takes its space on the
 * disk. This bounds what all of them take beyond the bytes that the bundle carries.
 */
const MAX_REPEATED_BYTES = 256 * 1024 * 1024
/** Answers that name the commits of branches are held in memory until all else of their repo is there. */
const MAX_REFS_BYTES = MAX_DOCUMENT_BYTES
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
  /** A manifest of the registry, and not an answer of the API. */
  readonly registry?: BundledRegistry
  readonly sha256: string
  readonly sizeBytes: number
}

/** What a manifest of the registry is stored with. */
export interface BundledRegistry extends ManifestVariant {
  readonly contentType: string
  readonly headers: Readonly<Record<string, string>>
  /** What it names beside files: blobs that clients ask for by their digest. */
  readonly blobs: readonly BlobKey[]
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
  const body = linesOf(manifest)
  const documents = new DocumentSizes()
  for (const row of manifest.documents) {
    const fault = documents.add(row)
    if (fault !== undefined)
      throw new BadArchive(`${row.target}: ${fault}; make several bundles, or leave a repo out`)
  }
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

/** Lines are joined when they have so many characters: each for itself takes more memory than its bytes. */
const JOINED_CHARS = 1024 * 1024

/** Throws BadArchive as soon as they are too many. */
function linesOf({ repos, refs, files, blobs, documents }: Manifest): Buffer {
  const pieces: Buffer[] = []
  let sizeBytes = 0
  let text = ''
  const join = (): void => {
    pieces.push(Buffer.from(text))
    sizeBytes += pieces.at(-1)?.length ?? 0
    if (sizeBytes > MAX_MANIFEST_BYTES) throw tooManyFiles()
    text = ''
  }
  for (const [kind, rows] of Object.entries({
    repo: repos,
    ref: refs,
    file: files,
    blob: blobs,
    document: documents,
  }))
    for (const row of rows) {
      text += `${JSON.stringify({ kind, ...row, ...('repo' in row && { repo: repoKey(row.repo) }) })}\n`
      if (text.length > JOINED_CHARS) join()
    }
  join()
  return Buffer.concat(pieces)
}

/** Bounds the rows of a bundle while they are found, so that memory does not end before the bundle is refused. */
export class ManifestRoom {
  #leastBytes = 0

  /** Counts a file. Throws BadArchive if the manifest would be too large. */
  add({ path }: Pick<BundledFile, 'path'>): void {
    this.#leastBytes += LEAST_FILE_BYTES + path.length
    if (this.#leastBytes > MAX_MANIFEST_BYTES) throw tooManyFiles()
  }
}

/** What the line of a file has beside its path, at the least: names, two digests and a commit. */
const LEAST_FILE_BYTES = 200

function tooManyFiles(): BadArchive {
  return new BadArchive('the bundle would have too many files; make several bundles')
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

const CURE =
  'make the bundle again, with the version of hubmirror that loads it, and load none of which you do not know who made it'

/** Throws BadArchive, naming the line, what is wrong with it and the cure. The caller has compared the digest. */
export function parseManifest(bytes: Buffer): Manifest {
  const manifest = new Reading()
  let number = 0
  for (let start = 0; start < bytes.length; ) {
    const found = bytes.indexOf(0x0a, start)
    const end = found === -1 ? bytes.length : found
    number += 1
    const row = parseRecord(bytes.toString('utf8', start, end))
    const fault = row === undefined ? 'it is no JSON object' : manifest.add(row)
    if (fault !== undefined)
      throw new BadArchive(`line ${number} of ${MANIFEST_NAME} is wrong: ${fault}; ${CURE}`)
    start = end + 1
  }
  manifest.check()
  return manifest
}

/**
 * Whether the document is about branches, and so belongs into the store when all else of its repo is there: it names their commits, as
 * the mirror will read the target, or is a manifest of the registry.
 */
export function isAboutBranches({ target, registry }: Pick<BundledDocument, 'target' | 'registry'>): boolean {
  if (registry !== undefined) return true
  try {
    const route = parseHubUrl(target, '/')
    return route.kind === 'document' && route.document === 'refs'
  } catch {
    return false
  }
}

/** Bounds what documents take on the disk, and in the memory of the command, of the side that loads them. */
class DocumentSizes {
  readonly #sizes = new Map<string, number>()
  #repeatedBytes = 0
  #refsBytes = 0

  /** Counts a document. Returns why it must not be there, and undefined if it may. */
  add(document: BundledDocument): string | undefined {
    const { sha256, sizeBytes } = document
    if (sizeBytes > MAX_DOCUMENT_BYTES)
      return `the document has ${formatSize(sizeBytes)}, and a bundle may have documents of ${formatSize(MAX_DOCUMENT_BYTES)}`
    if (isAboutBranches(document)) this.#refsBytes += sizeBytes
    if (this.#refsBytes > MAX_REFS_BYTES)
      return `the lists of refs and the manifests of the registry take more than ${formatSize(MAX_REFS_BYTES)}`
    const known = this.#sizes.get(sha256)
    this.#sizes.set(sha256, sizeBytes)
    if (known === undefined) return undefined
    if (known !== sizeBytes) return 'a line before it gives another size for the same document'
    this.#repeatedBytes += sizeBytes
    return this.#repeatedBytes > MAX_REPEATED_BYTES
      ? `documents that several lines name take more than ${formatSize(MAX_REPEATED_BYTES)}`
      : undefined
  }
}

const NO_REPO = 'no line before it names its repo'
const NO_COMMIT = 'its commit is no commit hash'
const NO_SIZE = 'its size is no number of bytes'
const NO_KEY = 'its key is no digest that the store knows'

/** The rows so far. Each `add` returns why a row must not be there, and undefined if it may. */
class Reading implements Manifest {
  readonly repos: BundledRepo[] = []
  readonly refs: BundledRef[] = []
  readonly documents: BundledDocument[] = []
  readonly files: BundledFile[] = []
  readonly blobs: BundledBlob[] = []
  readonly #repos = new Map<string, Repo>()
  readonly #sizes = new Map<string, number>()
  readonly #documentSizes = new DocumentSizes()
  readonly #seen = new Set<string>()

  add(row: Record<string, unknown>): string | undefined {
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
        return 'this version of hubmirror does not know its kind'
    }
  }

  /** Throws BadArchive if a file, or a manifest of the registry, has no blob. */
  check(): void {
    for (const { target, registry } of this.documents)
      if (registry?.blobs.every((key) => this.#sizes.has(key)) === false)
        throw new BadArchive(`${MANIFEST_NAME} lacks a blob for ${JSON.stringify(target)}; ${CURE}`)
    for (const { key, sizeBytes, path } of this.files)
      if (sizeBytes > 0 && this.#sizes.get(key) !== sizeBytes)
        throw new BadArchive(
          `${MANIFEST_NAME} names no blob of the right size for ${JSON.stringify(path)}; ${CURE}`,
        )
  }

  #isNew(name: string): boolean {
    const { size } = this.#seen
    return this.#seen.add(name).size > size
  }

  #addRepo({ repo: key, isPublic, name, licence }: Record<string, unknown>): string | undefined {
    const repo = readRepo(key)
    if (repo === undefined) return 'it names no repo'
    if (typeof isPublic !== 'boolean') return 'it does not say whether the repo is public'
    if (this.#repos.has(String(key))) return 'a line before it names the same repo'
    if (name !== undefined && (!isText(name) || parseRepoId(name) === undefined))
      return 'its name is no id of a repo'
    if (licence !== undefined && !(Array.isArray(licence) && licence.length < 100 && licence.every(isText)))
      return 'its licence is no short list of names'
    this.#repos.set(String(key), repo)
    this.repos.push({
      repo,
      isPublic,
      ...(name === undefined ? {} : { name }),
      ...(licence === undefined ? {} : { licence: licence as string[] }),
    })
    return undefined
  }

  #addRef({ repo: key, revision, commit }: Record<string, unknown>): string | undefined {
    const repo = this.#repos.get(String(key))
    if (repo === undefined) return NO_REPO
    if (!isText(revision) || !isRevision(revision)) return 'its revision is no name of a branch or a tag'
    if (!isCommit(commit)) return NO_COMMIT
    if (!this.#isNew(`ref ${String(key)} ${revision}`)) return 'a line before it names the same revision'
    this.refs.push({ repo, revision, commit })
    return undefined
  }

  #addFile(row: Record<string, unknown>): string | undefined {
    const { path, commit, etag, lfs, contentType, key, sizeBytes } = row
    const repo = this.#repos.get(String(row['repo']))
    if (repo === undefined) return NO_REPO
    if (!isCommit(commit)) return NO_COMMIT
    if (typeof lfs !== 'boolean') return 'it does not say whether Git LFS has the file'
    if (!isSize(sizeBytes)) return NO_SIZE
    if (!isText(path) || !isPath(path)) return 'its path is no path of a file in a repo'
    if (typeof etag !== 'string' || !isBareEtag(etag)) return 'its etag is none that the Hub gives'
    if (typeof key !== 'string' || !isBlobKey(key)) return NO_KEY
    if (key !== `${lfs ? 'sha256' : 'gitsha1'}:${etag}`) return 'its etag is not the digest in its key'
    if (contentType !== undefined && !isMediaType(contentType)) return 'its content type is no media type'
    if (sizeBytes === 0 && !hasDigest(key, Buffer.alloc(0)))
      return 'its size is 0, and its key is not the digest of no bytes'
    if (!this.#isNew(`file ${String(row['repo'])} ${commit} ${path}`))
      return 'a line before it names the same file'
    const rest = contentType === undefined ? {} : { contentType }
    this.files.push({ repo, commit, path, etag, lfs, ...rest, key, sizeBytes })
    return undefined
  }

  #addBlob({ key, sizeBytes, isCarried }: Record<string, unknown>): string | undefined {
    if (typeof key !== 'string' || !isBlobKey(key) || key.startsWith('opaque:')) return NO_KEY
    if (!isSize(sizeBytes) || sizeBytes === 0) return NO_SIZE
    if (typeof isCarried !== 'boolean') return 'it does not say whether the bundle has its bytes'
    if (this.#sizes.has(key)) return 'a line before it names the same blob'
    this.#sizes.set(key, sizeBytes)
    this.blobs.push({ key, sizeBytes, isCarried })
    return undefined
  }

  #addDocument(row: Record<string, unknown>): string | undefined {
    const { target, commit, next, registry, sha256, sizeBytes } = row
    const repo = this.#repos.get(String(row['repo']))
    if (repo === undefined) return NO_REPO
    if (!isText(target)) return 'its target is none of a request'
    if (!isDigest(sha256)) return 'its sha256 is no digest'
    if (!isSize(sizeBytes)) return NO_SIZE
    if (commit !== undefined && !isCommit(commit)) return NO_COMMIT
    if (next !== undefined && !isText(next)) return 'its next page is no target of a request'
    if (registry !== undefined && !isRegistry(registry)) return 'it says wrongly how the registry was asked'
    const name = registry === undefined ? target : manifestName(target, registry)
    if (!this.#isNew(`document ${name}`)) return 'a line before it has the same target'
    const rest = {
      ...(commit === undefined ? {} : { commit }),
      ...(next === undefined ? {} : { next }),
      ...(registry === undefined ? {} : { registry }),
    }
    const document = { repo, target, ...rest, sha256, sizeBytes }
    this.documents.push(document)
    return this.#documentSizes.add(document)
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

/** Whether it has the form; the mirror looks at the values (mirror/intake.ts). */
function isRegistry(value: unknown): value is BundledRegistry {
  if (!isRecord(value) || !isRecord(value['headers'])) return false
  const { accept, isLlama, contentType, headers, blobs } = value
  return (
    Array.isArray(blobs) &&
    blobs.every((key) => typeof key === 'string' && isBlobKey(key)) &&
    typeof accept === 'string' &&
    accept.length <= MAX_TEXT_CHARS &&
    typeof isLlama === 'boolean' &&
    isMediaType(contentType) &&
    Object.values(headers).every(isText)
  )
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
