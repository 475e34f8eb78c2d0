// `hubmirror config explain`: shows which rule decides a request, rule by rule, with the same judgement as the mirror. It
// makes no requests: facts from the Hub are given by flags, else the result says which ones are missing.

import { mayLend } from '../callers/caller.ts'
import type { Config } from '../config/keys.ts'
import { apiSegment, type Repo } from '../hub/names.ts'
import { type HubRoute, parseHubUrl, resolveTarget } from '../hub/route.ts'
import {
  type Decision,
  decide,
  type FactName,
  type HubFacts,
  judge,
  type PolicyCaller,
  type Question,
  type Ruling,
} from '../policy/decide.ts'
import { denialText } from '../policy/denial.ts'
import type { Rule } from '../policy/rules.ts'
import { ANY, type Subject, subjectOf } from '../policy/subject.ts'

/** The request to explain: a repo and perhaps a file of it, or a URL as a client sends it. */
export interface ExplainOptions {
  readonly repo: Repo | undefined
  /** The name of the repo on the Hub, if its id is an old short one. */
  readonly name: string | undefined
  readonly revision: string | undefined
  readonly file: string | undefined
  /** Path and query, including the base path. */
  readonly url: string | undefined
  readonly caller: PolicyCaller
  readonly facts: HubFacts
  readonly json: boolean
}

/** The flag for each fact. */
const FLAG: Readonly<Record<FactName, string>> = {
  access: '--access',
  licence: '--licence',
  size: '--size',
  name: '--name',
  refs: '--ref',
}

/** The text that the command prints. Throws MirrorError for a URL that the mirror would refuse. */
export function explain({ policies, basePath }: Config, options: ExplainOptions): string {
  const route = routeOf(basePath, options)
  const subject = subjectOf(route)
  if (subject === undefined)
    return options.json ? '{"verdict":"allow"}\n' : 'allowed: rules apply only to repos\n'
  const question: Question = {
    subject,
    names: options.name === undefined ? [subject.id] : [subject.id, options.name],
    nameKnown: subject.id.includes('/') || options.name !== undefined,
    caller: options.caller,
    facts: options.facts,
    final: false,
  }
  const decision = decide(policies, question)
  const steps = stepsOf(policies, question, decision)
  const effects = {
    lends: lendsFor(route, options.caller),
    // Nothing else is kept of restricted repos.
    serves: route.kind === 'file' || route.kind === 'document',
  }
  return options.json
    ? formatJson(decision, steps, subject, effects)
    : formatText(decision, steps, question, effects)
}

/** Whether a rule may lend a token for a GET of this route. Tokens are never lent for writes and settings. */
function lendsFor(route: HubRoute, { address, ownToken }: PolicyCaller): boolean {
  const kind = ownToken ? 'hub-token' : 'anonymous'
  return mayLend({ kind, address }, route, { method: 'GET', isUpload: false })
}

function routeOf(basePath: string, { url, repo, revision, file }: ExplainOptions): HubRoute {
  if (url !== undefined) return parseHubUrl(url, basePath)
  if (repo === undefined) throw new Error('expected a repo or a URL')
  if (file !== undefined) return parseHubUrl(resolveTarget(repo, revision ?? 'main', file), '/')
  const info = `/api/${apiSegment(repo.type)}/${repo.id}`
  return parseHubUrl(revision === undefined ? info : `${info}/revision/${encodeURIComponent(revision)}`, '/')
}

/** What rules that decide nothing can do for a request. */
interface Effects {
  /** Whether a token may be lent. */
  readonly lends: boolean
  /** Whether stored content of a restricted repo may be the answer. */
  readonly serves: boolean
}

interface Step {
  readonly rule: Rule
  /** `matches`, or the reason why the rule does not match. */
  readonly standing: string
}

function stepsOf(rules: readonly Rule[], question: Question, decision: Decision): readonly Step[] {
  const steps: Step[] = []
  let isOver = false
  for (const rule of rules) {
    steps.push({ rule, standing: isOver ? 'not reached' : standingText(rule, question) })
    isOver ||= decision.kind === 'ruling' ? rule === decision.rule : judge(rule, question).needs.length > 0
  }
  return steps
}

function standingText(rule: Rule, question: Question): string {
  if (rule.action === 'use-token' && question.caller.ownToken) return 'skipped: the caller sends a token'
  const { result, needs, because } = judge(rule, question, { all: true })
  if (needs.length > 0) return `depends on ${needs.join(', ')}`
  if (result === 'no') return `does not match: ${because.join(', ')}`
  if (result === 'perhaps') return `may match (${because.join(', ')}): the request can include any file`
  return 'matches'
}

function formatText(
  decision: Decision,
  steps: readonly Step[],
  { subject, caller }: Question,
  effects: Effects,
): string {
  const words = [
    `${subject.type} ${subject.id}`,
    ...(typeof subject.revision === 'string' ? [`at ${subject.revision}`] : []),
    ...(typeof subject.path === 'string'
      ? [`file ${subject.path}`]
      : subject.path === ANY
        ? ['any file']
        : []),
  ]
  const credential = caller.ownToken
    ? 'with a Hub token'
    : caller.mirrorToken === undefined
      ? 'without a token'
      : `with the mirror token ${caller.mirrorToken}`
  const width = Math.max(0, ...steps.map(({ rule }) => rule.name.length))
  const actionWidth = Math.max('use-token'.length, ...steps.map(({ rule }) => rule.action.length))
  const lines = steps.map(
    ({ rule, standing }) =>
      `  ${rule.name.padEnd(width)}  ${rule.action.padEnd(actionWidth)}  ${standing}  (${rule.where})`,
  )
  const heading = `${words.join(', ')}; caller ${caller.address} ${credential}`
  return `${[heading, ...lines, resultText(decision, subject, effects)].join('\n')}\n`
}

function resultText(decision: Decision, subject: Subject, { lends, serves }: Effects): string {
  if (decision.kind === 'needs') {
    const flags = decision.facts.map((fact) => FLAG[fact]).join(', ')
    return `undecided: it depends on facts from the Hub; give ${flags}`
  }
  const by = decision.rule === undefined ? 'because no rule says otherwise' : `by ${decision.rule.name}`
  if (decision.verdict === 'deny') return `denied ${by}: ${denialText(decision, subject)}`
  const more = [
    ...(decision.noStore === 'no' ? [] : ['nothing of it is stored']),
    ...(decision.useToken === undefined ? [] : [lentText(decision.useToken, lends)]),
    ...(serves && servedBy(decision) !== undefined ? [SERVED] : []),
  ]
  return [`allowed ${by}`, ...more].join('; ')
}

const SERVED =
  'while the Hub cannot be asked, the mirror serves what is stored of the repo, also if it is private or gated'

/** The rule by which stored content of a restricted repo is served. Nothing is stored where another rule forbids it. */
function servedBy({ servedBy: rule, noStore }: Ruling): string | undefined {
  return noStore === 'yes' ? undefined : rule?.name
}

function lentText(token: string, lends: boolean): string {
  return lends
    ? `the mirror requests it with the Hub token ${token}`
    : `the Hub token ${token} is lent only to read the content of the repo, not for this`
}

function formatJson(
  decision: Decision,
  steps: readonly Step[],
  subject: Subject,
  { lends, serves }: Effects,
): string {
  const rules = steps.map(({ rule, standing }) => {
    return { name: rule.name, action: rule.action, where: rule.where, standing }
  })
  const result =
    decision.kind === 'needs'
      ? { verdict: 'undecided', needs: decision.facts }
      : {
          verdict: decision.verdict,
          rule: decision.rule?.name,
          message: decision.verdict === 'deny' ? denialText(decision, subject) : undefined,
          store: decision.noStore === 'no',
          useToken: lends ? decision.useToken : undefined,
          serveStored: serves && decision.verdict === 'allow' ? servedBy(decision) : undefined,
        }
  const { type, id: repo, revision, path } = subject
  const about = { type, repo, revision: plain(revision), file: plain(path) }
  return `${JSON.stringify({ ...result, about, rules }, null, 2)}\n`
}

function plain(value: string | typeof ANY | undefined): string | undefined {
  return value === ANY ? 'any' : value
}
