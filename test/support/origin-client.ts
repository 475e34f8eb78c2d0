// A client of the origin in front of any server on loopback, for tests of what it sends and takes.

import type { AddressInfo, Server } from 'node:net'
import { createOriginClient, type OriginClient } from '../../src/origin/client.ts'
import { silentObserver } from '../../src/telemetry/observer.ts'

/** For a server that listens; the caller closes it. */
export function originClientOf(
  server: Server,
  options: { readonly connections: number; readonly timeoutMs?: number },
): OriginClient {
  const { port } = server.address() as AddressInfo
  return createOriginClient({
    policy: { base: new URL(`http://127.0.0.1:${port}`), allowedHosts: [] },
    timeoutMs: 20_000,
    via: '1.1 test',
    observer: silentObserver,
    now: () => performance.now(),
    ...options,
  })
}
