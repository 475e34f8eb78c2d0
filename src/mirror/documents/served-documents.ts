// Answers of the API about restricted repos for callers whom a `serve-stored` rule names, while the Hub cannot be asked. What the
// Hub answers to any caller's own request is kept, if a rule names the repo. It is used for callers only whom the rule names.

import type { CommitHash, Repo } from '../../hub/names.ts'
import type { Access } from '../access/access.ts'
import type { Ctx } from '../context.ts'
import type { DocumentFact } from '../metadata/documents.ts'
import type { RestrictedMetadata } from '../metadata/restricted.ts'
import type { DocumentRequest, DocumentRoute } from './hub-documents.ts'
import type { Implied } from './implied.ts'

/** What clients need to read files. All else is not kept of restricted repos. */
const KEPT: ReadonlySet<DocumentRoute['document']> = new Set([
  'repo',
  'revision',
  'tree',
  'paths-info',
  'refs',
])

export interface ServedDocumentsOptions {
  readonly access: Pick<Access, 'mayKeep' | 'mayServeStored'>
  readonly restricted: Pick<RestrictedMetadata, 'documents' | 'keepDocument' | 'keepRef'>
  /** What is kept of restricted repos implies more. */
  readonly impliedRestricted: Pick<Implied, 'document'>
}

export class ServedDocuments {
  readonly #options: ServedDocumentsOptions

  constructor(options: ServedDocumentsOptions) {
    this.#options = options
  }

  /**
   * The Hub answered this caller's own request about a repo that is known not to be public. `name` is that of the document. Ignored for
   * other repos, and for those that no rule names.
   */
  add(
    ctx: Ctx,
    repo: Repo,
    { document, name }: { readonly document: DocumentRoute['document']; readonly name: string },
    { fact, askedAt }: { readonly fact: DocumentFact; readonly askedAt: number },
  ): void {
    if (this.#options.access.mayKeep(ctx, repo) && KEPT.has(document))
      this.#options.restricted.keepDocument(repo, name, fact, askedAt)
  }

  /** The info of a repo that is known not to be public has named the commit of a revision. */
  addRef(
    ctx: Ctx,
    repo: Repo,
    {
      revision,
      commit,
      askedAt,
    }: { readonly revision: string; readonly commit: CommitHash; readonly askedAt: number },
  ): void {
    if (this.#options.access.mayKeep(ctx, repo))
      this.#options.restricted.keepRef(repo, revision, commit, askedAt)
  }

  /**
   * What is stored, or follows from it, if a rule lets this caller have it. Only for a time when the Hub cannot be asked. `name` is
   * undefined for an answer that is not stored under a name. Undefined without a rule, or if the Hub has not shown the repo.
   */
  async get(
    ctx: Ctx,
    route: DocumentRoute & { readonly repo: Repo },
    request: DocumentRequest,
    name: string | undefined,
  ): Promise<{ readonly fact: DocumentFact | undefined; readonly askedAt: number | undefined } | undefined> {
    const { access, restricted, impliedRestricted } = this.#options
    if (!(await access.mayServeStored(ctx, route.repo))) return undefined
    const stored = name === undefined ? undefined : await restricted.documents.get(name)
    const fact = stored ?? (await impliedRestricted.document(route, request))
    const askedAt =
      name === undefined || stored === undefined ? undefined : restricted.documents.askedAt(name)
    // The Hub may have refused the repo meanwhile.
    return (await access.mayServeStored(ctx, route.repo)) ? { fact, askedAt } : undefined
  }

  /** Whether the answer to this very request is stored, and this caller may have it while the Hub cannot be asked. */
  async has(ctx: Ctx, repo: Repo, name: string): Promise<boolean> {
    const { access, restricted } = this.#options
    return (await access.mayServeStored(ctx, repo)) && (await restricted.documents.get(name)) !== undefined
  }
}
