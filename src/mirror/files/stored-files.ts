// What is stored of a file, by its own facts and by what other stored answers say of its commit. Sends no
// request. Who may see it is decided before.

import type { CommitHash } from '../../hub/names.ts'
import type { FileRoute } from '../../hub/route.ts'
import type { Ctx } from '../context.ts'
import type { Implied } from '../documents/implied.ts'
import type { FileFact } from '../metadata/files.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { LocalBytes } from './resolved.ts'
import type { UnaskedFiles } from './unasked-files.ts'

/** What is stored of a file, why it may be shown, and when this process last asked the Hub where the branch is. */
export interface Stored {
  readonly fact: FileFact
  readonly reason: 'public' | 'was-public' | 'grace' | 'rule'
  readonly askedAt: number | undefined
  /** Present when the bytes are in a git repository. */
  readonly local?: LocalBytes | undefined
}

/** What stored answers to other questions say of a file. */
export interface Listed {
  /** What the revision stands for; undefined when that is not known. */
  readonly commit?: CommitHash
  /** Undefined when no listing of the commit is stored. */
  readonly hasFile?: boolean | undefined
  /** What is stored of the file at that commit, or that the commit does not have it. */
  readonly stored?: Stored
}
export const NOT_LISTED: Listed = {}

export interface StoredFilesOptions {
  readonly metadata: Pick<Metadata, 'files'>
  /** What stored listings say of files that were never requested. */
  readonly implied: Pick<Implied, 'commitOf' | 'hasFile'>
  /** Files that no request has described and whose bytes are here all the same. */
  readonly unaskedFiles: Pick<UnaskedFiles, 'find'>
}

export class StoredFiles {
  readonly #options: StoredFilesOptions

  constructor(options: StoredFilesOptions) {
    this.#options = options
  }

  /** With `ref`, the caller has looked for the file at the commit of that ref, and found nothing. `reason` is that of the result. */
  async find(
    ctx: Ctx,
    { repo, revision, path }: FileRoute,
    {
      reason,
      ref,
    }: {
      readonly reason: Stored['reason']
      readonly ref?: { readonly commit: CommitHash; readonly at?: number } | undefined
    },
  ): Promise<Listed> {
    const { implied, metadata, unaskedFiles } = this.#options
    if (ctx.admission?.mayStore(undefined) === false) return NOT_LISTED
    // It may also be known by an info, or by the list of refs.
    const commit = ref?.commit ?? (await implied.commitOf(repo, revision))
    if (commit === undefined) return NOT_LISTED
    const kept = ref === undefined ? await metadata.files.get(repo, commit, path) : undefined
    if (kept !== undefined && mayStore(ctx, kept))
      return { commit, stored: { fact: kept, reason, askedAt: undefined } }
    const hasFile = await implied.hasFile(repo, commit, path, revision)
    if (hasFile === false)
      return { commit, hasFile, stored: { fact: { kind: 'absent', commit }, reason, askedAt: ref?.at } }
    const found = hasFile === true ? await unaskedFiles.find({ repo, path }, commit) : undefined
    if (found === undefined || !mayStore(ctx, found.fact)) return { commit, hasFile }
    return { commit, hasFile, stored: { ...found, reason, askedAt: undefined } }
  }
}

/** Whether the stored description of a file may be used: a policy may keep the file off the disk. */
export function mayStore(ctx: Ctx, fact: FileFact): boolean {
  return ctx.admission?.mayStore(fact.kind === 'present' ? fact.meta.sizeBytes : undefined) !== false
}
