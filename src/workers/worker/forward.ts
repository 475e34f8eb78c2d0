// One request of a client, handed on to the main process as it came, and the answer handed back as it came. What is
// of one connection only (RFC 9110 §7.6.1) is said anew on the other one. It decides nothing.

import {
  Agent,
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { MirrorError } from '../../errors.ts'
import { isEventStream, keptFields } from '../../http/headers.ts'
import { dropRest } from '../../server/body/discard-upload.ts'
import { breakConnection } from '../../server/body/send.ts'
import { checkVersion, reachedHost, requestId } from '../../server/context.ts'
import { sendFailure } from '../../server/fail.ts'
import { MAX_HEADER_BYTES } from '../../server/limits.ts'
import { endConnectionWith } from '../../server/node-http.ts'
import { type Accounts, account, statusTold } from '../../server/request-log.ts'
import { Trace } from '../../server/request-record.ts'
import {
  formatPeer,
  OFFER_FIELD,
  type Offer,
  OWN_FIELDS,
  PEER_FIELD,
  parseOffer,
  READY_FIELD,
} from '../peer.ts'
import type { Memory } from './cache.ts'
import type { OfferedAnswer } from './send-file.ts'
import type { Exchange } from './server.ts'

/**
 * Of one connection. A body's framing goes along in requests, since doubts about it are for the main process; what
 * follows a body does not.
 */
const NOT_ASKED = new Set(['connection', 'keep-alive', 'proxy-connection', 'upgrade', 'te', 'trailer'])
const NOT_ANSWERED = new Set(['connection', 'keep-alive', 'transfer-encoding'])
/** Sooner than the main process ends a connection that idles. */
const IDLE_MS = 30_000
/** The queue of the private socket is short where the system says so; it moves on within milliseconds. */
const QUEUE_FULL_RETRY_MS = 5
const QUEUE_FULL_TRIES = 400

export interface ForwardOptions {
  readonly socketPath: string
  /** Sends what the main process offers instead of a body. */
  readonly takeOffer: (offer: Offer, answer: OfferedAnswer) => void
  /** Keeps what may be repeated. */
  readonly memory: Pick<Memory, 'generation' | 'learn'>
  /** Hears of what never reached the main process. */
  readonly accounts: Accounts
}

export interface Forwarder {
  /** Hands a request on. */
  forward(exchange: Exchange): void
  /** Resolves when the main process has heard the end of everything that was handed on to it. */
  idle(): Promise<void>
}

export function createForwarder(options: ForwardOptions): Forwarder {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 1024, timeout: IDLE_MS })
  let underWay = 0
  let whenIdle: (() => void) | undefined
  const ask = (parameters: RequestOptions): ClientRequest => {
    underWay += 1
    const outgoing = httpRequest({ agent, ...parameters, socketPath: options.socketPath })
    // As in the server: fields are limited by their bytes.
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
    // At once: what follows on the connection may be part of the body that its client meant.
    fail(exchange, error, options.accounts)
    return
  }
  const isFramed = hasFraming(request)
  // A GET or HEAD with a body is refused unread.
  const sendsBody = isFramed && method !== 'GET' && method !== 'HEAD'
  const { generation } = options.memory
  let isAnswered = false
  const outgoing = ask({
    method,
    path: request.url,
    headers: fieldsToAsk(exchange),
    // As it came, or not at all.
    setHost: false,
    maxHeaderSize: 8 * MAX_HEADER_BYTES,
    // Whatever followed on the same connection could be read as the body that does not come.
    ...(isFramed && !sendsBody ? { agent: false } : {}),
  })
  const over = (): void => {
    response.off('close', leave)
    socket.off('close', leave)
  }
  const leave = (): void => {
    over()
    if (response.writableFinished && request.complete) return
    dropRest(request)
    outgoing.destroy()
  }
  response.once('close', leave)
  // A pipelined answer that never got its turn hears nothing of its socket by itself.
  socket.once('close', leave)

  outgoing.on('continue', () => {
    if (exchange.awaitsContinue && !response.headersSent) response.writeContinue()
  })
  outgoing.on('response', (incoming) => {
    isAnswered = true
    answer(exchange, incoming, { over, generation, ...options })
  })
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    // Whatever of an answer has come is complete, or its own reader hears of the end.
    if (isAnswered) return
    over()
    if (response.destroyed || socket.destroyed) return
    if (error.code === 'EAGAIN' && !sendsBody && tries < QUEUE_FULL_TRIES) {
      setTimeout(() => forward(exchange, ask, options, tries + 1), QUEUE_FULL_RETRY_MS)
      return
    }
    // Without an answer the main process ends what must not go on; what never reached it may be tried again.
    if (error.syscall === 'connect') {
      fail(exchange, new MirrorError('overloaded', { cause: error }), options.accounts)
    } else {
      // Also where the answers before it are not out: it is a connection with too many of them that is ended so.
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

/** Whether a body is announced. A length of nothing announces none. */
function hasFraming({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

function fieldsToAsk({ request, address, inFlight }: Exchange): string[] {
  const { rawHeaders, headers, httpVersion: version, socket } = request
  const fields = keptFields(rawHeaders, (name) => !NOT_ASKED.has(name) && !name.startsWith(OWN_FIELDS))
  // HTTP/1.0 needs none, and only this process knows what its client has reached.
  const host = headers.host === undefined && version === '1.0' ? reachedHost(socket) : undefined
  return [
    PEER_FIELD,
    formatPeer({ address, inFlight, version }),
    ...(host === undefined ? [] : ['host', host]),
    ...fields,
  ]
}

function answer(
  { request, response }: Exchange,
  incoming: IncomingMessage,
  options: Pick<ForwardOptions, 'takeOffer' | 'memory'> & {
    readonly over: () => void
    readonly generation: number
  },
): void {
  const { fields, offer, ready, isLast } = fieldsToAnswer(incoming)
  const start = (): void => {
    if (isLast) endConnectionWith(response)
    response.writeHead(incoming.statusCode ?? 0, incoming.statusMessage, fields)
  }
  if (offer !== undefined) {
    // Who takes it tells the main process of the client, too.
    options.over()
    options.takeOffer(offer, { incoming, response, socket: request.socket, start })
    return
  }
  incoming.once('close', () => {
    if (!incoming.complete && !response.destroyed) breakConnection(response)
  })
  incoming.on('error', () => undefined)
  if (ready !== undefined)
    options.memory.learn(request, incoming, { field: ready, generation: options.generation })
  start()
  // The first event of a stream may come much later than its client waits for an answer.
  if (isEventStream(incoming.headers)) response.flushHeaders()
  incoming.pipe(response)
}

function fieldsToAnswer({ rawHeaders }: IncomingMessage): {
  readonly fields: string[]
  readonly offer: Offer | undefined
  /** Why it may be repeated. */
  readonly ready: string | undefined
  /** The client's connection shall end with this answer. */
  readonly isLast: boolean
} {
  const fields: string[] = []
  let offer: Offer | undefined
  let ready: string | undefined
  let isLast = false
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = [rawHeaders[index], rawHeaders[index + 1]]
    const key = name.toLowerCase()
    if (key === OFFER_FIELD) {
      offer = parseOffer(value)
      if (offer !== undefined) fields.push('content-length', String(offer.range.end - offer.range.start))
    } else if (!NOT_ANSWERED.has(key) && !key.startsWith(OWN_FIELDS)) {
      fields.push(name, value)
    } else if (key === READY_FIELD) {
      ready = value
    } else if (key === 'connection' && value === 'close') {
      isLast = true
    }
  }
  return { fields, offer, ready, isLast }
}

/** Refuses what could not be handed on, and keeps the accounts of it. */
function fail({ request, response, address }: Exchange, error: unknown, accounts: Accounts): void {
  const { method = '' } = request
  const trace = new Trace(requestId(request))
  response.once('close', () => account({ method, address, status: statusTold(response) }, trace, accounts))
  sendFailure(response, error, trace, method === 'HEAD')
}
