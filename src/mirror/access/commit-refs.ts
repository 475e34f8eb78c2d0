// Which branches and tags stand for a commit. The Hub is asked once per repo, credential and access TTL, and only for rules
// about revisions.

import { type Repo, repoKey } from '../../hub/names.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import { FALLBACK_TIMEOUT_MS, type OriginClient } from '../../origin/client.ts'
import { askRepoRefs, type RepoRef } from '../../origin/repos/repo-info.ts'
import { anonymousRequester, type Ctx, requesterOf } from '../context.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { SingleFlight } from '../single-flight.ts'

interface RefsResult {
  readonly refs: readonly RepoRef[]
  /** When the request was sent. */
  readonly at: number
}

/** For all repos together. */
const REFS_BYTES = 32 * 1024 * 1024
/** Memory of one ref beside its strings. */
const REF_BYTES = 100
/** More names of one commit add nothing. */
const MAX_NAMES = 100
/** For so long, and a tenth of the access TTL at most, the Hub is not asked again for refs that it has not shown. */
const LONGEST_FAILURE_MS = 5_000

export class CommitRefs {
  readonly #options: CommitRefsOptions
  readonly #results = new MemoryCache<RefsResult>({
    maxBytes: REFS_BYTES,
    sizeOf: ({ refs }) =>
      refs.reduce((sum, { name, commit }) => sum + REF_BYTES + textBytes(name, commit), 0),
  })
  /** By repo and credential: when the Hub was last asked in vain. */
  readonly #failures = new MemoryCache<number>({ maxBytes: 1024 * 1024 })
  readonly #questions = new SingleFlight<readonly RepoRef[] | undefined>()

  constructor(options: CommitRefsOptions) {
    this.#options = options
  }

  /**
   * All refs of a repo: asked without a credential, or with the credential of the request when the Hub shows them only
   * then. While the Hub does not answer, its last answer. Undefined when the Hub has shown none. Rejects with client_limited
   * when the caller may cause no more requests to the origin and there is no earlier answer.
   */
  async of(ctx: Ctx, repo: Repo, useToken: string | undefined): Promise<readonly RepoRef[] | undefined> {
    const { offline, credentialOf, onMoved } = this.#options
    const open = repoKey(repo)
    const own = `${useToken === undefined ? ctx.fingerprint : `lent ${useToken}`} ${open}`
    const fresh = this.#fresh(repo, open) ?? this.#fresh(repo, own)
    if (fresh !== undefined) return fresh
    const before = this.#results.get(open)?.refs ?? this.#results.get(own)?.refs
    const authorization = ctx.authorization ?? (useToken === undefined ? undefined : credentialOf(useToken))
    const asksOwn = authorization !== undefined && !this.#hasFailed(repo, own)
    if (offline || (this.#hasFailed(repo, open) && !asksOwn)) return before
    try {
      await ctx.countAgainstLimit?.()
    } catch (error) {
      if (before === undefined) throw error
      return before
    }
    const asked = await this.#ask(open, repo, anonymousRequester(ctx))
    if (asked !== undefined || !asksOwn) return asked ?? before
    return (await this.#ask(own, repo, { ...requesterOf(ctx), authorization }, onMoved(repo))) ?? before
  }

  #fresh(repo: Repo, key: string): readonly RepoRef[] | undefined {
    const result = this.#results.get(key)
    const { metadata, monotonic, settings } = this.#options
    if (result === undefined || metadata.refs.changedSince(repo, result.at)) return undefined
    return monotonic() - result.at < settings.accessTtlMs ? result.refs : undefined
  }

  /** Whether the Hub did not show the refs a moment ago. */
  #hasFailed(repo: Repo, key: string): boolean {
    const at = this.#failures.get(key)
    const { metadata, monotonic, settings } = this.#options
    if (at === undefined || metadata.refs.changedSince(repo, at)) return false
    return monotonic() - at < Math.min(LONGEST_FAILURE_MS, settings.accessTtlMs / 10)
  }

  async #ask(
    key: string,
    repo: Repo,
    requester: Parameters<typeof askRepoRefs>[2],
    onMoved?: (url: URL) => void,
  ): Promise<readonly RepoRef[] | undefined> {
    if (this.#hasFailed(repo, key)) return undefined
    const { client, monotonic } = this.#options
    return this.#questions.run(key, async () => {
      const at = monotonic()
      const refs = await askRepoRefs(client, repo, requester, {
        timeoutMs: FALLBACK_TIMEOUT_MS,
        onMoved,
      }).catch(() => undefined)
      if (refs === undefined) this.#failures.set(key, at)
      else this.#results.set(key, { refs, at })
      return refs
    })
  }
}

interface CommitRefsOptions {
  readonly client: OriginClient
  readonly metadata: { readonly refs: Pick<Metadata['refs'], 'changedSince'> }
  readonly credentialOf: (name: string) => string | undefined
  /** Read at each use: it may change. */
  readonly settings: { readonly accessTtlMs: number }
  readonly offline: boolean
  readonly monotonic: () => number
  /** Called with a redirect; throws where a credential may not go along. */
  readonly onMoved: (repo: Repo) => (url: URL) => void
}

/**
 * The names under which a rule sees a revision that may be a commit, full or abbreviated. A ref with exactly that name
 * stands for itself.
 */
export function namesFor(revision: string, refs: readonly RepoRef[]): readonly string[] {
  if (refs.some(({ name }) => name === revision)) return []
  const commit = revision.toLowerCase()
  const names = refs.filter((ref) => ref.commit.toLowerCase().startsWith(commit)).map(({ name }) => name)
  return [...new Set(names)].slice(0, MAX_NAMES)
}
