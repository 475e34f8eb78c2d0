import { describe, expect, it } from 'vitest'
import { createMirrorToken } from '../../../src/callers/mirror-token.ts'
import {
  coversRepo,
  dropLongEnded,
  findToken,
  formatTokenList,
  type IssuedToken,
  isTokenName,
  parseTokenList,
  parseTokenListInSlices,
  tokenHash,
  tokenState,
} from '../../../src/callers/token-list.ts'
import { parseRepoId, type RepoType } from '../../../src/hub/names.ts'

const token = createMirrorToken()
const entry: IssuedToken = { name: 'ci', sha256: tokenHash(token), createdAt: 1_000 }

function repo(text: string) {
  const [type, ...id] = text.split(' ')
  const parsed = parseRepoId(id.join(''))
  if (parsed === undefined) throw new Error(text)
  return { type: type as RepoType, id: parsed }
}

/** A list of one entry with other fields, which `formatTokenList` would not write. */
const listWith = (fields: Readonly<Record<string, unknown>>): string =>
  formatTokenList([entry]).replace('}\n', `,${JSON.stringify(fields).slice(1)}\n`)

describe('the list of issued tokens', () => {
  it('comes back from its text as it was, and holds no token', () => {
    const list = [
      entry,
      {
        ...entry,
        name: 'team-a.x_1',
        sha256: tokenHash('b'),
        expiresAt: 5_000,
        revokedAt: 4_000,
        repos: ['acme/*'],
      },
    ]
    const text = formatTokenList(list)
    expect(parseTokenList(text)).toEqual(list)
    expect(text.includes(token)).toBe(false)
    expect(parseTokenList(formatTokenList([]))).toEqual([])
  })

  it.each([
    ['no JSON', '{', 'not valid JSON'],
    ['another version', '{"version":2,"tokens":[]}', 'version'],
    ['a token where its hash belongs', formatTokenList([{ ...entry, sha256: token }]), 'tokens.0.sha256'],
    ['a doubled name', formatTokenList([entry, entry]), 'twice'],
    ['an unknown field', '{"version":1,"tokens":[],"more":1}', 'the whole'],
    ['a pattern that is none', formatTokenList([{ ...entry, repos: ['!acme/*'] }]), 'tokens.0.repos.0'],
    ['a day that does not exist', listWith({ expiresAt: '2026-02-31T00:00:00.000Z' }), 'tokens.0.expiresAt'],
    ['a time without a zone', listWith({ createdAt: '2026-02-01T00:00:00' }), 'tokens.0.createdAt'],
    ['an entry with an unknown field', listWith({ more: 1 }), 'tokens.0 is'],
    ['a text where its repos belong', listWith({ repos: 'acme/*' }), 'tokens.0.repos'],
    ['an entry that is a text', '{"version":1,"tokens":["x"]}', 'tokens.0 is'],
    ['no entries', '{"version":1}', 'tokens'],
    ['half of it', formatTokenList([entry]).slice(0, 60), 'not valid JSON'],
  ])('is refused with %s, without its text in the reason', (_what, text, reason) => {
    let message = ''
    try {
      parseTokenList(text)
    } catch (error) {
      message = String(error)
    }
    expect(message).toContain(reason)
    expect(message.includes(token)).toBe(false)
  })

  it('is read as any JSON of the same content, and piece by piece as at once', async () => {
    const list = [
      entry,
      { ...entry, name: 'b', sha256: tokenHash('b') },
      { ...entry, name: 'c', sha256: tokenHash('c') },
    ]
    const text = formatTokenList(list)
    const value = JSON.parse(text) as unknown
    const spellings = [
      text,
      JSON.stringify(value),
      JSON.stringify(value, null, 2),
      text.replace(/,"createdAt"/g, ',\n"createdAt"'),
    ]
    for (const spelling of spellings) {
      expect(parseTokenList(spelling)).toEqual(list)
      expect(await parseTokenListInSlices(spelling)).toEqual(list)
    }
    for (const broken of [
      text.replace('},\n', '}\n'),
      text.replace('}\n]', '},\n]'),
      text.replace('"c"', '"b"'),
    ]) {
      expect(() => parseTokenList(broken)).toThrow(/not valid JSON|twice/)
      await expect(parseTokenListInSlices(broken)).rejects.toThrow(/not valid JSON|twice/)
    }
  })

  it('drops tokens that ended long ago, and keeps the thousand that ended last', () => {
    const day = 86_400_000
    const now = 1_000 * day
    const ended = (name: string, at: Partial<IssuedToken>) => ({
      ...entry,
      name,
      sha256: tokenHash(name),
      ...at,
    })
    const list = [
      entry,
      ended('later', { expiresAt: now + 1 }),
      ended('yesterday', { expiresAt: now - day }),
      ended('revoked', { expiresAt: now + day, revokedAt: now - 29 * day }),
      ended('old', { expiresAt: now - 30 * day }),
      ended('revoked-long-ago', { revokedAt: now - 31 * day, expiresAt: now - day }),
    ]
    expect(dropLongEnded(list, now).map(({ name }) => name)).toEqual(['ci', 'later', 'yesterday', 'revoked'])
    const many = Array.from({ length: 3_000 }, (_, index) => ended(`t${index}`, { expiresAt: now - index }))
    const kept = dropLongEnded([...many, entry], now)
    expect([kept.length, kept[0]?.name, kept[999]?.name, kept[1_000]?.name]).toEqual([
      1_001,
      't0',
      't999',
      'ci',
    ])
  })

  it('finds a token by its hash, whichever it is', () => {
    const other = { ...entry, name: 'other', sha256: tokenHash('other') }
    expect(findToken([other, entry], token)?.name).toBe('ci')
    expect(findToken([entry, other], token)?.name).toBe('ci')
    expect(findToken([other], token)).toBeUndefined()
    expect(findToken([], token)).toBeUndefined()
  })

  it('says that a token is valid until the exact time of its end', () => {
    expect(tokenState(entry, 9e15)).toBe('good')
    expect(tokenState({ ...entry, expiresAt: 5_000 }, 4_999)).toBe('good')
    expect(tokenState({ ...entry, expiresAt: 5_000 }, 5_000)).toBe('expired')
    expect(tokenState({ ...entry, expiresAt: 5_000, revokedAt: 1 }, 2)).toBe('revoked')
  })

  it.each([
    ['acme/*', 'model acme/x', true],
    ['acme/*', 'model ACME/X', true],
    ['models/acme/*', 'model acme/x', true],
    ['acme/*', 'model acme2/x', false],
    ['acme/*', 'dataset acme/x', false],
    ['datasets/acme/*', 'dataset acme/x', true],
    ['datasets/acme/*', 'model acme/x', false],
    ['gpt2', 'model gpt2', true],
    ['*', 'model gpt2', true],
    ['*', 'dataset acme/x', true],
    ['**', 'space acme/x', true],
    ['{acme,corp}/*', 'model corp/x', true],
  ])('that names %s is for %s: %s', (pattern, name, expected) => {
    expect(coversRepo({ ...entry, repos: ['nobody/none', pattern] }, repo(name))).toBe(expected)
  })

  it('with an empty list of repos covers none, and without a list covers all', () => {
    expect(coversRepo({ ...entry, repos: [] }, repo('model acme/x'))).toBe(false)
    expect(coversRepo(entry, repo('model acme/x'))).toBe(true)
  })

  it.each([
    ['ci', true],
    ['team-a.laptop_2', true],
    ['', false],
    ['.x', false],
    ['A', false],
    ['a b', false],
    ['a/b', false],
    ['a'.repeat(65), false],
  ])('calls "%s" a name: %s', (name, expected) => {
    expect(isTokenName(name)).toBe(expected)
  })
})
