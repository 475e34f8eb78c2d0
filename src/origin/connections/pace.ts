// Detects peers that are too slow. A limit on each chunk alone is not enough: a peer that sends one byte now and then keeps
// it for ever. So a peer has a credit of time. It loses credit while this process waits for it, and earns credit by bytes.

import type { Dispatcher } from 'undici'

/** How slow a peer may be. */
export interface Floor {
  /** On average. */
  readonly bytesPerSecond: number
  /** For how long it may be slower than that, or do nothing. No burst of bytes earns more. */
  readonly graceMs: number
}

/** For a client that holds a shared resource: slower than any line, so that only a client that has stopped is cut off. */
export const DEFAULT_FLOOR: Floor = { bytesPerSecond: 1024, graceMs: 120_000 }
/** The same while other callers wait for the resource. A client that is cut off can resume with a new request. */
export const CONTENDED_FLOOR: Floor = { bytesPerSecond: 64 * 1024, graceMs: 15_000 }

/** A peer's credit. It reads no clock: the caller records the time that passed while it waited for the peer. */
export class Pace {
  #creditMs = Number.POSITIVE_INFINITY

  /** Records that `bytes` were sent or taken after a wait of `waitedMs`. */
  record(waitedMs: number, bytes: number, { bytesPerSecond, graceMs }: Floor): void {
    const left = Math.min(this.#creditMs, graceMs) - waitedMs
    this.#creditMs = Math.min(graceMs, left + (bytes / bytesPerSecond) * 1000)
  }

  /** How long the peer may still send or take nothing. */
  creditMs({ graceMs }: Floor): number {
    return Math.min(this.#creditMs, graceMs)
  }
}

/** The peer was too slow for too long. Counts as a timeout. */
export class TooSlow extends Error {
  readonly code = 'PACE_TIMEOUT'

  constructor(who: string) {
    super(`${who} is too slow`)
    this.name = 'TooSlow'
  }
}

/**
 * Ends answers of an origin whose body drips. Undici's own limit counts only the silence between two chunks. Time during which
 * the body is not read does not count.
 */
export function withFloor(floor: Floor, now: () => number): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    const pace = new Pace()
    let readsSince: number | undefined
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
      onResponseStart(controller, status, headers, message) {
        readsSince = now()
        handler.onResponseStart?.(controller, status, headers, message)
      },
      onResponseData(controller, chunk) {
        const waitedMs = readsSince === undefined ? 0 : now() - readsSince
        pace.record(waitedMs, chunk.length, floor)
        if (pace.creditMs(floor) <= 0) {
          controller.abort(new TooSlow('the origin'))
          return
        }
        handler.onResponseData?.(controller, chunk)
        // While paused, undici waits for the reader, and reports no end of that wait here. So it does not count.
        readsSince = controller.paused ? undefined : now()
      },
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
    })
  }
}
