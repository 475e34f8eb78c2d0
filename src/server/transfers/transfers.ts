// Serves the links that the mirror gave out for transfers of Git LFS objects: see transfer-links.ts. The holder of a
// link may make the one transfer that it is for. No credential of a caller leaves here, and only hosts that the
// redirect policy allows are contacted.

import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { callerKey } from '../../callers/caller-key.ts'
import { MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { repoKey } from '../../hub/names.ts'
import { passableHeaders } from '../../hub/response-headers.ts'
import { noteAllowed } from '../../mirror/access/note.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import type { OriginClient } from '../../origin/client.ts'
import { uploadLimits } from '../../origin/connections/upload-pace.ts'
import { redirectTarget } from '../../origin/redirect.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { FileReads } from '../body/file-reads.ts'
import { outcomeHeaders, sendAnswer, sendStream } from '../body/send.ts'
import type { AddressReader } from '../clients.ts'
import { anonymousContext } from '../context.ts'
import { sendFailure } from '../fail.ts'
import type { OriginLimit } from '../origin-limit.ts'
import { recordOf } from '../request-record.ts'
import { TRANSFER_PATH, type TransferLink, type TransferLinks } from './transfer-links.ts'

export interface TransferOptions {
  readonly transferLinks: () => Promise<TransferLinks>
  readonly client: OriginClient
  readonly mirror: Pick<Mirror, 'object'>
  readonly observer: Observer
  readonly reads: FileReads
  readonly originLimit: OriginLimit | undefined
  readonly addressOf: AddressReader
  readonly basePath: string
  readonly publicUrl: URL | undefined
  /** Read at each use, since they may change. */
  readonly settings: { readonly writes: 'forward' | 'deny' }
  readonly offline: boolean
}

/** The storage may verify a large object, or join its parts, before it responds. */
const STORED_WITHIN_MS = 300_000
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'OPTIONS'] as const
/** The request fields that describe the body. */
const BODY_FIELDS = ['content-type', 'content-length', 'content-encoding', 'content-md5']

/** Registers the routes, at the root and below the base path. */
export async function registerTransfers(server: FastifyInstance, options: TransferOptions): Promise<void> {
  await server.register(async (own) => {
    // Bodies are streamed, whatever their length.
    own.removeAllContentTypeParsers()
    own.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    const bases = new Set(['', withoutTrailingSlash(options.basePath)])
    for (const base of bases) {
      own.route<{ Params: { '*': string } }>({
        method: [...METHODS],
        url: `${base}${TRANSFER_PATH}*`,
        handler: async (request, reply) => {
          reply.hijack()
          await serve(request, reply, request.params['*'], options).catch((error: unknown) =>
            sendFailure(reply.raw, error, recordOf(request.raw), request.raw.method === 'HEAD'),
          )
        },
      })
    }
  })
}

async function serve(
  request: FastifyRequest,
  reply: FastifyReply,
  sealed: string,
  options: TransferOptions,
): Promise<void> {
  const record = recordOf(request.raw)
  record.route = 'pass-through'
  record.reader = 'git-lfs'
  const { method } = request.raw
  if (method === 'OPTIONS') {
    // A browser sends a preflight request before it uploads. It reads the ETag of each part, to list them at the end.
    record.outcome = 'own'
    reply.raw.writeHead(204, {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': METHODS.join(', '),
      'access-control-allow-headers': request.raw.headers['access-control-request-headers'] ?? '*',
      'x-request-id': record.id,
    })
    reply.raw.end()
    return
  }
  const opened = (await options.transferLinks()).open(sealed)
  // Checked again: the allowed hosts may have changed since the link was made.
  const { policy } = options.client
  const link = { ...opened, url: redirectTarget(policy, policy.base, opened.url.href) }
  record.about = { repo: repoKey(link.repo), revision: undefined, path: undefined }
  // The fields that the storage wants take the place of the caller's own.
  const ctx = { ...anonymousContext(request, record, options), forward: link.headers }
  if (link.method === 'GET' && (method === 'GET' || method === 'HEAD')) {
    noteAllowed(ctx.access, 'passed')
    return download(request, reply, { ctx, link, method }, options)
  }
  if (link.method === 'GET' || method !== link.method)
    throw new MirrorError('transfer_link_refused', { detail: { reason: 'another method' } })
  noteAllowed(ctx.access, 'passed')
  return upload(request, reply, { ctx, link, method: link.method }, options)
}

async function download(
  request: FastifyRequest,
  reply: FastifyReply,
  { ctx, link, method }: { readonly ctx: Ctx; readonly link: TransferLink; readonly method: 'GET' | 'HEAD' },
  options: TransferOptions,
): Promise<void> {
  const { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch } = request.raw.headers
  const conditions = { range, ifRange: typeof ifRange === 'string' ? ifRange : undefined, ifNoneMatch }
  const { repo, oid, sizeBytes, mayStore, isProved, url } = link
  const object = { repo, sha256: oid, sizeBytes, mayStore, isProved, url }
  const answer = await options.mirror.object(ctx, object, { method, conditions })
  const headOnly = method === 'HEAD'
  await sendAnswer(reply.raw, answer, { record: recordOf(request.raw), reads: options.reads, headOnly })
}

async function upload(
  request: FastifyRequest,
  reply: FastifyReply,
  { ctx, link, method }: { readonly ctx: Ctx; readonly link: TransferLink; readonly method: 'PUT' | 'POST' },
  options: TransferOptions,
): Promise<void> {
  const record = recordOf(request.raw)
  const { client, observer } = options
  // Writes may have been turned off since the link was made.
  if (options.settings.writes === 'deny') throw new MirrorError('writes_denied')
  if (options.offline) throw new MirrorError('offline_and_absent')
  await ctx.countAgainstLimit?.()
  const headers: Record<string, string> = { ...link.headers }
  for (const name of BODY_FIELDS) {
    const value = request.raw.headers[name]
    if (typeof value === 'string' && headers[name] === undefined) headers[name] = value
  }
  const caller = callerKey(ctx.caller)
  const isWanted = (): boolean => client.isWanted(caller)
  const limits = uploadLimits(request.raw, { given: ctx.signal, answerMs: STORED_WITHIN_MS, isWanted })
  reply.raw.once('close', () => limits.over())
  const answer = await client.send({
    kind: 'cdn',
    method,
    url: link.url,
    requester: {
      authorization: undefined,
      caller,
      forward: {},
      onOriginRequest: () => (record.originRequests.count += 1),
    },
    headers,
    // If the storage responds before the end of the body, the client must not see its connection fail.
    body: Readable.from(request.raw.iterator({ destroyOnReturn: false }), { objectMode: false }),
    signal: limits.signal,
    answerTimeoutMs: STORED_WITHIN_MS,
  })
  limits.answered()
  if (answer.status >= 300 && answer.status < 400) {
    await answer.body.dump()
    throw new MirrorError('redirect_refused', {
      detail: { reason: 'redirect of an upload', host: link.url.host },
    })
  }
  record.outcome = answer.status >= 400 ? 'refused' : 'bypass'
  const start = (): void => {
    record.firstByteAt = performance.now()
    reply.raw.writeHead(answer.status, {
      ...passableHeaders(answer.headers),
      'access-control-allow-origin': '*',
      'access-control-expose-headers': 'ETag',
      'x-request-id': record.id,
      ...outcomeHeaders({ outcome: record.outcome, originStatus: answer.status }),
    })
  }
  await sendStream(reply.raw, counted(answer.body, observer), start, { record, isWanted })
}

async function* counted(stream: Readable, observer: Observer): AsyncGenerator<Buffer, void, undefined> {
  for await (const part of stream) {
    const chunk = part as Buffer
    observer.originBytes('cdn', chunk.length)
    yield chunk
  }
}
