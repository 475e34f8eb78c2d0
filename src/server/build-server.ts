// The Fastify instance: limits, hooks, and the order of routes. What a request passes through:
//
// 0. an early answer, before the framework sees the request, if app.ts has handed in code that gives one (early-answers.ts)
// 1. the socket's limit of requests in flight, the record and the request id (onRequest)
// 2. the networks that are served, then the check of framing and credentials (onRequest)
// 3. the routes of the mirror itself: /healthz, /readyz, /metrics, /-/
// 4. transfers at addresses that the mirror gave out (transfers.ts)
// 5. the Hub's protocol: parsed from the raw target, answered by the mirror or forwarded (hub-route.ts)
// 6. the log line, the metrics and the audit line (request-log.ts), when the response or its socket has closed
//
// If the mirror speaks TLS itself, a connection has passed its handshake before (tls-server.ts).

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { Callers } from '../callers/caller.ts'
import { MirrorError } from '../errors.ts'
import type { HubRoute } from '../hub/route.ts'
import type { Intake } from '../mirror/intake.ts'
import type { Mirror } from '../mirror/mirror.ts'
import type { OriginClient } from '../origin/client.ts'
import type { Auditor } from '../telemetry/audit.ts'
import type { Observer } from '../telemetry/observer.ts'
import { discardUpload } from './body/discard-upload.ts'
import { FileReads } from './body/file-reads.ts'
import type { FileHandoff } from './body/handoff.ts'
import { addressReader, type ClientLists, clientGate } from './clients.ts'
import { checkRequest, noteRoute, requestId } from './context.ts'
import { isFromControl } from './control.ts'
import type { EarlyAnswers } from './early-answers.ts'
import { asMirrorError, sendFailure } from './fail.ts'
import { createRouteParser, registerHubRoute } from './hub-route.ts'
import { registerIntake } from './intake-routes.ts'
import type { Intermediary } from './intermediary.ts'
import { InFlight, MAX_HEADER_BYTES, MAX_IN_FLIGHT_PER_SOCKET, openServer } from './limits.ts'
import { type OpsOptions, registerOpsRoutes } from './ops-routes.ts'
import { createOriginLimit, type Rate } from './origin-limit.ts'
import { createProxyCheck } from './proxy-check.ts'
import { RequestBodies } from './request-bodies.ts'
import { reportRequest, statusSent } from './request-log.ts'
import { type RequestRecord, recordOf, startRecord } from './request-record.ts'
import { readBeforeClosing, type Shutdown } from './shutdown.ts'
import { speakTls, type TlsKeys } from './tls-server.ts'
import { createHostWarnings } from './transfers/batch-links.ts'
import type { TransferLinks } from './transfers/transfer-links.ts'
import { registerTransfers } from './transfers/transfers.ts'

export interface ServerOptions extends OpsOptions {
  readonly mirror: Mirror
  /** Takes in what commands bring. */
  readonly intake: Intake
  readonly client: OriginClient
  readonly callers: Callers
  readonly basePath: string
  /** Seals and opens the links for transfers that the Hub sends to other hosts. */
  readonly transferLinks: () => Promise<TransferLinks>
  readonly publicUrl: URL | undefined
  /** Read at each use, as `clients` are: they may change. */
  readonly settings: {
    readonly writes: 'forward' | 'deny'
    /** How many requests to the origin one caller may cause. */
    readonly clientsRateLimit?: Rate | undefined
  }
  readonly offline: boolean
  readonly trustProxy: readonly string[]
  readonly clients: ClientLists
  /** Marks the mirror's requests to the origin, so that one that comes back is recognised as a loop. */
  readonly via: string
  readonly logger: Logger
  readonly observer: Observer
  readonly auditor: Auditor
  /** Answers given before the framework sees the request. */
  readonly earlyAnswers?: EarlyAnswers | undefined
  /** Where other processes of the mirror accept the clients' connections. */
  readonly intermediary?: Intermediary | undefined
  /** Another process that may send stored files in place of this one. */
  readonly handoff?: FileHandoff | undefined
  /** What handshakes that begin now use, where this process speaks TLS with the clients itself. */
  readonly tls?: (() => TlsKeys) | undefined
  /** Begins when the process is about to stop, and when the instance closes. */
  readonly shutdown: Shutdown
}

/** Builds the instance; the caller listens and closes. */
export async function buildServer(options: ServerOptions): Promise<FastifyInstance> {
  const watched: Watched = { ...options, ...arrivalsOf(options) }
  const { intermediary, earlyAnswers } = options
  const server = Fastify({
    logger: false,
    trustProxy: options.trustProxy.length > 0 ? [...options.trustProxy] : false,
    exposeHeadRoutes: false,
    serverFactory: (handler) =>
      openHttp(options, (request, response) => {
        const isExcess = (intermediary?.inFlight(request) ?? 0) > MAX_IN_FLIGHT_PER_SOCKET
        if (earlyAnswers === undefined || isExcess) handler(request, response)
        else earlyAnswers.serve(request, response, () => handler(request, response))
      }),
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_HEADER_BYTES },
    genReqId: requestId,
    frameworkErrors: (error, request, reply) => {
      // The router could not read the path; hooks have not run.
      const record = startRecord(request.raw, request.id)
      watch(request, reply, record, watched)
      reply.hijack()
      sendFailure(reply.raw, error, record, request.raw.method === 'HEAD')
    },
  })
  // An early read would miss the fields that an intermediary adds: they name the client.
  if (intermediary === undefined) earlyAnswers?.attach(server.server)
  readBeforeClosing(server.server)
  // The last that gets hold of connections, and so the first that sees them.
  if (intermediary === undefined && options.tls !== undefined) speakTls(server.server, options.tls, options)
  const inFlight = new InFlight()
  const parse = createRouteParser(options.basePath)

  server.addHook('preClose', (done) => {
    options.shutdown.begin()
    done()
  })
  server.addHook('onRequest', (request, reply, done) => {
    const { socket } = request.raw
    const own = inFlight.register(socket, reply.raw)
    const count = intermediary?.inFlight(request.raw) ?? own
    const excess = count > MAX_IN_FLIGHT_PER_SOCKET
    if (excess && socket.destroyed) {
      // A later request of the same burst, after the one too many. A hijacked reply needs no further steps.
      reply.hijack()
      return
    }
    const record = startRecord(request.raw, request.id)
    watch(request, reply, record, watched)
    if (excess) {
      record.error = new MirrorError('overloaded', { detail: { reason: 'pipelined requests' } })
      reply.hijack()
      socket.destroy()
      return
    }
    try {
      if (!isServed(request, watched)) {
        noteTarget(request, record, parse)
        throw new MirrorError('client_not_allowed')
      }
      checkRequest(request.raw, options.via)
    } catch (error) {
      done(asMirrorError(error))
      return
    }
    done()
  })

  server.setErrorHandler((error, request, reply) => {
    if (!reply.sent) reply.hijack()
    sendFailure(reply.raw, error, recordOf(request.raw), request.raw.method === 'HEAD')
  })
  server.setNotFoundHandler((request, reply) => {
    // Only unknown methods come here: the catch-all takes every path.
    reply.hijack()
    sendFailure(reply.raw, new MirrorError('method_not_allowed'), recordOf(request.raw), false)
  })

  await registerIntake(server, options.intake)
  registerOpsRoutes(server, options)
  await registerHub(server, watched, parse)
  return server
}

/** Registers the routes of the Hub's protocol, and those of transfers. */
async function registerHub(
  server: FastifyInstance,
  options: Watched,
  parse: (rawTarget: string) => HubRoute,
): Promise<void> {
  const originLimit = await createOriginLimit(server, options.settings)
  const hub = { ...options, originLimit, reads: new FileReads(), bodies: new RequestBodies(), parse }
  await registerTransfers(server, hub)
  await registerHubRoute(server, { ...hub, warnOfHosts: createHostWarnings(options.logger) })
}

function openHttp(
  { intermediary, shutdown }: Pick<ServerOptions, 'intermediary' | 'shutdown'>,
  serve: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  return intermediary?.open(serve) ?? openServer(serve, MAX_HEADER_BYTES, shutdown)
}

type Watched = ServerOptions & ReturnType<typeof arrivalsOf>

/**
 * What the server knows of callers: their address behind the proxies, warnings about these proxies, and which networks
 * are served.
 */
function arrivalsOf({ trustProxy, clients, logger }: ServerOptions) {
  return {
    addressOf: addressReader(trustProxy),
    checkProxy: createProxyCheck(trustProxy, logger),
    isServed: clientGate(clients),
  }
}

/** Whether the caller's network is served. The owner of the store always is. */
function isServed({ raw, routeOptions }: FastifyRequest, { isServed, addressOf }: Watched): boolean {
  return isFromControl(raw) || isServed(addressOf(raw), routeOptions.url)
}

/** Records what a refused caller requested, for the audit line. The credential is not read. */
function noteTarget(
  request: FastifyRequest,
  record: RequestRecord,
  parse: (rawTarget: string) => HubRoute,
): void {
  if (request.raw.headers.authorization !== undefined) record.callerKind = 'other'
  try {
    if (request.routeOptions.url === '/metrics') record.route = 'ops'
    else noteRoute(record, parse(request.raw.url ?? ''))
  } catch {
    // Not a URL of the Hub: the route stays unknown.
  }
}

/** Aborts the work when the client disconnects or its socket closes. Reports the request when it is over. */
function watch(request: FastifyRequest, reply: FastifyReply, record: RequestRecord, options: Watched): void {
  // Read now: a socket that has closed has no address.
  const { raw } = request
  const { socket } = raw
  const address = options.addressOf(raw)
  if (!isFromControl(raw)) options.checkProxy?.(raw, request.routeOptions.url)
  let closed = false
  const close = (): void => {
    if (closed) return
    closed = true
    if (reply.raw.writableFinished) discardUpload(raw)
    else record.leave()
    socket.off('close', close)
    reportRequest({ method: raw.method ?? '', address, status: statusSent(reply.raw) }, record, options)
  }
  reply.raw.once('close', close)
  // A pipelined response whose turn never came is not notified when its socket closes.
  socket.once('close', close)
}
