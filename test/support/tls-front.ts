// TLS in front of a server on loopback.

import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { SERVER_KEY } from './certificates.ts'

/** A port that speaks TLS with `certificate`, whose key is `key`, and forwards to the server at `url`. The caller must close it. */
export async function startTlsFront(
  url: string,
  certificate: string,
  key = SERVER_KEY,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const { hostname, port } = new URL(url)
  const sockets = new Set<TLSSocket>()
  const server = createServer({ key, cert: certificate }, (socket) => {
    sockets.add(socket)
    const inner = connect(Number(port), hostname)
    socket.on('error', () => inner.destroy())
    inner.on('error', () => socket.destroy())
    socket.once('close', () => {
      sockets.delete(socket)
      inner.destroy()
    })
    socket.pipe(inner).pipe(socket)
  })
  // A client that does not accept the certificate leaves.
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
