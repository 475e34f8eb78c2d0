// Finds out which caller sent a request, and which credential goes to the Hub for it. A mirror token is recognised here and
// never forwarded. A caller's own Hub token is never replaced.

import { MirrorError } from '../errors.ts'
import { bearerToken } from '../http/headers.ts'
import { parseRepoId, type Repo, repoKey, webPrefix } from '../hub/names.ts'
import { type HubRoute, isWriteRoute } from '../hub/route.ts'
import { splitTarget } from '../hub/url-text.ts'
import type { HubTokens } from './hub-tokens.ts'
import {
  containsMirrorToken,
  hasMirrorTokenPrefix,
  isWellFormed,
  PREFIX,
  resemblesMirrorToken,
} from './mirror-token.ts'
import { coversRepo, findToken, type IssuedToken, tokenState } from './token-list.ts'

/** The sender of a request. It contains no credential, so that policies, logs and refusals may use it. */
export type Caller =
  | { readonly kind: 'anonymous'; readonly address: string }
  /** A caller with a credential for the Hub. Only the Hub can say whether it is valid. */
  | { readonly kind: 'hub-token'; readonly address: string }
  | {
      readonly kind: 'mirror-token'
      readonly address: string
      /** The name that the operator gave the token. */
      readonly name: string
      /** Epoch ms. */
      readonly createdAt: number
    }

/** The sender of a request, and its credential for the Hub. */
interface RecognisedCaller {
  readonly caller: Caller
  /** The caller's own field, unchanged. Undefined without a field, and for a mirror token, which is never forwarded. */
  readonly authorization: string | undefined
  /**
   * Throws `mirror_token_scope` for a repo that the caller's mirror token does not cover. It must be called for every name
   * that a repo turns out to have. Absent if the token covers all repos.
   */
  readonly checkScope?: ((repo: Repo) => void) | undefined
}

/** The list of issued tokens. */
export interface IssuedTokens {
  list(): readonly IssuedToken[]
  /** Resolves when the list is at most a second old; with `force`, when it is as of this call. Never rejects. */
  refresh(force: boolean): Promise<void>
}

export interface Callers {
  /**
   * Brings the list up to date for the mirror token in the field. The caller awaits the result, if there is one, before
   * `recognise`: mirror tokens that were issued or revoked a moment ago are known then. Never rejects.
   */
  refresh(authorization: string | undefined): Promise<void> | undefined
  /**
   * Recognises the caller by its Authorization field. Throws `mirror_token_refused` for an invalid mirror token,
   * `mirror_token_misplaced` for one in the wrong form or place, `mirror_token_read_only` for a write, and
   * `mirror_token_scope` for a repo that the token does not cover.
   */
  recognise(
    request: {
      readonly authorization: string | undefined
      readonly address: string
      readonly method: string
    },
    route: HubRoute,
  ): RecognisedCaller
  /** The Authorization field with one of the mirror's own Hub tokens, in the form that the route needs. */
  authorizationOf(tokenName: string, route: HubRoute): string
}

/** Creates the recognition of callers over the list of issued tokens. */
export function createCallers(options: {
  readonly issued: IssuedTokens
  readonly settings: { readonly hubTokens: HubTokens }
  /** Wall clock in epoch ms, by which tokens expire. */
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
    const state = tokenState(entry, now())
    if (state === 'good') return entry
    const at = state === 'expired' ? entry.expiresAt : entry.revokedAt
    const ended = state === 'expired' ? 'expired' : 'was revoked'
    throw refused(`'${entry.name}' ${ended} on ${day(at)}. Ask the operator for a new one`, {
      mirrorToken: entry.name,
    })
  }

  return {
    refresh(authorization) {
      const token = authorization === undefined ? undefined : plainMirrorToken(authorization)
      if (token === undefined || !isWellFormed(token)) return undefined
      return issued.refresh(false).then(() => {
        // A token that was issued within this second is valid at once.
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
      // Git does not support Bearer, and the Hub accepts any user name.
      const isGit = route.kind === 'other' && GIT.has(route.purpose)
      return isGit ? `Basic ${Buffer.from(`hubmirror:${token}`).toString('base64')}` : `Bearer ${token}`
    },
  }
}

/**
 * Whether one of the mirror's own Hub tokens may be lent for a request at all. The list is closed: files, API documents
 * about the content of a repo, git and Git LFS for reading, and the auth check that clients send first. All other requests
 * go out with the caller's own credential or none, including routes that the Hub may add later: settings, members,
 * discussions, pages, and above all credentials that the Hub issues in the name of the requester. A caller with its own Hub
 * token is never lent another.
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
      // This is a credential for all content of the repo. It is valid elsewhere, and for longer than the loan.
      return false
    case 'other':
      if (route.purpose === 'lfs-batch') return method === 'POST'
      if (route.purpose === 'git-read') return isRead || method === 'POST'
      return isRead && isContent(route.target, route.repo)
    default:
      return route satisfies never
  }
}

/** The purposes of requests by git and Git LFS. */
const GIT: ReadonlySet<string> = new Set(['lfs-batch', 'git-read', 'git-write'])

/** API routes below a repo that return its content or its size. */
const CONTENT_WORDS = new Set(['parquet', 'compare'])

/** Whether a target returns content of the repo. Only the exact spelling of the Hub's routes counts. */
function isContent(target: string, repo: Repo): boolean {
  const { path } = splitTarget(target)
  if (path.startsWith(`/${webPrefix(repo.type)}${repo.id}/raw/`)) return true
  const api = `/api/${repoKey(repo)}/`
  if (!path.startsWith(api)) return false
  const words = path.slice(api.length).split('/')
  return CONTENT_WORDS.has(words[0] ?? '') || (words[0] === 'auth-check' && words.length === 1)
}

/** API routes that concern no repo and reveal nothing about one. */
const ABOUT_NO_REPO =
  /^\/api\/(?:agent-harnesses|validate-yaml|(?:models|datasets)-tags-by-type|organizations\/[^/]+\/overview|telemetry(?:\/.*)?)$/

/**
 * Throws `mirror_token_scope` if a token that was issued for some repos does not cover a request. This is so if the request
 * concerns another repo in any reading of it, or if the mirror cannot determine what it concerns.
 */
function checkRoute(token: IssuedToken, route: HubRoute): void {
  if (token.repos === undefined || token.repos.some((pattern) => pattern === '*' || pattern === '**')) return
  if (route.repo !== undefined) checkScope(token, route.repo)
  const isSite = route.kind === 'document' && route.document === 'site'
  if (isSite && !ABOUT_NO_REPO.test(splitTarget(route.target).path))
    throw outOfScope(token, 'what this request is about')
  if (route.kind !== 'other') return
  const { scope } = route
  if (scope !== undefined) {
    const id = parseRepoId(scope.id)
    if (id === undefined || scope.type === 'bucket') throw outOfScope(token, 'this request')
    checkScope(token, { type: scope.type, id })
  } else if (route.repo === undefined && !ABOUT_NO_REPO.test(splitTarget(route.target).path)) {
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

/** The mirror token in an Authorization field: by Bearer, or, as git sends it, as password or user of Basic. */
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

/** Like `plainMirrorToken`, but throws `mirror_token_misplaced` if the field may contain a mirror token in another form. */
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

/** Whether a credential may contain a mirror token. This is looser than the form: similarity is enough to keep it here. */
function hidesMirrorToken(authorization: string): boolean {
  if (resemblesMirrorToken(authorization) || containsMirrorToken(authorization)) return true
  return decodedWords(authorization).some(resemblesMirrorToken)
}

/** The words of a field, each decoded as Base64. */
function decodedWords(authorization: string): readonly string[] {
  return authorization.split(/[\s,]+/).map((word) => Buffer.from(word, 'base64').toString('latin1'))
}

/** Throws `mirror_token_misplaced` if a mirror token is anywhere in a request except in its Authorization field. */
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
