// Reads the section `policies` of the settings file strictly: a list of rules. It reports all faults at once, each with
// its position, its value and the cure. The meaning of the rules is in policy/decide.ts.

import { parseRepoId } from '../hub/names.ts'
import { glob, networks, type Pattern, type PatternKind } from '../policy/patterns.ts'
import {
  ACCESS_KINDS,
  ACTIONS,
  type Action,
  type Match,
  type Rule,
  type SizeBound,
  SUBJECT_TYPES,
} from '../policy/rules.ts'
import type { Fault } from './faults.ts'
import { bytes, network, onOff, type Parsed } from './parse.ts'
import type { Placed, PlacedEntry } from './placed.ts'
import { SectionReader } from './section-reader.ts'

/** The top-level key of the section. */
export const POLICIES = 'policies'

const RULE_KEYS = ['name', 'match', 'action', 'message', 'token'] as const
const MATCH_KEYS = ['repo', 'type', 'revision', 'file', 'size', 'access', 'licence', 'caller'] as const
const CALLER_KEYS = ['network', 'mirrorToken', 'anonymous'] as const
const MAX_MESSAGE_CHARS = 300
const NOTHING_STORED =
  'nothing of private and gated repos is stored that this action could serve; set HUBMIRROR_CACHE_PRIVATE to on'

/**
 * Returns the rules in order. Adds all that is wrong with them to `faults`. `tokenNames` are the Hub tokens that
 * `use-token` may name. `cachePrivate` is undefined if that setting is wrong.
 */
export function readPolicies(
  section: Placed,
  faults: Fault[],
  {
    tokenNames,
    cachePrivate,
  }: { readonly tokenNames: readonly string[]; readonly cachePrivate: boolean | undefined },
): readonly Rule[] {
  const reader = new Reader(faults, tokenNames)
  if (section.kind === 'nothing') return []
  if (section.kind !== 'list') {
    reader.fault(POLICIES, section, 'expected a list of rules: each begins with a dash')
    return []
  }
  const rules = section.items.flatMap((item, index) => readRule(reader, item, index + 1) ?? [])
  const serving = rules.find(({ action }) => action === 'serve-stored')
  if (serving !== undefined && cachePrivate === false)
    reader.fault(`${POLICIES}.action`, { where: serving.where, text: serving.action }, NOTHING_STORED)
  const seen = new Map<string, Rule>()
  for (const rule of rules) {
    const before = seen.get(rule.name)
    const at = { where: rule.where, text: rule.name }
    if (before !== undefined)
      reader.fault(`${POLICIES}.name`, at, `expected a unique name; ${before.where} has the same`)
    seen.set(rule.name, rule)
  }
  return Object.freeze(rules)
}

/** Reads the rules. It also knows the Hub tokens that a rule may name. */
class Reader extends SectionReader {
  readonly tokenNames: readonly string[]

  constructor(faults: Fault[], tokenNames: readonly string[]) {
    super(faults)
    this.tokenNames = tokenNames
  }
}

function readRule(reader: Reader, node: Placed, number: number): Rule | undefined {
  const key = `${POLICIES}.${number}`
  const entries = reader.map(node, key, RULE_KEYS)
  if (entries === undefined) return undefined
  const name = reader.text(entries.get('name'), `${key}.name`)
  if (name !== undefined && !/^[\w.-]{1,64}$/.test(name.text))
    reader.fault(`${key}.name`, name, "expected at most 64 letters, digits, '-', '_' and '.'")
  const action = readAction(reader, entries.get('action'), `${key}.action`, node)
  const message = reader.text(entries.get('message'), `${key}.message`)
  if (message !== undefined && (message.text.length > MAX_MESSAGE_CHARS || /\p{Cc}/u.test(message.text)))
    reader.fault(`${key}.message`, message, `expected one line of at most ${MAX_MESSAGE_CHARS} characters`)
  if (message !== undefined && action !== undefined && action !== 'deny')
    reader.fault(
      `${key}.message`,
      { where: message.where },
      'a message belongs only to action: deny; remove it',
    )
  const token = reader.text(entries.get('token'), `${key}.token`)
  if (action === 'use-token' && token === undefined)
    reader.fault(`${key}.token`, node, 'expected the name of a Hub token')
  if (token !== undefined && action === 'use-token' && !reader.tokenNames.includes(token.text)) {
    const known = reader.tokenNames.length === 0 ? 'none is set' : `there are ${reader.tokenNames.join(', ')}`
    reader.fault(`${key}.token`, token, `no such Hub token; ${known}`)
  }
  if (token !== undefined && action !== undefined && action !== 'use-token')
    reader.fault(
      `${key}.token`,
      { where: token.where },
      'a token belongs only to action: use-token; remove it',
    )
  const matched = entries.get('match')
  if (matched?.value.kind === 'map' && matched.value.entries.length === 0)
    reader.fault(
      `${key}.match`,
      matched,
      'expected at least one condition; remove the key to match everything',
    )
  const match = matched === undefined ? {} : readMatch(reader, matched.value, `${key}.match`)
  if (action === 'use-token' && match !== undefined) checkSharing(reader, match, `${key}.match`, node)
  if (action === 'serve-stored' && match !== undefined) checkServing(reader, match, `${key}.match`, node)
  if (action === undefined || match === undefined) return undefined
  return Object.freeze({
    name: name?.text ?? `#${number}`,
    where: node.where,
    match,
    action,
    ...(message === undefined ? {} : { message: message.text }),
    ...(token === undefined ? {} : { token: token.text }),
  })
}

/** Checks a rule that shares a token: the token is sent before the size is known, and repos and callers must be named. */
function checkSharing(reader: Reader, match: Match, key: string, node: Placed): void {
  const at = { where: node.where }
  if (match.size !== undefined)
    reader.fault(`${key}.size`, at, 'the mirror needs the token to learn the size; remove this condition')
  if (match.repo === undefined)
    reader.fault(`${key}.repo`, at, 'expected the repos for which callers share this token')
  if (match.network === undefined && match.mirrorToken === undefined)
    reader.fault(`${key}.caller`, at, 'expected the callers who may use this token: network or mirrorToken')
}

/** Conditions that only the Hub could decide, or that are about a part of a repo. */
const NOT_WHOLE = ['revision', 'file', 'size', 'access', 'licence'] as const
/** A pattern that says whose repos it matches: `org/name`, `org/*`, `gpt2`. */
const NAMES_OWNER = /^[^*?[{/]+(?:\/|$)/
/** Addresses of no caller (RFC 5737, RFC 3849, RFC 4291). Networks that have all of one family name no caller. */
const NO_CALLERS = [
  ['192.0.2.1', '198.51.100.1', '203.0.113.1'],
  ['2001:db8::1', 'fe80::1'],
] as const

/** Checks a rule that opens restricted repos without the Hub: repos and callers must be named. */
function checkServing(reader: Reader, match: Match, key: string, node: Placed): void {
  const at = { where: node.where }
  for (const name of NOT_WHOLE) {
    if (match[name] === undefined) continue
    reader.fault(
      `${key}.${name}`,
      at,
      'this action is about whole repos; remove the condition, and deny with another rule what these callers must not read',
    )
  }
  const { repo, network, mirrorToken } = match
  if (repo?.every(({ text }) => NAMES_OWNER.test(text)) !== true)
    reader.fault(
      `${key}.repo`,
      at,
      'expected the repos that these callers may read, each with the name of its owner, such as our-org/* or our-org/model',
    )
  if (network === undefined && mirrorToken === undefined)
    reader.fault(
      `${key}.caller`,
      at,
      'expected the callers who may read what is stored: network or mirrorToken',
    )
  if (NO_CALLERS.some((family) => family.every((address) => network?.has(address) === true)))
    reader.fault(`${key}.caller.network`, at, 'expected the networks of these callers; this is every address')
}

function readAction(
  reader: Reader,
  entry: PlacedEntry | undefined,
  key: string,
  node: Placed,
): Action | undefined {
  if (entry === undefined)
    return reader.fault(key, { where: node.where }, `expected one of ${ACTIONS.join(', ')}`)
  const text = reader.text(entry, key)
  if (text === undefined) return undefined
  const action = ACTIONS.find((candidate) => candidate === text.text.toLowerCase())
  return action ?? reader.fault(key, text, `expected one of ${ACTIONS.join(', ')}`)
}

function readMatch(reader: Reader, node: Placed, key: string): Match | undefined {
  const entries = reader.map(node, key, MATCH_KEYS)
  if (entries === undefined) return undefined
  const list = <T>(name: (typeof MATCH_KEYS)[number], parse: (text: string) => Parsed<T>) =>
    reader.list(entries.get(name), `${key}.${name}`, parse)
  return Object.freeze({
    ...given('repo', list('repo', asPattern('repo'))),
    ...given('type', list('type', oneOf(SUBJECT_TYPES))),
    ...given('revision', list('revision', asPattern('revision'))),
    ...given('file', list('file', asPattern('file'))),
    ...given('size', reader.one(entries.get('size'), `${key}.size`, sizeBound)),
    ...given('access', list('access', oneOf(ACCESS_KINDS))),
    ...given('licence', list('licence', asPattern('word'))),
    ...readCaller(reader, entries.get('caller'), `${key}.caller`),
  })
}

function readCaller(reader: Reader, entry: PlacedEntry | undefined, key: string): Match {
  const entries = entry === undefined ? undefined : reader.map(entry.value, key, CALLER_KEYS)
  if (entries === undefined) return {}
  if (entries.size === 0 && entry !== undefined)
    reader.fault(key, { where: entry.where }, `expected keys with values: ${CALLER_KEYS.join(', ')}`)
  const texts = reader.list(entries.get('network'), `${key}.network`, network())
  const names = reader.list(entries.get('mirrorToken'), `${key}.mirrorToken`, asPattern('word'))
  const anonymous = reader.one(entries.get('anonymous'), `${key}.anonymous`, onOff())
  return {
    ...given('network', texts === undefined ? undefined : networks(texts)),
    ...given('mirrorToken', names),
    ...given('anonymous', anonymous),
  }
}

/** An object with the key if the value is defined, else an empty object. */
function given<K extends keyof Match>(key: K, value: Match[K] | undefined): Pick<Match, K> {
  return (value === undefined ? {} : { [key]: value }) as Pick<Match, K>
}

function asPattern(kind: PatternKind): (text: string) => Parsed<Pattern> {
  return (text) => {
    const pattern = glob(text, kind)
    if ('fault' in pattern) return pattern
    const isPlain = !/[*?[{]/.test(text)
    // A name that no repo can have is a typing mistake, and its rule would silently never match.
    if (kind === 'repo' && isPlain && parseRepoId(text) === undefined)
      return { fault: 'expected org/name as the Hub spells it' }
    return { value: pattern }
  }
}

function oneOf<const T extends string>(words: readonly T[]): (text: string) => Parsed<T> {
  return (text) => {
    const singular = text.toLowerCase().replace(/(?<=model|dataset|space|kernel|bucket)s$/, '')
    const word = words.find((candidate) => candidate === singular)
    return word === undefined ? { fault: `expected one of ${words.join(', ')}` } : { value: word }
  }
}

function sizeBound(text: string): Parsed<SizeBound> {
  // '>10GB', '<= 1 MiB' match; '10GB' and '=10GB' do not.
  const match = /^(>=|<=|>|<)\s*(.+)$/.exec(text)
  if (match === null) return { fault: 'expected a bound such as ">10GB" or "<=1MB"' }
  const parsed = bytes()(match[2] ?? '')
  if ('fault' in parsed) return parsed
  return { value: { text, operator: match[1] as SizeBound['operator'], bytes: parsed.value } }
}
