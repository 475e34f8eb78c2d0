// A free port of loopback, for servers that cannot choose one themselves.

import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below the ports that Linux and other systems give to connections and to servers that ask for any port. */
const FIRST = 10_000
const END = 32_000

/** Free a moment ago on all addresses. Only a program that chooses the same number can take it. */
export async function freePort(): Promise<number> {
  const port = randomInt(FIRST, END)
  const server = createServer().listen(port)
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return freePort()
    throw error
  }
  server.close()
  await once(server, 'close')
  return port
}
