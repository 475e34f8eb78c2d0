// Turns a request of a client into the context that the mirror works with. The only reader of credentials and forwarded
// fields.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { type Caller, type Callers, checkPlaces } from '../callers/caller.ts'
import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import { bearerToken, isHeaderSafe } from '../http/headers.ts'
import { DATASETS_SERVER_PREFIX, namesDatasetsServer } from '../hub/datasets-server.ts'
import { repoKey } from '../hub/names.ts'
import { type HubRoute, readerOf } from '../hub/route.ts'
import { ANONYMOUS, type Ctx } from '../mirror/context.ts'
import { type About, fingerprint } from '../telemetry/log.ts'
import { keyedDigest } from '../telemetry/run-key.ts'
import { type AddressReader, UNKNOWN_ADDRESS } from './clients.ts'
import { isFromControl } from './control.ts'
import type { OriginLimit } from './origin-limit.ts'
import type { RequestRecord } from './request-record.ts'

/** If one of these comes twice, a proxy on the way may have read the other one. */
const ONCE = new Set(['authorization', 'host', 'range', 'content-length', 'if-range', 'transfer-encoding'])
/**
 * Which organisation the Hub bills. Dropped when the request uses one of the mirror's own Hub tokens: the caller must not
 * choose who pays.
 */
export const BILL_TO = 'x-hf-bill-to'
/** Fields that are forwarded to the Hub: those it counts by, and those that trace the request. All others stay here. */
const FORWARDED = ['user-agent', 'x-hf-download-counter', BILL_TO, 'x-amzn-trace-id', 'via']
const MAX_FORWARDED_CHARS = 512

/**
 * Refuses requests whose framing or credentials can be read in two ways, and those that would forward a mirror token.
 * Throws bad_request, loop or mirror_token_misplaced.
 */
export function checkRequest(raw: IncomingMessage, via: string): void {
  const doubled = firstDoubled(raw.rawHeaders)
  if (doubled !== undefined) {
    throw new MirrorError('bad_request', { message: `The request has more than one ${doubled} header.` })
  }
  checkVersion(raw)
  const hasBody =
    raw.headers['transfer-encoding'] !== undefined || Number(raw.headers['content-length'] ?? 0) > 0
  if (hasBody && (raw.method === 'GET' || raw.method === 'HEAD')) {
    throw new MirrorError('bad_request', { message: 'A GET or HEAD request must not have a body.' })
  }
  if (raw.headers.via?.includes(via) === true) throw new MirrorError('loop')
  checkPlaces(raw.url ?? '', raw.rawHeaders)
}

/**
 * Refuses what the HTTP version of a request does not allow: HTTP/1.1 without Host (RFC 9112 §3.2), and HTTP/1.0 with
 * Transfer-Encoding, which makes its framing faulty (§6.1). Throws bad_request.
 */
export function checkVersion({
  httpVersion,
  headers,
}: Pick<IncomingMessage, 'httpVersion' | 'headers'>): void {
  const isOld = httpVersion === '1.0'
  if (headers.host === undefined && !isOld)
    throw new MirrorError('bad_request', { message: 'The request has no Host header.' })
  if (headers['transfer-encoding'] !== undefined && isOld)
    throw new MirrorError('bad_request', { message: 'An HTTP/1.0 request must not have Transfer-Encoding.' })
}

/** The address and port that a client has reached, as its Host field would name them; undefined on a private socket. */
export function reachedHost({ localAddress, localPort }: Socket): string | undefined {
  if (localAddress === undefined || localPort === undefined) return undefined
  const address = localAddress.replace(/^::ffff:(?=\d+\.)/, '')
  return `${address.includes(':') ? `[${address}]` : address}:${localPort}`
}

/**
 * The caller's own request id if it is well formed, since it connects the caller's log with this one. Otherwise a new
 * one.
 */
export function requestId({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-request-id'] ?? headers['x-amzn-trace-id']
  // It appears in the log and in responses: something that may be a token is not used.
  const isId = typeof given === 'string' && /^[\w.=:;-]{1,128}$/.test(given) && !/hf_\w{10}/.test(given)
  return isId ? given : randomUUID()
}

/** The first field of ONCE that comes twice. Node's `headers` would hide the second one. */
function firstDoubled(rawHeaders: readonly string[]): string | undefined {
  const seen: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? ''
    if (!ONCE.has(name)) continue
    if (seen.includes(name)) return name
    seen.push(name)
  }
  return undefined
}

/**
 * The context of a checked request. `publicUrl` takes precedence over the host that the request names. Throws as
 * `Callers.recognise` does.
 */
export function contextOf(
  request: FastifyRequest,
  record: RequestRecord,
  route: HubRoute,
  options: {
    readonly publicUrl: URL | undefined
    readonly basePath: string
    readonly callers: Callers
    readonly originLimit: OriginLimit | undefined
    readonly addressOf: AddressReader
  },
): Ctx {
  const { method = '', headers } = request.raw
  // A closed socket has no address; an unknown address is granted nothing.
  const address = options.addressOf(request.raw) ?? UNKNOWN_ADDRESS
  const given = { authorization: headers.authorization, address, method }
  const { caller, authorization, checkScope } = options.callers.recognise(given, route)
  noteCaller(record, caller, authorization)
  const forward: Record<string, string> = {}
  for (const name of FORWARDED) {
    const value = headers[name]
    if (typeof value === 'string' && value.length <= MAX_FORWARDED_CHARS && isHeaderSafe(value))
      forward[name] = value
  }
  return {
    id: record.id,
    caller,
    lent: undefined,
    authorization,
    fingerprint: nameOf(authorization),
    get signal() {
      return record.signal
    },
    get mirrorBase() {
      return mirrorBase(request, options)
    },
    forward,
    originRequests: record.originRequests,
    countAgainstLimit: countOnce(options.originLimit, request, caller),
    checkScope,
    access: record.access,
  }
}

/**
 * The context of a request whose URL is its authorisation, as that of a transfer link is. The caller is anonymous to the
 * Hub, and a credential in the request is dropped.
 */
export function anonymousContext(
  request: FastifyRequest,
  record: RequestRecord,
  options: {
    readonly publicUrl: URL | undefined
    readonly basePath: string
    readonly originLimit: OriginLimit | undefined
    readonly addressOf: AddressReader
  },
): Ctx {
  const caller: Caller = { kind: 'anonymous', address: options.addressOf(request.raw) ?? UNKNOWN_ADDRESS }
  noteCaller(record, caller, undefined)
  return {
    id: record.id,
    caller,
    lent: undefined,
    authorization: undefined,
    fingerprint: ANONYMOUS,
    signal: record.signal,
    mirrorBase: mirrorBase(request, options),
    forward: {},
    originRequests: record.originRequests,
    countAgainstLimit: countOnce(options.originLimit, request, caller),
    access: record.access,
  }
}

/**
 * Counts the request against the caller's limit when it first needs the origin, and only once. The owner of the store has
 * no such limit.
 */
function countOnce(
  originLimit: OriginLimit | undefined,
  request: FastifyRequest,
  caller: Caller,
): Ctx['countAgainstLimit'] {
  if (isFromControl(request.raw)) return undefined
  let claimed: Promise<void> | undefined
  return originLimit && (() => (claimed ??= originLimit(request, caller)))
}

/** Notes the route of a request, and the repo, revision and path that it names. */
export function noteRoute(record: RequestRecord, route: HubRoute): void {
  record.route = route.kind === 'other' ? 'pass-through' : route.kind
  record.about = aboutOf(route)
  record.reader = readerOf(route)
}

// One route serves many requests.
const abouts = new WeakMap<HubRoute, About>()

function aboutOf(route: HubRoute): About {
  const known = abouts.get(route)
  if (known !== undefined) return known
  const about = {
    repo: route.repo === undefined ? undefined : repoKey(route.repo),
    revision: 'revision' in route ? route.revision : undefined,
    path: route.kind === 'file' ? route.path : undefined,
  }
  abouts.set(route, about)
  return about
}

/** Notes the caller, for logs and metrics. Of a token it notes only a fingerprint. */
export function noteCaller(record: RequestRecord, caller: Caller, authorization: string | undefined): void {
  const token = caller.kind === 'hub-token' ? bearerToken(authorization) : undefined
  record.token = token === undefined ? undefined : fingerprint(token)
  record.callerKind = caller.kind === 'hub-token' && token === undefined ? 'other' : caller.kind
  record.access.mirrorToken = caller.kind === 'mirror-token' ? caller.name : undefined
}

/** The same request with one of the mirror's own Hub tokens: `lent` is its name, `authorization` carries it. */
export function withLent(ctx: Ctx, lent: string, authorization: string): Ctx {
  const { [BILL_TO]: _payer, ...forward } = ctx.forward
  ctx.access.hubToken = lent
  return { ...ctx, lent, authorization, fingerprint: nameOf(authorization), forward }
}

/** A name for a credential, for use in memory. It means nothing outside of this process. */
export function nameOf(authorization: string | undefined): string {
  if (authorization === undefined) return ANONYMOUS
  return keyedDigest('credential', authorization).toString('base64url')
}

/** The base URL of this mirror as the client of the request knows it: `Ctx.mirrorBase`. */
export function mirrorBase(
  request: FastifyRequest,
  options: { readonly publicUrl: URL | undefined; readonly basePath: string },
): string {
  if (options.publicUrl !== undefined) return withoutTrailingSlash(options.publicUrl.href)
  // The host that a client names goes back to that client only, and never into the store.
  const named = request.host || (reachedHost(request.raw.socket) ?? '')
  // `datasets` has put this before the host by which it knows the mirror.
  const given = namesDatasetsServer(named) ? named.slice(DATASETS_SERVER_PREFIX.length) : named
  const host = /^[\w.-]+(?::\d{1,5})?$|^\[[\da-fA-F:.]+\](?::\d{1,5})?$/.test(given) ? given : 'localhost'
  // A proxy may have forwarded a value that its own client sent.
  const scheme = request.protocol === 'https' ? 'https' : 'http'
  return `${scheme}://${host}${options.basePath === '/' ? '' : options.basePath}`
}
