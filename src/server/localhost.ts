// The name `localhost` has two addresses on systems with IPv4 and IPv6, and clients may use either.

import { lookup as lookupName } from 'node:dns/promises'
import type { Server } from 'node:http'
import { type Server as ConnectionServer, createServer } from 'node:net'
import { TCP_KEEP_ALIVE } from './limits.ts'
import { closeTogether } from './node-http.ts'

type Lookup = (
  host: string,
  options: { readonly all: true },
) => Promise<readonly { readonly address: string }[]>

/** The addresses to listen on besides `taken`: the other ones of `localhost`; for any other host none. Never rejects. */
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
 * Accepts connections for `server` at further addresses. An address that the system refuses is skipped. Closing `server`
 * closes them as well; its callback is called when the last of all these connections has ended.
 */
export async function listenAlso(server: Server, addresses: readonly string[], port: number): Promise<void> {
  const opened = await Promise.allSettled(addresses.map((address) => openTwin(server, address, port)))
  const twins = opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  closeTogether(server, twins)
}

function openTwin(server: Server, host: string, port: number): Promise<ConnectionServer> {
  // The same options as Node's HTTP server.
  const options = { allowHalfOpen: true, noDelay: true, ...TCP_KEEP_ALIVE }
  const twin = createServer(options, (socket) => server.emit('connection', socket))
  return new Promise((resolve, reject) => {
    twin.once('error', reject)
    twin.listen({ host, port }, () => {
      twin.off('error', reject)
      // Errors of accepting are handled in one place.
      twin.on('error', (error) => server.emit('error', error))
      resolve(twin)
    })
  })
}
