// Answers requests from the response cache, before the framework: a lookup, the checks that every request passes, one
// read if the bytes are in a file, one write. Anything else falls through to the full path, which also produces the
// error responses.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Caller, Callers } from '../callers/caller.ts'
import { containsMirrorToken } from '../callers/mirror-token.ts'
import { MirrorError } from '../errors.ts'
import { headFields } from '../http/headers.ts'
import { type ByteRange, formatContentRange } from '../http/range.ts'
import { select } from '../http/select.ts'
import type { FileRoute } from '../hub/route.ts'
import { noteAllowed } from '../mirror/access/note.ts'
import { type Answer, ageHeader, type Reusable, type ReusableFile } from '../mirror/answer.ts'
import type { ClientName } from '../mirror/context.ts'
import { outcomeHeaders, SMALL_BYTES } from '../server/body/send.ts'
import type { AddressReader } from '../server/clients.ts'
import { checkRequest, nameOf, noteCaller, noteRoute, requestId } from '../server/context.ts'
import type { Intermediary } from '../server/intermediary.ts'
import { type RequestReporters, reportRequest, statusSent } from '../server/request-log.ts'
import { RequestRecord } from '../server/request-record.ts'
import type { RequestHead } from './plain-head.ts'
import { fieldLines, headEnd, headStart, writeAnswer } from './raw-response.ts'
import { type CachedResponse, type Method, type ResponseCache, variesByResponse } from './response-cache.ts'

/** What the route asks of the mirror, or of a worker in its place. */
export interface AdmittingMirror {
  admitCached(caller: Caller, route: FileRoute): string | undefined
  recordHeadCommit(client: ClientName, answer: CachedResponse): void
}

export interface CachedRouteOptions extends RequestReporters {
  readonly cache: ResponseCache
  readonly mirror: AdmittingMirror
  readonly callers: Pick<Callers, 'recognise'>
  /** Processes that may give the same response by themselves. */
  readonly intermediary?: Pick<Intermediary, 'noteFor'> | undefined
  readonly via: string
  /** The caller's address, behind the trusted proxies. */
  readonly addressOf: AddressReader
  readonly isServed: ((address: string | undefined, route: undefined) => boolean) | undefined
}

/** Two entries to the same cached responses. */
export interface CachedRoute {
  /**
   * Answers a request that Node has read, if its response is cached. Otherwise calls `otherwise`: at once, or after a
   * stored file could not be read. Nothing has been sent to the client then.
   */
  serve(request: IncomingMessage, response: ServerResponse, otherwise: () => void): void
  /**
   * Answers a plain request with one write to its connection, if the response is cached: at once if the body is in
   * memory, otherwise after one read. Nothing else may be under way on the connection. Returns false, or resolves with
   * it, if the request is not answered; nothing has been written then. Never rejects.
   */
  write(head: RequestHead, socket: Socket): boolean | Promise<boolean>
}

export function createCachedRoute(options: CachedRouteOptions): CachedRoute {
  const { cache } = options
  return {
    serve(request, response, otherwise) {
      const { method, url = '' } = request
      const answer = method === 'GET' || method === 'HEAD' ? cache.get(method, url) : undefined
      // A response without a socket waits for earlier ones on its connection; the full path counts those. If there is
      // none before it, the kernel has taken all earlier bytes. So a client that does not read holds at most one body
      // here.
      const body = answer === undefined || response.socket === null ? undefined : bodyFor(request, answer)
      if (answer === undefined || body === undefined) {
        otherwise()
        return
      }
      const exchange = admitted(request, answer, options, () => checkRequest(request, options.via))
      if (exchange === undefined) otherwise()
      else if (body.kind === 'bytes') send({ ...exchange, response }, body, options)
      else void sendRead({ ...exchange, request, response }, body, otherwise, options)
    },

    write(head, socket) {
      const answer = cache.get(head.method, head.url)
      const end = answer && endOf(answer)
      const body = answer && bodyFor(head, answer)
      if (answer === undefined || end === undefined || body === undefined) return false
      const { method, headers } = head
      const exchange = admitted({ method, headers, socket }, answer, options, () =>
        checkHead(head, options.via),
      )
      if (exchange === undefined) return false
      const asked = { ...exchange, socket, end }
      return body.kind === 'bytes'
        ? writeBytes(asked, body, options)
        : writeRead(asked, head.url, body, options)
    },
  }
}

/** The body to send: the whole of a response, or the requested part. */
interface Bytes {
  readonly kind: 'bytes'
  /** Undefined for HEAD. */
  readonly bytes: Buffer | undefined
  readonly part: Part | undefined
}

/** The same, still to be read. */
interface Unread {
  readonly kind: 'file'
  readonly file: ReusableFile
  readonly part: Part
}

interface Part {
  readonly range: ByteRange
  readonly sizeBytes: number
}

const HEAD_BODY: Bytes = { kind: 'bytes', bytes: undefined, part: undefined }

/** The body that a request asks for; undefined if it is not available now, or if the full path must answer. */
function bodyFor(
  { method, headers }: Pick<IncomingMessage, 'method' | 'headers'>,
  answer: CachedResponse,
): Bytes | Unread | undefined {
  const { range: field, 'if-range': ifRange } = headers
  if (headers['if-none-match'] !== undefined) return undefined
  if (method === 'HEAD') return field === undefined && ifRange === undefined ? HEAD_BODY : undefined
  const bytes = answer.bytes?.()
  const sizeBytes = bytes?.length ?? answer.file?.sizeBytes
  if (sizeBytes === undefined) return undefined
  if (field === undefined && ifRange === undefined) return bytes && { kind: 'bytes', bytes, part: undefined }
  if (answer.status !== 200) return undefined
  const conditions = {
    range: field,
    ifRange: typeof ifRange === 'string' ? ifRange : undefined,
    ifNoneMatch: undefined,
  }
  const selected = select('GET', conditions, { etag: etagOf(answer), sizeBytes })
  // A whole that was requested in this way, and a 416, take the full path.
  if (selected.kind !== 'range') return undefined
  const { range } = selected
  const part = { range, sizeBytes }
  if (bytes !== undefined) return { kind: 'bytes', bytes: bytes.subarray(range.start, range.end), part }
  const { file } = answer
  if (file === undefined || range.end - range.start > SMALL_BYTES) return undefined
  const cached = file.cached(range)
  return cached === undefined ? { kind: 'file', file, part } : { kind: 'bytes', bytes: cached, part }
}

function etagOf({ headers }: CachedResponse): string {
  return headers[headers.findIndex((text, index) => index % 2 === 0 && text === 'etag') + 1] ?? ''
}

/** A request that has passed the checks, and its response. */
interface Admitted {
  readonly method: string
  readonly address: string
  readonly answer: CachedResponse
  readonly record: RequestRecord
}

/**
 * One read, one write. Never rejects. Calls `otherwise` when the bytes cannot be read in full, or when the response was
 * invalidated during the read.
 */
async function sendRead(
  exchange: Admitted & { readonly request: IncomingMessage; readonly response: ServerResponse },
  { file, part }: Unread,
  otherwise: () => void,
  options: CachedRouteOptions,
): Promise<void> {
  const { request, response, answer } = exchange
  const bytes = await file.read(part.range)
  if (response.destroyed) reportLeft(exchange, statusSent(response), options)
  else if (bytes !== undefined && options.cache.get('GET', request.url ?? '') === answer)
    send(exchange, { kind: 'bytes', bytes, part }, options)
  else otherwise()
}

/** Reports a request whose client has disconnected during the read. */
function reportLeft(
  { record, method, address }: Admitted,
  status: number,
  options: CachedRouteOptions,
): void {
  record.leave()
  reportRequest({ method, address, status }, record, options)
}

/** An admitted plain request: its connection, and the part of the head that is the same in every response. */
interface Plain extends Admitted {
  readonly socket: Socket
  readonly end: Buffer
}

/** Returns false, with nothing written, if Node must reject one of the fields. */
function writeBytes(exchange: Plain, body: Bytes, options: CachedRouteOptions): boolean {
  const { answer, method, address, record, socket, end } = exchange
  const own = fieldLines(ownFields(answer, body, options.cache))
  if (own === undefined) return false
  const status = statusOf(answer, body.part)
  begin(record, body.bytes)
  writeAnswer(socket, headStart(status, `x-request-id: ${record.id}\r\n${own}`), end, body.bytes)
  reportRequest({ method, address, status }, record, options)
  return true
}

/** The same after one read. */
async function writeRead(
  exchange: Plain,
  url: string,
  { file, part }: Unread,
  options: CachedRouteOptions,
): Promise<boolean> {
  const bytes = await file.read(part.range)
  if (!exchange.socket.writable) {
    reportLeft(exchange, 499, options)
    return true
  }
  if (bytes === undefined || options.cache.get('GET', url) !== exchange.answer) return false
  return writeBytes(exchange, { kind: 'bytes', bytes, part }, options)
}

function send(
  exchange: Admitted & { readonly response: ServerResponse },
  body: Bytes,
  options: CachedRouteOptions,
): void {
  const { response, address, answer, method, record } = exchange
  const { bytes, part } = body
  begin(record, bytes)
  const head = ['x-request-id', record.id, ...answer.headers, ...ownFields(answer, body, options.cache)]
  // An intermediary that gets the note takes the body that it forwards for the whole.
  const note = part === undefined ? options.intermediary?.noteFor(answer) : undefined
  if (note !== undefined) head.push(...note)
  response.writeHead(statusOf(answer, part), head)
  response.end(bytes)
  reportRequest({ method, address, status: statusSent(response) }, record, options)
}

function begin(record: RequestRecord, bytes: Buffer | undefined): void {
  record.firstByteAt = performance.now()
  record.bytes = bytes?.length ?? 0
}

function statusOf(answer: CachedResponse, part: Part | undefined): number {
  return part === undefined ? answer.status : 206
}

/** The fields that differ from response to response (`variesByResponse`), without the request id. */
function ownFields(answer: CachedResponse, { bytes, part }: Bytes, cache: ResponseCache): string[] {
  const fields: string[] = []
  const { age } = ageHeader(cache.ageOf(answer))
  if (age !== undefined) fields.push('age', age)
  if (bytes !== undefined) fields.push('content-length', String(bytes.length))
  if (part !== undefined) fields.push('content-range', formatContentRange(part.range, part.sizeBytes))
  return fields
}

// One cached response is sent many times.
const ends = new WeakMap<CachedResponse, Buffer>()

/** The fields that are the same each time, as bytes; undefined if Node must reject one of them. */
function endOf(answer: CachedResponse): Buffer | undefined {
  const known = ends.get(answer)
  if (known !== undefined) return known
  const lines = fieldLines(answer.headers)
  if (lines === undefined) return undefined
  const end = headEnd(lines)
  ends.set(answer, end)
  return end
}

/**
 * The part of an answer that is the same for every caller, as it is cached. The answer to a range is cached as the
 * whole.
 */
export function cachedResponse(
  answer: Answer,
  route: CachedResponse['route'],
  { method, reusable }: { readonly method: Method; readonly reusable: Reusable },
): CachedResponse {
  const own = method === 'HEAD' ? headFields(answer.status, answer.headers) : answer.headers
  const fields = Object.entries({ ...own, ...outcomeHeaders(answer) })
  const headers = fields.filter(([name]) => !variesByResponse(method, name)).flat()
  return { ...reusable, route, status: answer.status === 206 ? 200 : answer.status, headers }
}

/**
 * Runs the checks that every request passes. `check` throws for a request that is refused. Returns undefined when a check
 * fails: then the full path says why.
 */
function admitted(
  request: Pick<IncomingMessage, 'method' | 'headers' | 'socket'>,
  answer: CachedResponse,
  options: CachedRouteOptions,
  check: () => void,
): Admitted | undefined {
  const { method = '' } = request
  const address = options.addressOf(request)
  if (address === undefined || options.isServed?.(address, undefined) === false) return undefined
  const record = new RequestRecord(requestId(request))
  try {
    check()
    const { authorization } = request.headers
    const { caller } = options.callers.recognise({ authorization, address, method }, answer.route)
    if (caller.kind === 'mirror-token') return undefined
    const rules = options.mirror.admitCached(caller, answer.route)
    if (rules === undefined) return undefined
    if (rules !== '') record.access.rule = rules
    noteCaller(record, caller, authorization)
    if (method === 'HEAD')
      options.mirror.recordHeadCommit({ address, fingerprint: nameOf(authorization) }, answer)
  } catch {
    return undefined
  }
  noteRoute(record, answer.route)
  noteAllowed(record.access, 'public')
  record.outcome = 'hit'
  return { method, address, answer, record }
}

/**
 * Refuses what `checkRequest` would refuse of a head that was read because it is plain: with a Host, without a body, and
 * without a field that came twice. It may refuse more, since the full path then reads the request. Throws loop or
 * mirror_token_misplaced.
 */
function checkHead({ headers, text }: RequestHead, via: string): void {
  if (headers.via?.includes(via) === true) throw new MirrorError('loop')
  // The token may stand anywhere: only the full path knows what a mirror token in its own place may do.
  if (containsMirrorToken(text)) throw new MirrorError('mirror_token_misplaced')
}
