// How a forwarded request gets a connection to the Hub, and gives it back as soon as its response allows.

import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { callerKey } from '../../callers/caller-key.ts'
import { type HeaderBag, headerValue } from '../../http/headers.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { OriginAnswer, OriginClient } from '../../origin/client.ts'
import type { PermittedRequest } from '../../origin/connections/send-with-permit.ts'
import type { ConnectionPermit } from '../../origin/connections/shares.ts'
import type { QuotaKey } from '../../origin/quota.ts'
import { type RequestRecord, recordOf } from '../request-record.ts'

/**
 * The Hub takes long for a commit of many files. The mirror must not report a failure while it may still succeed, since
 * clients do not repeat it.
 */
export const WRITE_TIMEOUT_MS = 300_000

/** The response as the plugin passes it: undici's, with Node's property names. */
export interface OriginResponse {
  readonly statusCode: number
  readonly headers: HeaderBag
  readonly stream: Readable
  /** The permit of its connection, if it is the answer to the request itself. */
  readonly permit?: ConnectionPermit
  /** The host that sent it, where a redirect has led away from the Hub. */
  readonly storage?: string
}

/** Whether the method of a request is a safe one (RFC 9110 §9.2.1). */
export function isRead(method: string | undefined): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/**
 * Waits for a connection to the Hub. Resolves with the request and its permit, or with an answer if the request must
 * not be sent. Rejects if it has waited in vain.
 */
export async function acquireConnection(
  request: IncomingMessage,
  asked: QuotaKey,
  { client, ctx }: { readonly client: OriginClient; readonly ctx: Ctx },
): Promise<PermittedRequest | OriginResponse> {
  const { signal } = recordOf(request)
  await ctx.countAgainstLimit?.()
  const refused = await client.admit(asked, signal)
  if (refused !== undefined) return waitResponse(refused, recordOf(request).reader)
  const caller = callerKey(ctx.caller)
  const host = client.policy.base.origin
  const isWanted = (): boolean => client.isWanted(caller)
  // A read whose response turns out to be long continues as a relay.
  if (isRead(request.method)) {
    const permit = await client.shares.acquire({ host, lane: 'passage', caller, signal })
    return { permit, request, isWanted, signal, answerMs: client.timeoutMs }
  }
  const permit = await client.shares.acquire({ host, lane: 'relay', caller, signal })
  return { permit, request, isWanted, signal: undefined, answerMs: WRITE_TIMEOUT_MS }
}

/** The mirror's own 429, in the form that the client shows: git prints a text, and nothing of another type. */
function waitResponse(
  { status, headers, body }: OriginAnswer,
  reader: RequestRecord['reader'],
): OriginResponse {
  const message = headerValue(headers, 'x-error-message')
  if (reader !== 'git' || message === undefined) return { statusCode: status, headers, stream: body }
  const text = Buffer.from(`${message}\n`)
  const type = { 'content-type': 'text/plain; charset=utf-8', 'content-length': String(text.length) }
  return { statusCode: status, headers: { ...headers, ...type }, stream: Readable.from([text]) }
}

/** Runs `work`, and releases the permit if it throws. */
export function releaseOnThrow(permit: ConnectionPermit, work: () => void): void {
  try {
    work()
  } catch (error) {
    permit.release()
    throw error
  }
}

/**
 * Reserves memory for the whole response if it is short. Then its connection is free before the client has taken the
 * response, and the returned function releases the memory. Any other response continues as a relay: returns undefined, or
 * throws if no relay may begin now.
 */
export function reserveIfShort(
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

/** A stream of events that has lasted longer than this ends when other requests wait for its connection. */
const LONG_EVENTS_MS = 60_000
const CHECK_EVERY_MS = 5_000

/**
 * Ends a stream of events, which may be silent for hours, once it has lasted a while and other requests wait
 * (`isWanted`).
 */
export function endWhenWanted(stream: Readable, isWanted: () => boolean): void {
  const since = performance.now()
  const timer = setInterval(() => {
    if (performance.now() - since >= LONG_EVENTS_MS && isWanted())
      stream.destroy(new Error('other requests need the connection of this stream of events'))
  }, CHECK_EVERY_MS)
  stream.once('close', () => clearInterval(timer))
}
