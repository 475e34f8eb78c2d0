// Serves the links that the mirror gave out for transfers of Git LFS objects: see transfer-links.ts. The holder of a
// link may make the one transfer that it is for. No credential of a caller leaves here, and only hosts that the
// redirect policy allows are contacted.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { repoKey } from '../../hub/names.ts'
import { noteAllowed } from '../../mirror/access/note.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import { redirectTarget } from '../../origin/redirect.ts'
import type { FileReads } from '../body/file-reads.ts'
import { sendAnswer } from '../body/send.ts'
import type { AddressReader } from '../clients.ts'
import { anonymousContext } from '../context.ts'
import { sendFailure } from '../fail.ts'
import type { OriginLimit } from '../origin-limit.ts'
import { recordOf } from '../request-record.ts'
import { TRANSFER_PATH, type TransferLink, type TransferLinks } from './transfer-links.ts'
import { type UploadOptions, upload } from './upload.ts'

export interface TransferOptions extends UploadOptions {
  readonly transferLinks: () => Promise<TransferLinks>
  readonly mirror: Pick<Mirror, 'object' | 'uploads'>
  readonly reads: FileReads
  readonly originLimit: OriginLimit | undefined
  readonly addressOf: AddressReader
  readonly basePath: string
  readonly publicUrl: URL | undefined
}

const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'OPTIONS'] as const

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
