// HTTP as bytes on a socket, for what no client library would send: it neither parses the request nor mends it.

import { connect, type Socket } from 'node:net'

/** The time that a busy machine may take for one answer. */
const MAX_WAIT_MS = 120_000

/** What came back before the connection ended or fell silent. */
export interface RawAnswer {
  /** Everything received, as latin1. */
  readonly text: string
  readonly bytes: Buffer
  /** Status of the first answer; 0 when there was none. */
  readonly status: number
  /** Header fields of the first answer, names in lower case; repeated ones are joined by a comma. */
  readonly headers: Readonly<Record<string, string>>
  /** What follows the first empty line; still chunked where it was. */
  readonly body: Buffer
  /** How the other side ended it; `silent` when it left it open. */
  readonly end: 'closed' | 'reset' | 'silent'
}

/**
 * Writes exactly `bytes` (a string as latin1) and collects until the other side ends. With `quietMs` also until it has
 * said nothing for so long after something: for answers behind which a connection may stay open. How long the first
 * byte takes is for the test to judge.
 */
export function rawHttp(
  url: string,
  bytes: string | Uint8Array,
  options: { readonly quietMs?: number } = {},
): Promise<RawAnswer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let connected = false
    const socket = connect({ host: hostname, port: Number(port) })
    const finish = (end: RawAnswer['end']): void => {
      socket.destroy()
      resolve(parse(Buffer.concat(parts), end))
    }
    socket.setTimeout(MAX_WAIT_MS, () => finish('silent'))
    socket.once('connect', () => {
      connected = true
      socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    })
    socket.on('data', (chunk: Buffer) => {
      parts.push(chunk)
      socket.setTimeout(options.quietMs ?? MAX_WAIT_MS)
    })
    socket.once('end', () => finish('closed'))
    socket.once('error', (error) => (connected ? finish('reset') : reject(error)))
  })
}

function parse(bytes: Buffer, end: RawAnswer['end']): RawAnswer {
  const text = bytes.toString('latin1')
  const gap = text.indexOf('\r\n\r\n')
  const [first = '', ...lines] = (gap < 0 ? text : text.slice(0, gap)).split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
  }
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0)
  return { text, bytes, status, headers, body: gap < 0 ? Buffer.alloc(0) : bytes.subarray(gap + 4), end }
}

/** Resolves when the socket has closed, also with an error: a byte that is sent after the end is answered by a reset. */
export function whenClosed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.on('error', () => undefined).once('close', () => resolve())
  })
}
