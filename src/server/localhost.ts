// The name `localhost` stands for two addresses where a system has both, and clients come by either.

import { lookup as lookupName } from 'node:dns/promises'
import type { Server } from 'node:http'
import { openServer } from './limits.ts'

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

/** Servers at other addresses that answer as `server` does; an address that the system refuses has none. The caller closes them. */
export async function listenAlso(
  server: Server,
  addresses: readonly string[],
  port: number,
): Promise<readonly Server[]> {
  const opened = await Promise.allSettled(addresses.map((address) => openTwin(server, address, port)))
  return opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}

function openTwin(server: Server, host: string, port: number): Promise<Server> {
  const twin = openServer()
  for (const event of ['request', 'clientError'] as const)
    twin.on(event, (...what: unknown[]) => server.emit(event, ...what))
  return new Promise((resolve, reject) => {
    twin.once('error', reject)
    twin.listen({ host, port }, () => {
      twin.off('error', reject)
      resolve(twin)
    })
  })
}
