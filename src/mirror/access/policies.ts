// The operator's rules, applied: what they ask for and nobody has told yet is learnt from the Hub, once per repo and
// time to live; then they decide, before anything is asked or served on behalf of the request. The repos that a mirror
// token is for are held against the same names. Opens no file.

import { MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { parseRepoId, type Repo, type RepoId, repoKey } from '../../hub/names.ts'
import { type FileRoute, type HubRoute, parseHubUrl } from '../../hub/route.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import { FALLBACK_TIMEOUT_MS, type OriginClient } from '../../origin/client.ts'
import { RepoMoved } from '../../origin/repo-moved.ts'
import { accessOf } from '../../origin/repos/repo-access.ts'
import { askRepoInfo, traitsOf } from '../../origin/repos/repo-info.ts'
import {
  decide,
  type FactName,
  type HubFacts,
  type PolicyCaller,
  type Question,
  type Ruling,
} from '../../policy/decide.ts'
import { denialText } from '../../policy/denial.ts'
import { mayBeCommit } from '../../policy/revisions.ts'
import type { AccessKind, Rule } from '../../policy/rules.ts'
import { type Subject, subjectOf } from '../../policy/subject.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { ANONYMOUS, anonymousRequester, type Ctx, requesterOf } from '../context.ts'
import type { Known } from '../known.ts'
import { SingleFlight } from '../single-flight.ts'
import type { Access } from './access.ts'
import { CommitRefs, namesFor } from './commit-refs.ts'

/** A request that the rules let in, and what they said on the way. */
export interface Admission {
  /** The names of the rules that had a say, with commas; empty when none had. */
  readonly rules: string
  /** The Hub token that is lent to a caller who has none. */
  readonly useToken: string | undefined
  /** Whether bytes and facts of it may reach the disk: of a file by its size, else of the repo (`undefined`). */
  readonly mayStore: (sizeBytes: number | undefined) => boolean
  /** To be told the size of a file before a byte of it is served. Throws policy_denied. */
  readonly checkSize: (sizeBytes: number) => void
  /** By which names of the repo it was decided, with commas. */
  readonly names: string
  /** Throws RepoMoved where a redirect leads to a repo by a name that was not decided about. */
  readonly onRedirect: (url: URL) => void
  /** The same where the Hub has told such a name meanwhile, to whomever: to be asked before anything is answered. */
  readonly checkName: () => void
}

export interface PoliciesOptions {
  /** Read at each use: they may change. */
  readonly settings: { readonly policies: readonly Rule[]; readonly accessTtlMs: number }
  readonly client: OriginClient
  readonly known: Known
  readonly access: Access
  /** The Authorization field for a Hub token of the mirror's own. */
  readonly credentialOf: (name: string) => string | undefined
  readonly offline: boolean
  readonly monotonic: () => number
  readonly observer: Observer
}

/** What the Hub said of a repo, and when the question left. */
interface Learnt {
  readonly access: AccessKind | undefined
  readonly licence: readonly string[] | undefined
  readonly at: number
}

export class Policies {
  readonly #options: PoliciesOptions
  readonly #refs: CommitRefs
  readonly #originPath: string
  // By repo what a stranger was told; by credential and repo what only that credential is told.
  readonly #learnt = new MemoryCache<Learnt>({
    maxBytes: 8 * 1024 * 1024,
    sizeOf: ({ licence = [] }) => textBytes(...licence),
  })
  readonly #questions = new SingleFlight<Learnt | undefined>()

  constructor(options: PoliciesOptions) {
    this.#options = options
    this.#refs = new CommitRefs({
      ...options,
      onMoved: (repo) => (url) => this.#redirected(url, repo, [repo.id]),
    })
    this.#originPath = withoutTrailingSlash(options.client.policy.base.pathname) || '/'
  }

  get #rules(): readonly Rule[] {
    return this.#options.settings.policies
  }

  get hasRules(): boolean {
    return this.#rules.length > 0
  }

  /** Whether what the Hub calls the repo's licence is to be asked for. */
  get asksLicence(): boolean {
    return this.#rules.some(({ match }) => match.licence !== undefined)
  }

  get #judgesRevisions(): boolean {
    return this.#rules.some(({ match }) => match.revision !== undefined && match.revision.length > 0)
  }

  /** Main, and what rules name without a star: of these the store may know the commit. */
  get #namedRevisions(): readonly string[] {
    const revisions = this.#rules.flatMap(({ match }) => match.revision ?? [])
    return [...new Set(['main', ...revisions.map(({ text }) => text)])].filter(
      (text) => !/[*?[{]/.test(text) && !mayBeCommit(text),
    )
  }

  get #judgesSizes(): boolean {
    return this.#rules.some(({ match }) => match.size !== undefined)
  }

  /**
   * Decides about a request. Undefined where no rule, and no scope of a mirror token, can be about it. Throws
   * policy_denied, or mirror_token_scope for the name that a repo has today. `isUpload` says that a Git LFS batch is one.
   */
  async admit(
    ctx: Ctx,
    route: HubRoute,
    request: { readonly isUpload?: boolean } = {},
  ): Promise<Admission | undefined> {
    if (!this.hasRules && ctx.checkScope === undefined) return undefined
    const subject = subjectOf(route, request)
    if (subject === undefined) return undefined
    const id = parseRepoId(subject.id)
    const repo = id === undefined || subject.type === 'bucket' ? undefined : { type: subject.type, id }
    const asked = await this.#decide(ctx, subject, repo)
    const name = repo === undefined ? undefined : await this.#nameOf(ctx, repo, asked.ruling.useToken)
    const questions = [asked]
    // An old name leads to the repo of today: both are decided about.
    if (repo !== undefined && isOther(repo, name)) {
      const today = { ...repo, id: name }
      ctx.checkScope?.(today)
      questions.push(await this.#decide(ctx, { ...subject, id: name }, today))
    }
    // A token is for the repo that goes into the question to the Hub, by no reading of our own.
    const isPlain =
      route.repo !== undefined && isSame(route.repo.id, subject.id) && route.repo.type === subject.type
    return this.#admission(subject, questions, { repo, name, mayLend: isPlain })
  }

  /**
   * The names of the rules that had a say in a request for a file that is ready, with commas. Undefined where it cannot
   * be told without waiting, or they say anything but yes: `admit` is to be asked then.
   */
  admitReady(caller: Ctx['caller'], route: FileRoute): string | undefined {
    if (!this.hasRules) return ''
    const { known, observer } = this.#options
    const { repo } = route
    const traits = known.traitsInMemory(repo)
    const subject = subjectOf(route)
    if (this.#judgesSizes || isShort(repo) || traits === undefined || subject === undefined) return undefined
    if (isOther(repo, traits.name)) return undefined
    const decision = decide(
      this.#rules,
      this.#question({ caller, fingerprint: ANONYMOUS }, subject, { repo }),
    )
    if (decision.kind === 'needs' || decision.verdict === 'deny') return undefined
    if (decision.noStore !== 'no' || decision.useToken !== undefined) return undefined
    for (const rule of decision.applied) observer.policyDecided(rule.name, rule.action)
    return namesOf(decision.applied)
  }

  #admission(
    subject: Subject,
    decided: readonly { readonly question: Question; readonly ruling: Ruling }[],
    about: { readonly repo: Repo | undefined; readonly name: string | undefined; readonly mayLend: boolean },
  ): Admission {
    const { observer, known } = this.#options
    // Those by which it was decided: they may be others when the size is known.
    const rules = this.#rules
    const { repo, name, mayLend } = about
    const rulings = decided.map(({ ruling }) => ruling)
    const said = [...new Set(rulings.flatMap((ruling) => ruling.applied))]
    for (const rule of said) observer.policyDecided(rule.name, rule.action)
    const denied = decided.find(({ ruling }) => ruling.verdict === 'deny')
    if (denied !== undefined) throw denial(denied.ruling, subject)
    const withSize = (sizeBytes: number): readonly Ruling[] =>
      decided.flatMap(({ question, ruling }) => {
        if (!ruling.pending) return [ruling]
        const again = decide(rules, { ...question, facts: { ...question.facts, sizeBytes }, final: true })
        return again.kind === 'ruling' ? [again] : []
      })
    const [first] = rulings
    const isAgreed = rulings.every(({ useToken }) => useToken === first?.useToken)
    const names = [subject.id, ...(name === undefined ? [] : [name])]
    return {
      rules: namesOf(said),
      useToken: isAgreed && mayLend ? first?.useToken : undefined,
      mayStore: (sizeBytes) => {
        const all = sizeBytes === undefined ? rulings : withSize(sizeBytes)
        return all.every(({ noStore }) => noStore !== 'yes')
      },
      checkSize: (sizeBytes) => {
        if (!rulings.some(({ pending }) => pending)) return
        for (const ruling of withSize(sizeBytes)) {
          for (const rule of ruling.applied)
            if (!said.includes(rule)) observer.policyDecided(rule.name, rule.action)
          if (ruling.verdict === 'deny') throw denial(ruling, subject)
        }
      },
      names: names.join(','),
      onRedirect: (url) => this.#redirected(url, subject, names),
      checkName: () => {
        const told = repo === undefined || isShort(repo) ? undefined : known.toldName(repo)
        if (told !== undefined && !names.some((each) => isSame(each, told))) throw new RepoMoved()
      },
    }
  }

  /**
   * What the Hub calls the repo. Another name than that in the request is believed for the access time: a repo may get
   * its old one back, of which nobody would hear who is refused for the other.
   */
  async #nameOf(ctx: Ctx, repo: Repo, useToken: string | undefined): Promise<RepoId | undefined> {
    const { known, settings } = this.#options
    const { name } = await known.traits(repo)
    if (!isOther(repo, name) || known.isNameYoung(repo, settings.accessTtlMs)) return name
    await this.#learn(ctx, repo, { facts: ['name'], useToken })
    return (await known.traits(repo)).name
  }

  /** Asks the rules, and the Hub for what they need. */
  async #decide(
    ctx: Ctx,
    subject: Subject,
    repo: Repo | undefined,
  ): Promise<{ readonly question: Question; readonly ruling: Ruling }> {
    const rules = this.#rules
    let question = this.#question(ctx, subject, { repo, name: await this.#shortName(repo) })
    let decision = decide(rules, question)
    if (decision.kind === 'needs') {
      const isOfRefs = decision.facts.every((fact) => fact === 'refs')
      const learnt = repo === undefined || isOfRefs ? undefined : await this.#learn(ctx, repo, decision)
      const name = await this.#shortName(repo)
      const refs = await this.#refsOf(ctx, subject, repo, decision.useToken)
      const about = this.#question(ctx, subject, { repo, name, learnt })
      question = { ...about, facts: { ...about.facts, refs }, final: true }
      decision = decide(rules, question)
    }
    if (decision.kind === 'needs')
      throw new MirrorError('bug', { detail: { reason: 'a final question needs more' } })
    return { question, ruling: decision }
  }

  /**
   * What stands for the commit that a request names, where a rule is about revisions: as the Hub says, or said within the
   * access time; while it is away, what is stored of the names in the rules, and what it said before.
   */
  async #refsOf(
    ctx: Ctx,
    { revision }: Subject,
    repo: Repo | undefined,
    useToken: string | undefined,
  ): Promise<readonly string[] | undefined> {
    if (!this.#judgesRevisions || repo === undefined || typeof revision !== 'string') return undefined
    if (!mayBeCommit(revision)) return undefined
    const all = await this.#refs.of(ctx, repo, useToken)
    if (all !== undefined) return namesFor(revision, all)
    const { known, settings } = this.#options
    const stored: string[] = []
    for (const name of this.#namedRevisions) {
      const ref = await known.ref(repo, name, settings.accessTtlMs)
      if (ref?.commit.startsWith(revision.toLowerCase()) === true) stored.push(name)
    }
    return stored.length > 0 ? stored : undefined
  }

  /** What an old id of one part stands for, where that is known. */
  async #shortName(repo: Repo | undefined): Promise<RepoId | undefined> {
    return repo !== undefined && isShort(repo) ? (await this.#options.known.traits(repo)).name : undefined
  }

  #question(
    ctx: Pick<Ctx, 'caller' | 'fingerprint'>,
    subject: Subject,
    about: {
      readonly repo: Repo | undefined
      readonly name?: RepoId | undefined
      readonly learnt?: HubFacts | undefined
    },
  ): Question {
    const { repo, name, learnt } = about
    return {
      subject,
      names: name === undefined ? [subject.id] : [subject.id, name],
      nameKnown: repo === undefined || !isShort(repo) || name !== undefined,
      caller: callerOf(ctx),
      facts: {
        ...(learnt ?? this.#remembered(ctx, repo)),
        sizeBytes: subject.size === 'file' ? 'later' : undefined,
      },
      final: false,
    }
  }

  /** What need not be asked again; of what only a credential is told, for the one that the request would bring. */
  #remembered(ctx: Pick<Ctx, 'fingerprint'>, repo: Repo | undefined, useToken?: string): HubFacts {
    if (repo === undefined) return {}
    const told = this.#young(repoKey(repo))
    const verdict = this.#options.access.verdict(repo)
    // The Hub has said since that it is not everybody's.
    const isOver = told?.access === 'public' && verdict === 'restricted'
    return {
      access: verdict === 'public' ? 'public' : isOver ? undefined : told?.access,
      licence: told?.licence ?? this.#young(ownKey(ctx, repo, useToken))?.licence,
    }
  }

  #young(key: string): Learnt | undefined {
    const learnt = this.#learnt.get(key)
    const { monotonic, settings } = this.#options
    return learnt !== undefined && monotonic() - learnt.at < settings.accessTtlMs ? learnt : undefined
  }

  /** Asks the Hub as a stranger, and with the credential of the request for what strangers are not told. */
  async #learn(
    ctx: Ctx,
    repo: Repo,
    {
      facts: needs,
      useToken,
    }: { readonly facts: readonly FactName[]; readonly useToken: string | undefined },
  ): Promise<HubFacts | undefined> {
    const { access, known, offline, client } = this.#options
    const before = this.#remembered(ctx, repo, useToken)
    if (needs.every((need) => (need === 'access' || need === 'licence') && before[need] !== undefined))
      return before
    const stored = await known.traits(repo)
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
    const patience = fallback === undefined ? {} : { timeoutMs: FALLBACK_TIMEOUT_MS }
    const told = await this.#ask(repo, repoKey, anonymousRequester(ctx), patience)
    if (told === undefined) return fallback
    const isTold = told.access !== 'private' || !needs.some((need) => need === 'licence' || need === 'name')
    const lent = useToken === undefined ? undefined : this.#options.credentialOf(useToken)
    const authorization = ctx.authorization ?? lent
    if (isTold || authorization === undefined) return told
    const requester = { ...requesterOf(ctx), authorization }
    // That there is another name says the redirect; what is lent for this one is not for that.
    const staysHere = ctx.authorization === undefined && needs.every((need) => need === 'name')
    const onMoved = staysHere ? (url: URL) => this.#redirected(url, repo, [repo.id]) : undefined
    const how = { ...patience, onMoved }
    const toCaller = await this.#ask(repo, (named) => ownKey(ctx, named, useToken), requester, how)
    return toCaller === undefined ? told : { ...told, licence: toCaller.licence }
  }

  /** Undefined when the Hub does not answer, or does not say. */
  #ask(
    repo: Repo,
    keyOf: (repo: Repo) => string,
    requester: ReturnType<typeof requesterOf>,
    how: { readonly timeoutMs?: number; readonly onMoved?: ((url: URL) => void) | undefined },
  ): Promise<Learnt | undefined> {
    const { client, known, monotonic } = this.#options
    return this.#questions.run(keyOf(repo), async () => {
      const at = monotonic()
      const options = { licence: this.asksLicence, ...how }
      const answer = await askRepoInfo(client, repo, requester, options).catch(() => undefined)
      if (answer === undefined || answer.kind === 'unsaid') return undefined
      if (answer.kind === 'refused')
        return this.#remember(keyOf(repo), { access: 'private', licence: undefined, at })
      const traits = traitsOf(answer.info)
      known.tell(repo, traits, at)
      const learnt = { access: accessOf(answer.info), licence: traits.licence, at }
      // Of an old name the Hub tells what it calls the repo now, about which is decided next.
      if (traits.name !== undefined) this.#remember(keyOf({ ...repo, id: traits.name }), learnt)
      return this.#remember(keyOf(repo), learnt)
    })
  }

  #remember(key: string, learnt: Learnt): Learnt {
    const before = this.#learnt.get(key)
    // The question by the other name may have left later.
    if (before === undefined || before.at <= learnt.at) this.#learnt.set(key, learnt)
    return learnt
  }

  #subjectAt(url: URL): Subject | undefined {
    try {
      return subjectOf(parseHubUrl(url.pathname + url.search, this.#originPath))
    } catch (error) {
      throw new MirrorError('origin_bad_answer', {
        cause: error,
        detail: { reason: 'redirect to no URL of a Hub' },
      })
    }
  }

  #redirected(url: URL, subject: Pick<Subject, 'type' | 'id'>, names: readonly string[]): void {
    const found = this.#subjectAt(url)
    if (found === undefined || (found.type === subject.type && names.some((name) => isSame(name, found.id))))
      return
    const [from, to] = [parseRepoId(subject.id), parseRepoId(found.id)]
    if (from === undefined || to === undefined || found.type !== subject.type || subject.type === 'bucket') {
      throw new MirrorError('origin_bad_answer', { detail: { reason: 'redirect to something else' } })
    }
    const { known, monotonic } = this.#options
    known.tell({ type: subject.type, id: from }, { name: to }, monotonic())
    throw new RepoMoved()
  }
}

function namesOf(rules: readonly Rule[]): string {
  return rules.map((rule) => rule.name).join(',')
}

function callerOf({ caller }: Pick<Ctx, 'caller'>): PolicyCaller {
  const mirrorToken = caller.kind === 'mirror-token' ? caller.name : undefined
  return { address: caller.address, mirrorToken, ownToken: caller.kind === 'hub-token' }
}

function ownKey(ctx: Pick<Ctx, 'fingerprint'>, repo: Repo, lent?: string): string {
  return `${lent === undefined ? ctx.fingerprint : `lent ${lent}`} ${repoKey(repo)}`
}

/** An old id without an organisation: the Hub serves it under that name, and knows it by another. */
function isShort(repo: Repo): boolean {
  return !repo.id.includes('/')
}

/** Whether the Hub knows the repo by another name. A short id is no name of its own. */
function isOther(repo: Repo, name: RepoId | undefined): name is RepoId {
  return name !== undefined && !isShort(repo) && !isSame(name, repo.id)
}

function isSame(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase()
}

function denial(ruling: Ruling, subject: Subject): MirrorError {
  return new MirrorError('policy_denied', {
    message: denialText(ruling, subject),
    detail: { rule: ruling.rule?.name ?? '' },
  })
}
