// Reads the head of an HTTP/1.1 response whose body has a known length, and writes the head of a request. Pure. What is
// unusual is not read here: the main thread asks again with a complete parser.

import { type HeaderBag, isHeaderSafe } from '../../http/headers.ts'

/** A longer head is not read. */
export const MAX_HEAD_BYTES = 16 * 1024

const STATUS_LINE = /^HTTP\/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?$/
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** Statuses without a body, whatever their fields say (RFC 9112 §6.3). */
const WITHOUT_BODY = new Set([204, 304])

export interface AnswerHead {
  readonly status: number
  readonly headers: HeaderBag
  /** Length of the body. */
  readonly bodyBytes: number
  /** Whether the connection can carry another request afterwards. */
  readonly isKept: boolean
}

/**
 * Reads a head without the empty line at its end. Returns undefined where the length of the body does not follow from one
 * Content-Length, where the body is encoded, and where anything is not as RFC 9112 has it.
 */
export function readAnswerHead(text: string): AnswerHead | undefined {
  const [statusLine = '', ...lines] = text.split('\r\n')
  const status = Number(STATUS_LINE.exec(statusLine)?.[1])
  if (Number.isNaN(status) || WITHOUT_BODY.has(status)) return undefined
  const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>
  for (const line of lines) {
    const [, name, value = ''] = FIELD.exec(line) ?? []
    if (name === undefined || !isHeaderSafe(value)) return undefined
    const key = name.toLowerCase()
    const before = headers[key]
    headers[key] = before === undefined ? value : [before, value].flat()
  }
  const { 'content-length': length, 'content-encoding': coding = 'identity', connection = '' } = headers
  if (typeof length !== 'string' || !/^\d{1,15}$/.test(length)) return undefined
  if (headers['transfer-encoding'] !== undefined || coding !== 'identity') return undefined
  const isKept = [connection].flat().every((value) => !/\bclose\b/i.test(value))
  return { status, headers: { ...headers }, bodyBytes: Number(length), isKept }
}

/** The head of a GET. Returns undefined where a field may not be written as it is. */
export function getHead(url: URL, headers: Readonly<Record<string, string>>): string | undefined {
  const fields = Object.entries(headers)
  if (!fields.every(([name, value]) => TOKEN.test(name) && isHeaderSafe(value))) return undefined
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\nconnection: keep-alive\r\n${lines}\r\n`
}
