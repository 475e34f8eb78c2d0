// How a request that is passed through gets its connection to the Hub, and keeps no more of it than its answer needs.

import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { callerKey } from '../../callers/caller-key.ts'
import { type HeaderBag, headerValue } from '../../http/headers.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { OriginClient } from '../../origin/client.ts'
import type { Passage } from '../../origin/connections/passage.ts'
import type { ConnectionPermit } from '../../origin/connections/shares.ts'
import type { QuotaKey } from '../../origin/quota.ts'
import { recordOf } from '../request-record.ts'

/**
 * A commit of many files takes the Hub long, and is not to be told as failed while it may still succeed: clients do
 * not repeat it.
 */
export const WRITE_TIMEOUT_MS = 300_000

/** What the plugin hands over: undici's answer under Node's names. */
export interface OriginResponse {
  readonly statusCode: number
  readonly headers: HeaderBag
  readonly stream: Readable
  /** That of its connection, where it is the answer to the request itself. */
  readonly permit?: ConnectionPermit
}

/** Whether a request changes nothing by its method. */
export function isRead(method: string | undefined): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/** The way to the Hub, when it is the request's turn; an answer, when it may not leave. Rejects where it has waited in vain. */
export async function enter(
  request: IncomingMessage,
  asked: QuotaKey,
  { client, ctx }: { readonly client: OriginClient; readonly ctx: Ctx },
): Promise<Passage | OriginResponse> {
  const { signal } = recordOf(request)
  await ctx.countAgainstLimit?.()
  const held = await client.admit(asked, signal)
  if (held !== undefined) return { statusCode: held.status, headers: held.headers, stream: held.body }
  const caller = callerKey(ctx.caller)
  const host = client.policy.base.origin
  const isWanted = (): boolean => client.isWanted(caller)
  // A read whose answer turns out to be long goes on as a relay.
  if (isRead(request.method)) {
    const permit = await client.shares.acquire({ host, lane: 'passage', caller, signal })
    return { permit, request, isWanted, signal, answerMs: client.timeoutMs }
  }
  const permit = await client.shares.acquire({ host, lane: 'relay', caller, signal })
  return { permit, request, isWanted, signal: undefined, answerMs: WRITE_TIMEOUT_MS }
}

/** Runs `work`, and gives the turn back where it throws. */
export function releaseOnThrow(permit: ConnectionPermit, work: () => void): void {
  try {
    work()
  } catch (error) {
    permit.release()
    throw error
  }
}

/**
 * Room in memory for the whole answer, where it is short: then its connection is free before the client
 * has taken it, and the returned function gives the room back. Any other answer goes on as a relay, or throws where none
 * may begin now.
 */
export function holdBrief(
  { headers, permit }: OriginResponse,
  client: OriginClient,
  caller: string,
): (() => void) | undefined {
  const length = headerValue(headers, 'content-length')
  const release =
    length !== undefined && /^\d{1,15}$/.test(length)
      ? client.buffers.reserve(caller, Number(length))
      : undefined
  if (release === undefined) permit?.becomeRelay()
  return release
}

/** A stream of events that lasts longer than this gives way to those who wait for its connection. */
const LONG_EVENTS_MS = 60_000
const LOOK_EVERY_MS = 5_000

/** Ends a stream of events, which may be silent for hours, when it has lasted a while and others wait (`isWanted`). */
export function giveWay(stream: Readable, isWanted: () => boolean): void {
  const since = performance.now()
  const timer = setInterval(() => {
    if (performance.now() - since >= LONG_EVENTS_MS && isWanted())
      stream.destroy(new Error('other requests need the connection of this stream of events'))
  }, LOOK_EVERY_MS)
  stream.once('close', () => clearInterval(timer))
}
