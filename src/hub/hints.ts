// Why the Hub refused, as far as the mirror can see it, and what to do: one sentence behind the Hub's own words. It
// states only what the mirror knows, and repeats nothing that a caller has sent.

import { bearerToken } from '../http/headers.ts'
import { type Repo, webPrefix } from './names.ts'
import { isBadToken, isCompared, type Refusal } from './refusal.ts'

/** With which credential the Hub was asked, and for what. */
export interface HintContext {
  /** As the Hub received it. */
  readonly authorization: string | undefined
  /**
   * Which credential the Hub received: the caller's own, a Hub token that the mirror lends, or none, because the mirror
   * lends none to a mirror token.
   */
  readonly credential: 'own' | 'lent' | 'not-lent'
  readonly repo: Repo | undefined
}

// The address for people, whatever stands in between: not the mirror, which has no such pages, and not a mirror behind
// it.
const HUB = 'https://huggingface.co'
/** Longer than any message. A longer text is a page. */
const MAX_HINTED_BYTES = 8 * 1024
const NOT_OPENED = {
  lent: 'The token that the mirror uses for you at the Hub does not give access to this: contact its operator.',
  'not-lent':
    'The mirror does not send your mirror token to the Hub, and no policy lends it a Hub token for this: ask the operator, or use your own Hub token.',
} as const
const SEND_ONE = "set HF_TOKEN or run 'hf auth login'"

/**
 * The hint for a refusal; undefined if there is nothing to add. Printable ASCII. Without a context, as when the Hub was
 * asked for several callers at once, it says nothing about credentials.
 */
export function hintFor(refusal: Refusal, context: HintContext | undefined): string | undefined {
  const { status, code } = refusal
  if (status === 429) return quotaHint(refusal, context)
  if (context === undefined) return undefined
  if (context.credential !== 'own') {
    const isAccess = status === 401 || code === 'GatedRepo'
    return isAccess ? NOT_OPENED[context.credential] : undefined
  }
  if (status === 401) return credentialHint(refusal, context)
  if (status === 403 && code === 'GatedRepo') {
    return `A valid token arrived, but its owner has not been given access: visit ${pageOf(context.repo)} and accept the conditions there; a fine-grained token must also allow reading gated repos.`
  }
  if (status === 404 && code === 'RepoNotFound') {
    return context.authorization === undefined
      ? noToken('if the repo is private')
      : 'A valid token arrived: the repo does not exist, or this token may not read it (a fine-grained token must name it).'
  }
  return undefined
}

function credentialHint(refusal: Refusal, { authorization, repo }: HintContext): string {
  const isGated = refusal.code === 'GatedRepo'
  if (authorization === undefined) {
    return isGated ? `${noToken()} Access is given at ${pageOf(repo)}.` : noToken('if the repo is private')
  }
  const malformed = malformedHint(authorization)
  if (malformed !== undefined) return malformed
  // To a token that it does not know, the Hub does not say whether a repo exists.
  const isRejected = isBadToken(refusal) || isGated || refusal.code === undefined
  return isRejected
    ? `A token arrived at the mirror, and the Hub rejects it: it is mistyped, expired or revoked. Create a new one at ${HUB}/settings/tokens.`
    : 'A token arrived at the mirror, and the Hub does not accept it.'
}

function noToken(condition?: string): string {
  const cure = condition === undefined ? SEND_ONE : `${condition}, ${SEND_ONE}`
  return `No token arrived at the mirror: ${cure}, and check that no proxy in front of the mirror drops the Authorization header.`
}

/** The fault in the form of a credential; the first one that fits. */
export function malformedHint(authorization: string): string | undefined {
  const field = authorization.trim()
  const [, scheme = '', rest = ''] = /^(\S*)\s*(.*)$/s.exec(field) ?? []
  if (/["'`]/.test(field)) {
    return 'The token arrived in quotes: remove them where it is set (an env file keeps them).'
  }
  if (/^bearer$/i.test(scheme)) {
    if (rest === '') return `The Authorization header says Bearer without a token: ${SEND_ONE}.`
    if (/^bearer\b/i.test(rest)) {
      return 'The Authorization header says Bearer twice: give the client only the token, it adds the word itself.'
    }
    if (/^(?:none|null|undefined|\$\{?\w+\}?)$/i.test(rest)) {
      return "Instead of a token, a placeholder such as 'None' arrived: the variable that should contain the token was not set."
    }
    if (/\s/.test(rest))
      return 'The token that arrived contains a space: it was cut off, or pasted with a line break.'
    if (bearerToken(field) === undefined)
      return 'The token that arrived contains characters that are not allowed in a token.'
    return undefined
  }
  if (/^basic$/i.test(scheme)) {
    return `The credential arrived as Basic, and was not accepted: send 'Authorization: Bearer' with the token; only git takes it as a password.`
  }
  if (/^hf_\w+$/.test(field)) {
    return `The token arrived without a scheme: send 'Authorization: Bearer', a space and the token.`
  }
  return `The Authorization header is not of the form 'Bearer' and a token: ${SEND_ONE}.`
}

function quotaHint({ rateLimit }: Refusal, context: HintContext | undefined): string | undefined {
  const match = /^"(\w{1,32})";r=0;t=(\d{1,6})$/.exec(rateLimit ?? '')
  if (match === null) return undefined
  const [, bucket = '', seconds = ''] = match
  const wait = `try again in ${seconds} s`
  if (bucket === 'cdn') return `The Hub's CDN limits the requests of this mirror: ${wait}.`
  if (context === undefined) return undefined
  if (context.credential === 'lent')
    return `The quota '${bucket}' of this mirror at the Hub is used up: ${wait}.`
  if (context.credential === 'not-lent')
    return `The quota '${bucket}' at the Hub that all callers of this mirror without a Hub token share is used up: ${wait}.`
  return context.authorization === undefined
    ? `The quota '${bucket}' at the Hub that all callers of this mirror without a token share is used up: ${SEND_ONE} for a quota of your own, or ${wait}.`
    : `The quota '${bucket}' of your token at the Hub is used up: ${wait}.`
}

function pageOf(repo: Repo | undefined): string {
  return repo === undefined ? "the repo's page on the Hub" : `${HUB}/${webPrefix(repo.type)}${repo.id}`
}

function joined(text: string | undefined, hint: string): string {
  if (text === undefined || text === '') return hint
  return `${text}${/[.!?]$/.test(text) ? '' : '.'} ${hint}`
}

/**
 * The refusal with its hint in message and body, behind the Hub's own words. Python compares two messages letter by
 * letter to choose the exception. Those two stay unchanged: the hint goes into the body, and into a header field that
 * newer versions of huggingface_hub print as a warning, since an answer to HEAD has no body.
 */
export function withHint(refusal: Refusal, context: HintContext | undefined): Refusal {
  const hint = hintFor(refusal, context)
  if (hint === undefined) return refusal
  const text = joined(refusal.message, hint)
  const said = { ...refusal, ...bodyWith(refusal, hint) }
  if (isCompared(refusal)) return { ...said, warning: hint }
  // The `hf` command prints "requires approval" in place of the message of a gate. Here that would send people the
  // wrong way.
  const isHidden = refusal.code === 'GatedRepo' && context !== undefined && context.credential !== 'own'
  return { ...said, message: text, ...(isHidden ? { warning: hint } : {}) }
}

function bodyWith(refusal: Refusal, hint: string): Pick<Refusal, 'body' | 'contentType'> {
  const { body, contentType, message } = refusal
  const isJson = /^application\/json\b/i.test(contentType ?? '')
  if (body.length === 0) {
    const text = joined(message, hint)
    return isJson
      ? { body: Buffer.from(JSON.stringify({ error: text })), contentType }
      : { body: Buffer.from(text), contentType: 'text/plain; charset=utf-8' }
  }
  if (body.length > MAX_HINTED_BYTES) return { body, contentType }
  const text = body.toString('utf8')
  if (!isJson) return { body: text === message ? Buffer.from(joined(text, hint)) : body, contentType }
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && 'error' in value && typeof value.error === 'string') {
      const error = joined(value.error, hint)
      return { body: Buffer.from(JSON.stringify({ ...value, error })), contentType }
    }
  } catch {
    // A body that is not what its type says stays unchanged.
  }
  return { body, contentType }
}
