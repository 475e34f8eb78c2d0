// Who sent a request, and as whom the mirror asks the Hub for them. A token of the mirror's own is recognised here and
// goes no further; a Hub token of the caller's own is never replaced.

import { MirrorError } from '../errors.ts'
import { bearerToken } from '../http/headers.ts'
import { parseRepoId, type Repo, repoKey, webPrefix } from '../hub/names.ts'
import { type HubRoute, isWriteRoute } from '../hub/route.ts'
import type { HubTokens } from './hub-tokens.ts'
import {
  containsMirrorToken,
  isWellFormed,
  hasMirrorTokenPrefix,
  PREFIX,
  resemblesMirrorToken,
} from './mirror-token.ts'
import { findToken, type IssuedToken, coversRepo, tokenState } from './token-list.ts'

/** Who sent a request. It holds no credential, so that policies, logs and refusals may see it. */
export type Caller =
  | { readonly kind: 'anonymous'; readonly address: string }
  /** With a credential for the Hub, good or not: that is for the Hub to say. */
  | { readonly kind: 'hub-token'; readonly address: string }
  | {
      readonly kind: 'mirror-token'
      readonly address: string
      /** The operator's word for it. */
      readonly name: string
      /** Epoch ms. */
      readonly createdAt: number
    }

/** Who sent a request, and what they brought for the Hub. */
interface Recognised {
  readonly caller: Caller
  /** The caller's own field as it came; undefined where there is none, and for a mirror token, which ends here. */
  readonly authorization: string | undefined
  /**
   * Throws `mirror_token_scope` for a repo that the caller's mirror token was not issued for: to be asked about every
   * name that a repo turns out to have. Absent where it is good for all.
   */
  readonly checkScope?: ((repo: Repo) => void) | undefined
}

/** The tokens that were issued, as somebody keeps them. */
export interface IssuedTokens {
  list(): readonly IssuedToken[]
  /** Resolves when the list is a moment old at most, with `anew` when it is as of now. Never rejects. */
  refresh(force: boolean): Promise<void>
}

export interface Callers {
  /**
   * To be awaited before `recognise`, where it gives something to wait for: a mirror token that was issued, or revoked, a
   * moment ago is known after it. Never rejects.
   */
  refresh(authorization: string | undefined): Promise<void> | undefined
  /**
   * Throws `mirror_token_refused` for one that opens nothing here, `mirror_token_misplaced` for one that does not stand
   * where it should, and what else a mirror token may not do.
   */
  recognise(
    request: {
      readonly authorization: string | undefined
      readonly address: string
      readonly method: string
    },
    route: HubRoute,
  ): Recognised
  /** The Authorization field that carries one of the mirror's own Hub tokens. */
  authorizationOf(tokenName: string, route: HubRoute): string
}

/** Knows callers by the tokens that were issued. */
export function createCallers(options: {
  readonly issued: IssuedTokens
  readonly settings: { readonly hubTokens: HubTokens }
  /** Epoch ms: tokens expire by the wall clock. */
  readonly now: () => number
}): Callers {
  const { issued, settings, now } = options

  function issuedTokenIn(authorization: string): IssuedToken | undefined {
    const token = mirrorTokenIn(authorization)
    if (token === undefined) return undefined
    if (!isWellFormed(token)) throw refused('is incomplete: its checksum is wrong. Copy it again')
    const entry = findToken(issued.list(), token)
    if (entry === undefined)
      throw refused(
        'is unknown here: it belongs to another mirror, or was removed. Ask the operator for a token of this mirror',
      )
    const standing = tokenState(entry, now())
    if (standing === 'good') return entry
    const at = standing === 'expired' ? entry.expiresAt : entry.revokedAt
    const ended = standing === 'expired' ? 'expired' : 'was revoked'
    throw refused(`'${entry.name}' ${ended} on ${day(at)}. Ask the operator for a new one`, {
      mirrorToken: entry.name,
    })
  }

  return {
    refresh(authorization) {
      const token = authorization === undefined ? undefined : plainMirrorToken(authorization)
      if (token === undefined || !isWellFormed(token)) return undefined
      return issued.refresh(false).then(() => {
        // One that was issued this very second is good at once.
        return findToken(issued.list(), token) === undefined ? issued.refresh(true) : undefined
      })
    },

    recognise({ authorization, address, method }, route) {
      if (authorization === undefined) return { caller: { kind: 'anonymous', address }, authorization }
      const token = issuedTokenIn(authorization)
      if (token === undefined) return { caller: { kind: 'hub-token', address }, authorization }
      const { name, createdAt, repos } = token
      if (isWriteRoute(route, method))
        throw new MirrorError('mirror_token_read_only', { detail: { mirrorToken: name } })
      checkRoute(token, route)
      return {
        caller: { kind: 'mirror-token', address, name, createdAt },
        authorization: undefined,
        checkScope: repos && ((repo) => checkScope(token, repo)),
      }
    },

    authorizationOf(tokenName, route) {
      const token = settings.hubTokens.get(tokenName)?.reveal()
      if (token === undefined) {
        throw new MirrorError('bug', { detail: { reason: 'no such Hub token', hubToken: tokenName } })
      }
      // Git knows no Bearer, and the Hub takes any user name.
      const isGit = route.kind === 'other' && route.purpose !== 'any' && route.purpose !== 'question'
      return isGit ? `Basic ${Buffer.from(`hubmirror:${token}`).toString('base64')}` : `Bearer ${token}`
    },
  }
}

/**
 * Whether one of the mirror's own Hub tokens may be lent for this at all. A closed list: files, answers of the API about
 * what a repo holds, git and Git LFS for reading, and the question whether a repo may be read, which clients ask before.
 * Everything else is asked as the caller came, also what the Hub will add tomorrow: settings, members, discussions,
 * pages, and above all credentials that the Hub gives out in the name of who asks. Not for a caller with a Hub token:
 * that one goes.
 */
export function mayLend(
  caller: Caller,
  route: HubRoute,
  request: { readonly method: string; readonly isUpload: boolean },
): boolean {
  const { method, isUpload } = request
  if (caller.kind === 'hub-token' || isUpload || route.repo === undefined) return false
  const isRead = method === 'GET' || method === 'HEAD'
  switch (route.kind) {
    case 'file':
      return isRead
    case 'document':
      return isRead || (method === 'POST' && route.document === 'paths-info')
    case 'xet-token':
      // A credential for all that the repo holds, good elsewhere and for longer than the loan.
      return false
    case 'other':
      if (route.purpose === 'lfs-batch') return method === 'POST'
      if (route.purpose === 'git-read') return isRead || method === 'POST'
      return isRead && isContent(route.target, route.repo)
    default:
      return route satisfies never
  }
}

/** Words of the API behind which stands what a repo holds, or how large it is. */
const CONTENT_WORDS = new Set(['parquet', 'croissant', 'treesize', 'compare'])

/** By the very words that the Hub will read: what is spelled in another way is none. */
function isContent(target: string, repo: Repo): boolean {
  const [path = ''] = target.split('?')
  if (path.startsWith(`/${webPrefix(repo.type)}${repo.id}/raw/`)) return true
  const api = `/api/${repoKey(repo)}/`
  if (!path.startsWith(api)) return false
  const words = path.slice(api.length).split('/')
  return CONTENT_WORDS.has(words[0] ?? '') || (words[0] === 'auth-check' && words.length === 1)
}

/** What is about no repo, and shows nothing of one. */
const ABOUT_NO_REPO =
  /^\/api\/(?:agent-harnesses|validate-yaml|(?:models|datasets)-tags-by-type|telemetry(?:\/.*)?)$/

/**
 * Throws `mirror_token_scope` where a token that was issued for some repos does not cover a request: one about another
 * repo by any reading of it, or one of which cannot be told what it is about.
 */
function checkRoute(token: IssuedToken, route: HubRoute): void {
  if (token.repos === undefined || token.repos.some((pattern) => pattern === '*' || pattern === '**')) return
  if (route.repo !== undefined) checkScope(token, route.repo)
  if (route.kind !== 'other') return
  const { scope } = route
  if (scope !== undefined) {
    const id = parseRepoId(scope.id)
    if (id === undefined || scope.type === 'bucket') throw outOfScope(token, 'this request')
    checkScope(token, { type: scope.type, id })
  } else if (route.repo === undefined && !ABOUT_NO_REPO.test(route.target.split('?')[0] ?? '')) {
    throw outOfScope(token, 'what this request is about')
  }
}

function checkScope(token: IssuedToken, repo: Repo): void {
  if (!coversRepo(token, repo)) throw outOfScope(token, repoKey(repo))
}

function outOfScope(token: IssuedToken, what: string): MirrorError {
  return new MirrorError('mirror_token_scope', {
    message: `The mirror token '${token.name}' is not valid for ${what}: it was issued for other repos. Ask the operator of this mirror.`,
    detail: { mirrorToken: token.name },
  })
}

/** The mirror token that an Authorization field carries, by Bearer or, as git does, as password or user of Basic. */
function plainMirrorToken(authorization: string): string | undefined {
  const bearer = bearerToken(authorization)
  if (bearer !== undefined && hasMirrorTokenPrefix(bearer)) return bearer
  const pair = basicPair(authorization)
  if (pair === undefined) return undefined
  const colon = pair.indexOf(':')
  return [pair.slice(colon + 1), pair.slice(0, Math.max(0, colon))].find(hasMirrorTokenPrefix)
}

function basicPair(authorization: string): string | undefined {
  const basic = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(authorization)?.[1]
  return basic === undefined ? undefined : Buffer.from(basic, 'base64').toString()
}

/** The same. Throws `mirror_token_misplaced` when one stands there in another way, or may be meant. */
function mirrorTokenIn(authorization: string): string | undefined {
  const token = plainMirrorToken(authorization)
  if (token !== undefined) return token
  if (!hidesMirrorToken(authorization)) return undefined
  const isSpelled = [authorization, ...decodedWords(authorization)].some((text) => text.includes(PREFIX))
  throw new MirrorError('mirror_token_misplaced', {
    message: isSpelled ? otherPlace(authorization) : MISSPELT,
  })
}

function otherPlace(authorization: string): string {
  return /^bearer\s+bearer\b/i.test(authorization)
    ? "The Authorization header says Bearer twice before the mirror token. Give the client only the token: it adds 'Bearer' itself."
    : "Send a mirror token as 'Authorization: Bearer hf_mirror...', with nothing else in the field."
}

const MISSPELT =
  "This looks like a mirror token, but does not begin with 'hf_mirror'. Copy it again; it was not sent to the Hub."

/** Looser than the form: in a credential, its look alone tells whom it is for. */
function hidesMirrorToken(authorization: string): boolean {
  if (resemblesMirrorToken(authorization) || containsMirrorToken(authorization)) return true
  return decodedWords(authorization).some(resemblesMirrorToken)
}

/** The words of a field as the Base64 that they may be. */
function decodedWords(authorization: string): readonly string[] {
  return authorization.split(/[\s,]+/).map((word) => Buffer.from(word, 'base64').toString('latin1'))
}

/** Throws `mirror_token_misplaced` when a mirror token stands anywhere in a request but in its Authorization field. */
export function checkPlaces(target: string, rawHeaders: readonly string[]): void {
  let isMisplaced = containsMirrorToken(target)
  for (let index = 1; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index - 1]?.toLowerCase() === 'authorization') continue
    isMisplaced ||= containsMirrorToken(rawHeaders[index] ?? '')
  }
  if (isMisplaced) throw new MirrorError('mirror_token_misplaced')
}

function refused(reason: string, detail: { readonly mirrorToken?: string } = {}): MirrorError {
  return new MirrorError('mirror_token_refused', {
    message: `The mirror token ${reason}.`,
    detail: { ...detail },
  })
}

function day(at: number | undefined): string {
  return new Date(at ?? 0).toISOString().slice(0, 10)
}
