// What the mirror has ready is answered here, before the framework: a lookup, the checks that every request passes, one
// read where the bytes are in a file, one write. Whatever is not quite so goes the long way, which also says what is wrong
// with it.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller, Callers } from '../callers/caller.ts'
import { rangeStillValid } from '../http/conditional.ts'
import { type ByteRange, formatContentRange, parseRange } from '../http/range.ts'
import type { FileRoute } from '../hub/route.ts'
import { type Answer, ageHeader, type ByteSource } from '../mirror/answer.ts'
import type { ClientName } from '../mirror/context.ts'
import { noteAllowed } from '../mirror/note.ts'
import {
  isSaidOnce,
  type Method,
  type Readiness,
  type ReadyAnswer,
  type ReadyAnswers,
} from '../mirror/ready.ts'
import { type Accounts, account } from './account.ts'
import { checkRequest, nameOf, noteCaller, noteRoute, requestId } from './context.ts'
import { READY_FIELD } from './peer.ts'
import { outcomeHeaders, SMALL_BYTES } from './send.ts'
import { Trace } from './trace.ts'
import type { WorkerLink } from './worker-link.ts'

/** What is asked of the mirror, or of a worker in its place. */
export interface ReadyMirror {
  readonly ready: ReadyAnswers
  admitReady(caller: Caller, route: FileRoute): string | undefined
  pin(client: ClientName, answer: ReadyAnswer): void
}

export interface ReadyRouteOptions extends Accounts {
  readonly mirror: ReadyMirror
  readonly callers: Pick<Callers, 'recognise'>
  /** Where workers may repeat the answer. */
  readonly workers?: WorkerLink | undefined
  readonly via: string
  /** Whose request it is, past the proxies that are trusted. */
  readonly addressOf: (request: IncomingMessage) => string | undefined
  readonly isServed: ((address: string | undefined, route: undefined) => boolean) | undefined
}

/**
 * Answers a request if the answer is ready. Else `otherwise` is called, at once or when a stored file could not be read,
 * and nobody has been told anything then.
 */
export type ReadyRoute = (request: IncomingMessage, response: ServerResponse, otherwise: () => void) => void

export function createReadyRoute(options: ReadyRouteOptions): ReadyRoute {
  const { ready } = options.mirror
  return (request, response, otherwise) => {
    const { method, url = '' } = request
    const answer = method === 'GET' || method === 'HEAD' ? ready.recall(method, url) : undefined
    // One that waits for its turn on the connection is counted with the others that do. Where none is before it, the
    // kernel has taken all that was said there: of a client that reads nothing no more than one body is held.
    const body = answer === undefined || response.socket === null ? undefined : bodyFor(request, answer)
    if (answer === undefined || body === undefined) {
      otherwise()
      return
    }
    const trace = new Trace(requestId(request))
    const address = options.addressOf(request)
    if (!mayBeServed(request, address, { answer, trace, options })) {
      void closeQuietly(body)
      otherwise()
      return
    }
    noteRoute(trace, answer.route)
    noteAllowed(trace.access, 'public')
    trace.outcome = 'hit'
    const exchange = { request, response, address, answer, trace }
    if (body.kind === 'source') void sendRead(exchange, body, otherwise, options)
    else send(exchange, body, options)
  }
}

/** What is sent of an answer: all of it, or the part that was asked for. */
interface Bytes {
  readonly kind: 'bytes'
  /** None of a HEAD. */
  readonly bytes: Buffer | undefined
  readonly part: Part | undefined
}

/** The same, which has to be read first. */
interface Unread {
  readonly kind: 'source'
  readonly source: ByteSource
  readonly part: Part
}

interface Part {
  readonly range: ByteRange
  readonly sizeBytes: number
}

const HEAD_BODY: Bytes = { kind: 'bytes', bytes: undefined, part: undefined }

/** What of an answer is asked for; undefined where that is not there now, or for the long way to say. */
function bodyFor({ method, headers }: IncomingMessage, answer: ReadyAnswer): Bytes | Unread | undefined {
  const { range: field, 'if-range': ifRange } = headers
  if (headers['if-none-match'] !== undefined) return undefined
  if (method === 'HEAD') return field === undefined && ifRange === undefined ? HEAD_BODY : undefined
  const bytes = answer.bytes?.()
  const sizeBytes = bytes?.length ?? answer.file?.sizeBytes
  if (sizeBytes === undefined) return undefined
  if (field === undefined && ifRange === undefined) return bytes && { kind: 'bytes', bytes, part: undefined }
  const wanted = parseRange(field, sizeBytes)
  if (answer.status !== 200 || wanted.kind !== 'range') return undefined
  if (typeof ifRange === 'string' && !rangeStillValid(ifRange, etagOf(answer))) return undefined
  const { range } = wanted
  const part = { range, sizeBytes }
  if (bytes !== undefined) return { kind: 'bytes', bytes: bytes.subarray(range.start, range.end), part }
  const source = range.end - range.start > SMALL_BYTES ? undefined : answer.file?.open(range)
  return source && { kind: 'source', source, part }
}

function etagOf({ headers }: ReadyAnswer): string {
  return headers[headers.findIndex((text, index) => index % 2 === 0 && text === 'etag') + 1] ?? ''
}

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly address: string | undefined
  readonly answer: ReadyAnswer
  readonly trace: Trace
}

/**
 * One read, one write. Never rejects: what cannot be read, or not all of it, or is not ready any more by then, goes the
 * long way from its beginning.
 */
async function sendRead(
  exchange: Exchange,
  body: Unread,
  otherwise: () => void,
  options: ReadyRouteOptions,
): Promise<void> {
  const { request, response, address, answer, trace } = exchange
  const { method = '', url = '' } = request
  const { source, part } = body
  const { start, end } = part.range
  const bytes = Buffer.allocUnsafe(end - start)
  const length = await source.read(bytes, 0, bytes.length, start).catch(() => undefined)
  void closeQuietly(body)
  if (response.destroyed) {
    trace.leave()
    account({ method, address, response }, trace, options)
  } else if (length === bytes.length && options.mirror.ready.recall('GET', url) === answer) {
    send(exchange, { kind: 'bytes', bytes, part }, options)
  } else {
    otherwise()
  }
}

/** Whatever closing says, what was read is right. */
async function closeQuietly(body: Bytes | Unread): Promise<void> {
  if (body.kind === 'source') await body.source.close().catch(() => undefined)
}

function send(exchange: Exchange, { bytes, part }: Bytes, options: ReadyRouteOptions): void {
  const { request, response, address, answer, trace } = exchange
  const { method = '' } = request
  trace.firstByteAt = performance.now()
  trace.bytes = bytes?.length ?? 0
  const head = ['x-request-id', trace.id, ...answer.headers]
  const { age } = ageHeader(options.mirror.ready.ageOf(answer))
  if (age !== undefined) head.push('age', age)
  if (bytes !== undefined) head.push('content-length', String(bytes.length))
  if (part !== undefined) head.push('content-range', formatContentRange(part.range, part.sizeBytes))
  // A worker that is told so takes what it hands on for the whole.
  const note = part === undefined ? options.workers?.ready(answer) : undefined
  if (note !== undefined) head.push(READY_FIELD, note)
  response.writeHead(part === undefined ? answer.status : 206, head)
  response.end(bytes)
  account({ method, address, response }, trace, options)
}

/** What of an answer is the same for everybody, as it is remembered: of the answer to a part, what the whole has. */
export function readyAnswer(
  answer: Answer,
  route: ReadyAnswer['route'],
  { method, ready }: { readonly method: Method; readonly ready: Readiness },
): ReadyAnswer {
  const fields = Object.entries({ ...answer.headers, ...outcomeHeaders(answer) })
  const headers = fields.filter(([name]) => !isSaidOnce(method, name)).flat()
  return { ...ready, route, status: answer.status === 206 ? 200 : answer.status, headers }
}

function mayBeServed(
  request: IncomingMessage,
  address: string | undefined,
  context: {
    readonly answer: ReadyAnswer
    readonly trace: Trace
    readonly options: ReadyRouteOptions
  },
): boolean {
  const { answer, trace, options } = context
  const { method = '' } = request
  if (address === undefined || options.isServed?.(address, undefined) === false) return false
  try {
    checkRequest(request, options.via)
    const { authorization } = request.headers
    const { caller } = options.callers.recognise({ authorization, address, method }, answer.route)
    if (caller.kind === 'mirror-token') return false
    const rules = options.mirror.admitReady(caller, answer.route)
    if (rules === undefined) return false
    if (rules !== '') trace.access.rule = rules
    noteCaller(trace, caller, authorization)
    if (method === 'HEAD') options.mirror.pin({ address, fingerprint: nameOf(authorization) }, answer)
    return true
  } catch {
    return false
  }
}
