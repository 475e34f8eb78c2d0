// The name `localhost` stands for two addresses where a system has both, and clients come by either.

import { lookup as lookupName } from 'node:dns/promises'
import type { Server } from 'node:http'
import { type Server as ConnectionServer, createServer } from 'node:net'

type Lookup = (
  host: string,
  options: { readonly all: true },
) => Promise<readonly { readonly address: string }[]>

/** Where to listen beside `taken`: for `localhost` its other addresses, else nowhere. Never rejects. */
export async function otherAddresses(
  host: string,
  taken: string,
  lookup: Lookup = lookupName,
): Promise<readonly string[]> {
  if (host !== 'localhost') return []
  const found = await lookup(host, { all: true }).catch(() => [])
  return found.map(({ address }) => address).filter((address) => address !== taken)
}

/**
 * Takes connections for `server` at other addresses, too; an address that the system refuses has none. The caller closes
 * what is returned, and `server`, which has the connections.
 */
export async function listenAlso(
  server: Server,
  addresses: readonly string[],
  port: number,
): Promise<readonly ConnectionServer[]> {
  const opened = await Promise.allSettled(addresses.map((address) => openTwin(server, address, port)))
  return opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}

function openTwin(server: Server, host: string, port: number): Promise<ConnectionServer> {
  // As Node's own server takes them.
  const twin = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    server.emit('connection', socket),
  )
  return new Promise((resolve, reject) => {
    twin.once('error', reject)
    twin.listen({ host, port }, () => {
      twin.off('error', reject)
      resolve(twin)
    })
  })
}
