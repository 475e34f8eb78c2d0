// One request as a client would make it, and the whole answer as it came: no redirect followed, nothing decoded,
// one connection each unless an agent is given. Knows neither mirror nor Hub.

import { createHash } from 'node:crypto'
import { type Agent, type IncomingMessage, request } from 'node:http'
import { request as secureRequest } from 'node:https'
import { TEST_CA } from './certificates.ts'
import { SECOND_CA } from './tls-certificates.ts'

export interface Question {
  readonly method?: string
  /** Sent as `Authorization: Bearer …`. */
  readonly token?: string | undefined
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string | Uint8Array
  /** Connections to use again. Without one, the request has a connection of its own. */
  readonly agent?: Agent
  /** Of the client, to a server that speaks TLS. */
  readonly certificate?: { readonly cert: string; readonly key: string }
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  /** Names of all header fields, in lower case and in order. */
  readonly names: readonly string[]
  readonly body: Buffer
  /** Whether the body came to its announced end. */
  readonly whole: boolean
}

/** Sends the request to `base` with exactly `target` as its request target. Rejects when no answer begins. */
export async function ask(base: string, target: string, question: Question = {}): Promise<Reply> {
  const message = await open(base, target, question)
  const parts: Buffer[] = []
  try {
    for await (const part of message) parts.push(part as Buffer)
  } catch {
    // `whole` says whether it was cut.
  }
  return {
    status: message.statusCode ?? 0,
    headers: Object.fromEntries(
      Object.entries(message.headers).map(([name, value]) => [
        name,
        Array.isArray(value) ? value.join(', ') : value,
      ]),
    ),
    names: message.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()),
    body: Buffer.concat(parts),
    whole: message.complete,
  }
}

/** The same, but hands over the answer when its headers are there; destroying it is leaving. */
export function open(base: string, target: string, question: Question = {}): Promise<IncomingMessage> {
  const { protocol, hostname, port } = new URL(base)
  const isSecure = protocol === 'https:'
  return new Promise((resolve, reject) => {
    // As clients have it; a connection that is to close is read in another way.
    const headers: Record<string, string | string[]> = { connection: 'keep-alive', ...question.headers }
    if (question.token !== undefined) headers['authorization'] = `Bearer ${question.token}`
    // Node frames the body of a DELETE in no way by itself.
    if (question.body !== undefined) headers['content-length'] = String(Buffer.byteLength(question.body))
    const outgoing = (isSecure ? secureRequest : request)(
      {
        host: hostname.replace(/^\[|\]$/g, ''),
        port,
        path: target,
        method: question.method ?? 'GET',
        headers,
        agent: question.agent ?? false,
        // Whatever the field Host says.
        ...(isSecure ? { servername: 'localhost', ca: [TEST_CA, SECOND_CA], ...question.certificate } : {}),
      },
      resolve,
    )
    outgoing.on('error', reject)
    // The answer may be here before everything was sent. Then the connection fails unseen by the request.
    if (question.agent === undefined) outgoing.on('socket', (socket) => socket.on('error', () => undefined))
    outgoing.end(question.body)
  })
}

/** The SHA-256 of the body of a 200, which is not kept; undefined if the body broke off. */
export function digestFrom(answer: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve) => {
    const hash = createHash('sha256')
    answer.on('data', (chunk: Buffer) => hash.update(chunk))
    answer.on('error', () => resolve(undefined))
    answer.on('end', () =>
      resolve(answer.complete && answer.statusCode === 200 ? hash.digest('hex') : undefined),
    )
  })
}
