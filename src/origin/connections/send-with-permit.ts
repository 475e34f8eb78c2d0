// Sends passed-through requests of @fastify/http-proxy on the connection that their permit allows. A request ends when the
// answer takes too long, when its client leaves, or when its client is too slow.

import type { IncomingMessage } from 'node:http'
import type { Dispatcher } from 'undici'
import type { OriginClient } from '../client.ts'
import type { ConnectionPermit } from './shares.ts'
import { uploadLimits } from './upload-pace.ts'

/** The key of the permitted request among its header fields. The plugin offers no other place; it is never sent. */
export const PERMITTED = Symbol('permitted request')

export interface PermittedRequest {
  readonly permit: ConnectionPermit
  readonly request: IncomingMessage
  /** Aborts when the client leaves. Undefined for requests that the Hub must be allowed to complete. */
  readonly signal: AbortSignal | undefined
  /** The longest time from the end of the request to the headers of its answer. */
  readonly answerMs: number
  /** Whether others wait for the connection. */
  readonly isWanted: () => boolean
  /** The whole body of a request that only asks, though by POST: it may be sent again. Undefined for all others. */
  readonly question?: Buffer | undefined
}

/**
 * undici's `request` for requests whose headers carry their permit. It releases the permit when the answer has ended.
 */
export function sendWithPermit({ dispatcher }: Pick<OriginClient, 'dispatcher'>): Dispatcher['request'] {
  const send = async (options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> => {
    const { [PERMITTED]: permitted, ...headers } = options.headers as Record<string, string> & {
      [PERMITTED]: PermittedRequest
    }
    const { permit, request, signal: given, answerMs, isWanted, question } = permitted
    const limits = uploadLimits(request, { given, answerMs, isWanted })
    const over = (): void => {
      limits.over()
      permit.release()
    }
    try {
      const repeatable = question === undefined ? {} : { body: question, idempotent: true }
      const answer = await dispatcher.request({ ...options, ...repeatable, headers, signal: limits.signal })
      answer.body.once('close', over)
      // The plugin destroys the answer when a client leaves its upload, and has no error listener. Without one, the error
      // would end the process.
      answer.body.on('error', () => undefined)
      return answer
    } catch (error) {
      over()
      throw error
    } finally {
      limits.answered()
    }
  }
  return ((options: Dispatcher.RequestOptions, callback: (error: Error | null, data?: unknown) => void) => {
    send(options).then(
      (answer) => callback(null, answer),
      (error: unknown) => callback(error as Error),
    )
  }) as Dispatcher['request']
}
