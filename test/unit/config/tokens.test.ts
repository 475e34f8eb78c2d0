import { describe, expect, it } from 'vitest'
import { createMirrorToken } from '../../../src/callers/mirror-token.ts'
import { ConfigFaults } from '../../../src/config/faults.ts'
import { loadConfig } from '../../../src/config/load.ts'

const FILE = '/etc/hubmirror.yaml'

function load(options: {
  readonly yaml?: string
  readonly env?: Readonly<Record<string, string>>
  readonly files?: Readonly<Record<string, string>>
}) {
  const files: Record<string, string> = { ...options.files, [FILE]: options.yaml ?? '' }
  return loadConfig({
    env: { HOME: '/home/u', HUBMIRROR_CONFIG: FILE, ...options.env },
    readFile: (path) => {
      const text = files[path]
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
      return text
    },
  })
}

function faultsOf(options: Parameters<typeof load>[0]): ConfigFaults {
  try {
    load(options)
  } catch (error) {
    if (error instanceof ConfigFaults) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}

const revealed = (options: Parameters<typeof load>[0]) =>
  Object.fromEntries([...load(options).config.hubTokens].map(([name, token]) => [name, token.reveal()]))

describe("the mirror's own Hub tokens", () => {
  it('are the default one and those the file names, by file or inline', () => {
    const sources = {
      yaml: 'tokens:\n  team-a: {file: /run/a}\n  team_b:\n    token: hf_bbb\n',
      files: { '/run/a': 'hf_aaa\n' },
      env: { HUBMIRROR_TOKEN: 'hf_default' },
    }
    expect(revealed(sources)).toEqual({ default: 'hf_default', 'team-a': 'hf_aaa', team_b: 'hf_bbb' })
    const { provenance } = load(sources)
    expect(provenance.get('tokens.team-a')).toEqual({
      source: 'file',
      where: `${FILE}:2:18`,
      shown: '••• (from /run/a)',
    })
    expect(provenance.get('tokens.team_b')?.shown).toBe('•••')
  })

  it('are none when none is given', () => {
    expect(revealed({})).toEqual({})
  })

  it.each([
    ['tokens: {default: {token: hf_a}}', 'the setting token'],
    ['tokens: {Team: {token: hf_a}}', 'lower-case'],
    ['tokens: {team: hf_a}', 'tokens: {name: {file: path}}'],
    ['tokens: {team: {path: /a}}', 'tokens: {name: {file: path}}'],
    ['tokens: {team: {file: /run/a, token: hf_b}}', 'either file or token'],
    ['tokens: {team: {token: "a b"}}', 'a Hub token'],
    ['tokens: {team: {file: /gone}}', 'expected a readable file'],
    ['tokens: {team: {file: /empty}}', 'empty'],
    ['tokens: {team: {file: /mirror}}', 'contains a Hub token'],
    ['tokens: hf_abcdef', 'no such setting'],
  ])('are refused as in %s, and never shown', (yaml, cure) => {
    const files = { '/run/a': 'hf_a', '/empty': '\n', '/mirror': createMirrorToken() }
    const { faults, message } = faultsOf({ yaml, files })
    expect(faults.map((fault) => fault.cure)).toEqual([expect.stringContaining(cure)])
    expect(message).not.toMatch(/hf_/)
  })

  it('cannot be mirror tokens, which the Hub does not know', () => {
    const token = createMirrorToken()
    for (const env of [{ HUBMIRROR_TOKEN: token }, { HUBMIRROR_TOKEN_FILE: '/mirror' }]) {
      const { faults, message } = faultsOf({ env, files: { '/mirror': token } })
      expect(faults.map(({ cure }) => cure)).toEqual([expect.stringContaining('expected a Hub token')])
      expect(message.includes(token)).toBe(false)
    }
  })
})

describe('the token as other programs call it', () => {
  it.each(['HF_TOKEN', 'HF_API_TOKEN'])('is taken from %s with a notice', (name) => {
    const { config, notices, provenance } = load({ env: { [name]: 'hf_other' } })
    expect(config.hubTokens.get('default')?.reveal()).toBe('hf_other')
    expect(notices).toEqual([expect.stringContaining(`${name} is used as HUBMIRROR_TOKEN`)])
    expect(provenance.get('token')).toEqual({ source: 'environment', where: name, shown: '•••' })
  })

  it.each([
    [{ HUBMIRROR_TOKEN: 'hf_ours' }, ''],
    [{ HUBMIRROR_TOKEN_FILE: '/t' }, ''],
    [{}, 'token: hf_ours'],
    [{}, 'token: {file: /t}'],
  ])('has less precedence than ours (%j, %s), without a notice', (env, yaml) => {
    const sources = {
      yaml,
      files: { '/t': 'hf_ours' },
      env: { HF_TOKEN: 'hf_other', HF_API_TOKEN: 'hf_third', ...env },
    }
    expect(revealed(sources)).toEqual({ default: 'hf_ours' })
    expect(load(sources).notices).toEqual([])
  })

  it('is that of HF_TOKEN where both are given', () => {
    expect(revealed({ env: { HF_TOKEN: 'hf_a', HF_API_TOKEN: 'hf_b' } })).toEqual({ default: 'hf_a' })
  })

  it('is not taken when the file says none, nor when it cannot be meant for the Hub', () => {
    expect(revealed({ yaml: 'token: none', env: { HF_TOKEN: 'hf_a' } })).toEqual({})
    expect(revealed({ env: { HF_TOKEN: 'two words' } })).toEqual({})
    expect(revealed({ env: { HF_TOKEN: createMirrorToken() } })).toEqual({})
  })
})
