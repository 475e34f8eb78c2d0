// Passes the body of an upload on to the storage of the Hub while it arrives. What the batch has announced is checked on the
// way: the size of each request, and the sha256 of an object whose bytes all come through this process in order. The last
// bytes are held back until the check is done, so that storage never has a whole object that is another one.

import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { callerKey } from '../../callers/caller-key.ts'
import { MirrorError } from '../../errors.ts'
import { contentBytes } from '../../hub/lfs-batch.ts'
import { passableHeaders } from '../../hub/response-headers.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import type { PassingBody } from '../../mirror/uploads.ts'
import type { OriginClient } from '../../origin/client.ts'
import { uploadLimits } from '../../origin/connections/upload-pace.ts'
import { foreignToStorage } from '../../origin/failures/refused.ts'
import type { OriginAnswer } from '../../origin/origin-answer.ts'
import { discard } from '../../origin/read-body.ts'
import { BODY_REDIRECT } from '../../origin/redirect.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { outcomeHeaders, sendStream } from '../body/send.ts'
import { uploadBody } from '../body/upload-body.ts'
import { recordOf } from '../request-record.ts'
import type { TransferLink } from './transfer-links.ts'

/** The storage may verify a large object, or join its parts, before it responds. */
const STORED_WITHIN_MS = 300_000
/** The request fields that describe the body. */
const BODY_FIELDS = ['content-type', 'content-length', 'content-encoding', 'content-md5']
const EMPTY_SHA256 = createHash('sha256').digest('hex')

export interface UploadOptions {
  readonly client: OriginClient
  readonly mirror: Pick<Mirror, 'uploads'>
  readonly observer: Observer
  /** Read at each use, since they may change. */
  readonly settings: { readonly writes: 'forward' | 'deny' }
  readonly offline: boolean
}

export interface UploadRequest {
  readonly ctx: Ctx
  readonly link: TransferLink
  readonly method: 'PUT' | 'POST'
}

/**
 * Passes the upload on, and sends the answer of storage. Throws upload_mismatch for a body that was not announced, RefusedByHub for a
 * rate limit with a page, and the error for any other answer of something before storage.
 */
export async function upload(
  request: FastifyRequest,
  reply: FastifyReply,
  { ctx, link, method }: UploadRequest,
  options: UploadOptions,
): Promise<void> {
  const record = recordOf(request.raw)
  const { client, observer } = options
  // Writes may have been turned off since the link was made.
  if (options.settings.writes === 'deny') throw new MirrorError('writes_denied')
  if (options.offline) throw new MirrorError('offline_and_absent')
  const expected = link.content === undefined ? undefined : contentBytes(link.content, link.sizeBytes)
  checkLength(request.raw.headers['content-length'], expected, link)
  await ctx.countAgainstLimit?.()
  const isWanted = (): boolean => client.isWanted(callerKey(ctx.caller))
  const stop = new AbortController()
  const given = AbortSignal.any([ctx.signal, stop.signal])
  const limits = uploadLimits(request.raw, { given, answerMs: STORED_WITHIN_MS, isWanted })
  reply.raw.once('close', () => limits.over())
  const passing =
    link.content === undefined ? undefined : options.mirror.uploads.begin(ctx, link, link.content)
  let answer: OriginAnswer | undefined
  let refused: Error | undefined
  let isChecked = false
  try {
    answer = await client.send({
      kind: 'cdn',
      method,
      url: link.url,
      requester: {
        authorization: undefined,
        caller: callerKey(ctx.caller),
        forward: {},
        onOriginRequest: () => (record.originRequests.count += 1),
      },
      headers: headersOf(request, link, expected),
      body: uploadBody(request.raw, (bytes) =>
        expected === undefined
          ? bytes
          : checked(bytes, {
              expected,
              passing,
              refuse: (error) => stop.abort(error),
              onChecked: () => (isChecked = true),
            }),
      ),
      signal: limits.signal,
      answerTimeoutMs: STORED_WITHIN_MS,
    })
    const isWhole = expected === undefined ? request.raw.complete : isChecked
    refused = await refusalOf(answer, { host: link.url.host, isWhole })
  } finally {
    passing?.end(answer !== undefined && answer.status < 300 && refused === undefined)
  }
  limits.answered()
  if (refused !== undefined) {
    discard(answer)
    throw refused
  }
  record.outcome = answer.status >= 400 ? 'refused' : 'bypass'
  const { status, headers, body } = answer
  const start = (): void => {
    record.firstByteAt = performance.now()
    reply.raw.writeHead(status, {
      ...passableHeaders(headers),
      'access-control-allow-origin': '*',
      'access-control-expose-headers': 'ETag',
      // A form of another site may send the request. What a browser then shows must run no script in the name of the mirror.
      'content-security-policy': "default-src 'none'; sandbox",
      'x-content-type-options': 'nosniff',
      'x-request-id': record.id,
      ...outcomeHeaders({ outcome: record.outcome, originStatus: status }),
    })
  }
  await sendStream(reply.raw, counted(body, observer), start, { record, isWanted })
}

/**
 * The error for an answer that is not passed on, because storage itself has not answered, wants another address to be asked, or claims
 * to have an upload that was not passed to it as a whole.
 */
async function refusalOf(
  answer: OriginAnswer,
  { host, isWhole }: { readonly host: string; readonly isWhole: boolean },
): Promise<Error | undefined> {
  const { status } = answer
  if (status >= 300 && status < 400)
    return new MirrorError('redirect_refused', {
      message: BODY_REDIRECT,
      detail: { reason: 'redirect of an upload', host },
    })
  const foreign = await foreignToStorage(answer, host)
  if (foreign !== undefined || status >= 300 || isWhole) return foreign
  return new MirrorError('origin_bad_answer', { detail: { reason: 'success before the end', host, status } })
}

function headersOf(
  request: FastifyRequest,
  link: TransferLink,
  expected: number | undefined,
): Record<string, string> {
  const headers: Record<string, string> = { ...link.headers }
  for (const name of BODY_FIELDS) {
    const value = request.raw.headers[name]
    if (typeof value === 'string' && headers[name] === undefined) headers[name] = value
  }
  // S3 wants a length, also if the client sends the body in chunks.
  return expected === undefined ? headers : { ...headers, 'content-length': String(expected) }
}

/** Throws upload_mismatch before a byte is passed on, where the length of the body shows that it is another one. */
function checkLength(length: string | undefined, expected: number | undefined, link: TransferLink): void {
  if (expected === undefined) return
  if (length !== undefined && Number(length) !== expected) throw mismatch('size')
  // Without a byte there is nothing that could be held back.
  if (link.sizeBytes === 0 && link.oid !== EMPTY_SHA256) throw mismatch('sha256')
}

function mismatch(reason: 'size' | 'sha256'): MirrorError {
  return new MirrorError('upload_mismatch', { detail: { reason } })
}

/**
 * The same bytes. The last chunk comes only when all of them were checked, after a call of `onChecked`. Otherwise calls `refuse` with
 * the error, which must end the request to storage, and throws it.
 */
async function* checked(
  body: AsyncIterable<Buffer>,
  {
    expected,
    passing,
    refuse,
    onChecked,
  }: {
    readonly expected: number
    readonly passing: PassingBody | undefined
    readonly refuse: (error: MirrorError) => void
    readonly onChecked: () => void
  },
): AsyncGenerator<Buffer, void, undefined> {
  const refused = (reason: 'size' | 'sha256'): MirrorError => {
    const error = mismatch(reason)
    refuse(error)
    return error
  }
  if (passing !== undefined) await passing.ready
  let seen = 0
  let held: Buffer | undefined
  for await (const chunk of body) {
    seen += chunk.length
    if (seen > expected) throw refused('size')
    passing?.update(chunk)
    if (held !== undefined) yield held
    held = chunk
  }
  if (seen !== expected) throw refused('size')
  if (passing?.matches() === false) throw refused('sha256')
  onChecked()
  if (held !== undefined) yield held
}

async function* counted(stream: Readable, observer: Observer): AsyncGenerator<Buffer, void, undefined> {
  for await (const part of stream) {
    const chunk = part as Buffer
    observer.originBytes('cdn', chunk.length)
    yield chunk
  }
}
