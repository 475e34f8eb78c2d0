// How long a connection to the Hub or its storage is kept without a request.

/**
 * In milliseconds, unless the other side says for how long it keeps the connection (Keep-Alive). The next request needs no name
 * resolution and no handshake then. Load balancers usually close idle connections after a minute, and firewalls forget them later.
 */
export const KEEP_IDLE_MS = 30_000
