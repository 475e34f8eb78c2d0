// Small servers on loopback that stop with the test.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  request as requestHttp,
  type ServerResponse,
} from 'node:http'
import { type AddressInfo, connect, type Server } from 'node:net'
import { onTestFinished } from 'vitest'

/** Resolves with the URL of the server. */
export function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  onTestFinished(() => server.closeAllConnections())
  return urlOf(server)
}

/** Starts the server on a free port. */
export async function urlOf(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const UNACCEPTED = `import socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(0)
print(s.getsockname()[1], flush=True)
sys.stdin.read()`

/** A port that takes one connection, and answers no further one, as behind a firewall. Node accepts all connections by itself. */
export async function dropping(): Promise<string> {
  const child = spawn('python3', ['-c', UNACCEPTED], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  const first = connect(Number(port.toString()), '127.0.0.1')
  onTestFinished(() => {
    first.destroy()
    child.stdin.end()
  })
  await once(first, 'connect')
  return `http://127.0.0.1:${Number(port.toString())}`
}

/** Sends the same request to another server, and its answer back. */
export function passOn(url: string, request: IncomingMessage, response: ServerResponse): void {
  const { method, headers } = request
  const outgoing = requestHttp(new URL(request.url ?? '/', url), { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 0, answer.headers)
    answer.pipe(response)
  })
  outgoing.on('error', () => response.destroy())
  outgoing.end()
}

/** What is different in an exchange. */
export interface Change {
  /** Headers that the request loses. */
  readonly drops?: readonly string[]
  /** Headers of the answer; undefined removes one. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  /** The answer comes from this server: JSON, or a page if `body` is a text. */
  readonly instead?: { readonly status: number; readonly body: unknown }
}

/** Passes requests on to the server at `url`, but for what `change` says of each. */
export function changing(
  url: string,
  change: (request: IncomingMessage) => Change | undefined | false,
): Promise<string> {
  return serve((request, response) => {
    const { drops = [], headers = {}, instead } = change(request) || {}
    for (const name of drops) delete request.headers[name]
    const write = response.writeHead.bind(response)
    // Headers of the server behind it come to writeHead.
    response.writeHead = ((status: number, own: Record<string, string | undefined>) => {
      const all = Object.entries({ ...own, ...headers }).filter(([, value]) => value !== undefined)
      return write(status, Object.fromEntries(all))
    }) as typeof response.writeHead
    if (instead === undefined) return passOn(url, request, response)
    const { status, body } = instead
    const isPage = typeof body === 'string'
    response.writeHead(status, { 'content-type': isPage ? 'text/html' : 'application/json' })
    response.end(isPage ? body : JSON.stringify(body))
  })
}
