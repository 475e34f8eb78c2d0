// Files of restricted repos for callers whom a `serve-stored` rule names, while the Hub cannot be asked. What the Hub answers to
// any caller's own request is kept, if a rule names the repo. It is used for callers only whom the rule names.

import { mayBeOutsideGate } from '../../hub/gate.ts'
import type { FileRoute } from '../../hub/route.ts'
import type { Access } from '../access/access.ts'
import type { Contents } from '../content.ts'
import type { Ctx } from '../context.ts'
import type { RestrictedMetadata } from '../metadata/restricted.ts'
import type { AnsweredFile } from './grants.ts'
import { type Listed, mayStore, type StoredFiles } from './stored-files.ts'

export interface ServedFilesOptions {
  readonly access: Pick<Access, 'mayKeep' | 'mayServeStored' | 'shown'>
  readonly contents: Pick<Contents, 'isStored'>
  readonly restricted: Pick<RestrictedMetadata, 'refs' | 'files' | 'keepFile' | 'keepRef'>
  readonly settings: { readonly refTtlMs: number }
}

export class ServedFiles {
  readonly #options: ServedFilesOptions
  readonly #stored: Pick<StoredFiles, 'find'>

  /** `stored` has what is kept of restricted repos. */
  constructor(options: ServedFilesOptions, stored: Pick<StoredFiles, 'find'>) {
    this.#options = options
    this.#stored = stored
  }

  /** Keeps what the Hub answered to this caller's own request, once the repo is known not to be public. */
  add(ctx: Ctx, route: FileRoute, { fact, askedAt, isPublic }: AnsweredFile): void {
    if (!mayStore(ctx, fact)) return
    void isPublic.then((open) => {
      const { access, restricted } = this.#options
      const { repo, revision, path } = route
      if (open || !access.mayKeep(ctx, repo)) return
      const commit = fact.kind === 'absent' ? fact.commit : fact.meta.commit
      // A gated repo shows its model card, and which files it lacks, to callers without a right to it.
      if (fact.kind === 'present' && !mayBeOutsideGate(path)) access.shown(ctx, repo, askedAt)
      restricted.keepFile(repo, commit, path, fact)
      restricted.keepRef(repo, revision, commit, askedAt)
    })
  }

  /** Whether this very question was answered, and this caller may have the answer while the Hub cannot be asked. */
  async has(ctx: Ctx, { repo, revision, path }: FileRoute): Promise<boolean> {
    const { access, restricted, settings } = this.#options
    if (!(await access.mayServeStored(ctx, repo))) return false
    const ref = await restricted.refs.get(repo, revision, settings.refTtlMs)
    return ref !== undefined && (await restricted.files.get(repo, ref.commit, path)) !== undefined
  }

  /**
   * What is stored of the file, if a rule lets this caller have it. Only for a time when the Hub cannot be asked. Undefined when no
   * rule does, or the Hub has not shown the repo.
   */
  async withoutHub(ctx: Ctx, route: FileRoute): Promise<Listed | undefined> {
    const { access, contents } = this.#options
    if (!(await access.mayServeStored(ctx, route.repo))) return undefined
    const listed = await this.#stored.find(ctx, route, { reason: 'rule' })
    const fact = listed.stored?.fact
    // A client that was promised bytes which are not here would not use its own copy.
    const isMissing =
      fact?.kind === 'present' &&
      fact.meta.sizeBytes > 0 &&
      !(await contents.isStored(fact.key, fact.meta.sizeBytes))
    // Another request may have been refused meanwhile.
    if (!(await access.mayServeStored(ctx, route.repo))) return undefined
    return isMissing ? { commit: fact.meta.commit, hasFile: true } : listed
  }
}
