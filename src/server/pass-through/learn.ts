// What the mirror learns from requests that it forwards: whether the Hub refused, and what a write has changed.

import { readRefusal } from '../../hub/refusal.ts'
import { type HubRoute, isWriteRoute, readerOf } from '../../hub/route.ts'
import type { WrittenRepos } from '../../hub/written-repos.ts'
import { noteAllowed, noteRefusal } from '../../mirror/access/note.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import { isRead, type OriginResponse } from './connection.ts'
import { passedDocumentOf } from './passed-json.ts'

/** A forwarded request: its target, for whom, and the repos that it changes if it is a write. */
export interface Forwarded {
  readonly route: HubRoute
  readonly ctx: Ctx
  readonly written: WrittenRepos
  /** The whole body of a request that only asks, though by POST: it may be sent again. Undefined for all others. */
  readonly question?: Buffer | undefined
}

interface Learning extends Forwarded {
  readonly mirror: Pick<Mirror, 'changed' | 'mayChange' | 'refused'>
}

/** Notes what the response says about access, and reports it to the mirror if it is the Hub's own. */
export async function learn(
  method: string,
  final: OriginResponse,
  isOfHub: boolean,
  options: Learning,
): Promise<void> {
  const { mirror, ctx, route, written } = options
  // A fetch over git is a POST that changes nothing.
  const isWrite = !isRead(method) && isWriteRoute(route, method)
  if (final.statusCode < 400) {
    noteAllowed(ctx.access, 'passed')
    // The form that requests access is answered with a redirect.
    if (isChange(route, method)) await mirror.changed(ctx, written)
    return
  }
  const refusal = readRefusal(final.statusCode, final.headers, Buffer.alloc(0))
  noteRefusal(ctx.access, refusal)
  if (isOfHub && !isWrite) await mirror.refused(ctx, route, refusal)
  if (final.statusCode >= 500) noteUnanswered(method, options)
}

/**
 * The Hub may have carried out a request that it has not answered, or for which a server in front of it has given up. Not
 * without a credential, which every write needs: otherwise any client could make the mirror ask the Hub more often.
 */
export function noteUnanswered(method: string | undefined, { mirror, ctx, route, written }: Learning): void {
  if (typeof written === 'string' || ctx.authorization === undefined) return
  if (isChange(route, method)) mirror.mayChange(ctx, written)
}

/**
 * Whether the request changes what others can read, if it is accepted. The question before an upload does not, nor do the
 * requests of Git LFS beside its objects: to verify one, and to lock a path.
 */
export function isChange(route: HubRoute, method = ''): boolean {
  if (isRead(method) || !isWriteRoute(route, method) || readerOf(route) === 'git-lfs') return false
  return passedDocumentOf(route, method) !== 'preupload'
}
