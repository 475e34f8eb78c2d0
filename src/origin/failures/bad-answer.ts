// Answers that say nothing about what was asked: the Hub has failed, or an intermediary has answered in its place. Each
// becomes an error that counts as an unavailable origin (`isOriginUnavailable`). Pure.

import { MirrorError } from '../../errors.ts'
import { type HeaderBag, headerText, headerValue } from '../../http/headers.ts'
import { waitMsOf } from '../../http/retry-after.ts'
import type { Refusal } from '../../hub/refusal.ts'

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
  const { status } = answered
  // 511 is what networks answer that want a login first (RFC 6585 §6).
  if (status === 408 || (status >= 500 && status !== 511)) return hubFailure(answered)
  return interception(answered, 'hub')
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
