// The Hub's protocol, in one handler: parses the raw target once, admits the request, lets the mirror answer, and
// forwards what the mirror does not answer.

import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import proxy from '@fastify/http-proxy'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Callers, mayLend } from '../callers/caller.ts'
import { callerKey } from '../callers/caller-key.ts'
import { containsMirrorToken } from '../callers/mirror-token.ts'
import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import type { Conditions } from '../http/select.ts'
import { datasetsServerRoute, namesDatasetsServer } from '../hub/datasets-server.ts'
import { gitRequest } from '../hub/git.ts'
import { lfsOperation, withoutXet } from '../hub/lfs-batch.ts'
import { registryRequest } from '../hub/registry.ts'
import { type HubRoute, isWriteRoute, parseHubUrl } from '../hub/route.ts'
import { namesReposInBody, type WrittenRepos, writtenRepos } from '../hub/written-repos.ts'
import { MemoryCache } from '../memory.ts'
import type { Answer } from '../mirror/answer.ts'
import type { Mirror } from '../mirror/mirror.ts'
import { unlessKnown } from '../mirror/not-modified.ts'
import { ownWhoami } from '../mirror/whoami.ts'
import type { FileReads } from './body/file-reads.ts'
import type { FileHandoff } from './body/handoff.ts'
import { sendAnswer } from './body/send.ts'
import type { AddressReader } from './clients.ts'
import { contextOf, mirrorBase, noteRoute, withLent } from './context.ts'
import { quotaAnswer, sparesQuota, wishOf } from './control.ts'
import type { EarlyAnswers, ReusableAnswer } from './early-answers.ts'
import { sendFailure } from './fail.ts'
import { gitAnswers } from './git-answers.ts'
import type { OriginLimit } from './origin-limit.ts'
import { pageAnswer } from './page.ts'
import type { StandIn } from './pass-through/git-traffic.ts'
import type { Forwarded } from './pass-through/learn.ts'
import { type ForwardOptions, forward, forwarding } from './pass-through/pass-through.ts'
import { MAX_BATCH_BYTES, MAX_NAMING_BYTES, MAX_PATHS_BYTES, type RequestBodies } from './request-bodies.ts'
import { recordOf } from './request-record.ts'

const QUESTION = { method: 'GET', body: undefined, contentType: undefined } as const
const UNCLEAR_BATCH =
  'This Git LFS batch must be JSON that says exactly once whether it is a download or an upload.'

export interface HubRouteOptions extends ForwardOptions {
  readonly mirror: Mirror
  readonly callers: Callers
  readonly reads: FileReads
  readonly bodies: RequestBodies
  readonly basePath: string
  readonly originLimit: OriginLimit | undefined
  readonly addressOf: AddressReader
  /** The raw target as a route: `createRouteParser`. */
  readonly parse: (rawTarget: string) => HubRoute
  readonly publicUrl: URL | undefined
  /** Read at each use, since they may change. */
  readonly settings: { readonly writes: 'forward' | 'deny' }
  readonly earlyAnswers?: EarlyAnswers | undefined
  readonly handoff?: FileHandoff | undefined
}

type OtherRoute = Extract<HubRoute, { kind: 'other' }>

/** Longer targets are rare and would fill the cache. */
const MAX_CACHED_CHARS = 512
const ROUTES_BYTES = 6 * 1024 * 1024

/** Returns a parser of raw targets below `basePath` that caches what it has parsed. It throws as `parseHubUrl` does. */
export function createRouteParser(basePath: string): (rawTarget: string) => HubRoute {
  const routes = new MemoryCache<HubRoute>({
    maxBytes: ROUTES_BYTES,
    sizeOf: () => 500 + 2 * MAX_CACHED_CHARS,
  })
  return (rawTarget) => {
    const known = routes.get(rawTarget)
    if (known !== undefined) return known
    const route = parseHubUrl(rawTarget, basePath)
    if (rawTarget.length <= MAX_CACHED_CHARS) routes.set(rawTarget, route)
    return route
  }
}

/**
 * Registers the catch-all: all of the Hub's protocol that no other route takes. The mirror answers what it understands,
 * and forwards the rest to the Hub.
 */
export async function registerHubRoute(server: FastifyInstance, options: HubRouteOptions): Promise<void> {
  // Fastify would read a text as a whole, up to a megabyte, and as UTF-8.
  server.removeContentTypeParser('text/plain')
  await server.register(proxy, {
    ...forwarding(options.client),
    handler: async (request, reply, _destination, hooks) => {
      const route = routeOf(request, options)
      if (readsPage(request, route)) return sendPage(request, reply, route, options)
      const admitted = await admit(request, reply, route, options)
      const waitMs = sparesQuota(request.raw) ? options.client.reservedQuotaMs(admitted.ctx.authorization) : 0
      if (waitMs > 0) return send(request, reply, quotaAnswer(waitMs), admitted, options)
      const git = gitAnswers(request, { ...admitted, batch: admitted.batch?.body }, options)
      const answer = await (git?.now() ?? answerFor(request, admitted, options.mirror))
      if (answer === undefined) {
        const standIn = git?.later && standInFor(request, reply, git.later, admitted, options)
        const written = await readWritten(request, admitted)
        const question = await readQuestion(request, admitted)
        return forward(request, reply, { ...admitted, written, question }, { ...options, hooks, standIn })
      }
      return send(request, reply, answer, admitted, options)
    },
  })
}

/** A request that may be answered: its route, and its caller. */
interface Admitted extends Omit<Forwarded, 'written' | 'question'> {
  /** Reads the body as a whole, for requests that ask by their body. Rejects as `RequestBodies.read` does. */
  readonly readBody: (maxBytes: number) => Promise<Buffer>
  /** A Git LFS batch of downloads. */
  readonly batch: Batch | undefined
}

interface Batch {
  readonly operation: ReturnType<typeof lfsOperation>
  /** The body as the client has sent it. */
  readonly body: Buffer
  /** The body as it is forwarded. */
  readonly forwarded: Buffer
}

/**
 * Finds out which caller asks, and evaluates the operator's rules. Rejects with the MirrorError that
 * refuses the request; the Hub's bytes and the store are untouched then.
 */
async function admit(
  request: FastifyRequest,
  reply: FastifyReply,
  route: HubRoute,
  options: HubRouteOptions,
): Promise<Admitted> {
  const record = recordOf(request.raw)
  const { method = '' } = request.raw
  noteRoute(record, route)
  const settling = options.callers.refresh(request.raw.headers.authorization)
  if (settling !== undefined) await settling
  const asked = contextOf(request, record, route, options)
  const { caller } = asked
  if (options.settings.writes === 'deny' && isWriteRoute(route, method))
    throw new MirrorError('writes_denied')
  const readBody = (maxBytes: number): Promise<Buffer> =>
    options.bodies.read(request.raw, reply.raw, { caller: callerKey(caller), maxBytes })
  const read = await readBatch(request, route, readBody)
  const batch = read?.operation
  const isUpload = batch !== undefined && batch !== 'download'
  if (isUpload && caller.kind === 'mirror-token')
    throw new MirrorError('mirror_token_read_only', { detail: { mirrorToken: caller.name } })
  if (isUpload && options.settings.writes === 'deny') throw new MirrorError('writes_denied')
  // The rules may allow downloads and deny uploads.
  if (batch === 'unclear' && options.mirror.hasRules)
    throw new MirrorError('bad_request', { message: UNCLEAR_BATCH })
  const admitted = await options.mirror.admit(asked, route, { isUpload })
  const { rules = '', useToken } = admitted.admission ?? {}
  if (rules !== '') record.access.rule = rules
  const lent = mayLend(caller, route, { method, isUpload }) ? useToken : undefined
  const ctx =
    lent === undefined ? admitted : withLent(admitted, lent, options.callers.authorizationOf(lent, route))
  return { route, ctx, readBody, batch: batch === 'download' ? read : undefined }
}

/** Sends the answer, or the failure that occurs before its first byte. Never rejects. */
async function send(
  request: FastifyRequest,
  reply: FastifyReply,
  given: Answer,
  { route }: Pick<Admitted, 'route'>,
  { earlyAnswers, reads, handoff }: HubRouteOptions,
): Promise<void> {
  // From here on the raw response is written here, failures included: Fastify does not touch a hijacked reply.
  reply.hijack()
  const record = recordOf(request.raw)
  const headOnly = request.raw.method === 'HEAD'
  const fields = route.kind === 'file' && isReusable(given) && earlyAnswers?.keep(request.raw, route, given)
  const answer = fields ? { ...given, headers: { ...given.headers, ...fields } } : given
  try {
    await sendAnswer(reply.raw, answer, { record, reads, headOnly, handoff })
  } catch (error) {
    sendFailure(reply.raw, error, record, headOnly)
  }
}

/** The route of a request by its target and its host. Throws as `parseHubUrl` does. */
function routeOf(request: FastifyRequest, { parse }: Pick<HubRouteOptions, 'parse'>): HubRoute {
  const route = parse(request.raw.url ?? '')
  return (namesDatasetsServer(request.host) && datasetsServerRoute(route)) || route
}

/** Whether a request is for a page of the Hub. */
function readsPage({ raw }: FastifyRequest, route: HubRoute): route is OtherRoute {
  const isRead = raw.method === 'GET' || raw.method === 'HEAD'
  return isRead && route.kind === 'other' && route.purpose === 'page'
}

/**
 * Answers a request for a page. The answer is the same for all callers and for all repos, so neither a right nor a rule is
 * asked about, and the Hub learns nothing of the request.
 */
function sendPage(
  request: FastifyRequest,
  reply: FastifyReply,
  route: OtherRoute,
  options: HubRouteOptions,
): Promise<void> {
  recordOf(request.raw).route = 'ops'
  const hubBase = withoutTrailingSlash(options.client.policy.base.href)
  const { accept } = request.headers
  const page = pageAnswer({ target: route.target, hubBase, mirrorBase: mirrorBase(request, options), accept })
  return send(request, reply, page, { route }, options)
}

function isReusable(answer: Answer): answer is ReusableAnswer {
  return answer.reusable !== undefined
}

/** The mirror's answer; undefined if the request is to be forwarded. */
async function answerFor(
  request: FastifyRequest,
  { route, ctx, readBody }: Admitted,
  mirror: Mirror,
): Promise<Answer | undefined> {
  const { method, headers } = request.raw
  const isRead = method === 'GET' || method === 'HEAD'
  switch (route.kind) {
    case 'file': {
      if (method === 'OPTIONS') return undefined
      if (!isRead) throw new MirrorError('method_not_allowed')
      const wish = wishOf(request.raw)
      if (wish === 'look') return mirror.look(ctx, route)
      if (wish === 'store') return mirror.fill(ctx, route, headers.range)
      const conditions = conditionsOf(request)
      return method === 'HEAD' ? mirror.head(ctx, route, conditions) : mirror.get(ctx, route, conditions)
    }
    case 'document':
      if (route.document === 'whoami' && isRead && ctx.caller.kind === 'mirror-token')
        return ownWhoami(ctx.caller, ctx.access)
      if (method === 'POST' && route.document === 'paths-info') {
        const contentType = headers['content-type']
        const body = await readBody(MAX_PATHS_BYTES)
        if (containsMirrorToken(body.toString('latin1'))) throw new MirrorError('mirror_token_misplaced')
        return mirror.document(ctx, route, { method, body, contentType })
      }
      if (!isRead) return undefined
      return unlessKnown(await mirror.document(ctx, route, QUESTION), headers['if-none-match'])
    case 'xet-token':
      return mirror.xetToken(route.write ? 'write' : 'read')
    case 'other': {
      if (route.purpose === 'asset') {
        if (method !== 'GET' && method !== 'HEAD') throw new MirrorError('method_not_allowed')
        return mirror.asset(ctx, route, { method, ...conditionsOf(request) })
      }
      const asked = isRead ? registryRequest(route) : undefined
      if (asked === undefined || (method !== 'GET' && method !== 'HEAD')) return undefined
      const conditions = conditionsOf(request)
      const answer = await mirror.registry(ctx, route, asked, { method, conditions, accept: headers.accept })
      return answer && unlessKnown(answer, headers['if-none-match'])
    }
    default:
      return route satisfies never
  }
}

/** Sends what `stored` has, for when the Hub turns out to be away. */
function standInFor(
  request: FastifyRequest,
  reply: FastifyReply,
  stored: () => Promise<Answer | undefined>,
  admitted: Admitted,
  options: HubRouteOptions,
): StandIn {
  return async () => {
    try {
      const answer = await stored()
      if (answer !== undefined) await send(request, reply, answer, admitted, options)
      return answer !== undefined
    } catch {
      // The client gets the failure of the Hub.
      return false
    }
  }
}

function conditionsOf({ raw: { headers } }: FastifyRequest): Conditions {
  return {
    range: headers.range,
    ifRange: single(headers['if-range']),
    ifNoneMatch: headers['if-none-match'],
  }
}

/**
 * The whole body of a forwarded request that only asks, though by POST, so that it may be sent again: a Git LFS batch of downloads,
 * and what git wants of a repo where that is short. A longer body is streamed, and sent once.
 */
async function readQuestion(
  request: FastifyRequest,
  { route, readBody, batch }: Admitted,
): Promise<Buffer | undefined> {
  const { method, headers } = request.raw
  if (gitRequest(route, method)?.kind !== 'pack' || !isShort(headers)) return batch?.forwarded
  const body = await readBody(MAX_NAMING_BYTES)
  replaceBody(request, body)
  return body
}

/** Whether a body says that it is short. */
function isShort(headers: IncomingHttpHeaders): boolean {
  return Number(headers['content-length'] ?? Number.POSITIVE_INFINITY) <= MAX_NAMING_BYTES
}

/** The operation of a Git LFS batch, and its body; undefined if the request is no batch. */
async function readBatch(
  request: FastifyRequest,
  route: HubRoute,
  readBody: (maxBytes: number) => Promise<Buffer>,
): Promise<Batch | undefined> {
  if (route.kind !== 'other' || route.purpose !== 'lfs-batch' || request.raw.method !== 'POST')
    return undefined
  const body = await readBody(MAX_BATCH_BYTES)
  const forwarded = withoutXet(body)
  replaceBody(request, forwarded)
  return { operation: lfsOperation(body), body, forwarded }
}

/** The repos that a forwarded write changes, for which its body is read where that names them. */
async function readWritten(request: FastifyRequest, { route, readBody }: Admitted): Promise<WrittenRepos> {
  const { method = '', headers } = request.raw
  // Clients may send the first files of a new repo along. Such a body is streamed.
  if (!namesReposInBody(route, method) || !isShort(headers)) return writtenRepos(route, method, undefined)
  const body = await readBody(MAX_NAMING_BYTES)
  replaceBody(request, body)
  return writtenRepos(route, method, body)
}

/**
 * The stream of the request has been read. The proxy plugin sends `request.body` instead; it might encode a plain buffer as
 * JSON.
 */
function replaceBody(request: FastifyRequest, body: Buffer): void {
  request.body = Readable.from([body])
  request.raw.headers['content-length'] = String(body.length)
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
