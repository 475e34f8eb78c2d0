// Accepts the clients' connections and gives them away unread. It does not know the protocol that is spoken on them.

import { createServer, type Server, type Socket } from 'node:net'
import type { Logger } from 'pino'
import { surviveAcceptErrors } from '../../server/accept-errors.ts'
import { TCP_KEEP_ALIVE } from '../../server/limits.ts'
import { otherAddresses } from '../../server/localhost.ts'

export class Listener {
  readonly #servers: Server[] = []
  readonly #onConnection: (socket: Socket) => void
  readonly #logger: Logger

  constructor(onConnection: (socket: Socket) => void, logger: Logger) {
    this.#onConnection = onConnection
    this.#logger = logger
  }

  /** Resolves with the port. Rejects with the error of the system. */
  async listen(host: string, port: number): Promise<number> {
    const own = addressOf(await this.#open(host, port))
    for (const address of await otherAddresses(host, own.address))
      await this.#open(address, own.port).catch(() => undefined)
    return own.port
  }

  /** Accepts no more connections. */
  close(): void {
    for (const server of this.#servers) server.close()
  }

  #open(host: string, port: number): Promise<Server> {
    return new Promise((resolve, reject) => {
      // The options of Node's own HTTP server.
      const options = { pauseOnConnect: true, allowHalfOpen: true, noDelay: true, ...TCP_KEEP_ALIVE }
      const server = createServer(options, (socket) => {
        // The worker that reads the connection handles its errors.
        socket.on('error', () => undefined)
        this.#onConnection(socket)
      })
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.off('error', reject)
        surviveAcceptErrors(server, this.#logger)
        this.#servers.push(server)
        resolve(server)
      })
    })
  }
}

function addressOf(server: Server): { readonly address: string; readonly port: number } {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a server without a port')
  return address
}
