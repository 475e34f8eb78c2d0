// What is particular to git among the requests that are passed through: the stored copy of a repo stands in for a Hub that is away, and
// the mirror learns that a client has received objects.

import { isOriginUnavailable, MirrorError } from '../../errors.ts'
import { bringsObjects, gitRequest } from '../../hub/git.ts'
import { readRefusal } from '../../hub/refusal.ts'
import type { HubRoute } from '../../hub/route.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import type { OriginResponse } from './connection.ts'

/** Answers a request from the store in place of the Hub. Resolves with whether it has. Never rejects. */
export type StandIn = () => Promise<boolean>

/** The same function for failures, but an answer from the store goes first where the Hub is away. */
export function failingOver(
  standIn: StandIn | undefined,
  fail: (error: unknown) => void,
): (error: unknown) => void {
  if (standIn === undefined) return fail
  const answerOrFail = async (error: unknown): Promise<void> => {
    if (!isOriginUnavailable(error) || !(await standIn())) fail(error)
  }
  return (error) => void answerOrFail(error)
}

/** Answers by `answer`, but from the store if the response says that the Hub is away, or that its quota is used up. */
export async function answerOrStandIn(
  standIn: StandIn | undefined,
  response: OriginResponse,
  answer: () => Promise<void>,
): Promise<void> {
  if (standIn === undefined || !isAway(response) || !(await standIn())) return answer()
  response.stream.on('error', () => undefined).destroy()
}

function isAway({ statusCode, headers }: OriginResponse): boolean {
  if (statusCode >= 500 || statusCode === 429) return true
  return statusCode >= 400 && readRefusal(statusCode, headers, Buffer.alloc(0)).isForeign === true
}

/** The same bytes. If they bring objects of a repo to a client of git, the mirror is notified when the last one has been read. */
export function noticingObjects(
  stream: AsyncGenerator<Buffer, void, undefined>,
  { statusCode }: OriginResponse,
  {
    route,
    ctx,
    mirror,
    method,
  }: {
    readonly route: HubRoute
    readonly ctx: Ctx
    readonly mirror: Pick<Mirror, 'gitFetched'>
    readonly method: string
  },
): AsyncGenerator<Buffer, void, undefined> {
  const asked = statusCode === 200 ? gitRequest(route, method) : undefined
  if (asked?.kind !== 'pack') return stream
  return (async function* noticing() {
    let start: Buffer = Buffer.alloc(0)
    for await (const chunk of stream) {
      if (start.length < 32) start = Buffer.concat([start, chunk.subarray(0, 32)])
      yield chunk
    }
    if (bringsObjects(start)) mirror.gitFetched(ctx, asked.repo)
  })()
}

/** What an offline mirror says to a request that it would have to forward. */
export function offlineError(route: HubRoute): MirrorError {
  const purpose = route.kind === 'other' ? route.purpose : undefined
  if (purpose === 'git-write') return new MirrorError('writes_denied', { message: NO_PUSH })
  return new MirrorError('offline_and_absent', purpose === 'git-read' ? { message: NO_CLONE } : {})
}

const NO_CLONE =
  'This mirror is offline by configuration, and has no git repository of this: no client has cloned it through this mirror. ' +
  'Its files may be stored all the same: try `hf download`.'
const NO_PUSH = 'This mirror is offline by configuration, so nothing can be pushed through it.'
