// Finds files of repos in what a client has left on the disk: a cache directory, a folder that `--local-dir` has filled, or any folder.
// Nothing there is trusted: no link is followed out of the cache, and no name becomes a path or a request before it was
// checked. No file of a repo is read here.

import { constants, type Dirent } from 'node:fs'
import { lstat, open, readdir, realpath } from 'node:fs/promises'
import path from 'node:path'
import { type CommitHash, isCommitHash, type Repo, repoKey } from '../../hub/names.ts'
import { checkPath, checkRevision } from '../../hub/url-text.ts'
import { isRecord, parseRecord } from '../../records.ts'
import { errorCode, ifThere } from '../../store/atomic.ts'
import { type BlobKey, isBlobKey } from '../../store/digest.ts'
import { repoOfFolder } from '../hub-cache/names.ts'

/** More than the Hub allows in a repo. */
const MAX_FILES = 5_000_000
const MAX_DEPTH = 64
const MAX_FACT_BYTES = 4096
const MAX_TREE_BYTES = 64 * 1024 * 1024

export interface FoundFile {
  /** Where it is on the disk. */
  readonly file: string
  /** What the client says that its digest is. */
  readonly key: BlobKey | undefined
}

/** A file as a client has stored the listing of its commit. */
export interface TreeEntry {
  readonly path: string
  readonly key: BlobKey
  readonly sizeBytes: number
}

/** The files of one commit. */
export interface Snapshot {
  readonly repo: Repo
  readonly commit: CommitHash
  readonly files: ReadonlyMap<string, FoundFile>
  /** Branches and tags that were seen at the commit. */
  readonly refs: readonly string[]
  /** All files of the commit, if the client has stored that. */
  readonly tree: readonly TreeEntry[] | undefined
  /** Whether nothing was skipped that may be a file of the commit. */
  readonly isWhole: boolean
}

export interface Skipped {
  readonly file: string
  readonly reason: string
}

export interface Scan {
  readonly snapshots: readonly Snapshot[]
  readonly skipped: readonly Skipped[]
}

/** There is nothing to import. The message says what would be. */
export class NothingToImport extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'NothingToImport'
  }
}

/** Which repo a folder belongs to; for a cache, which part of it is meant. */
export interface Named {
  readonly repo: Repo | undefined
  readonly commit: CommitHash | undefined
}

/** Rejects with NothingToImport, and with the error of the disk. */
export async function scan(directory: string, named: Named): Promise<Scan> {
  const root = await ifThere(realpath(directory))
  if (root === undefined || !(await lstat(root)).isDirectory())
    throw new NothingToImport(`${directory} is no directory`)
  const scanner = new Scanner(named)
  const caches = await repoFoldersOf(root)
  if (caches.length > 0) {
    for (const { folder, repo } of caches) await scanner.addRepo(folder, repo)
  } else await scanner.addFolder(root)
  return scanner.found()
}

/** The folders of repos in a cache directory, in the `hub` of an HF_HOME, or the one that the directory is. */
async function repoFoldersOf(root: string): Promise<{ readonly folder: string; readonly repo: Repo }[]> {
  const own = repoOfFolder(path.basename(root))
  if (own !== undefined && (await isFolder(path.join(root, 'snapshots'))))
    return [{ folder: root, repo: own }]
  for (const cache of [root, path.join(root, 'hub')]) {
    const found: { folder: string; repo: Repo }[] = []
    for (const entry of (await ifThere(entriesOf(cache))) ?? []) {
      const repo = entry.isDirectory() ? repoOfFolder(entry.name) : undefined
      if (repo !== undefined) found.push({ folder: path.join(cache, entry.name), repo })
    }
    if (found.length > 0) return found
  }
  return []
}

class Scanner {
  readonly #named: Named
  readonly #snapshots: Snapshot[] = []
  readonly #skipped: Skipped[] = []
  #files = 0

  constructor(named: Named) {
    this.#named = named
  }

  found(): Scan {
    return { snapshots: this.#snapshots, skipped: this.#skipped }
  }

  async addRepo(folder: string, repo: Repo): Promise<void> {
    const wanted = this.#named.repo
    if (wanted !== undefined && repoKey(wanted) !== repoKey(repo)) return
    const blobs = await ifThere(realpath(path.join(folder, 'blobs')))
    const refs = await this.#refsOf(path.join(folder, 'refs'))
    for (const { name } of (await ifThere(entriesOf(path.join(folder, 'snapshots')))) ?? []) {
      const snapshot = path.join(folder, 'snapshots', name)
      if (!isCommitHash(name) || !(await isFolder(snapshot))) continue
      if (this.#named.commit !== undefined && this.#named.commit !== name) continue
      const files = new Map<string, FoundFile>()
      const skippedBefore = this.#skipped.length
      await this.#walk(snapshot, '', async (file, inRepo, entry) => {
        if (!entry.isSymbolicLink()) files.set(inRepo, { file, key: undefined })
        else {
          const target = await ifThere(realpath(file))
          if (target === undefined) this.#skip(file, 'the link leads to nothing')
          else if (blobs === undefined || path.dirname(target) !== blobs)
            this.#skip(file, 'the link leads out of the cache')
          else files.set(inRepo, { file: target, key: keyOf(path.basename(target)) })
        }
      })
      const pointing = [...refs].filter(([, commit]) => commit === name).map(([revision]) => revision)
      const tree = await treeOf(path.join(folder, 'trees', `${name}.json`))
      const isWhole = this.#skipped.length === skippedBefore
      this.#snapshots.push({ repo, commit: name, files, refs: pointing, tree, isWhole })
    }
  }

  /** A folder whose files were downloaded with `--local-dir`, or otherwise. */
  async addFolder(root: string): Promise<void> {
    const { repo, commit: given } = this.#named
    const own = path.join(root, '.cache', 'huggingface')
    const download = path.join(own, 'download')
    const isLocalDir = await isFolder(download)
    if (repo === undefined || (given === undefined && !isLocalDir))
      throw new NothingToImport(
        `${root} is no cache directory of huggingface_hub. Name the repo by --repo, and the commit by --revision ` +
          '(a folder of --local-dir knows its commit).',
      )
    const commits = new Map<CommitHash, Map<string, FoundFile>>()
    const skippedBefore = this.#skipped.length
    await this.#walk(root, '', async (file, inRepo, entry) => {
      if (inRepo.startsWith('.cache/huggingface/')) return
      if (entry.isSymbolicLink()) {
        this.#skip(file, 'it is a link')
        return
      }
      const facts = isLocalDir ? await metadataOf(path.join(download, `${inRepo}.metadata`)) : undefined
      const commit = facts?.commit ?? given
      if (commit === undefined) {
        this.#skip(file, 'the client has not noted its commit; name it by --revision')
        return
      }
      const files = commits.get(commit) ?? new Map<string, FoundFile>()
      files.set(inRepo, { file, key: facts?.key })
      commits.set(commit, files)
    })
    for (const [commit, files] of commits)
      this.#snapshots.push({
        repo,
        commit,
        files,
        refs: [],
        tree: await treeOf(path.join(own, 'trees', `${commit}.json`)),
        isWhole: this.#skipped.length === skippedBefore,
      })
  }

  #skip(file: string, reason: string): void {
    this.#skipped.push({ file, reason })
  }

  /** Calls `found` for each file and link. A link to a folder is not entered, so there are no loops. */
  async #walk(
    folder: string,
    prefix: string,
    found: (file: string, inRepo: string, entry: Dirent) => Promise<void>,
    depth = 0,
  ): Promise<void> {
    for (const entry of await entriesOf(folder)) {
      const file = path.join(folder, entry.name)
      const inRepo = prefix + entry.name
      if (entry.isDirectory()) {
        if (depth === 0 && entry.name === '.git') continue
        if (depth > MAX_DEPTH) this.#skip(file, 'it lies too deep')
        else await this.#walk(file, `${inRepo}/`, found, depth + 1)
        continue
      }
      if (!entry.isFile() && !entry.isSymbolicLink()) {
        this.#skip(file, 'it is no regular file')
        continue
      }
      if (!isAllowed(() => checkPath(inRepo))) {
        this.#skip(file, 'no file of a repo can have this name')
        continue
      }
      this.#files += 1
      if (this.#files > MAX_FILES) throw new NothingToImport(`there are more than ${MAX_FILES} files`)
      await found(file, inRepo, entry)
    }
  }

  async #refsOf(folder: string): Promise<ReadonlyMap<string, CommitHash>> {
    const refs = new Map<string, CommitHash>()
    if (!(await isFolder(folder))) return refs
    await this.#walk(folder, '', async (file, revision, entry) => {
      const commit = entry.isFile() ? (await readFact(file, MAX_FACT_BYTES))?.trim() : undefined
      if (commit === undefined || !isCommitHash(commit) || !isAllowed(() => checkRevision(revision))) return
      refs.set(revision, commit)
    })
    return refs
  }
}

/** The key that a name of 40 or 64 digits is. */
function keyOf(digest: string): BlobKey | undefined {
  const key = `${digest.length === 64 ? 'sha256' : 'gitsha1'}:${digest}`
  return isBlobKey(key) ? key : undefined
}

/** What the client has noted of a file in a folder of --local-dir: the commit, the etag and a time, a line each. */
async function metadataOf(
  file: string,
): Promise<{ commit: CommitHash; key: BlobKey | undefined } | undefined> {
  const [commit = '', etag = ''] = ((await readFact(file, MAX_FACT_BYTES)) ?? '').split('\n')
  return isCommitHash(commit) ? { commit, key: keyOf(etag) } : undefined
}

/** The listing of a commit that newer clients store. Undefined if there is none that can be read as a whole. */
async function treeOf(file: string): Promise<readonly TreeEntry[] | undefined> {
  const value = parseRecord((await readFact(file, MAX_TREE_BYTES)) ?? '')
  if (value?.['format_version'] !== 1 || !isRecord(value['files'])) return undefined
  const entries: TreeEntry[] = []
  for (const [name, entry] of Object.entries(value['files'])) {
    if (!isRecord(entry) || !isAllowed(() => checkPath(name))) return undefined
    const { size, blob_id: blobId, lfs_sha256: sha256, lfs_size: lfsSize } = entry
    const sizeBytes = typeof sha256 === 'string' ? (lfsSize ?? size) : size
    const key = keyOf(String(typeof sha256 === 'string' ? sha256 : blobId))
    if (key === undefined || typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes))
      return undefined
    if (sizeBytes < 0) return undefined
    entries.push({ path: name, key, sizeBytes })
  }
  return entries
}

/** The text of a small regular file; undefined if it is missing, larger, or something else. */
async function readFact(file: string, maxBytes: number): Promise<string | undefined> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const found = await handle.stat()
      return found.isFile() && found.size <= maxBytes ? await handle.readFile('utf8') : undefined
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Whether it is a directory itself, and no link to one. */
async function isFolder(folder: string): Promise<boolean> {
  return (await ifThere(lstat(folder)))?.isDirectory() === true
}

function isAllowed(check: () => void): boolean {
  try {
    check()
    return true
  } catch {
    return false
  }
}
