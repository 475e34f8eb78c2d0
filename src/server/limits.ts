// The limits of the HTTP server that faces clients: the same in every process that does.

/** Nobody who speaks the Hub's protocol pipelines; each request in flight costs descriptors and memory. */
export const MAX_IN_FLIGHT_PER_SOCKET = 16
export const MAX_HEADER_BYTES = 16 * 1024

/** What Node's server is made with. */
export const HTTP_OPTIONS = {
  // Refused by checkRequest, which says so.
  requireHostHeader: false,
  /** Longer than the idle time of the load balancers that may stand before us, else they reuse a dead connection. */
  keepAliveTimeout: 75_000,
  headersTimeout: 15_000,
  // The whole request: uploads may be long. Headers have their own limit.
  requestTimeout: 0,
  connectionsCheckingInterval: 5_000,
  maxHeaderSize: MAX_HEADER_BYTES,
} as const

/** A download may stall for as long as its client likes. */
export const CONNECTION_TIMEOUT_MS = 0
