// Who is too slow. A limit for each chunk alone is kept by a peer that sends a byte now and then, for ever; this one
// counts time: whoever is waited for has some credit, loses it while it is waited for, and earns it by bytes.

import type { Dispatcher } from 'undici'

/** How slow a peer may be. */
export interface Floor {
  /** On average. */
  readonly bytesPerSecond: number
  /** For how long it may be slower than that, or do nothing. No burst of bytes earns more. */
  readonly graceMs: number
}

/** For a client whose body holds something that many share: slower than any line, so that only who has stopped is cut. */
export const DEFAULT_FLOOR: Floor = { bytesPerSecond: 1024, graceMs: 120_000 }
/** The same while others wait for it. A client that is cut off goes on from where it was when it asks again. */
export const CONTENDED_FLOOR: Floor = { bytesPerSecond: 64 * 1024, graceMs: 15_000 }

/** A peer's credit. It keeps no time of its own: it is told of time that passed while the peer was waited for. */
export class Pace {
  #creditMs = Number.POSITIVE_INFINITY

  /** So many bytes came, or were taken, in so much time of waiting. */
  record(waitedMs: number, bytes: number, { bytesPerSecond, graceMs }: Floor): void {
    const left = Math.min(this.#creditMs, graceMs) - waitedMs
    this.#creditMs = Math.min(graceMs, left + (bytes / bytesPerSecond) * 1000)
  }

  /** How long the peer may still be waited for without a byte, if nothing changes. */
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
 * Ends answers of an origin whose body drips: undici's own limit counts the silence between two chunks. Time in which
 * nobody reads does not count.
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
        // Undici reads on when the body is read again, which is not told here: that wait is the reader's.
        readsSince = controller.paused ? undefined : now()
      },
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
    })
  }
}
