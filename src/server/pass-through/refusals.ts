// Refusals among the responses that are passed through: the fields that clients read beside the Hub's own, and pages that some server
// before the Hub has sent in its place.

import { isPage } from '../../http/headers.ts'
import { withHint } from '../../hub/hints.ts'
import { type Refusal, readRefusal, refusalHeaders } from '../../hub/refusal.ts'
import { type HubRoute, readerOf } from '../../hub/route.ts'
import { hintContext } from '../../mirror/access/refused.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { OriginClient } from '../../origin/client.ts'
import { foreignHead } from '../../origin/failures/bad-answer.ts'
import { RefusedByHub } from '../../origin/failures/refused.ts'
import type { OriginResponse } from './connection.ts'

/**
 * Throws the error for an answer of a filter, a proxy or a CDN in place of the Hub or of its storage, and gives up its body. Ollama, git
 * and JavaScript would show its page instead of a cause, and a Proxy-Authenticate is only for the mirror.
 */
export function refuseForeign(
  response: OriginResponse,
  route: HubRoute,
  { client, ctx }: { readonly client: OriginClient; readonly ctx: Ctx },
): void {
  const { statusCode: status, headers, storage } = response
  if (status < 400 && mayBePage(route)) return
  const host = storage ?? client.policy.base.host
  const foreign = foreignHead({ status, headers, host }, storage === undefined)
  const isForeignLimit = status === 429 && isPage(headers) && refusalIn(response).isForeign === true
  if (foreign === undefined && !isForeignLimit) return
  response.stream.on('error', () => undefined).destroy()
  throw foreign ?? new RefusedByHub(withHint(refusalIn(response), hintContext(ctx, route.repo)))
}

/** Whether an answer that is no refusal may be HTML. Git, Git LFS, the API and the registry have none. */
function mayBePage(route: HubRoute): boolean {
  const isOfRegistry = 'target' in route && route.target.startsWith('/v2/')
  return readerOf(route) === undefined && !isOfApi(route) && !isOfRegistry
}

/** The fields that a refusal gets in addition to the Hub's own. Its body is passed on unread. */
export function refusalFields(response: OriginResponse, route: HubRoute, ctx: Ctx): Record<string, string> {
  const { statusCode } = response
  if (statusCode < 400) return {}
  const own = refusalIn(response)
  // Git and browsers ignore the hint; a 429 concerns all clients.
  const refusal = isOfApi(route) || statusCode === 429 ? withHint(own, hintContext(ctx, route.repo)) : own
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
  return route.repo !== undefined && isOfApi(route)
}

function isOfApi(route: HubRoute): boolean {
  return 'target' in route && /^\/+api\//.test(route.target)
}
