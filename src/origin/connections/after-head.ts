// Which connections are kept after a HEAD. Undici closes each of them, because some servers send a body all the same: a late
// body would be read as the answer to the next request on that connection, which may be another caller's.

import type { Dispatcher } from 'undici'

/**
 * Keeps the connection after a HEAD that was answered by a redirect, and closes it after any other answer. A body that
 * a server sends after a redirect, against the rules, is text of the server's own: no parser takes it for an answer,
 * and the connection ends there. After a 200 the body would be a file, and its author could forge the answer to the
 * next request.
 */
export function keepConnectionAfterRedirects(dispatch: Dispatcher.Dispatch): Dispatcher.Dispatch {
  return (options, handler) =>
    options.method === 'HEAD'
      ? dispatch({ ...options, reset: false }, closing(handler))
      : dispatch(options, handler)
}

/** Ends the answer, and with it the connection, as soon as its status is not that of a redirect. */
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
