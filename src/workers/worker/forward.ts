// Forwards one request of a client to the main process as it came, and the answer back as it came. Fields of one connection
// only (RFC 9110 §7.6.1) are replaced by those of the other connection. Nothing is decided here.

import {
  Agent,
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { MirrorError } from '../../errors.ts'
import { isEventStream, keptFields } from '../../http/headers.ts'
import { discardUpload } from '../../server/body/discard-upload.ts'
import { breakConnection } from '../../server/body/send.ts'
import { checkVersion, reachedHost, requestId } from '../../server/context.ts'
import { sendFailure } from '../../server/fail.ts'
import { MAX_HEADER_BYTES } from '../../server/limits.ts'
import { endConnectionWith } from '../../server/node-http.ts'
import { type RequestReporters, reportRequest, statusSent } from '../../server/request-log.ts'
import { RequestRecord } from '../../server/request-record.ts'
import {
  CACHE_NOTE_FIELD,
  CLIENT_FIELD,
  formatClient,
  HANDOFF_FIELD,
  type Offer,
  OWN_FIELDS,
  parseOffer,
} from '../header-fields.ts'
import type { WorkerCache } from './cache.ts'
import type { OfferedResponse } from './send-file.ts'
import type { Exchange } from './server.ts'

/**
 * Fields of one connection. The framing of a body is forwarded in requests, since the main process checks it. Trailers are
 * not.
 */
const NOT_FORWARDED = new Set(['connection', 'keep-alive', 'proxy-connection', 'upgrade', 'te', 'trailer'])
const NOT_RETURNED = new Set(['connection', 'keep-alive', 'transfer-encoding'])
/** Shorter than the time after which the main process ends an idle connection. */
const IDLE_MS = 30_000
/** Some systems allow a short queue of the private socket only. It moves on within milliseconds. */
const QUEUE_FULL_RETRY_MS = 5
const QUEUE_FULL_TRIES = 400

export interface ForwardOptions {
  readonly socketPath: string
  /** Sends the file that the main process offers in place of a body. */
  readonly sendOffered: (offer: Offer, answer: OfferedResponse) => void
  /** Caches answers that may be repeated. */
  readonly cache: Pick<WorkerCache, 'generation' | 'learn'>
  /** The records of requests that never reached the main process. */
  readonly reporters: RequestReporters
}

export interface Forwarder {
  /** Forwards a request. */
  forward(exchange: Exchange): void
  /** Resolves when all forwarded requests have ended. */
  idle(): Promise<void>
}

export function createForwarder(options: ForwardOptions): Forwarder {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 1024, timeout: IDLE_MS })
  let underWay = 0
  let whenIdle: (() => void) | undefined
  const ask = (parameters: RequestOptions): ClientRequest => {
    underWay += 1
    const outgoing = httpRequest({ agent, ...parameters, socketPath: options.socketPath })
    // As in the server: the bytes of the fields are limited, not their number.
    outgoing.maxHeadersCount = 0
    outgoing.once('close', () => {
      underWay -= 1
      if (underWay === 0) whenIdle?.()
    })
    return outgoing
  }
  return {
    forward: (exchange) => forward(exchange, ask, options, 1),
    async idle() {
      if (underWay > 0) await new Promise<void>((resolve) => (whenIdle = resolve))
    },
  }
}

function forward(
  exchange: Exchange,
  ask: (parameters: RequestOptions) => ClientRequest,
  options: ForwardOptions,
  tries: number,
): void {
  const { request, response } = exchange
  const { method = '', socket } = request
  try {
    checkVersion(request)
  } catch (error) {
    // Not forwarded: what follows on the connection may be part of a body.
    fail(exchange, error, options.reporters)
    return
  }
  const isFramed = hasFraming(request)
  // The main process refuses a GET or HEAD with a body without reading it.
  const sendsBody = isFramed && method !== 'GET' && method !== 'HEAD'
  const { generation } = options.cache
  let isAnswered = false
  const outgoing = ask({
    method,
    path: request.url,
    headers: fieldsToForward(exchange),
    // The client's field is forwarded, or none.
    setHost: false,
    maxHeaderSize: 8 * MAX_HEADER_BYTES,
    // The body is not sent, so a later request on the same connection could be read as that body.
    ...(isFramed && !sendsBody ? { agent: false } : {}),
  })
  const over = (): void => {
    response.off('close', leave)
    socket.off('close', leave)
  }
  const leave = (): void => {
    over()
    if (response.writableFinished && request.complete) return
    discardUpload(request)
    outgoing.destroy()
  }
  response.once('close', leave)
  // A pipelined answer that was never sent gets no `close` event when its socket closes.
  socket.once('close', leave)

  outgoing.on('continue', () => {
    if (exchange.awaitsContinue && !response.headersSent) response.writeContinue()
  })
  outgoing.on('response', (incoming) => {
    isAnswered = true
    answer(exchange, incoming, { over, generation, ...options })
  })
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    // Once an answer has begun, its reader handles the end.
    if (isAnswered) return
    over()
    if (response.destroyed || socket.destroyed) return
    if (error.code === 'EAGAIN' && !sendsBody && tries < QUEUE_FULL_TRIES) {
      setTimeout(() => forward(exchange, ask, options, tries + 1), QUEUE_FULL_RETRY_MS)
      return
    }
    // The main process ends a connection without an answer when it must not go on. A request that never reached it may be
    // sent again.
    if (error.syscall === 'connect') {
      fail(exchange, new MirrorError('overloaded', { cause: error }), options.reporters)
    } else {
      // Answers before this one may be lost. The main process ends only connections with too many requests in this way.
      socket.destroy()
    }
  })

  if (sendsBody) {
    outgoing.flushHeaders()
    request.pipe(outgoing)
  } else {
    outgoing.end()
  }
}

/** Whether a body is announced. A length of 0 announces none. */
function hasFraming({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

function fieldsToForward({ request, address, inFlight }: Exchange): string[] {
  const { rawHeaders, headers, httpVersion: version, socket } = request
  const fields = keptFields(rawHeaders, (name) => !NOT_FORWARDED.has(name) && !name.startsWith(OWN_FIELDS))
  // HTTP/1.0 does not require Host, and only this process knows which address its client has reached.
  const host = headers.host === undefined && version === '1.0' ? reachedHost(socket) : undefined
  return [
    CLIENT_FIELD,
    formatClient({ address, inFlight, version }),
    ...(host === undefined ? [] : ['host', host]),
    ...fields,
  ]
}

function answer(
  { request, response }: Exchange,
  incoming: IncomingMessage,
  options: Pick<ForwardOptions, 'sendOffered' | 'cache'> & {
    readonly over: () => void
    readonly generation: number
  },
): void {
  const { fields, offer, cacheNote, isLast } = fieldsToReturn(incoming)
  const start = (): void => {
    if (isLast) endConnectionWith(response)
    response.writeHead(incoming.statusCode ?? 0, incoming.statusMessage, fields)
  }
  if (offer !== undefined) {
    // The sender reports to the main process when the client leaves.
    options.over()
    options.sendOffered(offer, { incoming, response, socket: request.socket, start })
    return
  }
  incoming.once('close', () => {
    if (!incoming.complete && !response.destroyed) breakConnection(response)
  })
  incoming.on('error', () => undefined)
  if (cacheNote !== undefined)
    options.cache.learn(request, incoming, { field: cacheNote, generation: options.generation })
  start()
  // The first event of a stream may come later than the client waits for the head of an answer.
  if (isEventStream(incoming.headers)) response.flushHeaders()
  incoming.pipe(response)
}

function fieldsToReturn({ rawHeaders }: IncomingMessage): {
  readonly fields: string[]
  readonly offer: Offer | undefined
  /** The note that lets this process repeat the answer. */
  readonly cacheNote: string | undefined
  /** Whether the client's connection must end with this answer. */
  readonly isLast: boolean
} {
  const fields: string[] = []
  let offer: Offer | undefined
  let cacheNote: string | undefined
  let isLast = false
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = [rawHeaders[index], rawHeaders[index + 1]]
    const key = name.toLowerCase()
    if (key === HANDOFF_FIELD) {
      offer = parseOffer(value)
      if (offer !== undefined) fields.push('content-length', String(offer.range.end - offer.range.start))
    } else if (!NOT_RETURNED.has(key) && !key.startsWith(OWN_FIELDS)) {
      fields.push(name, value)
    } else if (key === CACHE_NOTE_FIELD) {
      cacheNote = value
    } else if (key === 'connection' && value === 'close') {
      isLast = true
    }
  }
  return { fields, offer, cacheNote, isLast }
}

/** Refuses a request that could not be forwarded, and records it. */
function fail({ request, response, address }: Exchange, error: unknown, reporters: RequestReporters): void {
  const { method = '' } = request
  const record = new RequestRecord(requestId(request))
  response.once('close', () =>
    reportRequest({ method, address, status: statusSent(response) }, record, reporters),
  )
  sendFailure(response, error, record, method === 'HEAD')
}
