// What must point back at the mirror, and what must not lead clients past it: URLs of the origin in JSON, Link
// and Location, and every trace of Xet. It rewrites by structure, never by text replacement, and asks nobody.

import { MirrorError } from '../errors.ts'
import { isHeaderSafe } from '../http/headers.ts'
import type { HubDocument } from './route.ts'

/** Bases are absolute URLs, with or without a path; a slash at the end is ignored. */
export interface RewriteBases {
  readonly originBase: string
  /** What clients call the mirror, base path included. */
  readonly mirrorBase: string
  /** Other names under which the origin speaks of itself: a mirror behind us still says huggingface.co. */
  readonly aliases?: readonly string[]
}

const MAX_DEPTH = 200

/** Documents that are arrays; all others are objects. */
const ARRAYS: ReadonlySet<HubDocument> = new Set<HubDocument>(['tree', 'paths-info', 'commits', 'list'])

/** Below these keys stands what people wrote: it is theirs, URLs included. */
const WRITTEN_BY_PEOPLE = new Set(['cardData', 'config', 'widgetData', 'title', 'message', 'description'])

/**
 * A JSON answer as the mirror's clients may see it. With `stripXet`, `xetHash` goes at any depth (stripping the
 * headers alone does not keep huggingface_hub ≥ 1.22 on plain HTTP) and a top-level `xetEnabled` becomes false.
 * Strings that are a URL of the origin become the mirror's, for clients follow them with their token.
 * What needs no change is returned as the same Buffer; what does, as compact JSON (some clients grep it).
 * Throws `origin_bad_answer` for what is no JSON of the expected shape: it comes from a captive portal.
 */
export function rewriteDocument(
  body: Buffer,
  options: RewriteBases & { readonly document: HubDocument; readonly stripXet: boolean },
): Buffer {
  const value = parseJson(body)
  if (typeof value !== 'object' || value === null || Array.isArray(value) !== ARRAYS.has(options.document)) {
    throw badAnswer('The JSON the Hub answered has not the expected shape.')
  }
  const rewriter: Rewriter = {
    stripXet: options.stripXet,
    bases: basesOf(options),
    mirrorBase: trimSlash(options.mirrorBase),
  }
  const top = Array.isArray(value) ? value : [value]
  let changed = false
  if (options.stripXet) {
    for (const each of top) changed = disableXet(each) || changed
  }
  changed = rewriteChildren(value, rewriter, 0, false) || changed
  return changed ? Buffer.from(JSON.stringify(value), 'utf8') : body
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (cause) {
    // The parser's own message quotes the body, so it stays out of ours.
    throw badAnswer('The Hub answered something that is no JSON.', cause)
  }
}

function badAnswer(message: string, cause?: unknown): MirrorError {
  return new MirrorError('origin_bad_answer', { message, cause })
}

interface Rewriter {
  readonly stripXet: boolean
  readonly bases: readonly string[]
  readonly mirrorBase: string
}

function disableXet(value: unknown): boolean {
  if (!isObject(value) || !Object.hasOwn(value, 'xetEnabled') || value['xetEnabled'] === false) return false
  value['xetEnabled'] = false
  return true
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/**
 * Changes the freshly parsed value in place and says whether it did. JSON.parse makes `__proto__` an own property,
 * and own properties are all that is touched, so no prototype is ever read or set.
 */
function rewriteChildren(parent: object, rewriter: Rewriter, depth: number, quoted: boolean): boolean {
  if (depth > MAX_DEPTH) throw badAnswer('The JSON the Hub answered is nested too deeply.')
  const record = isObject(parent) ? parent : {}
  let changed = false
  for (const key of Object.keys(record)) {
    if (rewriter.stripXet && key === 'xetHash') {
      delete record[key]
      changed = true
      continue
    }
    const value = record[key]
    const quotedHere = quoted || WRITTEN_BY_PEOPLE.has(key)
    if (isObject(value)) {
      changed = rewriteChildren(value, rewriter, depth + 1, quotedHere) || changed
    } else if (typeof value === 'string' && !quotedHere) {
      const rest = afterBase(value, rewriter.bases)
      if (rest === undefined) continue
      record[key] = rewriter.mirrorBase + rest
      changed = true
    }
  }
  return changed
}

/**
 * A Link header with the origin's URLs turned to the mirror, or `undefined` when nothing is left of it. Paging
 * links get exactly the form `<…>; rel="next"`, absolute, one blank and no more parameters: hf-hub, huggingface.js
 * and DuckDB each depend on a part of that. With `stripXet` the xet-* relations go. Links to other hosts stay.
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
 * Where a redirect of the origin leads. Within the origin: the same place at the mirror, as a path without host,
 * since older huggingface_hub follows no other on HEAD. Elsewhere: `foreign`, for the hop policy to judge; the URL
 * may be signed. Throws `origin_bad_answer` for what is no URL.
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
    throw badAnswer('The Hub redirected to something that is no URL.', cause)
  }
  const rest =
    url.username === '' && url.password === ''
      ? afterBase(url.origin + url.pathname + url.search, basesOf(options))
      : undefined
  if (rest === undefined) return { kind: 'foreign', url }
  const basePath = trimSlash(new URL(options.mirrorBase).pathname)
  // Two slashes at the front would name a host.
  return { kind: 'mirror', location: `${basePath}/${rest.replace(/^\/+/, '')}` }
}

/** The bases of the origin in both schemes: a mirror behind TLS may speak of itself in plain http. */
function basesOf(options: RewriteBases): readonly string[] {
  return [options.originBase, ...(options.aliases ?? [])].flatMap((base) => {
    const rest = trimSlash(base).replace(/^https?:/i, '')
    return [`https:${rest}`, `http:${rest}`]
  })
}

function trimSlash(base: string): string {
  return base.replace(/\/+$/, '')
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
