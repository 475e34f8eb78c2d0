// Answers that say nothing about what was asked: the Hub has failed, or an intermediary has answered in its place. Each
// becomes an error that counts as an unavailable origin (`isOriginUnavailable`). Pure.

import { MirrorError } from '../../errors.ts'
import { type HeaderBag, headerText, headerValue, isPage } from '../../http/headers.ts'
import { waitMsOf } from '../../http/retry-after.ts'
import { isNeverOfHub, type Refusal, readRefusal } from '../../hub/refusal.ts'

/** What was answered, and by which host. */
interface AnswerHead {
  readonly host: string
  readonly status: number
  readonly headers: HeaderBag
}

/** The longest wait that the mirror passes on, whatever one answer says. */
const LONGEST_WAIT_S = 3_600

/**
 * The error for a status of 500 and above, or 408, once the mirror has given up repeating the request. The `Retry-After` of
 * a 503 is passed on to the caller, in seconds.
 */
export function hubFailure({ host, status, headers }: AnswerHead): MirrorError {
  const detail = { host, status, ...signsOf(headers) }
  if (status === 503) {
    const waitSeconds = Math.ceil((waitMsOf(headers, Date.now()) ?? 0) / 1000)
    const wait = waitSeconds === 0 ? {} : { retryAfterSeconds: Math.min(LONGEST_WAIT_S, waitSeconds) }
    return new MirrorError('origin_unavailable', { detail: { ...detail, ...wait } })
  }
  const message = `The Hub, or a server in front of it, has failed: it answered ${status}. Try again later.`
  return new MirrorError('origin_in_trouble', { message, detail })
}

/** The error for a refusal that bears no sign of a Hub (`Refusal.isForeign`), or for one of a host that is no Hub. */
export function interception({ host, status, headers }: AnswerHead, who: 'hub' | 'cdn'): MirrorError {
  return new MirrorError('origin_intercepted', {
    message: who === 'hub' ? hubWords(status) : cdnWords(host, status),
    detail: { host, status, ...signsOf(headers) },
  })
}

/**
 * The error for an answer that is not the Hub's own; undefined for the Hub's own. A 429 always counts as the Hub's own.
 */
export function foreignAnswer(answered: AnswerHead, refusal: Refusal): MirrorError | undefined {
  if (refusal.isForeign !== true || answered.status === 429) return undefined
  return failureOrInterception(answered, 'hub')
}

/**
 * The same for an answer whose body was not read, of the Hub or of a host that stores files. What comes from something before it is a
 * page, or has a status that neither of them sends: storage refuses in XML. Undefined for a challenge of the Hub, since git sends its
 * credentials only after one.
 */
export function foreignHead(answered: AnswerHead, isOfHub: boolean): MirrorError | undefined {
  const { status, headers } = answered
  if (!isNeverOfHub(status) && !isPage(headers)) return undefined
  if (isOfHub) {
    const isChallenge = status === 401 && headerValue(headers, 'www-authenticate') !== undefined
    return isChallenge ? undefined : foreignAnswer(answered, readRefusal(status, headers, Buffer.alloc(0)))
  }
  // Google's storage calls the empty answer to an upload HTML.
  const isEmpty = status < 300 && headerValue(headers, 'content-length') === '0'
  return isEmpty || status === 429 ? undefined : failureOrInterception(answered, 'cdn')
}

/** The error for a refusal of a host that stores files, at an address that the Hub has just given. */
export function storageRefusal({ host, status, headers }: AnswerHead): MirrorError {
  return new MirrorError('origin_bad_answer', {
    message: `The host that stores the Hub's files (${host}) answered ${status} to an address of the Hub. Try again; if this persists, contact the operator of this mirror.`,
    detail: { reason: 'refused by storage', host, status, ...signsOf(headers) },
  })
}

function failureOrInterception(answered: AnswerHead, who: 'hub' | 'cdn'): MirrorError {
  return isFailure(answered.status) ? hubFailure(answered) : interception(answered, who)
}

/** Whether a server that has failed answers with this status. 511 comes from a network that wants a login first (RFC 6585 §6). */
export function isFailure(status: number): boolean {
  return status === 408 || (status >= 500 && status !== 511)
}

function hubWords(status: number): string {
  if (status === 407 || status === 511) {
    return `Something between this mirror and the Hub asks the mirror to sign in (${status}). Contact the operator of this mirror.`
  }
  return `Something between this mirror and the Hub answered ${status} in the Hub's place: a filter, a proxy or a CDN. If this persists, contact the operator of this mirror.`
}

function cdnWords(host: string, status: number): string {
  return `The host that stores the Hub's files (${host}) answered ${status}. A filter or a proxy in between must let this mirror reach that host: contact the operator of this mirror.`
}

/** Fields that show an operator which server answered. Only for the log, because they show how the network is built. */
function signsOf(headers: HeaderBag): { readonly server?: string; readonly type?: string } {
  const server = headerText(headerValue(headers, 'server') ?? headerValue(headers, 'via') ?? '', 80)
  const type = headerText(headerValue(headers, 'content-type') ?? '', 80)
  return { ...(server === '' ? {} : { server }), ...(type === '' ? {} : { type }) }
}

/** The reason for giving up a chain of redirects. The same request would be redirected in the same way again. */
export const REDIRECT_LOOP = 'redirect loop'

/** The error for an answer that no Hub would give. `reason` is for the log. */
export function badAnswer(reason: string, url: URL): MirrorError {
  return new MirrorError('origin_bad_answer', { detail: { reason, host: url.host } })
}
