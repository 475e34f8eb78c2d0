// Parses the head of a GET or HEAD from its bytes, if it can be read in one way only. This is less than RFC 9112
// allows, and all that ordinary clients send. Anything else, right or wrong, is left to a real parser.

import type { IncomingHttpHeaders } from 'node:http'

/** The fields that the mirror reads of an ordinary request, all absent. */
const NO_FIELDS = {
  authorization: undefined,
  connection: undefined,
  host: undefined,
  'if-none-match': undefined,
  'if-range': undefined,
  range: undefined,
  via: undefined,
  'x-amzn-trace-id': undefined,
  'x-forwarded-for': undefined,
  'x-request-id': undefined,
}
type Field = keyof typeof NO_FIELDS

/** A request without a body, with the property names of Node's IncomingMessage. */
export interface RequestHead {
  readonly method: 'GET' | 'HEAD'
  /** The target, raw. */
  readonly url: string
  /** These fields and no others. None came twice. */
  readonly headers: Readonly<Pick<IncomingHttpHeaders, Field>>
  /** All of it, raw. */
  readonly text: string
}

const END = '\r\n\r\n'
const REQUEST_LINE = /(GET|HEAD) (\/[!-~]*) HTTP\/1\.1\r\n/y
// A token, a colon, printable ASCII: no folding, no bare CR or LF, no NUL, no octet with two readings.
const FIELD = /([!#$%&'*+.^_`|~\w-]+):([\t -~]*)\r\n/y

/**
 * The names that matter. `never`: a field that announces a body or changes the connection, which a plain request lacks.
 */
const KNOWN: ReadonlyMap<string, Field | 'never'> = new Map([
  ...(Object.keys(NO_FIELDS) as Field[]).map((name) => [name, name] as const),
  ...[
    'content-length',
    'expect',
    'http2-settings',
    'keep-alive',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
  ].map((name) => [name, 'never'] as const),
])

/**
 * Parses the head at the start of `bytes`. It must be complete, at most `maxBytes` long, and plain: HTTP/1.1, a path as
 * the target, a Host, no body, no field twice, and a persistent connection (RFC 9112 §9.3). Returns undefined for
 * anything else. The next request begins after `text.length` bytes.
 */
export function readHead(bytes: Buffer, maxBytes: number): RequestHead | undefined {
  // G or H: most other methods end here.
  if (bytes[0] !== 0x47 && bytes[0] !== 0x48) return undefined
  const end = bytes.indexOf(END, 0, 'latin1')
  if (end < 0 || end + END.length > maxBytes) return undefined
  const text = bytes.toString('latin1', 0, end + END.length)
  REQUEST_LINE.lastIndex = 0
  const line = REQUEST_LINE.exec(text)
  if (line === null) return undefined
  // All properties from the start: an object that grows property by property costs more than the rest of this function.
  const headers: Record<Field, string | undefined> = { ...NO_FIELDS }
  let at = REQUEST_LINE.lastIndex
  while (at < end) {
    FIELD.lastIndex = at
    const field = FIELD.exec(text)
    if (field === null) return undefined
    at = FIELD.lastIndex
    const name = KNOWN.get((field[1] ?? '').toLowerCase())
    if (name === undefined) continue
    if (name === 'never' || headers[name] !== undefined) return undefined
    headers[name] = (field[2] ?? '').trim()
  }
  const { connection, host } = headers
  if (host === undefined) return undefined
  if (connection !== undefined && connection.toLowerCase() !== 'keep-alive') return undefined
  return { method: line[1] === 'GET' ? 'GET' : 'HEAD', url: line[2] ?? '', headers, text }
}
