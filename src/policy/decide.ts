// Rules in order, and what is known of a request → what becomes of it. Pure: what is not known yet it asks for, and
// what cannot be known it takes for what is safe. One judgement serves the mirror and `hubmirror config explain`.

import { plainAddress, withoutZone } from './patterns.ts'
import { certainNames, mayBeCommit, possibleNames } from './revisions.ts'
import type { AccessKind, Match, Rule } from './rules.ts'
import type { Subject } from './subject.ts'
import { ANY } from './subject.ts'

export interface PolicyCaller {
  /** The network address; what is none, such as `unknown`, may be any. */
  readonly address: string
  /** The name of the mirror's own token that the caller brought. */
  readonly mirrorToken: string | undefined
  /** It brought a token that is for the Hub. */
  readonly ownToken: boolean
}

/** What only the Hub can tell. Undefined is not known. */
export interface HubFacts {
  readonly access?: AccessKind | undefined
  /** Lower case; empty when the repo names none. */
  readonly licence?: readonly string[] | undefined
  /** Of the whole file. `later`: it will be known before a byte is served. */
  readonly sizeBytes?: number | 'later' | undefined
  /** Of a revision that may be a commit: the branches, tags and other refs that stand for it now; empty when none does. */
  readonly refs?: readonly string[] | undefined
}

export type FactName = 'name' | 'access' | 'licence' | 'size' | 'refs'

export interface Question {
  readonly subject: Subject
  /** Beside the id in the request, the one the Hub knows the repo by, where it is an old short one. */
  readonly names: readonly string[]
  /** False while an old short id may stand for a name that is not known yet. */
  readonly nameKnown: boolean
  readonly caller: PolicyCaller
  readonly facts: HubFacts
  /** Nothing more can be learnt: what is not known counts for what is safe. */
  readonly final: boolean
}

/** How one condition, or one rule, stands to a request. `perhaps` cannot be told; `later` waits for the size. */
export type Standing = 'yes' | 'no' | 'perhaps' | 'later'

interface Judgement {
  readonly standing: Standing
  /** To be learnt first. */
  readonly needs: readonly FactName[]
  /** The conditions that are not met, else those in doubt. */
  readonly because: readonly (keyof Match)[]
}

/** What was decided, and by which rule; none is the default, which allows. */
export interface Ruling {
  readonly kind: 'ruling'
  readonly verdict: 'allow' | 'deny'
  readonly rule: Rule | undefined
  /** Denied because something could not be told. */
  readonly doubt: readonly (keyof Match)[]
  /** `by-size`: to be decided again when the size is known. */
  readonly noStore: 'yes' | 'no' | 'by-size'
  readonly useToken: string | undefined
  /** To be decided again when the size is known. */
  readonly pending: boolean
  /** The rules that had a say, the deciding one last. */
  readonly applied: readonly Rule[]
}

export type Decision =
  | Ruling
  | {
      readonly kind: 'needs'
      readonly facts: readonly FactName[]
      /** Of a rule before the one that needs them. */
      readonly useToken: string | undefined
    }

/**
 * Weighs the rules in order; the first `allow` or `deny` that matches decides. A commit that refs stand for is what these
 * show: it is allowed where one of them is, denied where all of them are, and denied where a rule names its id.
 */
export function decide(rules: readonly Rule[], question: Question): Decision {
  const own = weigh(rules, question)
  const { refs = [] } = question.facts
  if (own.kind === 'needs' || refs.length === 0) return own
  if (own.verdict === 'deny' && own.rule?.match.revision !== undefined) return own
  const { subject, facts } = question
  const rulings: Ruling[] = []
  for (const revision of refs) {
    const byName = weigh(rules, {
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

function weigh(rules: readonly Rule[], question: Question): Decision {
  const said: Rule[] = []
  let noStore: Ruling['noStore'] = 'no'
  let useToken: string | undefined
  let pending = false
  const ruling = (verdict: 'allow' | 'deny', rule?: Rule, doubt: Ruling['doubt'] = []): Ruling => {
    return { kind: 'ruling', verdict, rule, doubt, noStore, useToken, pending, applied: said }
  }
  for (const rule of rules) {
    if (rule.action === 'use-token' && (useToken !== undefined || question.caller.ownToken)) continue
    const { standing, needs, because } = judge(rule, question)
    if (needs.length > 0) return { kind: 'needs', facts: needs, useToken }
    if (standing === 'no') continue
    if (standing === 'later') pending = true
    switch (rule.action) {
      case 'deny':
        // In doubt it denies; what waits for the size is asked again.
        if (standing === 'later') break
        said.push(rule)
        return ruling('deny', rule, standing === 'perhaps' ? because : [])
      case 'allow':
        if (standing === 'perhaps') break
        said.push(rule)
        return ruling('allow', rule)
      case 'no-store':
        if (standing === 'later') {
          if (noStore === 'no') noStore = 'by-size'
          break
        }
        noStore = 'yes'
        said.push(rule)
        break
      case 'use-token':
        if (standing !== 'yes') break
        useToken = rule.token
        said.push(rule)
        break
      default:
        rule.action satisfies never
    }
  }
  return ruling('allow')
}

/**
 * How one rule stands to the request. `all` looks at every condition, to say all that is not met; a decision needs the
 * first only.
 */
export function judge(rule: Rule, question: Question, options: { readonly all?: boolean } = {}): Judgement {
  const doubts: (keyof Match)[] = []
  const missing: (keyof Match)[] = []
  const needs: FactName[] = []
  let later = false
  for (const [key, standing] of standings(rule, question)) {
    if (standing === 'no') {
      missing.push(key)
      if (options.all !== true) break
    } else if (standing === 'later') later = true
    else if (standing === 'perhaps') doubts.push(key)
    else if (typeof standing === 'object') {
      doubts.push(key)
      if (!question.final) needs.push(standing.needs)
    }
  }
  if (missing.length > 0) return { standing: 'no', needs: [], because: missing }
  if (needs.length > 0) return { standing: 'perhaps', needs, because: doubts }
  if (doubts.length > 0) return { standing: 'perhaps', needs, because: doubts }
  return { standing: later ? 'later' : 'yes', needs, because: [] }
}

type Found = Standing | { readonly needs: FactName }

/** The conditions of a rule one by one, the cheap ones first. */
function* standings(
  { match, action }: Rule,
  question: Question,
): Generator<readonly [keyof Match, Found], void, undefined> {
  const { subject, caller, facts } = question
  const { repo, type, revision, file, size, access, licence, network, mirrorToken, anonymous } = match
  if (type !== undefined) yield ['type', said(type.includes(subject.type))]
  if (repo !== undefined) {
    const isNamed = question.names.some((name) => repo.some(({ test }) => test(name)))
    yield ['repo', isNamed ? 'yes' : question.nameKnown ? 'no' : { needs: 'name' }]
  }
  if (revision !== undefined) yield ['revision', revisionStanding(revision, action, question)]
  if (file !== undefined) yield ['file', oneOf(file, subject.path)]
  if (network !== undefined) {
    // Who may have any address may have this one.
    const isKnown = plainAddress(withoutZone(caller.address)) !== undefined
    yield ['network', isKnown ? said(network.has(caller.address)) : 'perhaps']
  }
  if (mirrorToken !== undefined) {
    const { mirrorToken: name } = caller
    yield ['mirrorToken', said(name !== undefined && mirrorToken.some(({ test }) => test(name)))]
  }
  if (anonymous !== undefined) {
    yield ['anonymous', said(anonymous === (caller.mirrorToken === undefined && !caller.ownToken))]
  }
  if (access !== undefined) {
    yield ['access', facts.access === undefined ? { needs: 'access' } : said(access.includes(facts.access))]
  }
  if (licence !== undefined) {
    const named = facts.licence?.length === 0 ? [NO_LICENCE] : facts.licence
    const isMeant = (text: string): boolean => licence.some(({ test }) => test(text))
    yield ['licence', named === undefined ? { needs: 'licence' } : said(named.some(isMeant))]
  }
  if (size !== undefined) yield ['size', sizeStanding(size, question)]
}

function revisionStanding(
  patterns: NonNullable<Match['revision']>,
  action: Rule['action'],
  { subject: { revision }, facts }: Question,
): Found {
  if (revision === undefined) return 'no'
  if (revision === ANY) return 'perhaps'
  // The safe side of an unclear name is another one for each kind of rule.
  const grants = action === 'allow' || action === 'use-token'
  const names = grants ? certainNames(revision) : possibleNames(revision)
  if (names.some((name) => patterns.some(({ test }) => test(name)))) return 'yes'
  return mayBeCommit(revision) && facts.refs === undefined ? { needs: 'refs' } : 'no'
}

/** The word that stands for no licence at all. */
export const NO_LICENCE = 'none'

function sizeStanding(bound: NonNullable<Match['size']>, { subject, facts }: Question): Found {
  if (subject.size === undefined) return 'no'
  if (subject.size === ANY) return 'perhaps'
  const { sizeBytes } = facts
  if (sizeBytes === undefined) return { needs: 'size' }
  if (sizeBytes === 'later') return 'later'
  switch (bound.operator) {
    case '>':
      return said(sizeBytes > bound.bytes)
    case '>=':
      return said(sizeBytes >= bound.bytes)
    case '<':
      return said(sizeBytes < bound.bytes)
    case '<=':
      return said(sizeBytes <= bound.bytes)
    default:
      return bound.operator satisfies never
  }
}

function said(holds: boolean): Standing {
  return holds ? 'yes' : 'no'
}

function oneOf(
  patterns: readonly { readonly test: (value: string) => boolean }[],
  value: string | typeof ANY | undefined,
): Standing {
  if (value === undefined) return 'no'
  return value === ANY ? 'perhaps' : said(patterns.some(({ test }) => test(value)))
}
