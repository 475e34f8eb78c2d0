// What the operator's rules need to know of a repo (who may read it, its licence, its name), asked of the Hub: once per repo,
// credential and access TTL. While the Hub cannot be asked, what is stored of a public repo stands in. Decides nothing.

import { type Repo, repoKey } from '../../hub/names.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import { FALLBACK_TIMEOUT_MS, type OriginClient } from '../../origin/client.ts'
import { accessOf } from '../../origin/repos/repo-access.ts'
import { askRepoInfo, traitsOf } from '../../origin/repos/repo-info.ts'
import type { FactName, HubFacts } from '../../policy/decide.ts'
import type { AccessKind } from '../../policy/rules.ts'
import { anonymousRequester, type Ctx, requesterOf } from '../context.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { SingleFlight } from '../single-flight.ts'
import type { Access } from './access.ts'

/** What the Hub has answered about a repo, and when the request for it was sent. */
interface ProbeResult {
  readonly access: AccessKind | undefined
  readonly licence: readonly string[] | undefined
  readonly at: number
}

export interface RepoProbeOptions {
  readonly client: OriginClient
  readonly metadata: Metadata
  readonly access: Access
  /** The Authorization field for a Hub token of the mirror's own. */
  readonly credentialOf: (name: string) => string | undefined
  /** Read at each use: it may change. */
  readonly settings: { readonly accessTtlMs: number }
  readonly offline: boolean
  readonly monotonic: () => number
  /** Whether a rule depends on licences. */
  readonly asksLicence: () => boolean
  /** Called with a redirect; throws RepoMoved where it leads to another repo, to which a credential may not go along. */
  readonly onMoved: (repo: Repo) => (url: URL) => void
}

export class RepoProbe {
  readonly #options: RepoProbeOptions
  // By repo, what the Hub answers without a credential; by credential and repo, what it answers only to that credential.
  readonly #results = new MemoryCache<ProbeResult>({
    maxBytes: 8 * 1024 * 1024,
    sizeOf: ({ licence = [] }) => textBytes(...licence),
  })
  readonly #questions = new SingleFlight<ProbeResult | undefined>()

  constructor(options: RepoProbeOptions) {
    this.#options = options
  }

  /**
   * What is known without asking. `useToken` names the Hub token that the request would be lent: its answers count where the
   * anonymous one says nothing.
   */
  inMemory(ctx: Pick<Ctx, 'fingerprint'>, repo: Repo | undefined, useToken?: string): HubFacts {
    if (repo === undefined) return {}
    const anonymous = this.#fresh(repo, repoKey(repo))
    const verdict = this.#options.access.verdict(repo)
    // The Hub has since refused the repo to an anonymous request.
    const isOver = anonymous?.access === 'public' && verdict === 'restricted'
    return {
      access: verdict === 'public' ? 'public' : isOver ? undefined : anonymous?.access,
      licence: anonymous?.licence ?? this.#fresh(repo, ownKey(ctx, repo, useToken))?.licence,
    }
  }

  /**
   * Asks the Hub without a credential, and with that of the request for what anonymous requests do not get. Undefined when the
   * Hub does not answer and nothing is stored of a public repo. Rejects with client_limited when the caller may cause no more
   * requests to the origin and nothing is stored.
   */
  async ask(
    ctx: Ctx,
    repo: Repo,
    {
      facts: needs,
      useToken,
    }: { readonly facts: readonly FactName[]; readonly useToken: string | undefined },
  ): Promise<HubFacts | undefined> {
    const { access, metadata, offline, client, credentialOf, onMoved } = this.#options
    const before = this.inMemory(ctx, repo, useToken)
    if (needs.every((need) => (need === 'access' || need === 'licence') && before[need] !== undefined))
      return before
    const stored = await metadata.repos.traits(repo)
    const wasPublic = await access.lastKnownPublic(repo)
    const fallback: HubFacts | undefined = wasPublic
      ? { access: 'public', licence: stored.licence }
      : undefined
    if (offline || (fallback !== undefined && client.isRecentlyUnreachable())) return fallback
    try {
      await ctx.countAgainstLimit?.()
    } catch (error) {
      if (fallback === undefined) throw error
      return fallback
    }
    const timeout = fallback === undefined ? {} : { timeoutMs: FALLBACK_TIMEOUT_MS }
    const result = await this.#ask(repo, repoKey, anonymousRequester(ctx), timeout)
    if (result === undefined) return fallback
    const isEnough =
      result.access !== 'private' || !needs.some((need) => need === 'licence' || need === 'name')
    const authorization = ctx.authorization ?? (useToken === undefined ? undefined : credentialOf(useToken))
    if (isEnough || authorization === undefined) return result
    const requester = { ...requesterOf(ctx), authorization }
    // The redirect alone says that there is another name. A token that is lent for this name must not go to the other.
    const staysHere = ctx.authorization === undefined && needs.every((need) => need === 'name')
    const how = { ...timeout, onMoved: staysHere ? onMoved(repo) : undefined }
    const own = await this.#ask(repo, (named) => ownKey(ctx, named, useToken), requester, how)
    return own === undefined ? result : { ...result, licence: own.licence }
  }

  /** Undefined when the Hub does not answer, or has no such info. */
  #ask(
    repo: Repo,
    keyOf: (repo: Repo) => string,
    requester: ReturnType<typeof requesterOf>,
    how: { readonly timeoutMs?: number; readonly onMoved?: ((url: URL) => void) | undefined },
  ): Promise<ProbeResult | undefined> {
    const { client, metadata, monotonic, asksLicence } = this.#options
    return this.#questions.run(keyOf(repo), async () => {
      const at = monotonic()
      const options = { licence: asksLicence(), ...how }
      const answer = await askRepoInfo(client, repo, requester, options).catch(() => undefined)
      if (answer === undefined || answer.kind === 'unsaid') return undefined
      if (answer.kind === 'refused')
        return this.#set(keyOf(repo), { access: 'private', licence: undefined, at })
      const traits = traitsOf(answer.info)
      metadata.repos.setTraits(repo, traits, at)
      const result = { access: accessOf(answer.info), licence: traits.licence, at }
      // For an old name the Hub reports today's name, which is decided about next.
      if (traits.name !== undefined) this.#set(keyOf({ ...repo, id: traits.name }), result)
      return this.#set(keyOf(repo), result)
    })
  }

  #fresh(repo: Repo, key: string): ProbeResult | undefined {
    const result = this.#results.get(key)
    const { metadata, monotonic, settings } = this.#options
    if (result === undefined || metadata.refs.changedSince(repo, result.at)) return undefined
    return monotonic() - result.at < settings.accessTtlMs ? result : undefined
  }

  #set(key: string, result: ProbeResult): ProbeResult {
    const before = this.#results.get(key)
    // The request by the other name may have been sent later.
    if (before === undefined || before.at <= result.at) this.#results.set(key, result)
    return result
  }
}

function ownKey(ctx: Pick<Ctx, 'fingerprint'>, repo: Repo, lent?: string): string {
  return `${lent === undefined ? ctx.fingerprint : `lent ${lent}`} ${repoKey(repo)}`
}
