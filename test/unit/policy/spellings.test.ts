// A rule decides the same for a request, however the request is spelled and by whatever route it comes.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { decide } from '../../../src/policy/decide.ts'
import { subjectOf } from '../../../src/policy/subject.ts'
import { policiesOf } from '../../support/policies.ts'
import { question } from './question.ts'

const SHA = 'a'.repeat(40)

/** Requests that reveal the file x.bin, or every file, of the model org/name at main. */
const FILE_ROUTES = [
  '/org/name/resolve/main/sub/x.bin',
  `/api/resolve-cache/models/org/name/${SHA}/sub/x.bin`,
  '/org/name/raw/main/sub/x.bin',
  '/org/name/blob/main/sub/x.bin',
  '/org/name/blame/main/sub/x.bin',
  '/org/name.git/info/refs?service=git-upload-pack',
  '/org/name.git/git-upload-pack',
  '/org/name/info/lfs/objects/batch',
  '/org/name.git/info/lfs/objects/batch',
  '/api/models/org/name/xet-read-token/main',
  '/v2/org/name/manifests/latest',
  '/v2/org/name/blobs/sha256:00',
  '/models/org/name/resolve/main/sub/x.bin',
  '/models/org/name/raw/main/sub/x.bin',
]
/** Requests that reveal something about the repo. */
const REPO_ROUTES = [
  '/api/models/org/name',
  '/api/models/org/name?expand=cardData',
  '/api/models/org/name/revision/main',
  '/api/models/org/name/tree/main',
  '/api/models/org/name/tree/main/sub',
  '/api/models/org/name/paths-info/main',
  '/api/models/org/name/refs',
  '/api/models/org/name/commits/main',
  '/api/models/org/name/auth-check',
  '/api/models/org/name/compare/a..b',
  '/api/models/org/name/no-such-word',
  '/api/models/org/name/xet-write-token/main',
  '/api/models/org/name/commit/main',
  '/org/name',
  '/org/name/',
  '/org/name/tree/main',
  '/org/name/discussions',
  '/org/name/no-such-page/at/all',
  '/org/name.git/git-receive-pack',
]

/** The same letters in another case; what is escaped stays what it is. */
const recased = (target: string, upper: readonly boolean[]) =>
  target.replace(/%..|[a-z]/gi, (letter, at: number) =>
    letter.startsWith('%') || target.startsWith('sha256', at) || upper[at % upper.length] !== true
      ? letter
      : letter.toUpperCase(),
  )
/** Letters escaped, and slashes where `slashes` says so. */
const escaped = (target: string, which: readonly boolean[], slashes: boolean) => {
  const mark = target.indexOf('?')
  const path = mark === -1 ? target : target.slice(0, mark)
  const changed = path.replace(/[a-z/]/gi, (letter, at: number) => {
    if (at === 0 || which[at % which.length] !== true || (letter === '/' && !slashes)) return letter
    return `%${letter.charCodeAt(0).toString(16).toUpperCase()}`
  })
  return changed + (mark === -1 ? '' : target.slice(mark))
}

/** Whether the request is denied, or refused before it has any effect. */
function isStopped(rules: string, target: string): boolean {
  try {
    const subject = subjectOf(parseHubUrl(target, '/'))
    if (subject === undefined) return false
    const decision = decide(policiesOf(rules), {
      ...question('/a/b'),
      subject,
      names: [subject.id],
      final: true,
    })
    return decision.kind === 'ruling' && decision.verdict === 'deny'
  } catch (error) {
    if (error instanceof MirrorError && error.code === 'bad_url') return true
    throw error
  }
}

const REPO_RULES = [
  '- {action: deny, match: {repo: org/name}}',
  '- {action: deny, match: {repo: ORG/*, type: model}}',
  '- {action: allow, match: {repo: other/*}}\n- {action: deny}',
]
const FILE_RULES = [
  '- {action: deny, match: {repo: org/name, file: "*.bin"}}',
  '- {action: deny, match: {file: "*.BIN"}}',
  '- {action: allow, match: {file: "*.txt"}}\n- {action: deny}',
]

describe('no spelling escapes a rule', () => {
  const bits = fc.array(fc.boolean(), { minLength: 7, maxLength: 31 })

  it.each(REPO_RULES)('about a repo: %s', (rules) => {
    fc.assert(
      fc.property(
        fc.constantFrom(...REPO_ROUTES, ...FILE_ROUTES),
        bits,
        bits,
        fc.boolean(),
        fc.constantFrom('', '/', '//'),
        (route, upper, escapes, slashes, front) => {
          const target = front + escaped(recased(route, upper), escapes, slashes)
          expect([target, isStopped(rules, target)]).toEqual([target, true])
        },
      ),
      { numRuns: 500 },
    )
  })

  const noise = ['%20', '.', ';x', '%3Fx', '%23x', '%2520', '%0A', '%E2%80%8B', '--', '%5C']
  it.each(REPO_RULES)('by an id that the Hub never gives out: %s', (rules) => {
    for (const route of [...REPO_ROUTES, ...FILE_ROUTES])
      for (const extra of noise)
        for (const target of [route.replace('name', `name${extra}`), route.replace('org/', `org${extra}/`)])
          expect([target, isStopped(rules, target)]).toEqual([target, true])
  })

  it('an id that the Hub never gives out is not allowed by a pattern, nor lent a token', () => {
    const target = '/org/name%20/raw/main/x'
    expect(isStopped('- {action: allow, match: {repo: org/*}}\n- {action: deny}', target)).toBe(true)
    const lend = '- {action: use-token, token: team, match: {repo: org/*, caller: {network: 10.0.0.0/8}}}'
    expect(decide(policiesOf(lend), question(target))).toMatchObject({ useToken: undefined })
    expect(decide(policiesOf(lend), question('/org/name/raw/main/x'))).toMatchObject({ useToken: 'team' })
  })

  it.each(FILE_RULES)('about a file: %s', (rules) => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FILE_ROUTES),
        bits,
        bits,
        fc.boolean(),
        (route, upper, escapes, slashes) => {
          const target = escaped(recased(route, upper), escapes, slashes)
          expect([target, isStopped(rules, target)]).toEqual([target, true])
        },
      ),
      { numRuns: 500 },
    )
  })

  it.each(FILE_ROUTES)('and a plain %s is not stopped by rules about others', (route) => {
    const others =
      '- {action: deny, match: {repo: org/other}}\n- {action: deny, match: {repo: org/name, type: dataset}}'
    expect(isStopped(others, route)).toBe(false)
  })

  it.each(REPO_ROUTES.slice(0, 9))('and %s is no file', (route) => {
    expect(isStopped('- {action: deny, match: {file: "*"}}', route)).toBe(false)
  })

  it.each([
    '/',
    '/api/models',
    '/api/models?author=org',
    '/api/whoami-v2',
    '/docs/hub',
    '/oauth/token',
    '/.well-known/x',
  ])('%s is about no repo', (target) => {
    expect(subjectOf(parseHubUrl(target, '/'))).toBeUndefined()
  })
})
