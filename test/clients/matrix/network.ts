// Where the clients of the table run: in a network namespace whose one route leads to the mirror, if root plays it.

import { skippedFor } from '../../support/absent.ts'
import { openNamespace } from '../support/namespace.ts'
import { isAtRoot } from '../support/place.ts'

/** How clients run, and under which name they find the mirror. */
export interface Network {
  /** The host part of the mirror's URL. */
  readonly host: string
  /** What stands before a client's command. */
  readonly prefix: readonly string[]
  readonly isNamespace: boolean
  /** Ends the namespace with all that is in it. */
  close(): Promise<void>
}

/**
 * Opens a namespace. Without the rights for it the clients stay in this machine's own network, where run.ts keeps them from
 * other hosts by a proxy that refuses; this is said on the terminal.
 */
export async function openNetwork(): Promise<Network> {
  const plain = { host: 'localhost', prefix: [], isNamespace: false, close: async () => undefined }
  // Elsewhere the mirror has a name or an address that leads to loopback only.
  if (!isAtRoot) return plain
  try {
    const namespace = await openNamespace()
    const close = () => namespace.close()
    return { host: namespace.address, prefix: namespace.inside, isNamespace: true, close }
  } catch (error) {
    skippedFor('a network namespace for the clients of the table', error)
    return plain
  }
}
