// Files that no request has described, while the Hub cannot be asked: a complete listing of the commit names them, and their bytes
// are here because they were stored for another commit or another kind of client, or are in a git repository that is kept.

import { blobKeyOf } from '../../hub/file-meta.ts'
import { contentTypeOf } from '../../hub/listing.ts'
import type { CommitHash, Repo } from '../../hub/names.ts'
import type { ClonedFiles } from '../cloned-files.ts'
import type { Contents } from '../content.ts'
import type { Implied } from '../documents/implied.ts'
import type { FileFact } from '../metadata/files.ts'
import type { LocalBytes } from './resolved.ts'

export interface UnaskedFilesOptions {
  readonly implied: Pick<Implied, 'listedFile'>
  readonly contents: Pick<Contents, 'isStored'>
  readonly cloned: Pick<ClonedFiles, 'has' | 'read'>
  readonly originBase: URL
}

export class UnaskedFiles {
  readonly #options: UnaskedFilesOptions

  constructor(options: UnaskedFilesOptions) {
    this.#options = options
  }

  /** The file, which must be one of a public repo. Undefined when no listing names it, or its bytes are not here. */
  async find(
    { repo, path }: { readonly repo: Repo; readonly path: string },
    commit: CommitHash,
  ): Promise<{ readonly fact: FileFact; readonly local: LocalBytes | undefined } | undefined> {
    const { implied, contents, cloned, originBase } = this.#options
    const item = await implied.listedFile(repo, commit, path)
    if (item === undefined) return undefined
    const { oid, size: sizeBytes, lfs } = item
    const contentType = lfs === undefined ? contentTypeOf(path) : undefined
    const meta = {
      commit,
      etag: lfs?.oid ?? oid,
      sizeBytes,
      lfs: lfs !== undefined,
      ...(contentType === undefined ? {} : { contentType }),
    }
    const key = blobKeyOf(meta, { origin: originBase.href, repo, path })
    const fact: FileFact = { kind: 'present', meta, key }
    if (sizeBytes === 0 || (await contents.isStored(key, sizeBytes))) return { fact, local: undefined }
    if (lfs !== undefined || !(await cloned.has(repo, oid))) return undefined
    return { fact, local: (range, signal) => cloned.read(repo, { id: oid, sizeBytes }, range, signal) }
  }
}
