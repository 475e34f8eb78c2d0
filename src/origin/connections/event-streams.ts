// Event streams (text/event-stream of the HTML standard): logs of jobs and Spaces, queues of Gradio. They are silent for
// as long as nothing happens.

import { type Dispatcher, errors } from 'undici'
import { isEventStream } from '../../http/headers.ts'

/**
 * After this time an event stream is cut, so that no connection is held for ever. Clients connect again. TCP keep-alive
 * detects a peer that is gone.
 */
export const LONGEST_EVENT_STREAM_MS = 6 * 3_600_000

/**
 * Lets streams of events be silent, and ends them after `longestMs`. Any other body may be silent for the request's own
 * `bodyTimeout`, or else for `timeoutMs`. Time during which its reader takes nothing does not count. A body that is
 * ended fails with BodyTimeoutError.
 */
export function allowSilentEventStreams(
  timeoutMs: number,
  longestMs = LONGEST_EVENT_STREAM_MS,
): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    let timer: NodeJS.Timeout | undefined
    let isEvents = false
    const stop = (): void => clearTimeout(timer)
    const silentMs = options.bodyTimeout ?? timeoutMs
    // Undici takes its limit before the headers say what kind of body comes, so it is switched off.
    return dispatch(
      { ...options, bodyTimeout: 0 },
      {
        onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
        onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
        onResponseStart(controller, status, headers, message) {
          stop()
          if (status >= 200) {
            isEvents = isEventStream(headers)
            const expire = (): void => {
              if (!isEvents && controller.paused) timer?.refresh()
              else controller.abort(new errors.BodyTimeoutError())
            }
            if (isEvents || silentMs > 0) timer = setTimeout(expire, isEvents ? longestMs : silentMs)
          }
          handler.onResponseStart?.(controller, status, headers, message)
        },
        onResponseData(controller, chunk) {
          if (!isEvents) timer?.refresh()
          handler.onResponseData?.(controller, chunk)
        },
        onResponseEnd(controller, trailers) {
          stop()
          handler.onResponseEnd?.(controller, trailers)
        },
        onResponseError(controller, error) {
          stop()
          handler.onResponseError?.(controller, error)
        },
      },
    )
  }
}
