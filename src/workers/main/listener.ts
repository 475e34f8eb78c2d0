// Where clients come in: takes connections and gives them away unread. It knows nothing of what is said on them.

import { createServer, type Server, type Socket } from 'node:net'
import type { Logger } from 'pino'
import { surviveAcceptErrors } from '../../server/accept-errors.ts'
import { TCP_KEEP_ALIVE } from '../../server/limits.ts'
import { otherAddresses } from '../../server/localhost.ts'

export class Door {
  readonly #servers: Server[] = []
  readonly #give: (socket: Socket) => void
  readonly #logger: Logger

  constructor(give: (socket: Socket) => void, logger: Logger) {
    this.#give = give
    this.#logger = logger
  }

  /** Resolves with the port. Rejects with what the system says. */
  async listen(host: string, port: number): Promise<number> {
    const own = addressOf(await this.#open(host, port))
    for (const address of await otherAddresses(host, own.address))
      await this.#open(address, own.port).catch(() => undefined)
    return own.port
  }

  /** Takes no new connections. */
  close(): void {
    for (const server of this.#servers) server.close()
  }

  #open(host: string, port: number): Promise<Server> {
    return new Promise((resolve, reject) => {
      // As Node's own HTTP server has them.
      const options = { pauseOnConnect: true, allowHalfOpen: true, noDelay: true, ...TCP_KEEP_ALIVE }
      const server = createServer(options, (socket) => {
        // Whoever reads it hears of what goes wrong.
        socket.on('error', () => undefined)
        this.#give(socket)
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
