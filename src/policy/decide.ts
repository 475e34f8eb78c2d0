// Decides about a request by the rules in order and the facts about it. Pure. If a fact is missing, the decision names it;
// if a fact cannot be learnt, the safe side is assumed. The mirror and `hubmirror config explain` share this judgement.

import { parseRepoId } from '../hub/names.ts'
import { plainAddress, withoutZone } from './patterns.ts'
import { certainNames, mayBeCommit, possibleNames } from './revisions.ts'
import type { AccessKind, Match, Rule, SubjectType } from './rules.ts'
import type { Subject } from './subject.ts'
import { ANY } from './subject.ts'

export interface PolicyCaller {
  /** The network address. A text that is not an address, such as `unknown`, may stand for any address. */
  readonly address: string
  /** The name of the mirror token that the caller sent. */
  readonly mirrorToken: string | undefined
  /** Whether the caller sent a Hub token of its own. */
  readonly ownToken: boolean
}

/** Facts that only the Hub knows. Undefined means not known yet. */
export interface HubFacts {
  readonly access?: AccessKind | undefined
  /** The licences in lower case; empty if the repo names none. */
  readonly licence?: readonly string[] | undefined
  /** The size of the whole file. `later`: it will be known before a byte is served. */
  readonly sizeBytes?: number | 'later' | undefined
  /** For a revision that may be a commit: the branches, tags and other refs that point to it now; empty if none does. */
  readonly refs?: readonly string[] | undefined
}

export type FactName = 'name' | 'access' | 'licence' | 'size' | 'refs'

export interface Question {
  readonly subject: Subject
  /** The id in the request, and for an old short id also the name of the repo on the Hub. */
  readonly names: readonly string[]
  /** False while the id is an old short one whose name on the Hub is not known yet. */
  readonly nameKnown: boolean
  readonly caller: PolicyCaller
  readonly facts: HubFacts
  /** No more facts can be learnt: for a missing fact, the safe side is assumed. */
  readonly final: boolean
}

/** Whether one condition, or one rule, matches a request. `perhaps`: this is unknown. `later`: it depends on the size. */
export type MatchResult = 'yes' | 'no' | 'perhaps' | 'later'

interface Judgement {
  readonly result: MatchResult
  /** Facts that must be learnt first. */
  readonly needs: readonly FactName[]
  /** The conditions that do not match, else those in doubt. */
  readonly because: readonly (keyof Match)[]
}

/** The decision, and the rule that made it. Without a rule it is the default, which allows. */
export interface Ruling {
  readonly kind: 'ruling'
  readonly verdict: 'allow' | 'deny'
  readonly rule: Rule | undefined
  /** The conditions in doubt because of which the request is denied. */
  readonly doubt: readonly (keyof Match)[]
  /** `by-size`: the caller must decide again when the size is known. */
  readonly noStore: 'yes' | 'no' | 'by-size'
  readonly useToken: string | undefined
  /** The `serve-stored` rule that names this caller for this repo. */
  readonly servedBy: Rule | undefined
  /** Whether the caller must decide again when the size is known. */
  readonly pending: boolean
  /** The rules that applied, the deciding one last. */
  readonly applied: readonly Rule[]
}

export type Decision =
  | Ruling
  | {
      readonly kind: 'needs'
      readonly facts: readonly FactName[]
      /** The Hub token of an earlier rule, with which the facts are learnt. */
      readonly useToken: string | undefined
    }

/**
 * Evaluates the rules in order; the first `allow` or `deny` that matches decides. A commit counts as the refs that point to
 * it. It is allowed if one of them is allowed, and denied if all of them are, or if a rule matches its id.
 */
export function decide(rules: readonly Rule[], question: Question): Decision {
  const own = evaluate(rules, question)
  const { refs = [] } = question.facts
  if (own.kind === 'needs' || refs.length === 0) return own
  if (own.verdict === 'deny' && own.rule?.match.revision !== undefined) return own
  const { subject, facts } = question
  const rulings: Ruling[] = []
  for (const revision of refs) {
    const byName = evaluate(rules, {
      ...question,
      subject: { ...subject, revision },
      facts: { ...facts, refs: [] },
    })
    if (byName.kind === 'needs') return byName
    rulings.push(byName)
  }
  const allowed = rulings.filter(({ verdict }) => verdict === 'allow')
  const careful = (['yes', 'by-size'] as const).map((word) => allowed.find(({ noStore }) => noStore === word))
  return careful.find((ruling) => ruling !== undefined) ?? allowed[0] ?? rulings[0] ?? own
}

function evaluate(rules: readonly Rule[], question: Question): Decision {
  const applied: Rule[] = []
  let noStore: Ruling['noStore'] = 'no'
  let useToken: string | undefined
  let servedBy: Rule | undefined
  let pending = false
  const ruling = (verdict: 'allow' | 'deny', rule?: Rule, doubt: Ruling['doubt'] = []): Ruling => {
    return { kind: 'ruling', verdict, rule, doubt, noStore, useToken, servedBy, pending, applied }
  }
  for (const rule of rules) {
    if (rule.action === 'use-token' && (useToken !== undefined || question.caller.ownToken)) continue
    const { result, needs, because } = judge(rule, question)
    if (needs.length > 0) return { kind: 'needs', facts: needs, useToken }
    if (result === 'no') continue
    if (result === 'later') pending = true
    switch (rule.action) {
      case 'deny':
        // A rule in doubt denies. A rule that depends on the size is evaluated again later.
        if (result === 'later') break
        applied.push(rule)
        return ruling('deny', rule, result === 'perhaps' ? because : [])
      case 'allow':
        if (result === 'perhaps') break
        applied.push(rule)
        return ruling('allow', rule)
      case 'no-store':
        if (result === 'later') {
          if (noStore === 'no') noStore = 'by-size'
          break
        }
        noStore = 'yes'
        applied.push(rule)
        break
      case 'use-token':
        if (result !== 'yes') break
        useToken = rule.token
        applied.push(rule)
        break
      case 'serve-stored':
        // A caller in doubt is not named. The rule applies only if the answer comes from the store.
        if (result === 'yes') servedBy ??= rule
        break
      default:
        rule.action satisfies never
    }
  }
  return ruling('allow')
}

/** Whether a `serve-stored` rule names the repo, for some caller. */
export function isServedRepo(
  rules: readonly Rule[],
  { type, id }: { readonly type: SubjectType; readonly id: string },
): boolean {
  return rules.some(({ action, match }) => {
    if (action !== 'serve-stored' || match.type?.includes(type) === false) return false
    return match.repo?.some(({ test }) => test(id)) === true
  })
}

/**
 * Judges whether one rule matches the request. With `all`, every condition is checked, so that `because` names all that do
 * not match; a decision needs only the first.
 */
export function judge(rule: Rule, question: Question, options: { readonly all?: boolean } = {}): Judgement {
  const doubts: (keyof Match)[] = []
  const missing: (keyof Match)[] = []
  const needs: FactName[] = []
  let later = false
  for (const [key, result] of conditionResults(rule, question)) {
    if (result === 'no') {
      missing.push(key)
      if (options.all !== true) break
    } else if (result === 'later') later = true
    else if (result === 'perhaps') doubts.push(key)
    else if (typeof result === 'object') {
      doubts.push(key)
      if (!question.final) needs.push(result.needs)
    }
  }
  if (missing.length > 0) return { result: 'no', needs: [], because: missing }
  if (needs.length > 0) return { result: 'perhaps', needs, because: doubts }
  if (doubts.length > 0) return { result: 'perhaps', needs, because: doubts }
  return { result: later ? 'later' : 'yes', needs, because: [] }
}

type ConditionResult = MatchResult | { readonly needs: FactName }

/** The results of the conditions of a rule one by one, the cheap ones first. */
function* conditionResults(
  { match, action }: Rule,
  question: Question,
): Generator<readonly [keyof Match, ConditionResult], void, undefined> {
  const { subject, caller, facts } = question
  const { repo, type, revision, file, size, access, licence, network, mirrorToken, anonymous } = match
  if (type !== undefined) yield ['type', yesOrNo(type.includes(subject.type))]
  if (repo !== undefined) yield ['repo', repoResult(repo, question)]
  if (revision !== undefined) yield ['revision', revisionResult(revision, action, question)]
  if (file !== undefined) yield ['file', oneOf(file, subject.path)]
  if (network !== undefined) {
    // A caller whose address is unknown may be in this network.
    const isKnown = plainAddress(withoutZone(caller.address)) !== undefined
    yield ['network', isKnown ? yesOrNo(network.has(caller.address)) : 'perhaps']
  }
  if (mirrorToken !== undefined) {
    const { mirrorToken: name } = caller
    yield ['mirrorToken', yesOrNo(name !== undefined && mirrorToken.some(({ test }) => test(name)))]
  }
  if (anonymous !== undefined) {
    yield ['anonymous', yesOrNo(anonymous === (caller.mirrorToken === undefined && !caller.ownToken))]
  }
  if (access !== undefined) {
    yield [
      'access',
      facts.access === undefined ? { needs: 'access' } : yesOrNo(access.includes(facts.access)),
    ]
  }
  if (licence !== undefined) {
    const named = facts.licence?.length === 0 ? [NO_LICENCE] : facts.licence
    const matches = (text: string): boolean => licence.some(({ test }) => test(text))
    yield ['licence', named === undefined ? { needs: 'licence' } : yesOrNo(named.some(matches))]
  }
  if (size !== undefined) yield ['size', sizeResult(size, question)]
}

function repoResult(
  patterns: NonNullable<Match['repo']>,
  { subject, names, nameKnown }: Question,
): ConditionResult {
  // The origin may read an id such as `org/name%20`, which it never gives out, as the id of any repo.
  if (parseRepoId(subject.id) === undefined) return 'perhaps'
  if (names.some((name) => patterns.some(({ test }) => test(name)))) return 'yes'
  return nameKnown ? 'no' : { needs: 'name' }
}

function revisionResult(
  patterns: NonNullable<Match['revision']>,
  action: Rule['action'],
  { subject: { revision }, facts }: Question,
): ConditionResult {
  if (revision === undefined) return 'no'
  if (revision === ANY) return 'perhaps'
  // The safe side of an ambiguous name depends on whether the rule grants or restricts.
  const grants = action === 'allow' || action === 'use-token'
  const names = grants ? certainNames(revision) : possibleNames(revision)
  if (names.some((name) => patterns.some(({ test }) => test(name)))) return 'yes'
  return mayBeCommit(revision) && facts.refs === undefined ? { needs: 'refs' } : 'no'
}

/** The word in a rule for a repo without a licence. */
export const NO_LICENCE = 'none'

function sizeResult(bound: NonNullable<Match['size']>, { subject, facts }: Question): ConditionResult {
  if (subject.size === undefined) return 'no'
  if (subject.size === ANY) return 'perhaps'
  const { sizeBytes } = facts
  if (sizeBytes === undefined) return { needs: 'size' }
  if (sizeBytes === 'later') return 'later'
  switch (bound.operator) {
    case '>':
      return yesOrNo(sizeBytes > bound.bytes)
    case '>=':
      return yesOrNo(sizeBytes >= bound.bytes)
    case '<':
      return yesOrNo(sizeBytes < bound.bytes)
    case '<=':
      return yesOrNo(sizeBytes <= bound.bytes)
    default:
      return bound.operator satisfies never
  }
}

function yesOrNo(matches: boolean): MatchResult {
  return matches ? 'yes' : 'no'
}

function oneOf(
  patterns: readonly { readonly test: (value: string) => boolean }[],
  value: string | typeof ANY | undefined,
): MatchResult {
  if (value === undefined) return 'no'
  return value === ANY ? 'perhaps' : yesOrNo(patterns.some(({ test }) => test(value)))
}
