// Forwards what the mirror does not answer itself, with @fastify/http-proxy: uploads, commits, discussions, git, pages.
// Nothing of it is stored. Redirects within the Hub are rewritten to the mirror; those to other hosts are followed here,
// without any credential.

import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { callerKey } from '../../callers/caller-key.ts'
import { MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { headerValue, headFields, isEventStream, listValue } from '../../http/headers.ts'
import { HUB_URLS } from '../../hub/names.ts'
import { passableHeaders } from '../../hub/response-headers.ts'
import { type RewriteBases, rewriteLink, rewriteLocation } from '../../hub/rewrite.ts'
import type { HubRoute } from '../../hub/route.ts'
import { splitTarget } from '../../hub/url-text.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import { appendVia, type OriginClient } from '../../origin/client.ts'
import { bufferBody } from '../../origin/connections/body-buffers.ts'
import {
  PERMITTED,
  type PermittedRequest,
  sendWithPermit,
} from '../../origin/connections/send-with-permit.ts'
import { badAnswer, REDIRECT_LOOP } from '../../origin/failures/bad-answer.ts'
import { originFailure } from '../../origin/failures/unreachable.ts'
import { anywhere, followRedirects } from '../../origin/follow.ts'
import { checkMove, moveOf } from '../../origin/origin-move.ts'
import { BODY_REDIRECT, redirectTarget } from '../../origin/redirect.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { holding } from '../body/held-memory.ts'
import { outcomeHeaders, sendStream } from '../body/send.ts'
import { uploadBody } from '../body/upload-body.ts'
import { BILL_TO } from '../context.ts'
import { sendFailure } from '../fail.ts'
import { recordOf } from '../request-record.ts'
import type { TransferLinks } from '../transfers/transfer-links.ts'
import {
  acquireConnection,
  endWhenWanted,
  isRead,
  type OriginResponse,
  releaseOnThrow,
  reserveIfShort,
  WRITE_TIMEOUT_MS,
} from './connection.ts'
import { answerOrStandIn, failingOver, noticingObjects, offlineError, type StandIn } from './git-traffic.ts'
import { type Forwarded, isChange, learn, noteUnanswered } from './learn.ts'
import {
  following,
  inPieces,
  isReadable,
  passedDocumentOf,
  readDocument,
  rewritePassedDocument,
} from './passed-json.ts'
import { readableResponse } from './readable-response.ts'
import { refusalFields, refuseForeign } from './refusals.ts'
import { withoutCredential } from './without-credential.ts'

export interface ForwardOptions {
  readonly client: OriginClient
  readonly offline: boolean
  readonly transferLinks: () => Promise<TransferLinks>
  /** Warns the operator of hosts to which transfers bypass the mirror. */
  readonly warnOfHosts: (hosts: Iterable<string>) => void
  readonly via: string
  readonly observer: Observer
  /** Is notified of writes that the Hub accepted, and of requests that it refused. */
  readonly mirror: Pick<Mirror, 'changed' | 'mayChange' | 'refused' | 'sawObject' | 'gitFetched'>
}

/**
 * The request fields that are forwarded. Cookies, forwarding fields and the encodings that the client accepts are not.
 * The credential is that of the context.
 */
const REQUEST_HEADERS = [
  'accept',
  'accept-language',
  'content-type',
  'content-length',
  'content-encoding',
  'content-language',
  'user-agent',
  'git-protocol',
  'range',
  // Without it a client would take a range of a changed file for the rest of the old one.
  'if-range',
  'if-none-match',
  'if-match',
  'if-modified-since',
  'origin',
  'access-control-request-method',
  'access-control-request-headers',
  'x-hf-download-counter',
  BILL_TO,
  'x-amzn-trace-id',
]
/** Response fields that git and pages need, in addition to those of API responses. */
const PAGE_HEADERS = [
  'cache-control',
  // The body is passed on as it came, and stored objects may be encoded although that was not asked for.
  'content-encoding',
  'content-language',
  'content-security-policy',
  'expires',
  'pragma',
  'referrer-policy',
  'x-frame-options',
  'vary',
]
const XET_HEADERS = ['x-xet-cas-url', 'x-xet-access-token', 'x-xet-token-expiration']

/** The options of the plugin without its handler, which must call `forward`. */
export function forwarding(client: OriginClient) {
  return {
    upstream: client.policy.base.origin,
    undici: { request: sendWithPermit(client) },
    disableCache: true,
    disableRequestLogging: true,
    internalRewriteLocationHeader: false,
    // The plugin's own target is not used. Without this the plugin would refuse the `//api` that clients send.
    preRewrite: () => '/',
    httpMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
    // The plugin would retry ten times on a 503. An upload must not be sent twice, and clients retry by themselves.
    replyOptions: { retryDelay: () => null },
  }
}

/**
 * Forwards the request to the Hub, and sends the response. Throws if the request must not leave the mirror. Sends all
 * later failures itself.
 */
export function forward(
  request: FastifyRequest,
  reply: FastifyReply,
  forwarded: Forwarded,
  options: ForwardOptions & {
    readonly hooks: Parameters<FastifyReply['from']>[1]
    readonly standIn?: StandIn | undefined
  },
): FastifyReply {
  const { client, hooks, standIn } = options
  const { route, ctx, written } = forwarded
  if (isOwn(route)) throw new MirrorError('not_found')
  if (options.offline) throw offlineError(route)
  const originPath = withoutTrailingSlash(client.policy.base.pathname)
  const record = recordOf(request.raw)
  const { authorization } = ctx
  const asked = { url: client.url('target' in route ? route.target : '/'), authorization }
  const isHead = request.raw.method === 'HEAD'
  const fail = failingOver(standIn, (error) => sendFailure(reply.raw, error, record, isHead))
  const respond = (given: OriginResponse): void => {
    reply.hijack()
    const pass = (): Promise<void> => answer(request, reply, given, { ...options, route, ctx, written })
    void answerOrStandIn(standIn, given, pass).catch((error: unknown) => {
      // An unread body would keep its connection forever.
      given.stream.on('error', () => undefined).destroy()
      fail(error)
    })
  }
  const pass = (permitted: PermittedRequest): void => {
    record.originRequests.count += 1
    // The canonical target of our route, not the plugin's: it has been parsed once and contains no dot segment. The
    // query is given separately: the plugin would decode it, which fails at a bare percent sign, and look for dots in
    // it.
    const { path, query } = splitTarget('target' in route ? route.target : '/')
    if (request.body === request.raw) request.body = uploadBody(request.raw)
    void reply.from(originPath + path, {
      ...hooks,
      ...(isRead(request.raw.method) ? {} : { timeout: WRITE_TIMEOUT_MS }),
      queryString: () => query,
      rewriteRequestHeaders: (_request, headers) =>
        Object.assign(requestHeaders(request, ctx, headers['content-length'], options.via), {
          [PERMITTED]: { ...permitted, question: forwarded.question },
        }),
      onResponse: (_request, _reply, response) => {
        const { statusCode, headers, stream } = asOriginResponse(response)
        options.observer.originRequest('pass-through', statusCode, elapsed(record.startedAt))
        respond({
          statusCode,
          headers: client.observeAnswer(asked, statusCode, headers),
          stream,
          permit: permitted.permit,
        })
      },
      onError: (_reply, { error }) => {
        options.observer.originRequest('pass-through', 0, elapsed(record.startedAt))
        noteUnanswered(request.raw.method, { ...options, route, ctx, written })
        reply.hijack()
        fail(originFailure(error.cause ?? error, client.policy.base, client.policy.base.host))
      },
    })
  }
  acquireConnection(request.raw, asked, { client, ctx })
    .then((entered) =>
      'stream' in entered ? respond(entered) : releaseOnThrow(entered.permit, () => pass(entered)),
    )
    // This includes what the plugin throws for a target that it refuses.
    .catch((error: unknown) => {
      reply.hijack()
      fail(error)
    })
  return reply
}

/** Whether the target is a route of the mirror itself that extra slashes or a base path kept from matching. */
function isOwn(route: HubRoute): boolean {
  return 'target' in route && /^\/-(?:$|[/?]|%2f)/i.test(route.target)
}

/** Buckets work with Xet only. */
function needsXet(route: HubRoute): boolean {
  return route.kind === 'other' && route.target.startsWith('/api/buckets/')
}

function asOriginResponse(response: unknown): OriginResponse {
  // The plugin declares ServerResponse, but passes an object with these three properties.
  return response as OriginResponse
}

function requestHeaders(
  request: FastifyRequest,
  ctx: Ctx,
  contentLength: string | string[] | undefined,
  via: string,
): IncomingHttpHeaders {
  const passed: IncomingHttpHeaders = {
    'accept-encoding': 'identity',
    via: appendVia(request.raw.headers.via, via),
  }
  for (const name of REQUEST_HEADERS) {
    const value = name === 'content-length' ? contentLength : request.raw.headers[name]
    if (ctx.lent !== undefined && name === BILL_TO) continue
    if (value !== undefined) passed[name] = value
  }
  if (ctx.authorization !== undefined) passed.authorization = ctx.authorization
  if (String(passed.accept).includes('vnd.xet-fileinfo')) delete passed.accept
  return passed
}

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  response: OriginResponse,
  options: ForwardOptions & Forwarded,
): Promise<void> {
  const { client, ctx, route } = options
  const record = recordOf(request.raw)
  let final = response
  let location: string | undefined
  const target = headerValue(response.headers, 'location')
  if (target !== undefined) {
    const bases = basesOf(client, ctx)
    const asked = client.url('target' in route ? route.target : '/')
    const rewritten = rewriteLocation(target, asked, bases)
    if (rewritten.kind === 'mirror') location = rewritten.location
    // The Location of a 201 names what was created; it is no redirect.
    else if (response.statusCode >= 300) final = await follow(request, response, asked, target, options)
  }
  const { method = '' } = request.raw
  const isOfHub = final === response
  const document = isOfHub ? passedDocumentOf(route, method) : undefined
  if (document !== undefined || ctx.lent !== undefined)
    final = readableResponse(final, { method, mustRead: ctx.lent !== undefined })
  record.outcome = final.statusCode >= 400 ? 'refused' : 'bypass'
  await learn(method, final, isOfHub, options)
  refuseForeign(final, route, options)
  const isAccepted = isChange(route, method) && final.statusCode < 400
  const extra = needsXet(route) ? [...PAGE_HEADERS, ...XET_HEADERS] : PAGE_HEADERS
  const headers = passableHeaders(final.headers, extra)
  headers['x-request-id'] = record.id
  Object.assign(headers, refusalFields(final, route, ctx))
  const link = listValue(final.headers, 'link')
  if (link !== undefined) {
    const bases = basesOf(client, ctx)
    const rewritten = rewriteLink(link, { ...bases, stripXet: true })
    if (rewritten !== undefined) headers['link'] = rewritten
  }
  if (location !== undefined) headers['location'] = location
  const caller = callerKey(ctx.caller)
  // Before the head: if there is no room, the client receives an error.
  const release = method === 'HEAD' ? undefined : reserveIfShort(final, client, caller)
  const start = (): void => {
    record.firstByteAt = performance.now()
    reply.raw.writeHead(final.statusCode, {
      ...(method === 'HEAD' ? headFields(final.statusCode, headers) : headers),
      ...outcomeHeaders({ outcome: record.outcome, originStatus: final.statusCode }),
    })
  }
  if (method === 'HEAD') {
    final.stream.on('error', () => undefined)
    final.stream.destroy()
    start()
    reply.raw.end()
    return
  }
  // A silent stream does not notice by itself that the client has gone.
  record.signal.addEventListener('abort', () => final.stream.destroy(), { once: true })
  if (record.signal.aborted) final.stream.destroy()
  const counting = noticingObjects(counted(final.stream, options, isAccepted), final, { ...options, method })
  const stream = release === undefined ? counting : bufferBody(counting, release)
  const body = ctx.lent === undefined ? stream : withoutCredential(stream, ctx)
  const how = { record, isWanted: () => client.isWanted(caller) }
  if (isEventStream(final.headers)) {
    // The first event may come long after the client expects a head, and nginx would buffer events.
    headers['x-accel-buffering'] = 'no'
    endWhenWanted(final.stream, how.isWanted)
    start()
    reply.raw.flushHeaders()
    return sendStream(reply.raw, body, () => undefined, how)
  }
  if (document === undefined || !isReadable(document, final.headers))
    return sendStream(reply.raw, body, start, how)
  const hold = holding(reply.raw, client.buffers, { caller, reason: 'no room for a long answer' })
  const { bytes, rest } = await readDocument(body, document, hold)
  if (rest !== undefined) return sendStream(reply.raw, following(bytes, rest), start, how)
  const bases = basesOf(client, ctx)
  const userAgent = request.raw.headers['user-agent']
  const rewritten = await rewritePassedDocument(bytes, document, { ...options, bases, userAgent })
  Object.assign(headers, rewritten.headers, { 'content-length': String(rewritten.body.length) })
  if (rewritten.body !== bytes) delete headers['etag']
  return sendStream(reply.raw, inPieces(rewritten.body), start, how)
}

async function* counted(
  stream: Readable,
  { observer, client, mirror, ctx, written }: ForwardOptions & Forwarded,
  isChange: boolean,
): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const part of stream) {
      const chunk = part as Buffer
      observer.originBytes('pass-through', chunk.length)
      // A push moves its branches after the head of its answer.
      if (isChange) mirror.mayChange(ctx, written)
      yield chunk
    }
  } catch (error) {
    throw originFailure(error, client.policy.base, client.policy.base.host)
  }
}

/** Follows redirects to other hosts for the client, without its credential, for requests without a body. */
async function follow(
  request: FastifyRequest,
  response: OriginResponse,
  from: URL,
  location: string,
  options: ForwardOptions & Forwarded,
): Promise<OriginResponse> {
  const { method } = request.raw
  const {
    ctx,
    client: { policy },
  } = options
  response.stream.on('error', () => undefined)
  response.stream.destroy()
  const status = response.statusCode
  const moved = moveOf(policy, from, { status, headers: response.headers })
  if (moved !== undefined) {
    const hasCredential = ctx.authorization !== undefined
    checkMove(policy, moved, { hasCredential, isRepeatable: method === 'GET' || method === 'HEAD' })
  }
  if (method !== 'GET' && method !== 'HEAD') {
    throw new MirrorError('redirect_refused', {
      message: BODY_REDIRECT,
      detail: { reason: 'redirect of a request with a body' },
    })
  }
  const { range, 'if-range': ifRange } = request.raw.headers
  const requester = {
    authorization: undefined,
    caller: callerKey(options.ctx.caller),
    forward: {},
    onOriginRequest: () => (recordOf(request.raw).originRequests.count += 1),
  }
  const followed = await followRedirects(
    policy,
    moved ?? redirectTarget(policy, from, location),
    (url) =>
      options.client.send({
        kind: 'cdn',
        method,
        url,
        requester,
        headers: {
          ...(range === undefined ? {} : { range }),
          ...(typeof ifRange === 'string' ? { 'if-range': ifRange } : {}),
        },
        signal: recordOf(request.raw).signal,
      }),
    anywhere(),
  )
  if (followed.kind !== 'answer') throw badAnswer(REDIRECT_LOOP, followed.url)
  const { status: statusCode, headers, body: stream } = followed.answer
  return { statusCode, headers, stream, storage: followed.url.host }
}

/** The base URLs that mark a URL of the Hub, and the one that replaces them. */
function basesOf(client: OriginClient, ctx: Ctx): RewriteBases {
  return { originBase: trimmed(client.policy.base), mirrorBase: ctx.mirrorBase, aliases: HUB_URLS }
}

function trimmed(base: URL): string {
  return withoutTrailingSlash(base.href)
}

function elapsed(since: number): number {
  return (performance.now() - since) / 1000
}
