// The tokens that an operator has issued: who they are for, how long, for which repos, and the text they are kept as.
// Of the token itself only a hash is here. It knows no file and no clock.

import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Repo } from '../hub/names.ts'
import { faultOfRepoPattern, repoPattern } from '../hub/repo-pattern.ts'

/** One token that was issued. Instants are epoch ms. */
export interface IssuedToken {
  readonly name: string
  /**
   * Of the whole token, in hex. One plain round is right here: what is hashed is no password but 202 random bits, which
   * no dictionary holds.
   */
  readonly sha256: string
  readonly createdAt: number
  readonly expiresAt?: number | undefined
  readonly revokedAt?: number | undefined
  /** Patterns of the only repos it is good for; absent: all. */
  readonly repos?: readonly string[] | undefined
}

/** Names stand in logs and on terminals. 'ci', 'team-a.laptop' match; '', '.x', 'A b' do not. */
export function isTokenName(text: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(text)
}

/** The rule of `isTokenName` in words. */
export const TOKEN_NAME_RULE = 'expected a name of at most 64 lower-case letters, digits and . _ -'

/** What a token is kept as. */
export function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

const indexes = new WeakMap<readonly IssuedToken[], ReadonlyMap<string, IssuedToken>>()

/**
 * The entry of a token. It is looked up by its hash, so that the time this takes may tell of hashes, which nobody can
 * turn back, and nothing of tokens.
 */
export function findToken(list: readonly IssuedToken[], token: string): IssuedToken | undefined {
  const index = indexes.get(list) ?? new Map(list.map((entry) => [entry.sha256, entry]))
  indexes.set(list, index)
  return index.get(hashOf(token))
}

/** Whether a token opens anything now, or why it does not. */
export function standingOf(token: IssuedToken, now: number): 'good' | 'expired' | 'revoked' {
  if (token.revokedAt !== undefined) return 'revoked'
  return token.expiresAt !== undefined && token.expiresAt <= now ? 'expired' : 'good'
}

const matchers = new WeakMap<IssuedToken, (repo: Repo) => boolean>()

/** Whether the token is good for a repo. */
export function isForRepo(token: IssuedToken, repo: Repo): boolean {
  if (token.repos === undefined) return true
  const matches = matchers.get(token) ?? repoPattern(token.repos)
  matchers.set(token, matches)
  return matches(repo)
}

const instant = z.iso.datetime().transform((text) => Date.parse(text))
const LIST = z.strictObject({
  version: z.literal(1),
  tokens: z.array(
    z.strictObject({
      name: z.string().refine(isTokenName),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
      createdAt: instant,
      expiresAt: instant.optional(),
      revokedAt: instant.optional(),
      repos: z.array(z.string().refine((pattern) => faultOfRepoPattern(pattern) === undefined)).optional(),
    }),
  ),
})

/** Reads what `formatTokenList` wrote. Throws with what is wrong; the text of the list is never in the message. */
export function parseTokenList(text: string): readonly IssuedToken[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('it is no JSON')
  }
  const parsed = LIST.safeParse(value)
  if (!parsed.success) {
    throw new Error(
      `it is no list of tokens: ${parsed.error.issues[0]?.path.join('.') || 'the whole of it'} is wrong`,
    )
  }
  const names = parsed.data.tokens.map(({ name }) => name)
  const seen = new Set<string>()
  const doubled = names.find((name) => seen.size === seen.add(name).size)
  if (doubled !== undefined) throw new Error(`it names ${doubled} twice`)
  return parsed.data.tokens
}

/** The list as the text of its file. */
export function formatTokenList(list: readonly IssuedToken[]): string {
  const iso = (at: number | undefined): string | undefined =>
    at === undefined ? undefined : new Date(at).toISOString()
  const tokens = list.map(({ name, sha256, createdAt, expiresAt, revokedAt, repos }) => ({
    name,
    sha256,
    createdAt: iso(createdAt),
    expiresAt: iso(expiresAt),
    revokedAt: iso(revokedAt),
    repos,
  }))
  return `${JSON.stringify({ version: 1, tokens }, null, 2)}\n`
}
