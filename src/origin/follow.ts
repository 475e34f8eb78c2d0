// The one redirect loop. The caller decides by a callback which redirects are taken. `redirect.ts` decides where they may
// lead at all, and `OriginClient.send` whether the credential goes along.

import { type HeaderBag, headerValue } from '../http/headers.ts'
import type { OriginAnswer, OriginRequest } from './client.ts'
import { MAX_HOPS, mayCarryCredential, type RedirectPolicy, redirectTarget } from './redirect.ts'

/** A redirect that the policy allows, before it is taken. */
export interface Redirect {
  readonly to: URL
  /** Whether it stays within the origin, so that the credential goes along. */
  readonly isOwn: boolean
  /** Of the answer that redirects. */
  readonly headers: HeaderBag
}

/** How a chain of redirects ended. */
export type Followed =
  /** The first answer that is no redirect. The caller must read its body to the end or destroy it. */
  | { readonly kind: 'answer'; readonly answer: OriginAnswer; readonly url: URL }
  /** `mayFollow` returned false; `url` is where the redirect leads, and nothing was sent there. */
  | { readonly kind: 'stopped'; readonly url: URL }
  /**
   * There were more than MAX_HOPS redirects in a row, or another host redirected back to the origin: that host must not
   * choose what is requested with the credential. `url` is where the last redirect leads, and nothing was sent there.
   */
  | { readonly kind: 'loop'; readonly url: URL }

/**
 * Sends a request to `first`, and again to the target of each redirect (3xx with a Location). The method and the body stay
 * the same. `send` is called once for each hop, with the URL and whether it belongs to the origin. `mayFollow` is called
 * before each redirect is taken: it returns false to stop there, and may throw. Throws redirect_refused where the policy
 * does not allow the target, and whatever `send` and `mayFollow` throw. The body of a redirect is dropped.
 */
export async function followRedirects(
  policy: RedirectPolicy,
  first: URL,
  send: (url: URL, isOwn: boolean) => Promise<OriginAnswer>,
  mayFollow: (redirect: Redirect) => boolean,
): Promise<Followed> {
  let url = first
  let hasLeft = !mayCarryCredential(policy, first)
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const answer = await send(url, mayCarryCredential(policy, url))
    const location = redirectOf(answer)
    if (location === undefined) return { kind: 'answer', answer, url }
    // Not awaited: an origin that never ends the body would hold up the request. Dropping it keeps the connection usable.
    answer.body.dump().catch(() => undefined)
    url = redirectTarget(policy, url, location)
    const isOwn = mayCarryCredential(policy, url)
    if (isOwn && hasLeft) break
    hasLeft = !isOwn
    const redirect = { to: url, isOwn, headers: answer.headers }
    if (!mayFollow(redirect)) return { kind: 'stopped', url }
  }
  return { kind: 'loop', url }
}

/** The Location of an answer that is a redirect; undefined for any other answer. */
function redirectOf({ status, headers }: Pick<OriginAnswer, 'status' | 'headers'>): string | undefined {
  return status >= 300 && status < 400 ? headerValue(headers, 'location') : undefined
}

type OnRedirect = OriginRequest['requester']['onRedirect']

/** A `mayFollow` for requests that must stay within the origin. `onRedirect` is called for each redirect that is taken. */
export function withinOrigin(onRedirect: OnRedirect): (redirect: Redirect) => boolean {
  return ({ to, isOwn }) => {
    if (isOwn) onRedirect?.(to)
    return isOwn
  }
}

/** A `mayFollow` for requests that may leave the origin. `onRedirect` is called for each redirect within it. */
export function anywhere(onRedirect?: OnRedirect): (redirect: Redirect) => boolean {
  return ({ to, isOwn }) => {
    if (isOwn) onRedirect?.(to)
    return true
  }
}
