// Watches how fast a client sends a body that is forwarded while it arrives: it holds a connection to the origin all
// the while.

import type { IncomingMessage } from 'node:http'
import { MirrorError } from '../../errors.ts'
import { CONTENDED_FLOOR, DEFAULT_FLOOR, Pace, TooSlow } from './pace.ts'

const CHECK_EVERY_MS = 2_500

/**
 * Watches the upload until it is complete or the returned function is called. `onSlow` is called once for a client that is too
 * slow, and sooner while other callers wait (`isWanted`). `onComplete` is called once the request has arrived as a whole. Time
 * during which the origin does not take what has arrived does not count.
 */
export function watchUpload(
  request: Pick<IncomingMessage, 'complete' | 'isPaused' | 'readableLength'> & {
    readonly socket: { readonly bytesRead: number }
  },
  {
    isWanted,
    onSlow,
    onComplete,
  }: {
    readonly isWanted: () => boolean
    readonly onSlow: (error: MirrorError) => void
    readonly onComplete: () => void
  },
): () => void {
  const pace = new Pace()
  let seenBytes = request.socket.bytesRead
  let seenAt = performance.now()
  const check = (): void => {
    if (request.complete) {
      clearInterval(timer)
      onComplete()
      return
    }
    const { bytesRead } = request.socket
    const now = performance.now()
    const waitsForClient = !request.isPaused() && request.readableLength === 0
    const floor = isWanted() ? CONTENDED_FLOOR : DEFAULT_FLOOR
    pace.record(waitsForClient ? now - seenAt : 0, bytesRead - seenBytes, floor)
    seenBytes = bytesRead
    seenAt = now
    if (pace.creditMs(floor) > 0) return
    clearInterval(timer)
    onSlow(new MirrorError('upload_too_slow'))
  }
  const timer = setInterval(check, CHECK_EVERY_MS)
  check()
  return () => clearInterval(timer)
}

/**
 * A signal for a request to the origin that forwards an upload. It aborts with `given`, when the client is too slow
 * (see `watchUpload`), and when the answer has not begun `answerMs` after the upload was complete. `answered` ends the
 * last limit, `over` all of them; the caller must call both.
 */
export function uploadLimits(
  request: Parameters<typeof watchUpload>[0],
  options: {
    readonly given: AbortSignal | undefined
    readonly answerMs: number
    readonly isWanted: () => boolean
  },
): { readonly signal: AbortSignal; answered(): void; over(): void } {
  const { given, answerMs, isWanted } = options
  const stop = new AbortController()
  let late: NodeJS.Timeout | undefined
  let isAnswered = false
  const unwatch = watchUpload(request, {
    isWanted,
    onSlow: (error) => stop.abort(error),
    onComplete: () => {
      if (!isAnswered) late = setTimeout(() => stop.abort(new TooSlow('the origin')), answerMs)
    },
  })
  const leave = (): void => stop.abort(given?.reason)
  given?.addEventListener('abort', leave, { once: true })
  if (given?.aborted === true) leave()
  const answered = (): void => {
    isAnswered = true
    clearTimeout(late)
  }
  return {
    signal: stop.signal,
    answered,
    over() {
      answered()
      unwatch()
      given?.removeEventListener('abort', leave)
    },
  }
}
