// Sends what @fastify/http-proxy hands on, by the connection that the request has got: within the time it has for its
// answer, and no longer than its client is there and keeps up.

import type { IncomingMessage } from 'node:http'
import type { Dispatcher } from 'undici'
import type { OriginClient } from './client.ts'
import type { Turn } from './shares.ts'
import { uploadLimits } from './upload-pace.ts'

/** Where the passage of a request stands among its header fields: the plugin has no other place, and nobody sends it. */
export const TURN = Symbol('turn')

export interface Passage {
  readonly turn: Turn
  readonly request: IncomingMessage
  /** Ends the request when its client goes; absent where the Hub may be at work on it, and must not be disturbed. */
  readonly signal: AbortSignal | undefined
  /** From the moment that the request has arrived as a whole until the headers of its answer. */
  readonly answerMs: number
  /** Whether others wait for the connection. */
  readonly isWanted: () => boolean
}

/** undici's `request` for requests whose headers carry their passage; it gives the turn back when the answer is over. */
export function sendUnderTurn({ dispatcher }: Pick<OriginClient, 'dispatcher'>): Dispatcher['request'] {
  const send = async (options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> => {
    const { [TURN]: passage, ...headers } = options.headers as Record<string, string> & { [TURN]: Passage }
    const { turn, request, signal: given, answerMs, isWanted } = passage
    const limits = uploadLimits(request, { given, answerMs, isWanted })
    const over = (): void => {
      limits.over()
      turn.release()
    }
    try {
      const answer = await dispatcher.request({ ...options, headers, signal: limits.signal })
      answer.body.once('close', over)
      // The plugin destroys the answer to a client that has left its upload, and hears of no error. Without a listener
      // the error would end the process.
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
