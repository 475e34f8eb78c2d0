// One request and its answer: the parsed target, the faults that strike it, and the writing of status, headers
// and body under those faults. Both servers use it. Knows no route and no repo.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { cut, writeBody } from './body.ts'
import { type Content, fromBytes, readContent } from './content.ts'
import type { Damage, Faults, SeenRequest } from './faults.ts'
import type { Ledger, LedgerEntry, ServerName } from './ledger.ts'

export type HeaderMap = Record<string, string | number | string[]>

/** An answer before any damage. */
export interface Answer {
  readonly status: number
  readonly headers?: Readonly<HeaderMap>
  readonly body?: string | Buffer | Content
  /** The part of the body to send; the whole, when absent. */
  readonly range?: { readonly start: number; readonly end: number }
  /** The bytes of a file: the ledger counts them, the throttle and `corruptAt` apply. */
  readonly isFile?: boolean
  /** Of something before the server: without what each answer of the server carries. */
  readonly isForeign?: boolean
  /** Encode on the fly: chunked, no length, weak ETag, no ranges (as the Hub's CDN does with text). */
  readonly gzip?: boolean
}

/** What an exchange needs from its server. */
export interface ExchangeSetup {
  readonly server: ServerName
  readonly ledger: Ledger
  readonly faults: Faults
  readonly bytesPerSecond: () => number | undefined
  /** Headers that every answer of this server carries. */
  readonly standing: (exchange: Exchange) => HeaderMap
}

/** Connections that have carried a request. */
const used = new WeakSet<Socket>()
const LARGEST_BODY_BYTES = 256 * 1024 * 1024
const PORTAL = '<!doctype html><title>Welcome</title><p>Please accept the terms to use this network.'

/** One request under way. */
export class Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly entry: LedgerEntry
  readonly damage: Damage
  readonly seen: SeenRequest
  readonly method: string
  /** Path and query exactly as on the wire; `segments` are split first and decoded once. */
  readonly rawPath: string
  readonly rawQuery: string
  readonly segments: readonly string[] | undefined
  readonly query: URLSearchParams
  readonly whenGone: Promise<void>
  readonly #setup: ExchangeSetup

  constructor(setup: ExchangeSetup, request: IncomingMessage, response: ServerResponse) {
    this.#setup = setup
    this.request = request
    this.response = response
    this.method = request.method ?? 'GET'
    const url = request.url ?? '/'
    const isKept = used.has(request.socket)
    used.add(request.socket)
    this.seen = { server: setup.server, method: this.method, url, headers: request.headers, isKept }
    this.entry = setup.ledger.arrive(this.seen)
    const mark = url.indexOf('?')
    this.rawPath = mark < 0 ? url : url.slice(0, mark)
    this.rawQuery = mark < 0 ? '' : url.slice(mark + 1)
    this.segments = decodeSegments(this.rawPath)
    this.query = new URLSearchParams(this.rawQuery)
    this.whenGone = new Promise((resolve) => {
      response.once('close', () => {
        setup.ledger.finish(this.entry, !response.writableFinished)
        resolve()
      })
    })
    response.on('error', () => {})
    request.on('error', () => {})
    this.damage = setup.faults.take(this.seen)
  }

  get isHead(): boolean {
    return this.method === 'HEAD'
  }

  /** A request header by lower-case name, when it is there once. */
  header(name: string): string | undefined {
    const value = this.request.headers[name]
    return typeof value === 'string' ? value : undefined
  }

  /** Plays what comes before any answer. `true`: the request has been dealt with. */
  async preempt(): Promise<boolean> {
    const { damage } = this
    if (damage.onRequest !== undefined) await damage.onRequest(this.seen)
    if (damage.delayMs !== undefined) {
      await new Promise((resolve) => {
        setTimeout(resolve, damage.delayMs)
      })
    }
    if (damage.afterBody) await this.readBody()
    if (damage.stallHeaders) await this.stall()
    if (damage.resetBeforeHeaders) {
      this.request.socket.resetAndDestroy()
      return true
    }
    if (damage.endBeforeHeaders) {
      this.request.socket.end()
      return true
    }
    const answer = this.#faultAnswer()
    if (answer === undefined) return false
    await this.send(answer)
    return true
  }

  /** Waits for the release of a stall, or for the caller to leave. */
  stall(): Promise<void> {
    return this.#setup.faults.stall(this.whenGone)
  }

  /** The whole request body. Throws above 256 MiB. */
  async readBody(): Promise<Buffer> {
    const chunks: Buffer[] = []
    let sizeBytes = 0
    for await (const chunk of this.request) {
      const bytes = chunk as Buffer
      sizeBytes += bytes.length
      if (sizeBytes > LARGEST_BODY_BYTES) throw new Error('the body is larger than the simulator keeps')
      chunks.push(bytes)
    }
    return Buffer.concat(chunks)
  }

  /** Sends an answer, damaged as scripted. Settles when the last byte is handed over or the caller is gone. */
  async send(answer: Answer): Promise<void> {
    const { response, damage, entry } = this
    if (response.destroyed || response.headersSent) return
    const plain = toContent(answer.body)
    const isEncoded = (answer.gzip === true || damage.gzipAlways === true) && plain.sizeBytes > 0
    const range = answer.range ?? { start: 0, end: plain.sizeBytes }
    const content = isEncoded ? fromBytes(gzipSync(readContent(plain, range.start, range.end))) : plain
    const start = isEncoded ? 0 : range.start
    const end = isEncoded ? content.sizeBytes : range.end
    const headers = this.#headers(answer, isEncoded, end - start)
    entry.status = answer.status
    if (damage.noContentLength) {
      response.useChunkedEncodingByDefault = false
      response.shouldKeepAlive = false
    }
    response.writeHead(answer.status, headers)
    if (this.isHead || answer.status === 304 || answer.status === 204) {
      response.end()
      return
    }
    entry.isFile = answer.isFile === true
    const { socket } = this.request
    if (damage.thenClose === 'fin') response.once('finish', () => socket.end())
    if (damage.thenClose === 'rst') response.once('finish', () => socket.resetAndDestroy())
    if (damage.atOnce) response.cork()
    else response.flushHeaders()
    await writeBody({
      response,
      pieces: withExtra(content.pieces(start, end), damage.extraBytes ?? 0),
      fileOffset: start,
      damage,
      bytesPerSecond: answer.isFile ? this.#setup.bytesPerSecond() : undefined,
      whenGone: this.whenGone,
      stall: () => this.stall(),
      onBytes: (sizeBytes) => {
        entry.bytesSent += sizeBytes
        this.#setup.ledger.progress()
      },
    })
  }

  /** Breaks the connection, for answers that cannot be made. */
  abort(): void {
    if (this.response.headersSent) cut(this.response, 'rst')
    else this.request.socket.resetAndDestroy()
  }

  #headers(answer: Answer, isEncoded: boolean, lengthBytes: number): HeaderMap {
    const { damage } = this
    const headers: HeaderMap = {
      ...(answer.isForeign === true ? {} : this.#setup.standing(this)),
      ...answer.headers,
      ...damage.addHeaders,
    }
    // HEAD announces the length of the body it does not send; a caller may have set it already (304, 204: none).
    const hasLength = answer.status !== 304 && answer.status !== 204
    if (hasLength && !isEncoded) headers['Content-Length'] ??= lengthBytes
    if (isEncoded) {
      delete headers['Content-Length']
      delete headers['Accept-Ranges']
      headers['Content-Encoding'] = 'gzip'
      headers['Vary'] = 'Accept-Encoding'
      if (this.isHead) headers['Transfer-Encoding'] = 'chunked'
    }
    const etag = headers['ETag']
    if (typeof etag === 'string') {
      const flipped = damage.etagFlip ? flipEtag(etag) : etag
      headers['ETag'] = (isEncoded || damage.weakEtag) && !flipped.startsWith('W/') ? `W/${flipped}` : flipped
    }
    const linked = headers['X-Linked-ETag']
    if (typeof linked === 'string') {
      const flipped = damage.etagFlip ? flipEtag(linked) : linked
      headers['X-Linked-ETag'] = damage.weakEtag ? `W/${flipped}` : flipped
    }
    for (const name of damage.bareEtag === undefined ? [] : ['ETag', 'X-Linked-ETag']) {
      const value = headers[name]
      if (typeof value === 'string') headers[name] = value.replaceAll('"', '')
    }
    const { etagSuffix } = damage
    for (const name of etagSuffix === undefined ? [] : ['ETag', 'X-Linked-ETag']) {
      const value = headers[name]
      if (typeof value === 'string') headers[name] = value.replace(/"$/, `${etagSuffix}"`)
    }
    const length = headers['Content-Length']
    if (damage.contentLength !== undefined && length !== undefined) {
      const real = Number(length)
      headers['Content-Length'] =
        typeof damage.contentLength === 'function' ? damage.contentLength(real) : damage.contentLength
    }
    if (damage.noContentLength) delete headers['Content-Length']
    const dropped = new Set([damage.dropHeader ?? []].flat().map((name) => name.toLowerCase()))
    for (const name of Object.keys(headers)) if (dropped.has(name.toLowerCase())) delete headers[name]
    return headers
  }

  #faultAnswer(): Answer | undefined {
    const { status, edge, redirectTo, rateLimit429, captivePortal } = this.damage
    if (edge !== undefined) {
      return { status: edge.code, headers: edge.headers ?? {}, body: edge.body ?? '', isForeign: true }
    }
    if (status !== undefined) {
      return { status: status.code, headers: status.headers ?? {}, body: status.body ?? '' }
    }
    if (redirectTo !== undefined) {
      const target = typeof redirectTo === 'function' ? redirectTo(this.seen) : redirectTo
      const location = target === 'self' ? this.seen.url : target
      return { status: 302, headers: { Location: location }, body: `Found. Redirecting to ${location}` }
    }
    if (rateLimit429 !== undefined) {
      const headers: HeaderMap = { 'Content-Type': 'application/json; charset=utf-8' }
      if (rateLimit429.retryAfter !== undefined) headers['Retry-After'] = rateLimit429.retryAfter
      if (rateLimit429.rateLimit !== undefined) headers['RateLimit'] = rateLimit429.rateLimit
      return { status: 429, headers, body: '{"error":"Too many requests, please slow down."}' }
    }
    if (captivePortal) {
      return { status: 200, headers: { 'Content-Type': 'text/html' }, body: PORTAL, isForeign: true }
    }
    return undefined
  }
}

function toContent(body: Answer['body']): Content {
  if (body === undefined) return fromBytes('')
  return typeof body === 'string' || Buffer.isBuffer(body) ? fromBytes(body) : body
}

// Another valid ETag of the same length: digits rotate, so that hex stays hex.
function flipEtag(etag: string): string {
  return etag.replace(/[0-9a-f](?=[^0-9a-f]*$)/, (digit) =>
    ((Number.parseInt(digit, 16) + 1) % 16).toString(16),
  )
}

function* withExtra(pieces: Iterable<Buffer>, extraBytes: number): Generator<Buffer> {
  yield* pieces
  if (extraBytes > 0) yield Buffer.alloc(extraBytes, 0x2b)
}

function decodeSegments(rawPath: string): readonly string[] | undefined {
  try {
    return rawPath.split('/').slice(1).map(decodeURIComponent)
  } catch {
    return undefined
  }
}
