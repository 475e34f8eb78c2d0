// The list of issued tokens, and its text form: the name, lifetime and repos of each token. The list has only the hash of
// a token. This file knows neither the disk nor the clock.

import { createHash } from 'node:crypto'
import type { Repo } from '../hub/names.ts'
import { faultOfRepoPattern, repoPattern } from '../hub/repo-pattern.ts'
import { isRecord } from '../records.ts'

/** One issued token. Times are epoch ms. */
export interface IssuedToken {
  readonly name: string
  /**
   * The hash of the whole token, in hex. A single round is enough, because a token is not a password: it has 202 random
   * bits, which are in no dictionary.
   */
  readonly sha256: string
  readonly createdAt: number
  readonly expiresAt?: number | undefined
  readonly revokedAt?: number | undefined
  /** Patterns of the repos that the token covers; without it, the token covers all repos. */
  readonly repos?: readonly string[] | undefined
}

/** Whether a name is safe in logs and on terminals. 'ci', 'team-a.laptop' match; '', '.x', 'A b' do not. */
export function isTokenName(text: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(text)
}

/** The rule of `isTokenName` in words. */
export const TOKEN_NAME_RULE = 'expected a name of at most 64 lower-case letters, digits and . _ -'

/** The hash under which a token is stored. */
export function tokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

const indexes = new WeakMap<readonly IssuedToken[], ReadonlyMap<string, IssuedToken>>()

/**
 * The entry of a token, or undefined. The lookup is by hash: its timing may reveal hashes, which cannot be reversed, but
 * nothing about tokens.
 */
export function findToken(list: readonly IssuedToken[], token: string): IssuedToken | undefined {
  const index = indexes.get(list) ?? new Map(list.map((entry) => [entry.sha256, entry]))
  indexes.set(list, index)
  return index.get(tokenHash(token))
}

/** Whether a token is valid at `now` (epoch ms), or why it is not. */
export function tokenState(token: IssuedToken, now: number): 'good' | 'expired' | 'revoked' {
  if (token.revokedAt !== undefined) return 'revoked'
  return token.expiresAt !== undefined && token.expiresAt <= now ? 'expired' : 'good'
}

const matchers = new WeakMap<IssuedToken, (repo: Repo) => boolean>()

/** Whether the token covers a repo. */
export function coversRepo(token: IssuedToken, repo: Repo): boolean {
  if (token.repos === undefined) return true
  const matches = matchers.get(token) ?? repoPattern(token.repos)
  matchers.set(token, matches)
  return matches(repo)
}

/** For each field of an entry, whether a value is what `formatTokenList` writes there. */
const FIELDS: Readonly<Record<keyof IssuedToken, (value: unknown) => boolean>> = {
  name: (value) => typeof value === 'string' && isTokenName(value),
  sha256: (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value),
  createdAt: isInstant,
  expiresAt: (value) => value === undefined || isInstant(value),
  revokedAt: (value) => value === undefined || isInstant(value),
  repos: (value) => value === undefined || Array.isArray(value),
}

function isRepoPattern(value: unknown): boolean {
  return typeof value === 'string' && faultOfRepoPattern(value) === undefined
}

/** Whether a value is a date and time in UTC, such as 2026-01-31T09:30:00.000Z. */
function isInstant(value: unknown): value is string {
  if (typeof value !== 'string' || !/^[\d-]{10}T[\d:]{5,8}(?:\.\d{1,9})?Z$/.test(value)) return false
  const at = Date.parse(value)
  // Date.parse reads 31 February as a day in March.
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(value.slice(0, 10))
}

// `formatTokenList` writes one entry per line, so that a long list can be read in slices. Any other JSON with the same
// content can be read as well, but only at once.
const HEAD = '{"version":1,"tokens":[\n'
const TAIL = '\n]}\n'

/** Parses the text of `formatTokenList`. Throws an Error that says what is wrong, without any text of the list. */
export function parseTokenList(text: string): readonly IssuedToken[] {
  const reading = readList(text)
  for (;;) {
    const { done, value } = reading.next()
    if (done === true) return value
  }
}

/** Like `parseTokenList`, but yields to the event loop every millisecond or two. Rejects where `parseTokenList` throws. */
export async function parseTokenListInSlices(text: string): Promise<readonly IssuedToken[]> {
  const reading = readList(text)
  for (;;) {
    const { done, value } = reading.next()
    if (done === true) return value
    await nextTurn()
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const SLICE_ENTRIES = 128

function* readList(text: string): Generator<undefined, readonly IssuedToken[], undefined> {
  try {
    if (text.startsWith(HEAD) && text.endsWith(TAIL)) return yield* collect(lineValues(text))
  } catch (error) {
    // The file was edited by hand.
    if (!(error instanceof SyntaxError)) throw error
  }
  return yield* collect(wholeValues(text))
}

/** Yields the entry of each line. Throws SyntaxError if a line is not exactly one entry. */
function* lineValues(text: string): Generator<unknown, void, undefined> {
  const end = text.length - TAIL.length
  for (let at = HEAD.length; at < end; ) {
    const found = text.indexOf('\n', at)
    const isLast = found >= end
    if (text.endsWith(',', found) === isLast) throw new SyntaxError('a comma is missing or superfluous')
    yield JSON.parse(text.slice(at, isLast ? found : found - 1))
    at = found + 1
  }
}

function wholeValues(text: string): readonly unknown[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('it is not valid JSON')
  }
  if (!isRecord(value)) throw wrong('the whole content')
  const { version, tokens, ...rest } = value
  if (version !== 1) throw wrong('version')
  if (!Array.isArray(tokens)) throw wrong('tokens')
  if (Object.keys(rest).length > 0) throw wrong('the whole content')
  return tokens
}

function wrong(what: string): Error {
  return new Error(`it is not a list of tokens: ${what} is wrong`)
}

/** The entry at a position of the list. Throws an Error that names the position and the field. */
function readEntry(value: unknown, index: number): IssuedToken {
  const place = `tokens.${index}`
  if (!isRecord(value)) throw wrong(place)
  for (const [name, isRight] of Object.entries(FIELDS))
    if (!isRight(value[name])) throw wrong(`${place}.${name}`)
  if (Object.keys(value).some((name) => !Object.hasOwn(FIELDS, name))) throw wrong(place)
  const { repos = [] } = value
  const at = Array.isArray(repos) ? repos.findIndex((one) => !isRepoPattern(one)) : -1
  if (at !== -1) throw wrong(`${place}.repos.${at}`)
  // Each field has the right type now.
  const { createdAt, expiresAt, revokedAt, ...rest } = value as unknown as Pick<
    IssuedToken,
    'name' | 'sha256' | 'repos'
  > & { readonly createdAt: string; readonly expiresAt?: string; readonly revokedAt?: string }
  return {
    ...rest,
    createdAt: Date.parse(createdAt),
    ...(expiresAt !== undefined && { expiresAt: Date.parse(expiresAt) }),
    ...(revokedAt !== undefined && { revokedAt: Date.parse(revokedAt) }),
  }
}

function* collect(values: Iterable<unknown>): Generator<undefined, readonly IssuedToken[], undefined> {
  const list: IssuedToken[] = []
  const names = new Set<string>()
  const byHash = new Map<string, IssuedToken>()
  for (const value of values) {
    const entry = readEntry(value, list.length)
    if (names.has(entry.name)) throw new Error(`it contains ${entry.name} twice`)
    names.add(entry.name)
    byHash.set(entry.sha256, entry)
    list.push(entry)
    if (list.length % SLICE_ENTRIES === 0) yield undefined
  }
  indexes.set(list, byHash)
  return list
}

/** The list as the text of its file. */
export function formatTokenList(list: readonly IssuedToken[]): string {
  const iso = (at: number | undefined): string | undefined =>
    at === undefined ? undefined : new Date(at).toISOString()
  const lines = list.map(({ name, sha256, createdAt, expiresAt, revokedAt, repos }) =>
    JSON.stringify({
      name,
      sha256,
      createdAt: iso(createdAt),
      expiresAt: iso(expiresAt),
      revokedAt: iso(revokedAt),
      repos,
    }),
  )
  return HEAD + lines.join(',\n') + TAIL
}

/** How long an expired or revoked token stays in the list, so that its users still read why it is refused. */
const KEEP_ENDED_MS = 30 * 24 * 3_600_000
/** How many such tokens stay, the ones that ended last. */
const KEEP_ENDED = 1_000

/** The list without expired and revoked tokens that ended long ago, or that are too many. */
export function dropLongEnded(list: readonly IssuedToken[], now: number): readonly IssuedToken[] {
  const ends = new Map(
    list.flatMap((entry) => (tokenState(entry, now) === 'good' ? [] : [[entry, endOf(entry)] as const])),
  )
  const kept = [...ends]
    .filter(([, at]) => now - at < KEEP_ENDED_MS)
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, KEEP_ENDED)
  const keep = new Set(kept.map(([entry]) => entry))
  return list.filter((entry) => !ends.has(entry) || keep.has(entry))
}

/** When an expired or revoked token ended, epoch ms. */
function endOf({ revokedAt, expiresAt }: IssuedToken): number {
  return Math.min(revokedAt ?? Number.POSITIVE_INFINITY, expiresAt ?? Number.POSITIVE_INFINITY)
}
