// One revision has several names, and rules are matched against all of them; the commit of a name is a fact.

import { describe, expect, it } from 'vitest'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { decide, type HubFacts } from '../../../src/policy/decide.ts'
import { subjectOf } from '../../../src/policy/subject.ts'
import { policiesOf } from '../../support/policies.ts'
import { question } from './question.ts'

const SHA = 'abc123'.repeat(7).slice(0, 40)

/** The decision about a target, with all other facts known, and with no more facts to learn. */
function verdict(rules: string, target: string, facts: HubFacts = {}) {
  const subject = subjectOf(parseHubUrl(target, '/'))
  if (subject === undefined) throw new Error(target)
  const asked = { ...question('/a/b', { facts }), subject, names: [subject.id], final: true }
  const decision = decide(policiesOf(rules), asked)
  return decision.kind === 'ruling' ? decision.verdict : decision.kind
}

const DENY_DEV = "- {action: deny, match: {revision: 'dev'}}"
const ONLY_MAIN = "- {action: allow, match: {revision: 'main'}}\n- {action: deny}"

const at = (revision: string) => [
  `/org/name/resolve/${revision}/x.bin`,
  `/org/name/raw/${revision}/x.bin`,
  `/org/name/blob/${revision}/x.bin`,
  `/models/org/name/raw/${revision}/sub/x.bin`,
  `/org/name/RAW/${revision}/x.bin`,
  `/gpt2/resolve/${revision}/x.bin`,
  `/datasets/org/name/resolve/${revision}/x.bin`,
  `/api/models/org/name/revision/${revision}`,
  `/api/models/org/name/tree/${revision}`,
]

describe('a deny for a branch', () => {
  it.each([
    'dev',
    'DEV',
    '%64ev',
    'heads%2Fdev',
    'refs%2Fheads%2Fdev',
    'refs%2fheads%2fdev',
    'REFS%2FHEADS%2FDEV',
    'tags%2Fdev',
    'refs%2Ftags%2Fdev',
    'refs%2Fdev',
    'dev~0',
    'dev~1',
    'dev%5E0',
    'dev%5E%7B%7D',
    'dev@%7B0%7D',
    'heads%2Fdev~2',
  ])('holds for %s', (revision) => {
    for (const target of at(revision)) expect([target, verdict(DENY_DEV, target)]).toEqual([target, 'deny'])
    for (const rule of ['refs/heads/dev', 'heads/dev', 'refs/**'])
      expect(
        verdict(`- {action: deny, match: {revision: '${rule}'}}`, `/org/name/resolve/${revision}/x`),
      ).toBe('deny')
  })

  it.each([
    '/org/name/resolve/refs/heads/dev/x.bin',
    '/org/name/raw/refs/heads/dev/x.bin',
    '/org/name/resolve/REFS/heads/dev/x.bin',
    '/org/name/raw%2Frefs%2Fheads%2Fdev%2Fx.bin',
    '/org/name/raw/dev%2Fx.bin',
    '/org/name.git/info/refs?service=git-upload-pack',
    '/v2/org/name/manifests/latest',
  ])('holds for %s, of which the origin alone can say what it shows', (target) => {
    expect(verdict(DENY_DEV, target)).toBe('deny')
  })

  it.each(['main', 'device', 'my-dev', 'dev-2', 'dev%2Fx', 'refs%2Fpr%2F1', 'v1', 'HEAD'])(
    'says nothing of %s',
    (revision) => {
      for (const target of at(revision)) {
        if (revision === 'dev%2Fx' && /raw|blob/i.test(target)) continue
        expect([target, verdict(DENY_DEV, target)]).toEqual([target, 'allow'])
      }
    },
  )

  it('of the main branch holds for its other names', () => {
    const rule = "- {action: deny, match: {revision: 'main'}}"
    for (const revision of ['HEAD', 'head', '@', '%40', 'HEAD~1', '@%7B0%7D', 'refs%2Fheads%2Fmain'])
      expect([revision, verdict(rule, `/org/name/resolve/${revision}/x`)]).toEqual([revision, 'deny'])
    expect(verdict(rule, '/api/models/org/name')).toBe('deny')
  })

  it('of pull requests holds for the ref with and without refs/', () => {
    const rule = "- {action: deny, match: {revision: 'refs/pr/*'}}"
    for (const revision of ['refs%2Fpr%2F1', 'pr%2F1', 'refs/pr/1'])
      expect([revision, verdict(rule, `/org/name/resolve/${revision}/x`)]).toEqual([revision, 'deny'])
  })
})

describe('an allow for a branch', () => {
  it('allows what is certainly that branch', () => {
    for (const revision of ['main', 'refs%2Fheads%2Fmain'])
      for (const target of at(revision))
        expect([target, verdict(ONLY_MAIN, target)]).toEqual([target, 'allow'])
    expect(verdict(ONLY_MAIN, '/api/models/org/name')).toBe('allow')
  })

  it.each([
    'tags%2Fmain',
    'heads%2Fmain',
    'refs%2Fmain',
    'refs%2Ftags%2Fmain',
    'HEAD',
    'main~1',
    'refs/heads/main',
  ])('allows nothing by %s, which may be something else', (revision) => {
    expect(verdict(ONLY_MAIN, `/org/name/resolve/${revision}/x`)).toBe('deny')
  })
})

describe('a commit', () => {
  const FILE = `/org/name/resolve/${SHA}/x.bin`
  const CACHED = `/api/resolve-cache/models/org/name/${SHA}/x.bin`

  it('is looked up if a rule is about revisions, and otherwise not', () => {
    const ask = (rules: string, target: string) =>
      decide(policiesOf(rules), { ...question(target), names: ['org/name'] })
    for (const target of [
      FILE,
      CACHED,
      `/org/name/resolve/${SHA.slice(0, 7)}/x`,
      `/org/name/resolve/${SHA.toUpperCase()}/x`,
    ])
      expect(ask(DENY_DEV, target)).toMatchObject({ kind: 'needs', facts: ['refs'] })
    expect(ask("- {action: deny, match: {revision: 'dev', repo: other/*}}", FILE).kind).toBe('ruling')
    expect(ask('- {action: deny, match: {file: "*.pkl"}}', FILE).kind).toBe('ruling')
    expect(ask(DENY_DEV, '/org/name/resolve/main/x').kind).toBe('ruling')
  })

  it.each([
    // [rules, refs, verdict]
    [DENY_DEV, ['dev'], 'deny'],
    [DENY_DEV, ['refs/heads/dev'], 'deny'],
    // Content that is allowed by a name is allowed by the commit.
    [DENY_DEV, ['main', 'dev'], 'allow'],
    [DENY_DEV, ['main'], 'allow'],
    // No branch points to it: an older commit.
    [DENY_DEV, [], 'allow'],
    [ONLY_MAIN, ['main'], 'allow'],
    [ONLY_MAIN, ['dev', 'main'], 'allow'],
    [ONLY_MAIN, ['dev'], 'deny'],
    [ONLY_MAIN, [], 'deny'],
    [`${DENY_DEV}\n- {action: deny, match: {revision: next}}`, ['dev', 'next'], 'deny'],
    [`- {action: deny, match: {revision: ${SHA}}}`, ['main'], 'deny'],
    [`- {action: deny, match: {revision: '*'}}`, [], 'deny'],
    ['- {action: deny, match: {file: "*.bin", revision: dev}}', ['dev'], 'deny'],
    ['- {action: deny, match: {file: "*.txt", revision: dev}}', ['dev'], 'allow'],
    // The refs are unknown.
    [DENY_DEV, undefined, 'deny'],
    [ONLY_MAIN, undefined, 'deny'],
  ] as const)('under %s that %j stand for: %s', (rules, refs, expected) => {
    for (const target of [FILE, CACHED]) expect(verdict(rules, target, { refs })).toBe(expected)
  })

  it('is kept off the disk where one of its names is', () => {
    const rules = policiesOf("- {action: no-store, match: {revision: 'customer-*'}}")
    const asked = (refs: readonly string[]) =>
      decide(rules, { ...question(FILE, { facts: { refs } }), names: ['org/name'], final: true })
    expect(asked(['main', 'customer-1'])).toMatchObject({ noStore: 'yes' })
    expect(asked(['main'])).toMatchObject({ noStore: 'no' })
  })
})
