// Which connections are kept after a HEAD. Undici closes each, since there are servers that send a body all the same: what
// comes late would be read as the answer to the next question on that connection, which may be somebody else's.

import type { Dispatcher } from 'undici'

/**
 * Keeps the connection after a HEAD that was answered by a redirect, and by nothing else. What a server might send behind
 * a redirect against the rules are words of its own, which no parser takes for an answer: the connection ends there. Behind
 * a 200 it would be a file, and whoever wrote that chooses its bytes: an answer to the next question, with another's facts.
 */
export function keepConnectionAfterRedirects(dispatch: Dispatcher.Dispatch): Dispatcher.Dispatch {
  return (options, handler) =>
    options.method === 'HEAD'
      ? dispatch({ ...options, reset: false }, closing(handler))
      : dispatch(options, handler)
}

/** Ends the answer, and with it the connection, as soon as it turns out to be no redirect. */
function closing(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
  let isOver = false
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
    onResponseStart(controller, status, headers, message) {
      handler.onResponseStart?.(controller, status, headers, message)
      if (status < 200 || (status >= 300 && status < 400)) return
      isOver = true
      handler.onResponseEnd?.(controller, {})
      controller.abort(new Error('a HEAD response ends with its headers'))
    },
    onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
    onResponseEnd(controller, trailers) {
      if (!isOver) handler.onResponseEnd?.(controller, trailers)
    },
    onResponseError(controller, error) {
      if (!isOver) handler.onResponseError?.(controller, error)
    },
  }
}
