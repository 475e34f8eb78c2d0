// The head of a GET or HEAD as it stands in bytes, read only where it can be read in one way: less than RFC 9112
// allows, and all that clients send who do nothing special. Whatever else it is, right or wrong, is for a real parser.

import type { IncomingHttpHeaders } from 'node:http'

/** The fields of a request that anybody reads where nothing special is asked for, none of them there. */
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

/** A request without a body, in the words of Node's IncomingMessage. */
export interface RequestHead {
  readonly method: 'GET' | 'HEAD'
  /** The target, raw. */
  readonly url: string
  /** These, and no other ones. None came twice. */
  readonly headers: Readonly<Pick<IncomingHttpHeaders, Field>>
  /** All of it, raw. */
  readonly text: string
}

const END = '\r\n\r\n'
const REQUEST_LINE = /(GET|HEAD) (\/[!-~]*) HTTP\/1\.1\r\n/y
// A token, a colon, printable ASCII: no folding, no bare CR or LF, no NUL, no octet with two readings.
const FIELD = /([!#$%&'*+.^_`|~\w-]+):([\t -~]*)\r\n/y

/** What is known by heart; `never` says that something follows, or what becomes of the connection. */
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
 * The head that `bytes` begin with, if it is whole, no longer than `maxBytes`, and plain: HTTP/1.1, a path for a target,
 * a Host, no body, nothing that could be said twice, and a connection that stays (RFC 9112 §9.3). Undefined where it is
 * anything else. The next request begins after the length of its text.
 */
export function readHead(bytes: Buffer, maxBytes: number): RequestHead | undefined {
  // G or H: most of what is no GET or HEAD ends here.
  if (bytes[0] !== 0x47 && bytes[0] !== 0x48) return undefined
  const end = bytes.indexOf(END, 0, 'latin1')
  if (end < 0 || end + END.length > maxBytes) return undefined
  const text = bytes.toString('latin1', 0, end + END.length)
  REQUEST_LINE.lastIndex = 0
  const line = REQUEST_LINE.exec(text)
  if (line === null) return undefined
  // All of its fields at once: an object that grows by names costs more than all else here.
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
