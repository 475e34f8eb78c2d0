// Rules in order, condition by condition, and the decision if a fact is unknown.

import { describe, expect, it } from 'vitest'
import { type Decision, decide } from '../../../src/policy/decide.ts'
import { policiesOf } from '../../support/policies.ts'
import { question } from './question.ts'

const FILE = '/acme/m/resolve/main/sub/W.BIN'

type More = Parameters<typeof question>[1]
const verdict = (rules: string, target = FILE, more: More = {}) => {
  const decision = decide(policiesOf(rules), question(target, more))
  return decision.kind === 'needs' ? decision.facts.join() : decision.verdict
}
const ruling = (rules: string, more: More = {}, target = FILE): Extract<Decision, { kind: 'ruling' }> => {
  const decision = decide(policiesOf(rules), question(target, more))
  if (decision.kind !== 'ruling') throw new Error(`it needs ${decision.facts.join()}`)
  return decision
}
const deny = (match: string) => `- {action: deny, match: ${match}}`

describe('one condition', () => {
  it.each([
    ['{repo: acme/m}', FILE, {}, true],
    ['{repo: ACME/*}', FILE, {}, true],
    ['{repo: "*"}', FILE, {}, true],
    ['{repo: "**"}', FILE, {}, true],
    ['{repo: "*/*"}', FILE, {}, true],
    ['{repo: ["other/*", "acme/{m,n}"]}', FILE, {}, true],
    ['{repo: "*"}', '/gpt2/resolve/main/x', {}, true],
    ['{repo: "*/*"}', '/gpt2/resolve/main/x', {}, false],
    ['{repo: acme}', FILE, {}, false],
    ['{repo: acme/m*}', '/acme/x/resolve/main/a', {}, false],
    ['{type: model}', FILE, {}, true],
    ['{type: [dataset, space]}', FILE, {}, false],
    ['{type: datasets}', '/datasets/acme/m/resolve/main/x', {}, true],
    ['{type: bucket, repo: acme/*}', '/buckets/acme/b/resolve/x.bin', {}, true],
    ['{revision: main}', FILE, {}, true],
    ['{revision: "refs/*/*"}', '/acme/m/resolve/refs%2Fpr%2F1/x', {}, true],
    ['{revision: "*"}', '/acme/m/resolve/refs%2Fpr%2F1/x', {}, true],
    ['{revision: v1}', FILE, {}, false],
    ['{revision: main}', '/api/models/acme/m', {}, true],
    ['{revision: main}', '/api/models/acme/m/refs', {}, false],
    ['{file: "*.bin"}', FILE, {}, true],
    ['{file: "sub/*.bin"}', FILE, {}, true],
    ['{file: "other/*.bin"}', FILE, {}, false],
    ['{file: "*.bin"}', '/api/models/acme/m/tree/main', {}, false],
    ['{file: "*.bin"}', '/acme/m/resolve/main/.hidden.bin', {}, true],
    ['{file: "*.bin"}', '/acme/m/raw/main/x.bin', {}, true],
    ['{size: ">999B"}', FILE, {}, true],
    ['{size: ">1KB"}', FILE, {}, false],
    ['{size: ">=1KB"}', FILE, {}, true],
    ['{size: "<1KB"}', FILE, {}, false],
    ['{size: "<=1KB"}', FILE, {}, true],
    ['{size: ">1B"}', '/api/models/acme/m/tree/main', {}, false],
    ['{access: public}', FILE, {}, true],
    ['{access: [gated, private]}', FILE, {}, false],
    ['{access: gated}', FILE, { facts: { access: 'gated' } }, true],
    ['{licence: mit}', FILE, {}, true],
    ['{licence: "*-nc-*"}', FILE, { facts: { licence: ['mit', 'cc-by-nc-4.0'] } }, true],
    ['{licence: none}', FILE, { facts: { licence: [] } }, true],
    ['{licence: none}', FILE, {}, false],
    ['{caller: {network: 10.0.0.0/8}}', FILE, {}, true],
    ['{caller: {network: 10.0.0.0/8}}', FILE, { caller: { address: '::ffff:10.1.2.3' } }, true],
    ['{caller: {network: "fd00::/8"}}', FILE, { caller: { address: 'fd00::1%eth0' } }, true],
    ['{caller: {network: 10.0.0.0/8}}', FILE, { caller: { address: '11.1.2.3' } }, false],
    ['{caller: {network: 10.0.0.0/8}}', FILE, { caller: { address: 'unknown' } }, true],
    ['{caller: {mirrorToken: ci-*}}', FILE, { caller: { mirrorToken: 'ci-9' } }, true],
    ['{caller: {mirrorToken: ci-*}}', FILE, { caller: { ownToken: true } }, false],
    ['{caller: {anonymous: on}}', FILE, {}, true],
    ['{caller: {anonymous: on}}', FILE, { caller: { mirrorToken: 'ci-9' } }, false],
    ['{caller: {anonymous: off}}', FILE, { caller: { ownToken: true } }, true],
    ['{repo: acme/*, file: "*.txt"}', FILE, {}, false],
  ] satisfies readonly (readonly [string, string, More, boolean])[])(
    '%s of %s %j: %s',
    (match, target, more, holds) => {
      expect(verdict(deny(match), target, more)).toBe(holds ? 'deny' : 'allow')
    },
  )
})

describe('the order', () => {
  it('lets the first allow or deny decide, and allows a request that no rule matches', () => {
    const first = '- {action: allow, match: {repo: acme/*}}'
    expect(verdict(`${first}\n- {action: deny}`)).toBe('allow')
    expect(verdict(`- {action: deny}\n${first}`)).toBe('deny')
    expect(ruling(deny('{repo: other/*}'))).toMatchObject({ verdict: 'allow', rule: undefined, applied: [] })
  })

  it('names the caller for what is stored only if every condition holds for certain', () => {
    const serve = (caller: string) => `- {action: serve-stored, match: {repo: acme/*, caller: ${caller}}}`
    const ci = { mirrorToken: 'ci' }
    const lab = { address: '10.1.2.3' }
    const nameOf = (rules: string, more: More, target?: string) => ruling(rules, more, target).servedBy?.name
    expect(nameOf(serve('{mirrorToken: c*}'), { caller: ci })).toBe('#1')
    expect(nameOf(serve('{network: 10.0.0.0/8}'), { caller: lab })).toBe('#1')
    expect(nameOf(serve('{network: 10.0.0.0/8}'), { caller: lab }, '/api/models/acme/m/tree/main')).toBe('#1')
    for (const caller of [{}, { mirrorToken: 'other' }, { address: '10.1.2.3' }])
      expect(nameOf(serve('{mirrorToken: ci}'), { caller })).toBeUndefined()
    for (const address of ['unknown', '', '10.1.2.3:80', '11.0.0.1', '10.1.2.3, 10.1.2.4'])
      expect(nameOf(serve('{network: 10.0.0.0/8}'), { caller: { address } })).toBeUndefined()
    const both = serve('{network: 10.0.0.0/8, mirrorToken: ci}')
    expect(nameOf(both, { caller: { ...ci, address: '11.0.0.1' } })).toBeUndefined()
    expect(nameOf(both, { caller: { ...ci, ...lab } })).toBe('#1')
    expect(nameOf(serve('{mirrorToken: ci}'), { caller: ci }, '/other/m/resolve/main/x')).toBeUndefined()
    // It decides nothing: rules after it are evaluated, and those after an allow are not.
    const later = ruling(`${serve('{mirrorToken: ci}')}\n${deny('{file: "*.bin"}')}`, { caller: ci })
    expect([later.verdict, later.applied.map(({ name }) => name)]).toEqual(['deny', ['#2']])
    expect(nameOf(`- {action: allow}\n${serve('{mirrorToken: ci}')}`, { caller: ci })).toBeUndefined()
  })

  it('remembers no-store and the first use-token on the way', () => {
    const token = (name: string) =>
      `- {action: use-token, token: ${name}, match: {repo: acme/*, caller: {network: 10.0.0.0/8}}}`
    const decided = ruling(
      [token('a'), token('b'), '- {action: no-store}', '- {action: allow, name: done}', token('c')].join(
        '\n',
      ),
    )
    expect(decided).toMatchObject({ verdict: 'allow', noStore: 'yes', useToken: 'a' })
    expect(decided.applied.map(({ name }) => name)).toEqual(['#1', '#3', 'done'])
    expect(ruling(`- {action: allow}\n- {action: no-store}\n${token('a')}`)).toMatchObject({
      noStore: 'no',
      useToken: undefined,
    })
  })

  it('lends no token to a caller that sends one', () => {
    const rules = '- {action: use-token, token: a, match: {repo: acme/*, caller: {network: 10.0.0.0/8}}}'
    expect(ruling(rules).useToken).toBe('a')
    expect(ruling(rules, { caller: { ownToken: true } }).useToken).toBeUndefined()
    expect(ruling(rules, { caller: { mirrorToken: 'ci' } }).useToken).toBe('a')
  })
})

describe('a missing fact', () => {
  it.each([
    ['{access: gated}', { access: undefined }, 'access'],
    ['{licence: mit}', { licence: undefined }, 'licence'],
    ['{size: ">1B"}', { sizeBytes: undefined }, 'size'],
    ['{licence: x, access: gated}', { access: undefined, licence: undefined }, 'access,licence'],
  ] as const)('is requested where %s needs it', (match, facts, needs) => {
    expect(verdict(deny(match), FILE, { facts })).toBe(needs)
  })

  it('is not requested if the rest of the rule does not match, nor after a decision', () => {
    const facts = { access: undefined, licence: undefined }
    expect(verdict(deny('{repo: other/*, licence: mit}'), FILE, { facts })).toBe('allow')
    expect(verdict(`- {action: allow}\n${deny('{licence: mit}')}`, FILE, { facts })).toBe('allow')
  })

  it('counts as the safe side if it cannot be learnt', () => {
    const more = { facts: { access: undefined }, final: true } as const
    const match = 'match: {repo: acme/*, access: public, caller: {network: 10.0.0.0/8}}'
    expect(ruling(`- {action: deny, ${match}}`, more)).toMatchObject({ verdict: 'deny', doubt: ['access'] })
    expect(verdict(`- {action: allow, ${match}}\n- {action: deny}`, FILE, more)).toBe('deny')
    expect(ruling(`- {action: no-store, ${match}}`, more).noStore).toBe('yes')
    expect(ruling(`- {action: use-token, token: a, ${match}}`, more).useToken).toBeUndefined()
  })

  it('may be the name of a repo with an old short id', () => {
    const rules = deny('{repo: openai-community/*}')
    const target = '/gpt2/resolve/main/x'
    expect(verdict(rules, target, { nameKnown: false })).toBe('name')
    expect(verdict(rules, target, { nameKnown: false, final: true })).toBe('deny')
    expect(verdict(rules, target, { names: ['gpt2', 'openai-community/gpt2'] })).toBe('deny')
    expect(verdict(rules, target, { names: ['gpt2', 'other/gpt2'] })).toBe('allow')
  })

  it('may be the size, for which the decision waits', () => {
    const later = { facts: { sizeBytes: 'later' } } as const
    expect(ruling(deny('{size: ">10GB"}'), later)).toMatchObject({ verdict: 'allow', pending: true })
    expect(ruling('- {action: no-store, match: {size: ">1B"}}', later)).toMatchObject({
      noStore: 'by-size',
      pending: true,
    })
    expect(ruling('- {action: allow, match: {size: ">1B"}}\n- {action: deny}', later)).toMatchObject({
      verdict: 'allow',
      pending: true,
    })
    expect(ruling(deny('{size: ">1B", repo: other/*}'), later).pending).toBe(false)
  })
})

describe('a request that carries any file', () => {
  it.each([
    '/acme/m.git/info/refs?service=git-upload-pack',
    '/acme/m.git/git-upload-pack',
    '/acme/m.git/info/lfs/objects/batch',
    '/api/models/acme/m/xet-read-token/main',
    '/v2/acme/m/blobs/sha256:00',
    '/api/datasets/acme/m/parquet/default/train/0.parquet',
  ])('is denied together with the files that it can carry: %s', (target) => {
    expect(verdict(deny('{file: "*.bin"}'), target)).toBe('deny')
    expect(verdict(deny('{size: ">1GB"}'), target)).toBe('deny')
    expect(verdict(`- {action: allow, match: {file: "*.txt"}}\n- {action: deny}`, target)).toBe('deny')
    expect(ruling(deny('{file: "*.bin"}'), {}, target).doubt).toEqual(['file'])
    expect(verdict(deny('{repo: other/*, file: "*.bin"}'), target)).toBe('allow')
  })

  it.each([
    '/acme/m.git/info/refs?service=git-receive-pack',
    '/acme/m.git/info/lfs/locks/verify',
    '/api/models/acme/m/auth-check',
    '/api/models/acme/m/commit/main',
    '/acme/m/discussions/1',
    '/acme/m',
  ])('is not confused with a request that carries no files: %s', (target) => {
    expect(verdict(deny('{file: "*.bin"}'), target)).toBe('allow')
    expect(verdict(deny('{repo: acme/m}'), target)).toBe('deny')
  })
})
