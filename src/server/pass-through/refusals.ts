// Refusals among the responses that are passed through: the fields that clients read beside the Hub's own, and pages that some server
// before the Hub has sent in its place.

import { headerValue } from '../../http/headers.ts'
import { withHint } from '../../hub/hints.ts'
import { type Refusal, readRefusal, refusalHeaders } from '../../hub/refusal.ts'
import type { HubRoute } from '../../hub/route.ts'
import { hintContext } from '../../mirror/access/refused.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { OriginClient } from '../../origin/client.ts'
import { foreignAnswer } from '../../origin/failures/bad-answer.ts'
import { RefusedByHub } from '../../origin/failures/refused.ts'
import type { OriginResponse } from './connection.ts'

/**
 * Throws the error for a page that a filter, a proxy or a CDN has sent in place of the Hub's answer, and gives up its body. Ollama, git
 * and JavaScript would show the page itself instead of a cause.
 */
export function refuseForeignPage(
  response: OriginResponse,
  route: HubRoute,
  { client, ctx }: { readonly client: OriginClient; readonly ctx: Ctx },
): void {
  const { statusCode: status, headers } = response
  const isPage = /^text\/html\b/i.test(headerValue(headers, 'content-type') ?? '')
  // git sends its credentials only after a challenge.
  const isChallenge = status === 401 && headerValue(headers, 'www-authenticate') !== undefined
  if (status < 400 || !isPage || isChallenge) return
  const refusal = refusalIn(response)
  if (refusal.isForeign !== true) return
  response.stream.on('error', () => undefined).destroy()
  const answered = { status, headers, host: client.policy.base.host }
  throw foreignAnswer(answered, refusal) ?? new RefusedByHub(withHint(refusal, hintContext(ctx, route.repo)))
}

/** The fields that a refusal gets in addition to the Hub's own. Its body is passed on unread. */
export function refusalFields(response: OriginResponse, route: HubRoute, ctx: Ctx): Record<string, string> {
  const { statusCode } = response
  if (statusCode < 400) return {}
  const own = refusalIn(response)
  const isApi = 'target' in route && /^\/+api\//.test(route.target)
  // Git and browsers ignore the hint; a 429 concerns all clients.
  const refusal = isApi || statusCode === 429 ? withHint(own, hintContext(ctx, route.repo)) : own
  const fields = refusalHeaders(refusal, { anonymous: ctx.authorization === undefined })
  const names = [
    'x-error-message',
    'x-hf-warning',
    // In any other response it would describe a quota that is not the caller's.
    'ratelimit',
    ...(statusCode === 401 && isAboutRepo(route) ? ['x-error-code'] : []),
  ]
  return Object.fromEntries(names.flatMap((name) => (fields[name] ? [[name, fields[name]]] : [])))
}

function refusalIn({ statusCode, headers }: OriginResponse): Refusal {
  return readRefusal(statusCode, headers, Buffer.alloc(0))
}

/** API clients recognise by the code that a repo is not accessible to them. Git and browsers ignore it. */
function isAboutRepo(route: HubRoute): boolean {
  return route.repo !== undefined && 'target' in route && route.target.startsWith('/api/')
}
