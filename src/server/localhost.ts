// The name `localhost` stands for two addresses where a system has both, and clients come by either.

import { lookup as lookupName } from 'node:dns/promises'
import type { Server } from 'node:http'
import { type Server as ConnectionServer, createServer } from 'node:net'
import { TCP_KEEP_ALIVE } from './limits.ts'
import { closeTogether } from './node-http.ts'

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
 * Takes connections for `server` at other addresses, too; an address that the system refuses has none. They are closed
 * with `server`, which is closed when the last of all these connections has ended.
 */
export async function listenAlso(server: Server, addresses: readonly string[], port: number): Promise<void> {
  const opened = await Promise.allSettled(addresses.map((address) => openTwin(server, address, port)))
  const twins = opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  closeTogether(server, twins)
}

function openTwin(server: Server, host: string, port: number): Promise<ConnectionServer> {
  // As Node's own server takes them.
  const options = { allowHalfOpen: true, noDelay: true, ...TCP_KEEP_ALIVE }
  const twin = createServer(options, (socket) => server.emit('connection', socket))
  return new Promise((resolve, reject) => {
    twin.once('error', reject)
    twin.listen({ host, port }, () => {
      twin.off('error', reject)
      // What cannot be accepted is told in one place.
      twin.on('error', (error) => server.emit('error', error))
      resolve(twin)
    })
  })
}
