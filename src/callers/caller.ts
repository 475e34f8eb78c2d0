// Who sent a request, and as whom the mirror asks the Hub for them. A token of the mirror's own is recognised here and
// goes no further; a Hub token of the caller's own is never replaced.

import { MirrorError } from '../errors.ts'
import { bearerToken } from '../http/headers.ts'
import { type Repo, repoKey } from '../hub/names.ts'
import { type HubRoute, isWriteRoute } from '../hub/route.ts'
import type { HubTokens } from './hub-tokens.ts'
import { holdsMirrorToken, isWellFormed, looksLikeMirrorToken } from './mirror-token.ts'
import { findToken, type IssuedToken, isForRepo, standingOf } from './token-list.ts'

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

export interface Callers {
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
  fieldOf(tokenName: string, route: HubRoute): string
}

/** Knows callers by the tokens that were issued. */
export function createCallers(options: {
  /** `anew`: as the list is now, not as it was a moment ago. */
  readonly issued: (anew: boolean) => readonly IssuedToken[]
  readonly hubTokens: HubTokens
  /** Epoch ms: tokens expire by the wall clock. */
  readonly now: () => number
}): Callers {
  const { issued, hubTokens, now } = options

  function issuedTokenIn(authorization: string): IssuedToken | undefined {
    const token = mirrorTokenIn(authorization)
    if (token === undefined) return undefined
    if (!isWellFormed(token)) throw refused('is not whole: its checksum is wrong. Copy it again')
    // One that was issued this very second is good at once.
    const entry = findToken(issued(false), token) ?? findToken(issued(true), token)
    if (entry === undefined)
      throw refused(
        'is not known here: it belongs to another mirror, or was removed. Ask the operator for one of this mirror',
      )
    const standing = standingOf(entry, now())
    if (standing === 'good') return entry
    const at = standing === 'expired' ? entry.expiresAt : entry.revokedAt
    const ended = standing === 'expired' ? 'expired' : 'was revoked'
    throw refused(`'${entry.name}' ${ended} on ${day(at)}. Ask the operator for a new one`, {
      mirrorToken: entry.name,
    })
  }

  return {
    recognise({ authorization, address, method }, route) {
      if (authorization === undefined) return { caller: { kind: 'anonymous', address }, authorization }
      const token = issuedTokenIn(authorization)
      if (token === undefined) return { caller: { kind: 'hub-token', address }, authorization }
      const { name, createdAt, repos } = token
      if (isWriteRoute(route, method))
        throw new MirrorError('mirror_token_read_only', { detail: { mirrorToken: name } })
      if (route.repo !== undefined) checkScope(token, route.repo)
      return {
        caller: { kind: 'mirror-token', address, name, createdAt },
        authorization: undefined,
        checkScope: repos && ((repo) => checkScope(token, repo)),
      }
    },

    fieldOf(tokenName, route) {
      const token = hubTokens.get(tokenName)?.reveal()
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
 * Whether one of the mirror's own Hub tokens may be lent for this at all: to read what a repo holds, and nothing else.
 * Who owns the token, the settings, secrets and members of a repo, and what is said about it are nobody's business.
 * Not for a caller with a Hub token: that one goes.
 */
export function mayLend(
  caller: Caller,
  route: HubRoute,
  request: { readonly method: string; readonly isUpload: boolean },
): boolean {
  if (caller.kind === 'hub-token' || request.isUpload || isWriteRoute(route, request.method)) return false
  if (route.repo === undefined) return false
  if (route.kind !== 'other') return true
  // Clients ask it before they read.
  const [path] = route.target.split('?')
  const isCheck = path === `/api/${repoKey(route.repo)}/auth-check`
  return isCheck || (route.scope !== undefined && route.scope.shows !== 'nothing')
}

function checkScope(token: IssuedToken, repo: Repo): void {
  if (isForRepo(token, repo)) return
  throw new MirrorError('mirror_token_scope', {
    message: `The mirror token '${token.name}' is not good for ${repoKey(repo)}: it was issued for other repos. Ask the operator of this mirror.`,
    detail: { mirrorToken: token.name },
  })
}

/**
 * The mirror token that an Authorization field carries, by Bearer or, as git does, as password or user of Basic.
 * Throws `mirror_token_misplaced` when it stands there in another way.
 */
function mirrorTokenIn(authorization: string): string | undefined {
  const bearer = bearerToken(authorization)
  if (bearer !== undefined && looksLikeMirrorToken(bearer)) return bearer
  const basic = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(authorization)?.[1]
  if (basic !== undefined) {
    const pair = Buffer.from(basic, 'base64').toString()
    const colon = pair.indexOf(':')
    const parts = [pair.slice(colon + 1), pair.slice(0, Math.max(0, colon))]
    const token = parts.find(looksLikeMirrorToken)
    if (token !== undefined) return token
  }
  if (!authorization.split(/[\s,]+/).some(hidesMirrorToken)) return undefined
  throw new MirrorError('mirror_token_misplaced', {
    message: /^bearer\s+bearer\b/i.test(authorization)
      ? "The Authorization header says Bearer twice before the mirror token. Give the client the token alone: it adds 'Bearer' itself."
      : "A mirror token must come as 'Authorization: Bearer hf_mirror...', with nothing else beside it.",
  })
}

/** Looser than the form: in a credential, the prefix alone tells whom it is for. */
function hidesMirrorToken(word: string): boolean {
  return (
    word.includes('hf_mirror') || holdsMirrorToken(word) || Buffer.from(word, 'base64').includes('hf_mirror')
  )
}

/** Throws `mirror_token_misplaced` when a mirror token stands anywhere in a request but in its Authorization field. */
export function checkPlaces(target: string, rawHeaders: readonly string[]): void {
  let isMisplaced = holdsMirrorToken(target)
  for (let index = 1; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index - 1]?.toLowerCase() === 'authorization') continue
    isMisplaced ||= holdsMirrorToken(rawHeaders[index] ?? '')
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
