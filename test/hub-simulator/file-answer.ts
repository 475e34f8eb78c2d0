// Answers with the bytes of a file: ranges, conditions, encoding, and the faults that concern them. The Hub's
// direct answers and the CDN share it. Knows neither repos nor who may read what.

import type { Content } from './content.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import { parseRange, type Slice } from './range.ts'

/** A file about to be sent. */
export interface FileAnswer {
  readonly content: Content
  /** Strong, with its quotes. */
  readonly etag: string
  readonly headers: HeaderMap
  /** Whether text may be encoded on the fly when the caller accepts it. */
  readonly mayGzip: boolean
  /** Whether If-None-Match is honoured. */
  readonly revalidates: boolean
}

/** Sends 200, 206, 304 or 416. A Range that is malformed or names several ranges is ignored (RFC 9110 14.2). */
export async function sendFile(exchange: Exchange, file: FileAnswer): Promise<void> {
  const { damage } = exchange
  const sizeBytes = file.content.sizeBytes
  const headers: HeaderMap = { 'Accept-Ranges': 'bytes', ETag: file.etag, ...file.headers }
  if (file.revalidates && matches(exchange.header('if-none-match'), file.etag)) {
    delete headers['Content-Type']
    return exchange.send({ status: 304, headers })
  }
  const rangeHeader = exchange.isHead || damage.ignoreRange ? undefined : exchange.header('range')
  const wanted = ifRangeHolds(exchange, file.etag) ? parseRange(rangeHeader, sizeBytes) : undefined
  if (wanted === 'unsatisfiable') {
    return exchange.send({
      status: 416,
      headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Range': `bytes */${sizeBytes}` },
      body: 'The requested range is not satisfiable',
    })
  }
  if (wanted !== undefined) {
    const range = damage.wrongRange ? neighbour(wanted, sizeBytes) : wanted
    headers['Content-Range'] = `bytes ${range.start}-${range.end - 1}/${sizeBytes}`
    return exchange.send({ status: 206, headers, body: file.content, range, isFile: true })
  }
  const gzip =
    file.mayGzip && exchange.header('range') === undefined && acceptsGzip(exchange.header('accept-encoding'))
  await exchange.send({ status: 200, headers, body: file.content, isFile: true, gzip })
}

/** `inline; filename*=UTF-8''x.py; filename="x.py";`, as the Hub writes it. */
export function contentDisposition(path: string, kind: 'inline' | 'attachment' = 'inline'): string {
  const name = path.slice(path.lastIndexOf('/') + 1)
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\]/g, '_')
  return `${kind}; filename*=UTF-8''${encodeURIComponent(name)}; filename="${plain}";`
}

const TEXT_EXTENSIONS = new Set([
  'json',
  'jsonl',
  'md',
  'csv',
  'html',
  'txt',
  'py',
  'yaml',
  'yml',
  'gitattributes',
])

/** The type and whether the CDN before the Hub would encode it. */
export function describeFile(path: string): { readonly contentType: string; readonly isText: boolean } {
  const extension = path.slice(path.lastIndexOf('.') + 1).toLowerCase()
  const isText = TEXT_EXTENSIONS.has(extension)
  // The Hub sends all text as plain text, JSON and HTML too.
  const contentType = isText ? 'text/plain; charset=utf-8' : 'application/octet-stream'
  return { contentType, isText }
}

// The range one byte further on, or one byte before where the file ends; of the whole file, all but its first byte.
function neighbour(range: Slice, sizeBytes: number): Slice {
  if (range.end < sizeBytes) return { start: range.start + 1, end: range.end + 1 }
  if (range.start > 0) return { start: range.start - 1, end: range.end - 1 }
  return { start: Math.min(1, sizeBytes - 1), end: sizeBytes }
}

function ifRangeHolds(exchange: Exchange, etag: string): boolean {
  const condition = exchange.header('if-range')
  return condition === undefined || condition === etag
}

function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  return header
    .split(',')
    .some((candidate) => candidate.trim().replace(/^W\//, '') === etag || candidate.trim() === '*')
}

function acceptsGzip(header: string | undefined): boolean {
  if (header === undefined) return false
  return header.split(',').some((coding) => /^\s*(gzip|\*)\s*(;(?!\s*q=0(\.0*)?\s*$).*)?$/i.test(coding))
}
