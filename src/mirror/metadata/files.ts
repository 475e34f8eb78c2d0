// What a commit holds at a path. Immutable, so it needs no date.

import { type FileMeta, isBareEtag } from '../../hub/file-meta.ts'
import { type CommitHash, isCommitHash, type Repo } from '../../hub/names.ts'
import { isRecord } from '../../records.ts'
import { type BlobKey, isBlobKey } from '../../store/digest.ts'
import type { FactStore } from './fact-store.ts'

/** A file of one commit; `absent` says that the commit has no such path. */
export type FileFact =
  | { readonly kind: 'present'; readonly meta: FileMeta; readonly key: BlobKey }
  | { readonly kind: 'absent'; readonly commit: CommitHash }

export class FileMetadata {
  readonly #store: FactStore

  constructor(store: FactStore) {
    this.#store = store
  }

  async get(repo: Repo, commit: CommitHash, path: string): Promise<FileFact | undefined> {
    return parseFile(await this.#store.read('files', this.#store.fileKey(repo, commit, path)))
  }

  /** Written behind the response. */
  set(repo: Repo, commit: CommitHash, path: string, fact: FileFact): void {
    const value =
      fact.kind === 'absent'
        ? { absent: true, commit: fact.commit }
        : { ...fact.meta, commit: fact.meta.commit, key: fact.key }
    const key = this.#store.fileKey(repo, commit, path)
    // Every revalidation comes here, and hardly ever with another fact.
    if (JSON.stringify(this.#store.peek('files', key)) === JSON.stringify(value)) return
    void this.#store.write('files', key, value)
  }
}

// A fact in memory is parsed once: later calls return the same object.
const parsedFiles = new WeakMap<object, FileFact>()

function parseFile(value: unknown): FileFact | undefined {
  if (!isRecord(value)) return undefined
  const parsed = parsedFiles.get(value) ?? readFile(value)
  if (parsed !== undefined) parsedFiles.set(value, parsed)
  return parsed
}

function readFile(value: Record<string, unknown>): FileFact | undefined {
  const { commit, etag, sizeBytes, lfs, contentType, key } = value
  if (typeof commit !== 'string' || !isCommitHash(commit)) return undefined
  if (value['absent'] === true) return { kind: 'absent', commit }
  if (typeof etag !== 'string' || !isBareEtag(etag) || typeof lfs !== 'boolean') return undefined
  if (typeof key !== 'string' || !isBlobKey(key)) return undefined
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return undefined
  const meta = { commit, etag, sizeBytes, lfs, ...(typeof contentType === 'string' ? { contentType } : {}) }
  return { kind: 'present', meta, key }
}
