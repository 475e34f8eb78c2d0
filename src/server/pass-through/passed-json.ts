// JSON responses that are passed through and contain URLs which clients follow, or read as names of repos. Only the
// responses that are listed here are rewritten. In others a URL may be text that a user wrote, and a client that writes
// it back would change it at the Hub.

import { MirrorError } from '../../errors.ts'
import type { HeaderBag } from '../../http/headers.ts'
import { headerValue } from '../../http/headers.ts'
import { type RewriteBases, rewriteDocument } from '../../hub/rewrite.ts'
import type { HubRoute } from '../../hub/route.ts'
import { splitTarget } from '../../hub/url-text.ts'
import type { Ctx } from '../../mirror/context.ts'
import type { Mirror } from '../../mirror/mirror.ts'
import type { OriginClient } from '../../origin/client.ts'
import { rewriteBatch } from '../transfers/batch-links.ts'
import type { TransferLinks } from '../transfers/transfer-links.ts'

/**
 * What a response contains. `links`: URLs that clients follow. `written`: the URL of what a write has created, as its
 * name. `lfs-batch`: the actions of a Git LFS batch. `preupload`: no URL, but which files are large.
 */
type PassedDocument = 'links' | 'written' | 'lfs-batch' | 'preupload'

/** The largest are lists of Parquet files, with about 100 bytes per file. Larger responses are passed on unchanged. */
const MAX_PASSED_JSON_BYTES = 4 * 1024 * 1024
/**
 * The answer to a batch has about a kilobyte per part of an upload, and storage takes ten thousand parts of one object. A larger
 * answer is refused: its URLs would lead past the mirror.
 */
const MAX_BATCH_ANSWER_BYTES = 16 * 1024 * 1024
const LONG_BATCH =
  "The Hub's answer to this Git LFS batch is longer than 16 MiB. Transfer fewer or smaller files at a time."

/** What the response contains; undefined if it is passed on unchanged. */
export function passedDocumentOf(route: HubRoute, method: string): PassedDocument | undefined {
  if (route.kind !== 'other') return undefined
  if (route.purpose === 'lfs-batch') return method === 'POST' ? 'lfs-batch' : undefined
  const { path } = splitTarget(route.target)
  if (method === 'GET') {
    return path.startsWith('/api/datasets/') && /\/(?:parquet|croissant)(?:\/|$)/.test(path)
      ? 'links'
      : undefined
  }
  if (method !== 'POST') return undefined
  if (/^\/api\/repos\/(?:create|move)$/.test(path) || path.startsWith('/api/buckets/')) return 'written'
  const [, word] =
    /^\/api\/(?:model|dataset|space|kernel)s\/[^/]+\/(?:[^/]+\/)?(preupload|commit|duplicate)(?:\/|$)/.exec(
      path,
    ) ?? []
  return word === undefined ? undefined : word === 'preupload' ? word : 'written'
}

/** Whether the body of a response can be read as the document: JSON without an encoding. */
export function isReadable(document: PassedDocument, headers: HeaderBag): boolean {
  const encoding = headerValue(headers, 'content-encoding')
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') return false
  // Clients of Git LFS do not ask for its type.
  if (document === 'lfs-batch') return true
  return /^application\/(?:[\w.-]+\+)?json\b/i.test(headerValue(headers, 'content-type') ?? '')
}

/** The rewritten body, and fields that are to be sent with it. */
interface Rewritten {
  readonly body: Buffer
  readonly headers?: Readonly<Record<string, string>>
}

export interface RewriteOptions {
  readonly client: Pick<OriginClient, 'policy'>
  readonly route: HubRoute
  readonly ctx: Pick<Ctx, 'admission' | 'authorization'>
  readonly mirror: Pick<Mirror, 'sawObject'>
  readonly bases: RewriteBases
  readonly userAgent: string | undefined
  readonly transferLinks: () => Promise<TransferLinks>
  /** Reports the hosts to which transfers bypass the mirror to the operator. */
  readonly warnOfHosts: (hosts: Iterable<string>) => void
}

const XET_UPLOAD_WARNING =
  'This mirror accepts large files over HTTP, not by Xet. An upload with hf_xet fails: set HF_HUB_DISABLE_XET=1 and upload again.'

/** Rewrites the URLs that clients follow to the mirror. Returns the same Buffer if nothing changes. */
export async function rewritePassedDocument(
  body: Buffer,
  document: PassedDocument,
  options: RewriteOptions,
): Promise<Rewritten> {
  switch (document) {
    case 'links':
      return { body: rewriteUrls(body, options.bases) }
    case 'written':
      return { body: rewriteWritten(body, options) }
    case 'preupload':
      return mayGoToXet(body, options.userAgent)
        ? { body, headers: { 'x-hf-warning': `XetDisabled; ${XET_UPLOAD_WARNING}` } }
        : { body }
    case 'lfs-batch':
      return rewriteLfs(body, options)
    default:
      return document satisfies never
  }
}

async function rewriteLfs(
  body: Buffer,
  { client, route, ctx, mirror, bases, transferLinks, warnOfHosts }: RewriteOptions,
): Promise<Rewritten> {
  const rewritten = await rewriteBatch(body, {
    links: await transferLinks(),
    policy: client.policy,
    bases,
    repo: route.repo,
    onLink: (repo, oid) => mirror.sawObject(ctx, repo, oid),
    mayStore: (sizeBytes) => ctx.admission?.mayStore(sizeBytes) !== false,
  })
  const [outside] = rewritten?.outside ?? []
  if (rewritten === undefined || outside === undefined) return { body: rewritten?.body ?? body }
  warnOfHosts(rewritten.outside)
  const text = `The Hub directs this transfer to ${outside}, which bypasses this mirror. If you cannot reach that host, ask the operator of the mirror to allow it.`
  return { body: rewritten.body, headers: { 'x-hf-warning': `TransferOutside; ${text}` } }
}

/**
 * Rewrites the URLs of the origin to the mirror. A body that is not JSON is returned unchanged, since no client follows a
 * URL in it.
 */
function rewriteUrls(body: Buffer, bases: RewriteBases): Buffer {
  const document = /^\s*\[/.test(body.toString('latin1', 0, 64)) ? 'list' : 'repo'
  try {
    return rewriteDocument(body, { ...bases, document, stripXet: false })
  } catch {
    return body
  }
}

/**
 * Rewrites the URL of a new repo, commit or pull request so that huggingface_hub can read the name of the repo from it.
 * URLs that begin with the Hub's public name stay if the client can read them: users who open them get the Hub's own pages.
 *
 * huggingface_hub below 1.0 takes the third segment from the end for the type of the repo. Below a base path this is the
 * last segment of the base path, so an empty segment follows there. All versions from 0.20 to 2.4 accept it.
 */
function rewriteWritten(body: Buffer, { bases, userAgent }: RewriteOptions): Buffer {
  const { aliases = [], mirrorBase, ...own } = bases
  const hasPath = new URL(mirrorBase).pathname !== '/'
  // Version 0.20 knows its endpoint alone.
  if (hasPath || isBeforeOne(userAgent)) {
    const rewritten = rewriteUrls(body, bases)
    return hasPath && rewritten !== body ? withEmptySegment(rewritten, mirrorBase) : rewritten
  }
  return aliases.includes(bases.originBase) ? body : rewriteUrls(body, { ...own, mirrorBase })
}

/** Adds a slash behind the base of each string that is a URL of the mirror. */
function withEmptySegment(body: Buffer, mirrorBase: string): Buffer {
  const start = JSON.stringify(`${mirrorBase}/`).slice(0, -1)
  return Buffer.from(body.toString('latin1').replaceAll(start, `${start}/`), 'latin1')
}

function isBeforeOne(userAgent: string | undefined): boolean {
  return /\bhf_hub\/0\./.test(userAgent ?? '')
}

/**
 * Whether huggingface_hub would upload the large files of this response by Xet, if hf_xet is installed; its user agent
 * does not say whether it is. Since 1.20 it requests no Git LFS batch then, and does not show the mirror's error for
 * hf_xet.
 */
function mayGoToXet(body: Buffer, userAgent: string | undefined): boolean {
  const [, major = '0', minor = '0'] = /\bhf_hub\/(\d+)\.(\d+)/.exec(userAgent ?? '') ?? []
  const isNew = Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 20)
  return isNew && /"uploadMode"\s*:\s*"lfs"/.test(body.toString('latin1'))
}

/**
 * Reads the body of a document, as far as it may be rewritten. If it is larger, `rest` yields the chunks that follow `bytes`. Calls
 * `hold` for the memory of a long one, which may throw. Throws request_too_large for a batch that is too long.
 */
export async function readDocument(
  body: AsyncIterable<Buffer>,
  document: PassedDocument,
  hold: (bytes: number) => void,
): Promise<{ readonly bytes: Buffer; readonly rest: AsyncIterable<Buffer> | undefined }> {
  const isBatch = document === 'lfs-batch'
  const maxBytes = isBatch ? MAX_BATCH_ANSWER_BYTES : MAX_PASSED_JSON_BYTES
  const chunks = body[Symbol.asyncIterator]()
  const parts: Buffer[] = []
  let size = 0
  while (size <= maxBytes) {
    const next = await chunks.next()
    if (next.done === true) return { bytes: Buffer.concat(parts), rest: undefined }
    parts.push(next.value)
    size += next.value.length
    if (isBatch && size > MAX_PASSED_JSON_BYTES) hold(next.value.length)
  }
  if (isBatch) throw new MirrorError('request_too_large', { message: LONG_BATCH })
  return { bytes: Buffer.concat(parts), rest: { [Symbol.asyncIterator]: () => chunks } }
}

const PIECE_BYTES = 64 * 1024

/** The same bytes in pieces, so that a client that stops taking them is noticed. */
export async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

/** Yields what was read already, and then the rest. */
export async function* following(
  begun: Buffer,
  rest: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  yield begun
  yield* rest
}
