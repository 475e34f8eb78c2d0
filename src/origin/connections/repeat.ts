// Repeats reads that failed with a kept connection. Firewalls and load balancers drop idle connections silently, and the next
// request on such a connection is lost.

import { type buildConnector, Dispatcher, errors } from 'undici'

/** The codes of connections that the other side has closed. Timeouts are not among them. */
const LOST = new Set(['ECONNRESET', 'EPIPE'])
/** Errors of connections that had carried an answer before. */
const ofKept = new WeakSet<Error>()

/** Records which errors belong to reused connections: most errors do not say so themselves. */
export function noteErrors(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect(options, (...result) => {
      const socket = result[1]
      socket?.on('error', (error: NodeJS.ErrnoException) => {
        if (socket.bytesRead > 0 && LOST.has(error.code ?? '')) ofKept.add(error)
      })
      callback(...result)
    })
}

/**
 * Sends a request by `kept`, and once more by `fresh`, on a new connection, if a kept connection broke before any byte
 * of the answer. This applies to requests that may be repeated (RFC 9110 §9.2.2): GET, HEAD and OPTIONS, and those
 * marked `idempotent`, if their body is in memory. A write is never sent again: it may have been done.
 *
 * Every connection of `fresh` ends with its answer, so none of them can be dead already. Closing it closes both.
 */
export class RepeatingDispatcher extends Dispatcher {
  readonly #kept: Dispatcher
  readonly #fresh: Dispatcher
  readonly #way: Dispatcher

  constructor(kept: Dispatcher, fresh: Dispatcher) {
    super()
    this.#kept = kept
    this.#fresh = fresh
    this.#way = kept.compose(repeatBy(fresh))
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    return this.#way.dispatch(options, handler)
  }

  override close(): Promise<void>
  override close(callback: () => void): void
  override close(callback?: () => void): Promise<void> | void {
    const closed = Promise.all([this.#kept.close(), this.#fresh.close()]).then(() => undefined)
    if (callback === undefined) return closed
    void closed.then(callback, callback)
  }

  override destroy(...given: unknown[]): Promise<void> {
    const error = given.find((value) => value instanceof Error) ?? null
    const callback = given.find((value) => typeof value === 'function') as (() => void) | undefined
    const destroyed = Promise.all([this.#kept.destroy(error), this.#fresh.destroy(error)]).then(
      () => undefined,
    )
    if (callback !== undefined) void destroyed.then(callback, callback)
    return destroyed
  }
}

function repeatBy(fresh: Dispatcher): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    if (!mayRepeat(options)) return dispatch(options, handler)
    let isAnswered = false
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
      onResponseStart(controller, status, headers, message) {
        isAnswered = true
        handler.onResponseStart?.(controller, status, headers, message)
      },
      onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError(controller, error) {
        if (isAnswered || !isOfKept(error)) handler.onResponseError?.(controller, error)
        else fresh.dispatch({ ...options, reset: true }, handler)
      },
    })
  }
}

function mayRepeat({ method, idempotent, body }: Dispatcher.DispatchOptions): boolean {
  const isRead = method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
  return (idempotent ?? isRead) && (body == null || typeof body === 'string' || Buffer.isBuffer(body))
}

function isOfKept(error: Error): boolean {
  return ofKept.has(error) || (error instanceof errors.SocketError && (error.socket?.bytesRead ?? 0) > 0)
}
