// Applies the operator's rules. What they depend on and is not known yet is asked of the Hub (repo-probe.ts). Then they
// decide, before anything is asked or served for the request. The scope of a mirror token is checked under the same names
// of the repo. Opens no file.

import { MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { parseRepoId, type Repo, type RepoId } from '../../hub/names.ts'
import { type FileRoute, type HubRoute, parseHubUrl } from '../../hub/route.ts'
import type { OriginClient } from '../../origin/client.ts'
import { RepoMoved } from '../../origin/repo-moved.ts'
import { decide, type HubFacts, type PolicyCaller, type Question, type Ruling } from '../../policy/decide.ts'
import { denialText } from '../../policy/denial.ts'
import { mayBeCommit } from '../../policy/revisions.ts'
import type { Rule } from '../../policy/rules.ts'
import { ANY, type Subject, subjectOf } from '../../policy/subject.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { type Admission, ANONYMOUS, type Ctx } from '../context.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { Access } from './access.ts'
import { CommitRefs, namesFor } from './commit-refs.ts'
import { RepoProbe } from './repo-probe.ts'

export interface PoliciesOptions {
  /** Read at each use: they may change. */
  readonly settings: { readonly policies: readonly Rule[]; readonly accessTtlMs: number }
  readonly client: OriginClient
  readonly metadata: Metadata
  readonly access: Access
  /** The Authorization field for a Hub token of the mirror's own. */
  readonly credentialOf: (name: string) => string | undefined
  readonly offline: boolean
  readonly monotonic: () => number
  readonly observer: Observer
}

interface Decided {
  readonly question: Question
  readonly ruling: Ruling
}

export class Policies {
  readonly #options: PoliciesOptions
  readonly #refs: CommitRefs
  readonly #originPath: string
  readonly #probe: RepoProbe

  constructor(options: PoliciesOptions) {
    this.#options = options
    const onMoved = (repo: Repo) => (url: URL) => this.#redirected(url, repo, [repo.id])
    this.#refs = new CommitRefs({ ...options, onMoved })
    this.#probe = new RepoProbe({ ...options, onMoved, asksLicence: () => this.asksLicence })
    this.#originPath = withoutTrailingSlash(options.client.policy.base.pathname) || '/'
  }

  get #rules(): readonly Rule[] {
    return this.#options.settings.policies
  }

  get hasRules(): boolean {
    return this.#rules.length > 0
  }

  /** Whether the Hub must be asked for licences. */
  get asksLicence(): boolean {
    return this.#rules.some(({ match }) => match.licence !== undefined)
  }

  get #judgesRevisions(): boolean {
    return this.#rules.some(({ match }) => match.revision !== undefined && match.revision.length > 0)
  }

  /** Main, and the revisions that rules name without a wildcard: for these the store may know the commit. */
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
   * Decides about a request. Undefined when no rule, and no scope of a mirror token, can be about it. Throws policy_denied,
   * or mirror_token_scope for today's name of a repo. `isUpload` says that a Git LFS batch is an upload.
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
    // An upload reveals nothing, so that rules about files do not concern it. What it carries, they do.
    const carried: Decided[] = []
    const decideCarried = async (id: string, about: Repo | undefined): Promise<void> => {
      if (request.isUpload !== true) return
      const files = { ...subject, id, revision: ANY, path: ANY, size: 'file' } as const
      carried.push(await this.#decide(ctx, files, about))
    }
    await decideCarried(subject.id, repo)
    // An old name leads to today's repo: both are decided about.
    if (repo !== undefined && isOther(repo, name)) {
      const today = { ...repo, id: name }
      ctx.checkScope?.(today)
      questions.push(await this.#decide(ctx, { ...subject, id: name }, today))
      await decideCarried(name, today)
    }
    // A token is lent, or stored content served, for the repo in the request to the Hub, not for another reading of the target.
    const isPlain =
      route.repo !== undefined && isSame(route.repo.id, subject.id) && route.repo.type === subject.type
    return this.#admission(subject, questions, { repo, name, mayLend: isPlain, carried })
  }

  /**
   * The names of the rules that had a say in a request whose answer may be reused, with commas. Undefined when that cannot
   * be decided without waiting, or the rules do more than allow: `admit` must decide then.
   */
  admitCached(caller: Ctx['caller'], route: FileRoute): string | undefined {
    if (!this.hasRules) return ''
    const { metadata, observer } = this.#options
    const { repo } = route
    const traits = metadata.repos.traitsInMemory(repo)
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
    decided: readonly Decided[],
    about: {
      readonly repo: Repo | undefined
      readonly name: string | undefined
      readonly mayLend: boolean
      /** About the files that an upload may carry. */
      readonly carried: readonly Decided[]
    },
  ): Admission {
    const { observer, metadata } = this.#options
    // The rules that decided: there may be others when the size is known.
    const rules = this.#rules
    const { repo, name, mayLend, carried } = about
    const rulings = decided.map(({ ruling }) => ruling)
    const said = [...new Set(rulings.flatMap((ruling) => ruling.applied))]
    for (const rule of said) observer.policyDecided(rule.name, rule.action)
    const denied = decided.find(({ ruling }) => ruling.verdict === 'deny')
    if (denied !== undefined) throw denial(denied.ruling, subject)
    const withSize = (sizeBytes: number, about = decided): readonly Ruling[] =>
      about.flatMap(({ question, ruling }) => {
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
      // Under every name, and for the repo in the request only.
      servedBy:
        mayLend && rulings.every(({ servedBy }) => servedBy !== undefined)
          ? first?.servedBy?.name
          : undefined,
      mayStore: (sizeBytes) => {
        const all = sizeBytes === undefined ? rulings : withSize(sizeBytes, [...decided, ...carried])
        return all.every(({ noStore, verdict }) => noStore !== 'yes' && verdict !== 'deny')
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
        const newName = repo === undefined || isShort(repo) ? undefined : metadata.repos.nameInMemory(repo)
        if (newName !== undefined && !names.some((each) => isSame(each, newName))) throw new RepoMoved()
      },
    }
  }

  /**
   * The name that the Hub uses for the repo. A name other than that in the request is trusted for the access TTL only. The
   * repo may be renamed back, and callers denied under the new name would never trigger the request that notices.
   */
  async #nameOf(ctx: Ctx, repo: Repo, useToken: string | undefined): Promise<RepoId | undefined> {
    const { metadata, settings } = this.#options
    const { name } = await metadata.repos.traits(repo)
    if (!isOther(repo, name) || metadata.repos.isNameFresh(repo, settings.accessTtlMs)) return name
    await this.#probe.ask(ctx, repo, { facts: ['name'], useToken })
    return (await metadata.repos.traits(repo)).name
  }

  /** Evaluates the rules, and asks the Hub for what they depend on. */
  async #decide(ctx: Ctx, subject: Subject, repo: Repo | undefined): Promise<Decided> {
    const rules = this.#rules
    let question = this.#question(ctx, subject, { repo, name: await this.#shortName(repo) })
    let decision = decide(rules, question)
    if (decision.kind === 'needs') {
      const isOfRefs = decision.facts.every((fact) => fact === 'refs')
      const learnt = repo === undefined || isOfRefs ? undefined : await this.#probe.ask(ctx, repo, decision)
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
   * The refs that stand for the commit that a request names, when a rule is about revisions: as the Hub says, or has said
   * within the access TTL. While the Hub is away, its earlier answer, or what the store has of the revisions that rules
   * name.
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
    const { metadata, settings } = this.#options
    const stored: string[] = []
    for (const name of this.#namedRevisions) {
      const ref = await metadata.refs.get(repo, name, settings.accessTtlMs)
      if (ref?.commit.startsWith(revision.toLowerCase()) === true) stored.push(name)
    }
    return stored.length > 0 ? stored : undefined
  }

  /** The name that an old id of one part stands for, when it is known. */
  async #shortName(repo: Repo | undefined): Promise<RepoId | undefined> {
    return repo !== undefined && isShort(repo)
      ? (await this.#options.metadata.repos.traits(repo)).name
      : undefined
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
        ...(learnt ?? this.#probe.inMemory(ctx, repo)),
        sizeBytes: subject.size === 'file' ? 'later' : undefined,
      },
      final: false,
    }
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
    const { access, metadata, monotonic } = this.#options
    const repo = { type: subject.type, id: from }
    metadata.repos.setTraits(repo, { name: to }, monotonic())
    void access.renamed(repo)
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

/** An old id without an organisation. The Hub serves the repo under it, but uses another name for it. */
function isShort(repo: Repo): boolean {
  return !repo.id.includes('/')
}

/** Whether the Hub uses another name for the repo. An id of one part is no name of its own. */
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
