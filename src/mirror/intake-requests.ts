// Reads the requests of commands that bring content (intake.ts), and answers them. A command has verified what it brings; here
// it is checked that no value could do harm by its form.

import { DiskFailure, diskCode, MAKE_ROOM_AND_REPEAT } from '../disk-errors.ts'
import { isBareEtag } from '../hub/file-meta.ts'
import { type CommitHash, isCommitHash, parseRepoId, typeOfApiSegment } from '../hub/names.ts'
import { checkPath, checkRevision } from '../hub/url-text.ts'
import { isRecord, parseRecord } from '../records.ts'
import { type BlobKey, hasDigest, isBlobKey } from '../store/digest.ts'
import {
  BadDocument,
  type BroughtFile,
  type BroughtManifest,
  type BroughtRepo,
  type FinishedRepo,
  type Intake,
  NotWelcome,
} from './intake.ts'

/** Some thousand files or blobs. */
const MAX_ROWS_BYTES = 16 * 1024 * 1024
const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024

interface IntakeRequest {
  /** JSON that says what the body is, for a body that is bytes. */
  readonly about: string
  readonly body: AsyncIterable<Buffer>
  /** Aborts when the command leaves. */
  readonly signal: AbortSignal
}

interface IntakeAnswer {
  readonly status: number
  readonly value: unknown
}

/** Something in the request has not the form that it must have. */
class BadRequest extends Error {}

/** Answers a request. Errors of the disk are answers too, and say so. Rejects with what is unexpected. */
export async function answerIntake(
  intake: Intake,
  action: string,
  request: IntakeRequest,
): Promise<IntakeAnswer> {
  try {
    if (intake.isReadOnly) return noSpace(`the store ${intake.place} is read-only`)
    return await answer(intake, action, request)
  } catch (error) {
    if (error instanceof BadRequest || error instanceof BadDocument)
      return { status: 400, value: { error: error.message } }
    if (error instanceof NotWelcome) return { status: 409, value: { error: error.message } }
    if (diskCode(error) === undefined) throw error
    intake.failed(error)
    return noSpace(new DiskFailure(`the store ${intake.place} cannot be written`, error).message)
  }
}

async function answer(
  intake: Intake,
  action: string,
  { about, body, signal }: IntakeRequest,
): Promise<IntakeAnswer> {
  switch (action) {
    case 'standing': {
      const rows = listOf(await readRecord(body), 'repos')
      return done({ standings: rows.map((row) => intake.standingOf(repoOf(row))) })
    }
    case 'missing': {
      const blobs = listOf(await readRecord(body), 'blobs').map(blobOf)
      const missing: BlobKey[] = []
      for (const { key, sizeBytes } of blobs) if (!(await intake.isStored(key, sizeBytes))) missing.push(key)
      // The space of held blobs never counts as space that can be made. The command must not subtract it a second time.
      const held = blobs.flatMap(({ key }) => (intake.isHeld(key) ? [key] : []))
      return done({ missing, held })
    }
    case 'room': {
      const { bytes, keptBytes, smallBytes = 0 } = await readRecord(body)
      if (!isSize(bytes) || !isSize(keptBytes) || !isSize(smallBytes)) throw bad()
      return (await intake.hasRoom(bytes, keptBytes, smallBytes)) ? done({}) : noSpace(full(intake))
    }
    case 'blob': {
      const { key, sizeBytes } = blobOf(parseRecord(about))
      switch (await intake.takeBlob(key, sizeBytes, { chunks: body, signal })) {
        case 'stored':
          return done({ stored: true })
        case 'wrong':
          return { status: 422, value: { error: 'the bytes do not have their digest' } }
        case 'no-space':
          return noSpace(full(intake))
      }
    }
    // oxlint-disable-next-line no-fallthrough -- the switch above is exhaustive
    case 'files': {
      const value = await readRecord(body)
      await intake.keepFiles(repoOf(value['repo']), listOf(value, 'files').map(fileOf))
      return done({})
    }
    case 'document': {
      const { repo, target, commit, next, registry: asked } = parseRecord(about) ?? {}
      if (typeof target !== 'string' || !isOptional(commit, isCommit) || !isOptional(next, isText))
        throw bad()
      const registry = asked === undefined ? undefined : registryOf(asked)
      const bytes = await readWhole(body, MAX_DOCUMENT_BYTES)
      await intake.keepDocument(repoOf(repo), { target, commit, next, registry, body: bytes })
      return done({})
    }
    case 'finish': {
      await intake.finish(listOf(await readRecord(body), 'repos').map(finishedOf))
      return done({})
    }
    default:
      return { status: 404, value: { error: 'this version of the mirror does not know the request' } }
  }
}

function done(value: unknown): IntakeAnswer {
  return { status: 200, value }
}

/** The store takes nothing more. */
function noSpace(error: string): IntakeAnswer {
  return { status: 507, value: { error } }
}

function full({ place }: Intake): string {
  return `the store ${place} has no space for it. ${MAKE_ROOM_AND_REPEAT}`
}

function bad(): BadRequest {
  return new BadRequest('the request is malformed')
}

async function readWhole(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let sizeBytes = 0
  for await (const piece of body) {
    sizeBytes += piece.length
    if (sizeBytes > maxBytes) throw new BadRequest('the request is too large')
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

async function readRecord(body: AsyncIterable<Buffer>): Promise<Record<string, unknown>> {
  const value = parseRecord((await readWhole(body, MAX_ROWS_BYTES)).toString())
  if (value === undefined) throw bad()
  return value
}

function listOf(value: Record<string, unknown>, name: string): readonly unknown[] {
  const list = value[name]
  if (!Array.isArray(list)) throw bad()
  return list as unknown[]
}

function repoOf(row: unknown): BroughtRepo {
  if (!isRecord(row) || typeof row['repo'] !== 'string' || typeof row['isPublic'] !== 'boolean') throw bad()
  const { repo: key, isPublic, name, licence } = row
  const slash = key.indexOf('/')
  const type = typeOfApiSegment(key.slice(0, slash))
  const id = parseRepoId(key.slice(slash + 1))
  if (type === undefined || id === undefined) throw bad()
  if (!isOptional(name, isText) || !isOptional(licence, isTexts)) throw bad()
  return { repo: { type, id }, isPublic, name, licence }
}

function blobOf(row: unknown): { readonly key: BlobKey; readonly sizeBytes: number } {
  if (!isRecord(row)) throw bad()
  const { key, sizeBytes } = row
  if (typeof key !== 'string' || !isBlobKey(key) || key.startsWith('opaque:') || !isSize(sizeBytes))
    throw bad()
  return { key, sizeBytes }
}

function fileOf(row: unknown): BroughtFile {
  if (!isRecord(row)) throw bad()
  const { path, commit, etag, lfs, contentType } = row
  if (!isText(path) || !isCommit(commit) || typeof etag !== 'string' || !isBareEtag(etag)) throw bad()
  if (typeof lfs !== 'boolean' || !isOptional(contentType, isMediaType)) throw bad()
  checked(() => checkPath(path))
  const { key, sizeBytes } = blobOf(row)
  // No blob is stored of an empty file, so nothing else would compare it with its digest.
  if (sizeBytes === 0 && !hasDigest(key, Buffer.alloc(0))) throw bad()
  const type = contentType === undefined ? {} : { contentType }
  return { path, meta: { commit, etag, sizeBytes, lfs, ...type }, key }
}

function registryOf(value: unknown): BroughtManifest {
  if (!isRecord(value) || !isRecord(value['headers'])) throw bad()
  const { accept, isLlama, contentType, headers } = value
  if (typeof accept !== 'string' || typeof isLlama !== 'boolean' || !isJsonType(contentType)) throw bad()
  const entries = Object.entries(headers)
  if (!entries.every((entry): entry is [string, string] => isText(entry[1]))) throw bad()
  return { accept, isLlama, contentType, headers: Object.fromEntries(entries) }
}

function finishedOf(row: unknown): FinishedRepo {
  if (!isRecord(row)) throw bad()
  return { brought: repoOf(row['repo']), refs: new Map(listOf(row, 'refs').map(refOf)) }
}

function refOf(row: unknown): readonly [string, CommitHash] {
  if (!isRecord(row) || !isText(row['revision']) || !isCommit(row['commit'])) throw bad()
  const { revision, commit } = row
  checked(() => checkRevision(revision))
  return [revision, commit]
}

function checked(check: () => void): void {
  try {
    check()
  } catch {
    throw bad()
  }
}

function isOptional<T>(value: unknown, test: (value: unknown) => value is T): value is T | undefined {
  return value === undefined || test(value)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText)
}

function isCommit(value: unknown): value is CommitHash {
  return typeof value === 'string' && isCommitHash(value)
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** Of a manifest: a browser must not read it as a page of the mirror. */
function isJsonType(value: unknown): value is string {
  return isMediaType(value) && /^application\/(?:[\w.-]+\+)?json(?:;|$)/.test(value)
}

function isMediaType(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.+-]+\/[\w.+-]+(?:; ?charset=[\w-]+)?$/.test(value)
}
