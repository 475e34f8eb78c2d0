import { describe, expect, it } from 'vitest'
import { ConfigFaults } from '../../../src/config/faults.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { tokenFormCure } from '../../../src/config/token-form.ts'

const TOKEN = `hf_${'Secret9'.repeat(6).slice(0, 34)}`

/** The result for a text, for every way in which a Hub token can be given. */
function faultsOf(text: string): readonly string[] {
  const ways = [
    { env: { HUBMIRROR_TOKEN: text } },
    { env: { HUBMIRROR_TOKEN_FILE: '/run/token' } },
    { env: { HUBMIRROR_CONFIG: '/c.yaml' }, yaml: 'tokens: {team: {file: /run/token}}' },
    { env: { HUBMIRROR_CONFIG: '/c.yaml' }, yaml: `tokens: {team: {token: ${JSON.stringify(text)}}}` },
  ]
  return ways.map(({ env, yaml = '' }) => {
    try {
      loadConfig({ env: { HOME: '/home/u', ...env }, readFile: (path) => (path === '/c.yaml' ? yaml : text) })
      return ''
    } catch (error) {
      if (error instanceof ConfigFaults) return error.message
      throw error
    }
  })
}

describe('a Hub token in the wrong form', () => {
  it.each([
    [`"${TOKEN}"`, 'quotes'],
    [`'${TOKEN}'`, 'quotes'],
    [`"${TOKEN}`, 'quotes'],
    [`\u201c${TOKEN}\u201d`, 'quotes'],
    [`HF_TOKEN=${TOKEN}`, 'equals sign'],
    [`export HF_TOKEN="${TOKEN}"`, 'quotes'],
    [`export HF_TOKEN=${TOKEN}`, 'equals sign'],
    [`Bearer ${TOKEN}`, 'Bearer'],
    [`bearer  ${TOKEN}`, 'Bearer'],
    [`Authorization: Bearer ${TOKEN}`, 'Bearer'],
    [`${TOKEN}\n${TOKEN}`, 'line break'],
    [`${TOKEN.slice(0, 9)}\r\n${TOKEN.slice(9)}`, 'line break'],
    [`${TOKEN} # of the team`, 'space'],
    [`${TOKEN}\t${TOKEN}`, 'space'],
    [Buffer.from(TOKEN).toString('base64'), 'Base64'],
    [`{"token":"${TOKEN}"}`, 'JSON'],
    [Buffer.from(TOKEN, 'utf16le').toString('utf8'), 'UTF-16'],
    ['${HF_TOKEN}', 'placeholder'],
    ['$HF_TOKEN', 'placeholder'],
    ['{{ .Values.token }}', 'JSON|placeholder'],
    ['<your token>', 'placeholder'],
    ['null', 'placeholder'],
    ['undefined', 'placeholder'],
    ['/run/secrets/token', 'file'],
    ['https://huggingface.co', 'URL'],
    [`${TOKEN}\u200b`, 'characters'],
  ])('%j is refused at start, with the cure and without any part of it', (text, cure) => {
    for (const message of faultsOf(text)) {
      expect(message).toMatch(new RegExp(cure))
      expect(message).not.toContain(TOKEN.slice(3, 12))
    }
  })

  it.each([TOKEN, `hf_oauth_${TOKEN}`, 'hf_jwt_eyJhbGciOiJ.eyJzdWIi.c2ln-_', `${TOKEN}\n`, `${TOKEN}\r\n`])(
    '%j is accepted',
    (text) => {
      expect(faultsOf(text).slice(1, 3)).toEqual(['', ''])
      expect(tokenFormCure(text.trim())).toBeUndefined()
    },
  )
})

it('a file with a byte order mark is reported as such', () => {
  for (const text of [`\ufeff${TOKEN}`, Buffer.from(`\ufeff${TOKEN}`, 'utf8').toString('latin1')])
    expect(tokenFormCure(text)).toContain('byte order mark')
})

it('an invalid token from the variable of another program is not sent, and is reported', () => {
  const noticesOf = (env: Record<string, string>) => loadConfig({ env: { HOME: '/home/u', ...env } }).notices
  const quoted = loadConfig({ env: { HOME: '/home/u', HF_TOKEN: `"${TOKEN}"` } })
  expect(quoted.config.hubTokens.size).toBe(0)
  expect(quoted.notices).toEqual([expect.stringMatching(/^HF_TOKEN is not used .*quotes/)])
  expect(noticesOf({ HF_TOKEN: TOKEN })).toEqual([expect.stringContaining('HF_TOKEN is used')])
  expect(noticesOf({ HF_TOKEN: `"${TOKEN}"`, HUBMIRROR_TOKEN: TOKEN })).toEqual([])
  expect(noticesOf({ HF_TOKEN: ' ' })).toEqual([])
  expect(noticesOf({})).toEqual([])
})
