// Brings the files of one snapshot into the store, over the control socket of a mirror. The mirror compares all bytes with the
// digest that names them before they are a blob. It prints nothing.

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { contentTypeOf } from '../../hub/listing.ts'
import { apiSegment, repoKey } from '../../hub/names.ts'
import { encodeSegment } from '../../hub/url-text.ts'
import { fileItem, withDirectories } from '../../mirror/documents/compose.ts'
import { errorCode } from '../../store/atomic.ts'
import { type BlobKey, hasDigest } from '../../store/digest.ts'
import { type Blob, type IntakeClient, Refused, StoreFull } from '../bundle/intake-client.ts'
import { leave, unlessAborted } from '../endless-calls.ts'
import type { ControlClient } from '../prefetch/control-client.ts'
import { type FileResult, runJob } from '../prefetch/job.ts'
import type { FoundFile, Snapshot, TreeEntry } from './scan.ts'

const READ_BYTES = 1024 * 1024
/** Rows of one request. */
const ROWS_AT_ONCE = 1_000

/**
 * - `stored`: it was stored before.
 * - `imported`: it has been stored now; in a dry run, it would be.
 * - `refused`: it is not stored, and the reason says why.
 */
export interface ImportedFile {
  readonly path: string
  readonly sizeBytes: number
  readonly state: 'stored' | 'imported' | 'refused'
  readonly reason?: string
}

export interface ImportedSnapshot extends Pick<Snapshot, 'repo' | 'commit'> {
  /**
   * Whose word the names of the files rest on: that of the Hub, now or earlier; that of the operator, who has said that the repo is
   * public or by a rule who may read it; or none, and then nothing is stored.
   */
  readonly by: 'hub' | 'operator' | 'rule' | 'none'
  readonly files: readonly ImportedFile[]
  /** Whether a mirror without the Hub can list the commit. */
  readonly isListed: boolean
}

export interface ImportOptions {
  readonly control: ControlClient
  readonly intake: IntakeClient
  readonly signal: AbortSignal
  readonly dryRun: boolean
  /** The operator says that the repos are public. */
  readonly isPublic: boolean
  /** The operator says that each snapshot has all files of its commit. */
  readonly isWhole: boolean
  readonly say: (line: string) => void
}

/** Rejects with StoreFull, with MirrorGone, and with the reason of the signal. What was imported until then stays, and is not shown. */
export async function importSnapshot(snapshot: Snapshot, options: ImportOptions): Promise<ImportedSnapshot> {
  const { repo, commit, files } = snapshot
  const listed = await askHub(snapshot, options, true)
  if (listed.error === undefined) return importListed(snapshot, listed.files, options)
  const standing = await standingOf(snapshot, options)
  if (standing === 'public' || standing === 'rule')
    return importVouched(snapshot, standing === 'public', options)
  const reason =
    standing === 'restricted'
      ? 'the Hub says that the repo is not public'
      : `nothing proves that the commit has this file: ${listed.error} ${CURE}`
  return {
    repo,
    commit,
    by: 'none',
    isListed: false,
    files: [...files.keys()].map((path) => ({ path, sizeBytes: 0, state: 'refused', reason })),
  }
}

const FOREIGN = 'the commit has no such file'
/** As the mirror says it. */
const WRONG_BYTES = 'the bytes do not have their digest'

const CURE =
  'Let the mirror ask the Hub, with HF_TOKEN for a private or gated repo; for a mirror without the Hub, give --public if the repo is ' +
  'public, or a serve-stored rule that names it and its readers'

/** What the mirror knows, or asks the Hub, of the commit. */
async function askHub(
  { repo, commit, files, refs }: Snapshot,
  { control, signal, say }: ImportOptions,
  dryRun: boolean,
  isMeant: (path: string) => boolean = (path) => files.has(path),
): Promise<{ readonly error: string | undefined; readonly files: readonly FileResult[] }> {
  const observer = { say, begin() {}, file: () => ({ at() {}, done() {} }) }
  const [result] = await runJob({
    client: control,
    wanted: [{ repo, revision: commit }],
    isMeant,
    dryRun,
    signal,
    observer,
  })
  if (result?.error === undefined && dryRun)
    // The mirror learns where the branches are now. Nothing else depends on it.
    for (const ref of refs)
      await control
        .ask(`/api/${apiSegment(repo.type)}/${repo.id}/revision/${encodeSegment(ref)}`, { signal })
        .catch(() => signal.throwIfAborted())
  return { error: result?.error, files: result?.files ?? [] }
}

/** The Hub has listed the commit, so its word decides what each file is. */
async function importListed(
  snapshot: Snapshot,
  listed: readonly FileResult[],
  options: ImportOptions,
): Promise<ImportedSnapshot> {
  const { repo, commit, files } = snapshot
  const results = new Map<string, ImportedFile>()
  for (const [path] of files) results.set(path, { path, sizeBytes: 0, state: 'refused', reason: FOREIGN })
  const wanted = listed.flatMap(({ path, key, sizeBytes, state }) =>
    key !== undefined && (state === 'stored' || files.has(path)) ? [{ key, sizeBytes }] : [],
  )
  const missing = await missingOf(wanted, options)
  for (const { path, sizeBytes, key, state, reason } of listed) {
    const found = files.get(path)
    const file = { path, sizeBytes }
    if (state === 'stored') results.set(path, { ...file, state })
    else if (state !== 'absent' || found === undefined || key === undefined)
      results.set(path, { ...file, state: 'refused', reason: reason ?? 'the Hub names no digest of it' })
    else results.set(path, { ...file, ...(await bring(found, { key, sizeBytes }, { ...options, missing })) })
  }
  if (!options.dryRun) {
    await options.intake.requireStored(withBytes(wanted.filter(({ key }) => !missing.has(key))))
    // What prefetch keeps of a file, from bytes that are there. A file whose bytes were refused is not asked for.
    const isThere = (path: string): boolean => (results.get(path)?.state ?? 'refused') !== 'refused'
    const kept = await askHub(snapshot, options, false, isThere)
    for (const { path, sizeBytes, state, reason = '' } of kept.files)
      if (state === 'missing') results.set(path, { path, sizeBytes, state: 'refused', reason })
  }
  return { repo, commit, by: 'hub', isListed: true, files: [...results.values()] }
}

/** Whether the repo may be taken in on the word of the operator. */
async function standingOf({ repo }: Snapshot, { intake, isPublic }: ImportOptions): Promise<string> {
  const { standings } = await intake.ask('standing', {
    repos: [true, false].map((value) => ({ repo: repoKey(repo), isPublic: value })),
  })
  const [asPublic, asRestricted] = Array.isArray(standings) ? (standings as unknown[]) : []
  if (isPublic) return asPublic === 'welcome' ? 'public' : 'restricted'
  return asRestricted === 'welcome' ? 'rule' : 'none'
}

/** The names in the folder, and the digests that the client has noted, are believed on the word of the operator. */
async function importVouched(
  snapshot: Snapshot,
  isPublic: boolean,
  options: ImportOptions,
): Promise<ImportedSnapshot> {
  const { repo, commit, files, refs, tree } = snapshot
  const { intake, dryRun, signal } = options
  const entries = new Map(tree?.map((entry) => [entry.path, entry]))
  const results: ImportedFile[] = []
  const wanted: (TreeEntry & { readonly found: FoundFile })[] = []
  for (const [path, found] of files) {
    const isForeign = tree !== undefined && !entries.has(path)
    const key = entries.get(path)?.key ?? found.key
    if (isForeign || key === undefined) {
      const reason = isForeign ? FOREIGN : 'nothing names its digest'
      results.push({ path, sizeBytes: 0, state: 'refused', reason })
      continue
    }
    const sizeBytes =
      entries.get(path)?.sizeBytes ?? (await unlessAborted(signal, () => sizeOf(found.file))) ?? 0
    wanted.push({ path, found, key, sizeBytes })
  }
  const missing = await missingOf(wanted, options)
  const kept: TreeEntry[] = []
  for (const { path, found, key, sizeBytes } of wanted) {
    const outcome = await bring(found, { key, sizeBytes }, { ...options, missing })
    results.push({ path, sizeBytes, ...outcome })
    if (outcome.state !== 'refused') kept.push({ path, key, sizeBytes })
  }
  if (!dryRun) await intake.requireStored(withBytes(kept))
  const isComplete = snapshot.isWhole && kept.length === files.size && files.size > 0
  const listing = tree ?? (options.isWhole && isComplete ? kept : undefined)
  if (!dryRun && kept.length > 0) {
    const row = { repo: repoKey(repo), isPublic }
    for (let start = 0; start < kept.length; start += ROWS_AT_ONCE) {
      const batch = kept.slice(start, start + ROWS_AT_ONCE).map((entry) => factOf(entry, commit))
      await intake.ask('files', { repo: row, files: batch })
    }
    if (listing !== undefined) {
      const items = withDirectories(
        listing.map(({ path, key, sizeBytes: size }) =>
          fileItem(
            path,
            key.startsWith('sha256:') ? { size, sha256: hexOf(key) } : { size, blobId: hexOf(key) },
          ),
        ),
      )
      const target = `/api/${apiSegment(repo.type)}/${repo.id}/tree/${commit}?recursive=true&expand=false`
      await intake.send('document', { repo: row, target, commit }, [Buffer.from(JSON.stringify(items))])
    }
    await intake.ask('finish', {
      repos: [{ repo: row, refs: refs.map((revision) => ({ revision, commit })) }],
    })
  }
  return { repo, commit, by: isPublic ? 'operator' : 'rule', isListed: listing !== undefined, files: results }
}

function factOf({ path, key, sizeBytes }: TreeEntry, commit: string) {
  const lfs = key.startsWith('sha256:')
  const contentType = lfs ? undefined : contentTypeOf(path)
  return {
    path,
    commit,
    etag: hexOf(key),
    lfs,
    sizeBytes,
    key,
    ...(contentType === undefined ? {} : { contentType }),
  }
}

function hexOf(key: BlobKey): string {
  return key.slice(key.indexOf(':') + 1)
}

/** Each blob once. None is stored of an empty file. */
function withBytes(blobs: readonly Blob[]): readonly Blob[] {
  return [...new Map(blobs.flatMap((blob) => (blob.sizeBytes > 0 ? [[blob.key, blob]] : []))).values()]
}

/** What the store does not have yet. Rejects with StoreFull if it has no space for that, unless nothing is to be stored. */
async function missingOf(blobs: readonly Blob[], { intake, dryRun }: ImportOptions): Promise<Set<BlobKey>> {
  const all = withBytes(blobs)
  const looked = await intake.look(all)
  if (!dryRun) await intake.requireRoom(all, looked)
  return new Set(looked.missing)
}

/** Sends the bytes of a file, unless the store has them. They are `missing` no more then. */
async function bring(
  { file }: FoundFile,
  blob: Blob,
  { intake, dryRun, say, signal, missing }: ImportOptions & { readonly missing: Set<BlobKey> },
): Promise<Pick<ImportedFile, 'state' | 'reason'>> {
  const refused = (reason: string) => ({ state: 'refused', reason }) as const
  let handle: FileHandle | undefined
  try {
    const opened = await unlessAborted(signal, () =>
      open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
    )
    handle = opened
    const found = await unlessAborted(signal, () => opened.stat())
    if (!found.isFile()) return refused('it is no regular file')
    if (found.size !== blob.sizeBytes)
      return refused(
        `it has ${found.size} bytes, and not ${blob.sizeBytes}: it was changed, or is of another commit`,
      )
    // No blob is stored of an empty file, so the mirror does not compare it.
    if (found.size === 0)
      return hasDigest(blob.key, Buffer.alloc(0)) ? { state: 'imported' } : refused(WRONG_BYTES)
    if (!missing.has(blob.key)) return { state: 'stored' }
    if (dryRun) return { state: 'imported' }
    if (found.size > READ_BYTES * 64) say(`importing ${file}`)
    await intake.send('blob', blob, bytesOf(opened))
    missing.delete(blob.key)
    return { state: 'imported' }
  } catch (error) {
    if (error instanceof StoreFull) throw error
    if (error instanceof Refused) return refused(error.message)
    const code = errorCode(error)
    // An error of the file, and none of the connection.
    if (code === undefined || !FILE_ERRORS.has(code)) throw error
    return refused(`it cannot be read (${code})`)
  } finally {
    // A read that never returns would keep the handle from closing.
    if (handle !== undefined) leave(handle.close())
  }
}

const FILE_ERRORS: ReadonlySet<string> = new Set([
  'ENOENT',
  'EACCES',
  'EPERM',
  'ELOOP',
  'EIO',
  'ENXIO',
  'ENOTDIR',
  'ESTALE',
])

async function* bytesOf(handle: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      return (await handle.stat()).size
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}
