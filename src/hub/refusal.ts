// The Hub's own "no": what clients read from it, what the mirror may conclude, and how it is said again.
// It does not know our own failures, which are errors and have another table.

import { type HeaderBag, headerText, headerValue, isHeaderSafe } from '../http/headers.ts'
import { isRetryAfter } from '../http/retry-after.ts'
import { type CommitHash, isCommitHash } from './names.ts'

/** A refusal as an answer. The body is the origin's and may be empty (HEAD). */
export interface Refusal {
  readonly status: number
  /** X-Error-Code: `GatedRepo`, `RepoNotFound`, `RevisionNotFound`, `EntryNotFound`. */
  readonly code: string | undefined
  /** X-Error-Message, header-safe. */
  readonly message: string | undefined
  readonly commit: CommitHash | undefined
  readonly body: Buffer
  readonly contentType: string | undefined
  readonly wwwAuthenticate?: string
  readonly retryAfter?: string
  /** Which quota a 429 is about, and for how long: `"api";r=0;t=55`. */
  readonly rateLimit?: string
  /** What clients should print beside it, where the message must stay as it is. */
  readonly warning?: string
}

/** What browsers may read, exactly as the Hub lists it. */
export const EXPOSED_HEADERS =
  'X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,' +
  'Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash'

const MAX_MESSAGE_CHARS = 1000
const DISABLED = 'Access to this resource is disabled.'
const BAD_TOKEN = 'Invalid credentials in Authorization header'

/** Reads an answer of status 400 and above. Fields that are malformed count as absent. */
export function readRefusal(status: number, headers: HeaderBag, body: Buffer): Refusal {
  const code = headerValue(headers, 'x-error-code')
  const message = headerValue(headers, 'x-error-message')
  const commit = headerValue(headers, 'x-repo-commit')
  const challenge = safeValue(headers, 'www-authenticate')
  const retryAfter = safeValue(headers, 'retry-after')
  // On any other answer it would tell a caller of a quota that is not its own.
  const rateLimit = status === 429 ? safeValue(headers, 'ratelimit') : undefined
  return {
    status,
    code: code !== undefined && /^[A-Za-z0-9_-]{1,64}$/.test(code) ? code : undefined,
    message: message === undefined ? undefined : headerText(message, MAX_MESSAGE_CHARS),
    commit: commit !== undefined && isCommitHash(commit) ? commit : undefined,
    body,
    contentType: safeValue(headers, 'content-type'),
    ...(challenge === undefined ? {} : { wwwAuthenticate: challenge }),
    ...(retryAfter === undefined || !isRetryAfter(retryAfter) ? {} : { retryAfter }),
    ...(rateLimit === undefined ? {} : { rateLimit }),
  }
}

function safeValue(headers: HeaderBag, name: string): string | undefined {
  const value = headerValue(headers, name)
  return value !== undefined && value !== '' && isHeaderSafe(value) ? value : undefined
}

/** Whether the refusal is about the token itself, not about what was asked for. */
export function isBadToken(refusal: Refusal): boolean {
  if (refusal.status !== 401) return false
  return refusal.message === BAD_TOKEN || refusal.body.subarray(0, 4096).includes(BAD_TOKEN)
}

/** Whether Python chooses the exception by the exact words of the message (hf_raise_for_status). */
export function isCompared(refusal: Refusal): boolean {
  return isBadToken(refusal) || refusal.message === DISABLED
}

/** The file is known not to be in that commit, which will never change. */
export function isAbsence(refusal: Refusal): boolean {
  return refusal.status === 404 && refusal.code === 'EntryNotFound' && refusal.commit !== undefined
}

/**
 * Whether this caller may not have the repo, so that whatever was believed about its right is over. A missing
 * revision or file says nothing of the kind.
 */
export function deniesRepo(refusal: Refusal): boolean {
  const { status, code } = refusal
  // A 403 without a word is a proxy's on the way: the Hub says why.
  if (status === 403) return code !== undefined || refusal.message !== undefined
  return status === 401 || (status === 404 && code === 'RepoNotFound')
}

/** Who hears a refusal, and about what. */
export interface RefusalContext {
  /** The request came without a token. */
  readonly anonymous: boolean
  /** False for routes that are about no repo, like whoami: there no code is added. Default true. */
  readonly aboutRepo?: boolean
}

/**
 * The headers of a refusal: the Hub's own, and what Python needs to raise the right exception. Over https it
 * takes a bare 401 for "no such repo" by itself, over http or below a base path it does not, and then callers
 * that catch RepositoryNotFoundError fail; so a bare 401 gets the code, unless it is about a bad token.
 * An anonymous 401 without a challenge gets the Hub's (RFC 9110 §15.5.2).
 */
export function refusalHeaders(refusal: Refusal, context: RefusalContext): Record<string, string> {
  const { status, code, message, commit, contentType, wwwAuthenticate, retryAfter, rateLimit, warning } =
    refusal
  const isBare = status === 401 && code === undefined && !isBadToken(refusal)
  const errorCode = isBare && context.aboutRepo !== false ? 'RepoNotFound' : code
  const needsChallenge = status === 401 && context.anonymous
  const challenge = wwwAuthenticate ?? (needsChallenge ? 'Bearer realm="Authentication required"' : undefined)
  const headers: Record<string, string | undefined> = {
    'x-error-code': errorCode,
    'x-error-message': message,
    'x-repo-commit': commit,
    'www-authenticate': challenge,
    'retry-after': retryAfter,
    ratelimit: rateLimit,
    'x-hf-warning': warning === undefined ? undefined : `hubmirror; ${warning}`,
    'content-type': contentType,
    'access-control-allow-origin': '*',
    'access-control-expose-headers': EXPOSED_HEADERS,
    'cache-control': 'private, no-store',
    vary: 'Authorization, Accept',
    // The body is the origin's, and may be a page.
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff',
  }
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}
