// Refusals of the Hub: how they differ from those of an intermediary, what clients read from them, what the mirror may
// conclude, and how they are sent again. The mirror's own failures are errors (errors.ts).

import { type HeaderBag, headerText, headerValue, isHeaderSafe } from '../http/headers.ts'
import { answeredAt, isRetryAfter, retryAfterMs } from '../http/retry-after.ts'
import { type CommitHash, isCommitHash } from './names.ts'

/** A refusal as an answer. The body is the origin's and may be empty (HEAD). */
export interface Refusal {
  readonly status: number
  /** X-Error-Code: `GatedRepo`, `RepoNotFound`, `RevisionNotFound`, `EntryNotFound`. */
  readonly code: string | undefined
  /** X-Error-Message, header-safe. */
  readonly message: string | undefined
  readonly commit: CommitHash | undefined
  /**
   * True if nothing in the answer is a sign of a Hub. Then it is the page of a CDN, a filter or a proxy on the way, and
   * says nothing about any right.
   */
  readonly isForeign?: true
  readonly body: Buffer
  readonly contentType: string | undefined
  readonly wwwAuthenticate?: string
  readonly retryAfter?: string
  /** Which quota a 429 is about, and for how long: `"api";r=0;t=55`. */
  readonly rateLimit?: string
  /** A text that clients should print beside the message, where the message must stay unchanged. */
  readonly warning?: string
}

/** What browsers may read, exactly as the Hub lists it. */
export const EXPOSED_HEADERS =
  'X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,' +
  'Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash'

const MAX_MESSAGE_CHARS = 1000
/** The Hub's messages are short. A longer text is a page. */
const MAX_WORDS_BYTES = 8 * 1024
const DISABLED = 'Access to this resource is disabled.'
/** The message for a 429 without any sign of a Hub. */
export const TOO_MANY =
  'Something between this mirror and the Hub says that this mirror sends too many requests.'
const BAD_TOKEN = 'Invalid credentials in Authorization header'

/** The Hub's own words, and the code that belongs to them, for a gateway that has dropped the field. */
const WORDS: readonly { readonly status: number; readonly words: RegExp; readonly code?: string }[] = [
  { status: 401, words: /^Invalid credentials in Authorization header/ },
  { status: 401, words: /^Invalid username or password/ },
  { status: 401, words: /^Access to \w+ \S+ is restricted/, code: 'GatedRepo' },
  { status: 403, words: /^Access to \w+ \S+ is restricted/, code: 'GatedRepo' },
  { status: 403, words: /^Access to this resource is disabled\.?/ },
  { status: 404, words: /^Repository not found/, code: 'RepoNotFound' },
  { status: 404, words: /^Invalid rev id: /, code: 'RevisionNotFound' },
  { status: 404, words: /^Entry not found/, code: 'EntryNotFound' },
]

/** Whether a CDN says that its own origin has failed it. These statuses are Cloudflare's: 520 to 527, and 530. */
export function isCdnFailure(status: number): boolean {
  return status >= 520 && status <= 530
}

/**
 * Whether no Hub sends this status, but only what stands before it: a proxy (407, RFC 9110 §15.5.8), a network that wants a login
 * first (511, RFC 6585 §6), or a CDN.
 */
export function isNeverOfHub(status: number): boolean {
  return status === 407 || status === 511 || isCdnFailure(status)
}

/**
 * Reads an answer of status 400 and above. Fields that are malformed count as absent; a code or a message that a gateway
 * has dropped is taken from the body, where that says the same.
 */
export function readRefusal(status: number, headers: HeaderBag, body: Buffer): Refusal {
  const sent = headerValue(headers, 'x-error-code')
  const words = wordsOf(headers, body)
  const known =
    words === undefined ? undefined : WORDS.find((each) => each.status === status && each.words.test(words))
  const code = sent !== undefined && /^[A-Za-z0-9_-]{1,64}$/.test(sent) ? sent : known?.code
  const said = headerValue(headers, 'x-error-message') ?? (known && words)
  const commit = headerValue(headers, 'x-repo-commit')
  const challenge = safeValue(headers, 'www-authenticate')
  const retryAfter = waitOf(headers)
  // In any other answer it would describe a quota that is not the caller's.
  const rateLimit = status === 429 ? safeValue(headers, 'ratelimit') : undefined
  const isOfHub =
    !isNeverOfHub(status) && (code !== undefined || said || hasHubFields(headers) || saysError(body))
  // The only field of it that is passed on: its page is not, but the wait is.
  const message = !isOfHub && status === 429 ? TOO_MANY : said
  return {
    status,
    code,
    message: message === undefined ? undefined : headerText(message, MAX_MESSAGE_CHARS),
    commit: commit !== undefined && isCommitHash(commit) ? commit : undefined,
    ...(isOfHub ? {} : { isForeign: true }),
    body: isOfHub ? body : Buffer.alloc(0),
    contentType: isOfHub ? safeValue(headers, 'content-type') : undefined,
    ...(challenge === undefined ? {} : { wwwAuthenticate: challenge }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
    ...(rateLimit === undefined ? {} : { rateLimit }),
  }
}

/**
 * Retry-After in seconds, the only form that Python reads. A date stays a date if it is unknown from when it counts.
 */
function waitOf(headers: HeaderBag): string | undefined {
  const text = safeValue(headers, 'retry-after')?.trim()
  if (text === undefined || !isRetryAfter(text)) return undefined
  const at = answeredAt(headers)
  const ms = at === undefined || /^\d+$/.test(text) ? undefined : retryAfterMs(text, at)
  return ms === undefined ? text : String(Math.ceil(ms / 1000))
}

/** Fields that no CDN, filter or proxy puts into a page of its own. */
function hasHubFields(headers: HeaderBag): boolean {
  const commit = headerValue(headers, 'x-repo-commit')
  if (commit !== undefined && isCommitHash(commit)) return true
  if (/^huggingface\b/i.test(headerValue(headers, 'x-powered-by') ?? '')) return true
  // The Hub counts every answer: `RateLimit: "api";r=499;t=300`.
  if (/^"(?:api|resolvers|pages)"\s*;/.test(headerValue(headers, 'ratelimit') ?? '')) return true
  // The challenge for Bearer, and for Basic, which git sends.
  return /\brealm="Authentication required"/.test(headerValue(headers, 'www-authenticate') ?? '')
}

/** The message in a short body: the text itself, or the `error` of a JSON object. */
function wordsOf(headers: HeaderBag, body: Buffer): string | undefined {
  if (body.length === 0 || body.length > MAX_WORDS_BYTES) return undefined
  const error = jsonObject(body)?.['error']
  if (typeof error === 'string') return error
  return /^(?:text\/plain\b|$)/i.test(headerValue(headers, 'content-type') ?? '')
    ? body.toString('utf8')
    : undefined
}

/** The forms in which Python reads an error from a body. Other Hubs use them, too. */
function saysError(body: Buffer): boolean {
  const { error, errors } = jsonObject(body) ?? {}
  return typeof error === 'string' || Array.isArray(error) || Array.isArray(errors)
}

function jsonObject(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  if (body.length > MAX_WORDS_BYTES || body[0] !== OPENING_BRACE) return undefined
  try {
    return JSON.parse(body.toString('utf8')) as Record<string, unknown>
  } catch {
    return undefined
  }
}

const OPENING_BRACE = 0x7b

function safeValue(headers: HeaderBag, name: string): string | undefined {
  const value = headerValue(headers, name)
  return value !== undefined && value !== '' && isHeaderSafe(value) ? value : undefined
}

/** Whether the refusal is about the token itself, not about the requested target. */
export function isBadToken(refusal: Refusal): boolean {
  if (refusal.status !== 401) return false
  return refusal.message === BAD_TOKEN || refusal.body.subarray(0, 4096).includes(BAD_TOKEN)
}

/** Whether Python chooses the exception by the exact words of the message (hf_raise_for_status). */
export function isCompared(refusal: Refusal): boolean {
  return isBadToken(refusal) || refusal.message === DISABLED
}

/** Whether the Hub said that the file is not in that commit. A commit never changes. */
export function isAbsence(refusal: Refusal): boolean {
  return refusal.status === 404 && refusal.code === 'EntryNotFound' && refusal.commit !== undefined
}

/**
 * Whether this caller may not have the repo, so that any earlier right to it has ended. A missing revision or file does
 * not say that, nor does a refusal that is not the Hub's.
 */
export function deniesRepo(refusal: Refusal): boolean {
  const { status, code, isForeign } = refusal
  if (isForeign) return false
  return status === 401 || status === 403 || (status === 404 && code === 'RepoNotFound')
}

/** Who receives a refusal, and for what. */
export interface RefusalContext {
  /** The request came without a token. */
  readonly anonymous: boolean
  /** False for routes that are about no repo, such as whoami: no code is added there. True by default. */
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
  const isBare = status === 401 && code === undefined && !refusal.isForeign && !isBadToken(refusal)
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
