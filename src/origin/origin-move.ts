// An origin that has moved: it redirects every request to the same target at another place, as a renamed Hub does, or from
// http to https. A token is sent to the configured origin only, so a request with a credential fails with origin_moved.

import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import { type HeaderBag, headerValue } from '../http/headers.ts'
import type { OriginAnswer } from './origin-answer.ts'
import { isAllowedHost, mayCarryCredential, type RedirectPolicy } from './redirect.ts'

/** A 303 leads to another resource, and 300 and 304 lead nowhere. */
const MOVES = new Set([301, 302, 307, 308])
/** Those after which the method and the body stay the same for certain (RFC 9110 §15.4.8, §15.4.9). */
const KEEP_METHOD = new Set([307, 308])

/**
 * Where the origin has moved, by its answer to a request for `from`: another origin, and the same target below it.
 * Undefined for any other answer.
 */
export function moveOf(
  { base }: RedirectPolicy,
  from: URL,
  answer: { readonly status: number; readonly headers: HeaderBag },
): URL | undefined {
  const location = headerValue(answer.headers, 'location')
  if (!MOVES.has(answer.status) || location === undefined || !URL.canParse(location, from.href))
    return undefined
  const to = new URL(location, from)
  const prefix = withoutTrailingSlash(base.pathname)
  const target = from.pathname.startsWith(prefix) ? from.pathname.slice(prefix.length) : from.pathname
  const isSame = target.length > 1 ? to.pathname.endsWith(target) : to.pathname === from.pathname
  return from.origin === base.origin && to.origin !== base.origin && isSame && to.search === from.search
    ? to
    : undefined
}

/**
 * Throws origin_moved unless the move may be followed: without a credential, to a host that redirects may lead to or from
 * http to https on the origin's own host, and never from https to http.
 */
export function checkMove(
  { base, allowedHosts }: RedirectPolicy,
  to: URL,
  request: { readonly hasCredential: boolean; readonly isRepeatable: boolean },
): void {
  const isWeb = to.protocol === 'https:' || (to.protocol === 'http:' && base.protocol === 'http:')
  const isNamed = to.username === '' && to.password === ''
  const isAllowed =
    isAllowedHost(allowedHosts, to.hostname) || (to.hostname === base.hostname && to.protocol === 'https:')
  if (isWeb && isNamed && isAllowed && request.isRepeatable && !request.hasCredential) return
  throw new MirrorError('origin_moved', { detail: { host: to.host.slice(0, 255) } })
}

/** Whether the request may be sent again to the target of a redirect with this status. */
export function isRepeatable(method: string | undefined, status: number): boolean {
  return method === 'GET' || method === 'HEAD' || KEEP_METHOD.has(status)
}

/** The part of a request that decides whether it may follow a move. */
interface MovableRequest {
  readonly method: string
  readonly url: URL
  readonly requester: { readonly authorization: string | undefined }
}

/**
 * Sends as `send` does, and once more if the origin says that it has moved, as far as `checkMove` allows. `onMoved` is
 * called with each new place, once in a row.
 */
export function followMoves<R extends MovableRequest>(
  send: (request: R) => Promise<OriginAnswer>,
  policy: RedirectPolicy,
  onMoved: ((place: string) => void) | undefined,
): (request: R) => Promise<OriginAnswer> {
  let reported: string | undefined
  return async (request): Promise<OriginAnswer> => {
    const answer = await send(request)
    const to = moveOf(policy, request.url, answer)
    if (to === undefined) return answer
    await answer.body.dump()
    if (reported !== to.origin) {
      reported = to.origin
      onMoved?.(to.origin)
    }
    const hasCredential =
      request.requester.authorization !== undefined && mayCarryCredential(policy, request.url)
    checkMove(policy, to, { hasCredential, isRepeatable: isRepeatable(request.method, answer.status) })
    return send({ ...request, url: to })
  }
}
