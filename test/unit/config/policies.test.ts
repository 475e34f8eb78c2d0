// The section `policies` of the settings file: what it may contain, and the faults of what it may not.

import { describe, expect, it } from 'vitest'
import { ConfigFaults } from '../../../src/config/faults.ts'
import { loadConfig } from '../../../src/config/load.ts'

const load = (text: string) => loadConfig({ flags: { config: 'h.yaml' }, env: {}, readFile: () => text })

function faultsOf(text: string) {
  try {
    load(text)
  } catch (error) {
    if (error instanceof ConfigFaults) return error.faults
    throw error
  }
  return []
}

const rule = (body: string) => `policies:\n  - action: deny\n    match: ${body}\n`

describe('the section `policies`', () => {
  it('is read completely, each rule with its position and name', () => {
    const { config, provenance } = load(`
port: 9000
tokens: { team-a: { token: hf_x } }
policies:
  - name: no-pickles
    match:
      repo: ['*/*', gpt2]
      type: [models, dataset]
      revision: main
      file: ['*.bin', 'sub/**/*.pkl']
      size: '>= 1.5GB'
      access: [gated, private]
      licence: '*-nc-*'
      caller: { network: [10.0.0.0/8, '::1'], mirrorToken: ci-*, anonymous: off }
    action: deny
    message: No pickles.
  - match: { repo: acme/*, caller: { network: 10.0.0.0/8 } }
    action: use-token
    token: team-a
  - action: allow
`)
    expect(config.policies.map(({ name, action, where }) => [name, action, where])).toEqual([
      ['no-pickles', 'deny', 'h.yaml:5:5'],
      ['#2', 'use-token', 'h.yaml:17:5'],
      ['#3', 'allow', 'h.yaml:20:5'],
    ])
    const [first, second] = config.policies
    expect(first?.message).toBe('No pickles.')
    expect(second?.token).toBe('team-a')
    expect(first?.match).toMatchObject({
      type: ['model', 'dataset'],
      size: { operator: '>=', bytes: 1.5e9 },
      access: ['gated', 'private'],
      network: { texts: ['10.0.0.0/8', '::1'] },
      anonymous: false,
    })
    expect(provenance.get('policies')).toEqual({ source: 'file', where: 'h.yaml:5:3', shown: '3 rules' })
    expect(config.port).toBe(9000)
  })

  it.each(['policies:\n', 'policies: []\n', 'policies: ~\n', 'port: 1\n'])('may be empty: %j', (text) => {
    expect(load(text).config.policies).toEqual([])
  })

  it.each([
    ['policies: deny', 'policies', '1:11', 'a list of rules'],
    ['policies: [x]', 'policies.1', '1:12', 'expected keys with values'],
    ['policies:\n  - match: {}', 'policies.1.action', '2:5', 'expected one of allow, deny'],
    ['policies:\n  - action: forbid', 'policies.1.action', '2:13', 'expected one of allow, deny'],
    ['policies:\n  - action: deny\n    mesage: x', 'policies.1.mesage', '3:5', 'did you mean message?'],
    ['policies:\n  - action: deny\n    match:', 'policies.1.match', '3:11', 'expected keys with values'],
    ['policies:\n  - action: allow\n    message: x', 'policies.1.message', '3:14', 'only to action: deny'],
    ['policies:\n  - action: deny\n    message: "a\\nb"', 'policies.1.message', '3:14', 'one line'],
    ['policies:\n  - action: deny\n    token: x', 'policies.1.token', '3:12', 'only to action: use-token'],
    ['policies:\n  - action: deny\n    name: a b', 'policies.1.name', '3:11', 'letters, digits'],
    [
      'policies:\n  - {action: deny, name: a}\n  - {action: deny, name: a}',
      'policies.name',
      '3:5',
      'h.yaml:2:5',
    ],
    [rule('{repos: a/b}'), 'policies.1.match.repos', '3:13', 'did you mean repo?'],
    [rule('{repo: }'), 'policies.1.match.repo', '3:19', 'expected a value'],
    [rule('{repo: []}'), 'policies.1.match.repo', '3:19', 'would never match'],
    [rule('{repo: [[a/b]]}'), 'policies.1.match.repo', '3:20', 'expected a value'],
    [rule('{repo: datasets/a/b}'), 'policies.1.match.repo', '3:19', '`type`'],
    [rule('{repo: a/b/c}'), 'policies.1.match.repo', '3:19', 'org/name'],
    [rule('{repo: "a--b/c"}'), 'policies.1.match.repo', '3:19', 'as the Hub spells it'],
    [rule('{repo: "/a"}'), 'policies.1.match.repo', '3:19', 'slash at either end'],
    [rule('{repo: "!acme/*"}'), 'policies.1.match.repo', '3:19', 'allow rule before'],
    [rule('{repo: "acme/[ab"}'), 'policies.1.match.repo', '3:19', 'brackets are closed'],
    [rule('{file: "+(a)"}'), 'policies.1.match.file', '3:19', 'only *, **, ?, [abc] and {a,b}'],
    [rule("{file: 'a\\b'}"), 'policies.1.match.file', '3:19', 'backslashes'],
    [rule('{type: modl}'), 'policies.1.match.type', '3:19', 'expected one of model'],
    [rule('{access: open}'), 'policies.1.match.access', '3:21', 'public, gated, private'],
    [rule('{size: 10GB}'), 'policies.1.match.size', '3:19', 'expected a bound'],
    [rule('{size: ">10"}'), 'policies.1.match.size', '3:19', 'did you mean 10GB?'],
    [rule('{size: [">1GB", "<2GB"]}'), 'policies.1.match.size', '3:19', 'single value'],
    [rule('{caller: {network: 10.0.0.0/33}}'), 'policies.1.match.caller.network', '3:31', '10.0.0.0/8'],
    [rule('{caller: {network: office}}'), 'policies.1.match.caller.network', '3:31', '10.0.0.0/8'],
    [rule('{caller: {}}'), 'policies.1.match.caller', '3:13', 'expected keys'],
    [rule('{caller: {anonymous: perhaps}}'), 'policies.1.match.caller.anonymous', '3:33', 'on or off'],
    ['policies: &a\n  - *a', 'policies.1', '2:5', 'expected quotes'],
    [
      'policies:\n  - {action: deny, match: {}}',
      'policies.1.match',
      '2:20',
      'remove the key to match everything',
    ],
    ['policies: []\nPolicies: []', 'Policies', '2:11', 'once'],
  ])('refuses %j', (text, key, place, cure) => {
    const found = faultsOf(text)
    const fault = found.find((one) => one.key === key)
    expect(found.map((one) => one.key)).toContain(key)
    expect(fault?.where).toBe(`h.yaml:${place}`)
    expect(fault?.cure).toContain(cure)
  })

  it('shares a Hub token only for named repos and callers, and not by size', () => {
    const keys = faultsOf('policies:\n  - {action: use-token, match: {size: ">1GB"}}').map(({ key }) => key)
    expect(keys).toEqual(
      ['token', 'match.size', 'match.repo', 'match.caller'].map((key) => `policies.1.${key}`),
    )
  })

  it('may name only Hub tokens that exist', () => {
    const lend = (name: string) =>
      `policies:\n  - {action: use-token, token: ${name}, match: {repo: a/*, caller: {mirrorToken: ci}}}\n`
    expect(faultsOf(lend('team'))).toMatchObject([
      {
        key: 'policies.1.token',
        where: 'h.yaml:2:32',
        value: 'team',
        cure: 'no such Hub token; none is set',
      },
    ])
    expect(faultsOf(`tokens: {blue: {token: hf_x}}\ntoken: hf_y\n${lend('team')}`)).toMatchObject([
      { cure: 'no such Hub token; there are default, blue' },
    ])
    expect(faultsOf(`tokens: {team: {token: hf_x}}\n${lend('team')}`)).toEqual([])
  })

  describe('serves what is stored', () => {
    const serve = (match: string, more = 'cache.private: on\n') =>
      faultsOf(`${more}policies:\n  - {action: serve-stored, match: ${match}}`).map(({ key }) => key)

    it.each([
      '{repo: our-org/*, caller: {network: 10.0.0.0/8}}',
      '{repo: [our-org/model, gpt2], type: model, caller: {mirrorToken: "*"}}',
      '{repo: "our-org/{a,b}-*", caller: {network: ["2001:db8::/32", 192.0.2.0/24], mirrorToken: ci, anonymous: off}}',
    ])('of %s', (match) => expect(serve(match)).toEqual([]))

    it.each([
      [
        '{repo: a/b, revision: main, file: x, size: ">1B", access: gated, licence: mit, caller: {mirrorToken: ci}}',
        'match.revision match.file match.size match.access match.licence',
      ],
      ['{caller: {mirrorToken: ci}}', 'match.repo'],
      ...[
        '"*"',
        '"**"',
        '"*/*"',
        '"*/model"',
        '"our-*/model"',
        '"{a,b}/model"',
        '"[ab]/*"',
        '"?/*"',
        '[our-org/*, "*/x"]',
      ].map((repo) => [`{repo: ${repo}, caller: {mirrorToken: ci}}`, 'match.repo'] as const),
      ['{repo: a/b}', 'match.caller'],
      ['{repo: a/b, caller: {anonymous: off}}', 'match.caller'],
      ...['0.0.0.0/0', '"::/0"', '"::ffff:0:0/96"', '[0.0.0.0/1, 128.0.0.0/1]', '[10.0.0.0/8, "::/0"]'].map(
        (network) => [`{repo: a/b, caller: {network: ${network}}}`, 'match.caller.network'] as const,
      ),
    ] as const)('not for %s', (match, keys) =>
      expect(serve(match)).toEqual(keys.split(' ').map((key) => `policies.1.${key}`)),
    )

    it('only where anything of restricted repos is stored', () => {
      expect(serve('{repo: a/b, caller: {mirrorToken: ci}}', '')).toEqual(['policies.action'])
    })
  })

  it('reports all faults at once, together with those of the settings', () => {
    const keys = faultsOf(`port: x\n${rule('{repo: a/b/c, size: 1}')}`).map(({ key }) => key)
    expect(keys.sort()).toEqual(['policies.1.match.repo', 'policies.1.match.size', 'port'])
  })

  it('shows no token that strayed into it', () => {
    const [fault] = faultsOf(`policies:\n  - {action: hf_${'a'.repeat(34)}}`)
    expect(fault?.value).toBe('•••')
  })

  it('belongs in the file', () => {
    const given = { flags: {}, env: { HUBMIRROR_POLICIES: 'x' } }
    expect(() => loadConfig(given)).toThrow(ConfigFaults)
  })
})
