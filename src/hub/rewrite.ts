// Rewrites answers so that they lead clients to the mirror, and never past it: URLs of the origin in JSON, Link and
// Location, and every trace of Xet. This file knows where in a document a string stands. It does no I/O.

import { MirrorError } from '../errors.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import { isHeaderSafe } from '../http/headers.ts'
import { ASSET_PATHS, isOfDatasetsServer } from './datasets-server.ts'
import { BASE, type DocumentPlan, DocumentScan, FALSE } from './document-scan.ts'
import type { HubDocument } from './route.ts'

/** Bases are absolute URLs, with or without a path; a slash at the end is ignored. */
export interface RewriteBases {
  readonly originBase: string
  /** The base URL by which clients call the mirror, base path included. */
  readonly mirrorBase: string
  /** Other names under which the origin speaks of itself: a mirror behind us still says huggingface.co. */
  readonly aliases?: readonly string[]
}

/** Documents that are arrays; all others are objects. */
const ARRAYS: ReadonlySet<HubDocument> = new Set<HubDocument>(['tree', 'paths-info', 'commits', 'list'])

/** Documents that may be either. */
const EITHER: ReadonlySet<HubDocument> = new Set<HubDocument>(['parquet', 'croissant', 'site'])

interface DocumentOptions extends Pick<RewriteBases, 'originBase' | 'aliases'> {
  readonly document: HubDocument
  readonly stripXet: boolean
  /** Names of members of the document itself whose places the plan notes. */
  readonly members?: readonly string[]
}

/**
 * A JSON answer as the mirror's clients may see it. With `stripXet`, `xetHash` is removed at any depth, since stripping
 * the header fields alone does not keep huggingface_hub ≥ 1.22 on plain HTTP, and a top-level `xetEnabled` becomes
 * false. A string that is a URL of the origin becomes one of the mirror, because clients send their token to it. All
 * other bytes stay, so that integers above 2^53, duplicate keys and the spelling of numbers survive. A document that
 * needs no change is returned as the same Buffer. Throws `origin_bad_answer` if the bytes are no JSON of the expected
 * shape, as those of a captive portal.
 */
export function rewriteDocument(
  body: Buffer,
  options: RewriteBases & { readonly document: HubDocument; readonly stripXet: boolean },
): Buffer {
  const scan = scanDocument(body, options)
  scan.run()
  const { plan } = scan
  if (plan.edits.length === 0) return body
  return Buffer.concat([...rewritten(body, plan, options.mirrorBase)])
}

/**
 * Begins the pass that finds what `rewriteDocument` changes. The pass can be made in slices. Throws as
 * `rewriteDocument` does.
 */
export function scanDocument(body: Buffer, options: DocumentOptions): DocumentScan {
  const { document } = options
  const isRows = document === 'dataset-rows'
  return new DocumentScan(body, {
    isList: EITHER.has(document) ? undefined : ARRAYS.has(document),
    // No client follows a URL in what people have collected or written.
    bases: document === 'site' ? [] : basesOf(options).map((base) => base.toLowerCase()),
    // Of the addresses in rows only those of their images and sounds are the Hub's. All else is data.
    ...(isRows ? { below: ASSET_PATHS, quoted: [] } : {}),
    // In what the datasets-server says, any name may be one of a column. It holds no Xet.
    stripXet: options.stripXet && !EITHER.has(document) && !isOfDatasetsServer(document),
    members: options.members ?? [],
  })
}

/** The length in bytes of the document after the changes of `plan`. */
export function rewrittenLength(body: Buffer, { edits }: DocumentPlan, mirrorBase: string): number {
  const base = baseText(mirrorBase).length
  let length = body.length
  for (let index = 0; index < edits.length; index += 3) {
    length -= (edits[index + 1] ?? 0) - (edits[index] ?? 0)
    if (edits[index + 2] === BASE) length += base
    else if (edits[index + 2] === FALSE) length += FALSE_TEXT.length
  }
  return length
}

const FALSE_TEXT = Buffer.from('false')
/** Small enough to be made between two events, and large enough for one write. */
const PIECE_BYTES = 128 * 1024

/** The document after the changes of `plan`, in pieces of some 128 KiB, which may be parts of `body`. */
export function* rewritten(
  body: Buffer,
  { edits }: DocumentPlan,
  mirrorBase: string,
): Generator<Buffer, void, undefined> {
  const base = baseText(mirrorBase)
  let parts: Buffer[] = []
  let size = 0
  let position = 0
  const add = (part: Buffer): void => {
    if (part.length === 0) return
    parts.push(part)
    size += part.length
  }
  for (let index = 0; index <= edits.length; index += 3) {
    const stop = edits[index] ?? body.length
    while (position < stop) {
      const end = Math.min(stop, position + Math.max(1, PIECE_BYTES - size))
      add(body.subarray(position, end))
      position = end
      if (size < PIECE_BYTES) continue
      yield joined(parts)
      parts = []
      size = 0
    }
    const kind = edits[index + 2]
    if (kind === BASE) add(base)
    else if (kind === FALSE) add(FALSE_TEXT)
    position = edits[index + 1] ?? position
  }
  if (size > 0) yield joined(parts)
}

function joined(parts: readonly Buffer[]): Buffer {
  const [first] = parts
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts)
}

/** The base as it stands within a JSON string. */
function baseText(mirrorBase: string): Buffer {
  return Buffer.from(JSON.stringify(trimSlash(mirrorBase)).slice(1, -1))
}

function badAnswer(message: string, cause?: unknown): MirrorError {
  return new MirrorError('origin_bad_answer', { message, cause })
}

/**
 * A Link field with the origin's URLs replaced by the mirror's, or `undefined` if nothing is left of it. Paging links
 * have exactly the form `<…>; rel="next"`, absolute, with one blank and no more parameters: hf-hub, huggingface.js and
 * DuckDB each depend on a part of that. With `stripXet` the xet-* relations are removed. Links to other hosts stay.
 */
export function rewriteLink(
  value: string,
  options: RewriteBases & { readonly stripXet: boolean },
): string | undefined {
  if (!isHeaderSafe(value)) return undefined
  const bases = basesOf(options)
  const mirrorBase = trimSlash(options.mirrorBase)
  const elements: string[] = []
  for (const [, uri = '', params = ''] of value.matchAll(/<([^<>]*)>((?:[^",<]|"(?:[^"\\]|\\.)*")*)/g)) {
    const rels = relations(params)
    if (options.stripXet && rels.some((rel) => rel.startsWith('xet-'))) continue
    // A path alone is relative to the origin's host, and clients need the whole URL.
    const absolute = /^\/(?![/\\])/.test(uri) ? new URL(options.originBase).origin + uri : uri
    const rest = afterBase(absolute, bases)
    const link = rest === undefined ? absolute : mirrorBase + rest
    const tail = rels.includes('next') ? '; rel="next"' : params.trim()
    elements.push(`<${link}>${tail}`)
  }
  return elements.length === 0 ? undefined : elements.join(', ')
}

function relations(params: string): readonly string[] {
  const match = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))/i.exec(params)
  return (match?.[1] ?? match?.[2] ?? '').toLowerCase().split(/\s+/)
}

/**
 * Where a redirect of the origin leads. Within the origin: to the same place at the mirror, as a path without host,
 * since older versions of huggingface_hub follow no other redirect of a HEAD. Elsewhere: `foreign`, and the redirect
 * policy decides; the URL may be signed. Throws `origin_bad_answer` for text that is no URL.
 */
export function rewriteLocation(
  location: string,
  requestUrl: URL,
  options: RewriteBases,
): { readonly kind: 'mirror'; readonly location: string } | { readonly kind: 'foreign'; readonly url: URL } {
  let url: URL
  try {
    url = new URL(location, requestUrl)
  } catch (cause) {
    throw badAnswer('The Hub redirected to something that is not a URL.', cause)
  }
  const rest =
    url.username === '' && url.password === ''
      ? afterBase(url.origin + url.pathname + url.search, basesOf(options))
      : undefined
  if (rest === undefined) return { kind: 'foreign', url }
  const basePath = trimSlash(new URL(options.mirrorBase).pathname)
  // Two slashes at the front would be read as a host.
  return { kind: 'mirror', location: `${basePath}/${rest.replace(/^\/+/, '')}` }
}

/** The bases of the origin in both schemes: a mirror behind TLS may use plain http in its answers. */
function basesOf(options: Pick<RewriteBases, 'originBase' | 'aliases'>): readonly string[] {
  return [options.originBase, ...(options.aliases ?? [])].flatMap((base) => {
    const rest = trimSlash(base).replace(/^https?:/i, '')
    return [`https:${rest}`, `http:${rest}`]
  })
}

function trimSlash(base: string): string {
  return withoutTrailingSlash(base)
}

/** What follows the base, if the URL begins with it and the base ends there: `hub.example` is not `hub.example.org`. */
function afterBase(url: string, bases: readonly string[]): string | undefined {
  for (const base of bases) {
    if (url.slice(0, base.length).toLowerCase() !== base.toLowerCase()) continue
    const rest = url.slice(base.length)
    if (rest === '' || rest.startsWith('/') || rest.startsWith('?')) return rest
  }
  return undefined
}
