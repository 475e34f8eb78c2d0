// Answers of the API about restricted repos, as the Hub gave them to one credential. Within the grace the same credential gets
// the same answer to the same question while the Hub cannot be asked. In memory only, like the grants of files.

import { type Repo, repoKey } from '../../hub/names.ts'
import { MemoryCache } from '../../memory.ts'
import type { Access } from '../access/access.ts'
import type { Ctx } from '../context.ts'
import type { Invalidations } from '../invalidations.ts'
import type { DocumentFact } from '../metadata/documents.ts'

/** For all callers together. */
const MAX_BYTES = 32 * 1024 * 1024
/** The listing of some 40,000 files. A larger one would displace too many others. */
const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024

interface Granted {
  readonly fact: DocumentFact
  /** When the request to the Hub was sent. */
  readonly askedAt: number
}

export interface GrantedDocumentsOptions {
  readonly access: Access
  /** Whether content that is not public may be stored. Without its files, the answers would be of no use. */
  readonly cachePrivate: boolean
  readonly invalidations: Pick<Invalidations, 'onRemoved'>
}

export class GrantedDocuments {
  readonly #options: GrantedDocumentsOptions
  readonly #granted = new MemoryCache<Granted>({
    maxBytes: MAX_BYTES,
    maxEntryBytes: MAX_DOCUMENT_BYTES,
    sizeOf: ({ fact }) => 1000 + fact.body.length,
  })

  constructor(options: GrantedDocumentsOptions) {
    this.#options = options
    options.invalidations.onRemoved(() => this.#granted.clear())
  }

  /**
   * The Hub answered this caller's own request about a repo that is known not to be public. `name` is that of the document.
   * Ignored for other repos: nothing else proves a right to a restricted one.
   */
  add(ctx: Ctx, repo: Repo, name: string, granted: Granted): void {
    const { access, cachePrivate } = this.#options
    if (!cachePrivate || ctx.authorization === undefined || !access.isRestricted(repo)) return
    if (!access.hasGrace(ctx.fingerprint, repo, granted.askedAt)) return
    this.#granted.set(keyOf(ctx, repo, name), granted)
  }

  /** What the Hub answered this very caller within the grace. Only for a time when the Hub cannot be asked. */
  get(ctx: Ctx, repo: Repo, name: string): Granted | undefined {
    const { access, cachePrivate } = this.#options
    if (!cachePrivate || ctx.authorization === undefined) return undefined
    const granted = this.#granted.get(keyOf(ctx, repo, name))
    if (granted === undefined || !access.hasGrace(ctx.fingerprint, repo, granted.askedAt)) return undefined
    return granted
  }
}

function keyOf({ fingerprint }: Pick<Ctx, 'fingerprint'>, repo: Repo, name: string): string {
  return `${fingerprint} ${repoKey(repo)} ${name}`
}
