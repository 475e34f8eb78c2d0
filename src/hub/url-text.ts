// Percent-encoding, and checks of what it can hide: one decode, one canonical encode. The route parser uses it, and the
// code that builds targets for the origin. This file does not know which segment means what.

import { MirrorError } from '../errors.ts'

const MAX_PATH_CHARS = 2048
const MAX_REVISION_CHARS = 256

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A refusal of a URL. The message is the mirror's own, so that no text of the caller is echoed. */
export function badUrl(message: string): MirrorError {
  return new MirrorError('bad_url', { message })
}

/** The path and the query of a target; the query without its question mark, and empty if there is none. */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  const mark = target.indexOf('?')
  return mark === -1
    ? { path: target, query: '' }
    : { path: target.slice(0, mark), query: target.slice(mark + 1) }
}

/**
 * Decodes one raw segment exactly once. Node hands the request target over as one character per byte, so raw
 * UTF-8 (`é` unencoded, as hfd.sh and llama.cpp send it) is decoded together with the escapes.
 * Throws `bad_url` for broken escapes, broken UTF-8, control characters and backslashes.
 */
export function decodeSegment(raw: string): string {
  if (/%(?![0-9A-Fa-f]{2})/.test(raw)) throw badUrl("A '%' in this URL does not begin a valid escape.")
  const bytes = raw.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  let text: string
  try {
    text = decoder.decode(Buffer.from(bytes, 'latin1'))
  } catch {
    throw badUrl('This URL is not valid UTF-8.')
  }
  checkCharacters(text)
  return text
}

/** Refuses what no segment may hold, however it was spelled. */
function checkCharacters(text: string): void {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\x00-\x1f\x7f]/.test(text)) throw badUrl('This URL contains a control character.')
  if (text.includes('\\')) throw badUrl('This URL contains a backslash.')
}

/** Refuses empty and dot segments in decoded text, where an encoded slash has become a slash. */
export function checkSegments(text: string): void {
  for (const segment of text.split('/')) {
    if (segment === '') throw badUrl('This URL contains an empty path segment.')
    if (segment === '.' || segment === '..') throw badUrl('This URL contains a dot segment.')
  }
}

/** Refuses a decoded file path that may not be sent to the origin: also for paths found in listings. */
export function checkPath(path: string): void {
  if (path.length > MAX_PATH_CHARS) throw badUrl(`A file path may have at most ${MAX_PATH_CHARS} characters.`)
  checkCharacters(path)
  checkSegments(path)
}

/** Refuses a decoded revision that may not be sent to the origin. A slash is legal: `refs/pr/1`. */
export function checkRevision(revision: string): void {
  if (revision.length > MAX_REVISION_CHARS) {
    throw badUrl(`A revision may have at most ${MAX_REVISION_CHARS} characters.`)
  }
  checkCharacters(revision)
  checkSegments(revision)
}

/** Python's `quote(text, safe='')`: everything but letters, digits and `_.-~` as upper-case UTF-8 escapes. */
export function encodeSegment(text: string): string {
  try {
    return encodeURIComponent(text).replace(/[!'()*]/g, (char) => escapeByte(char.charCodeAt(0)))
  } catch {
    throw badUrl('This URL is not valid Unicode.')
  }
}

/** Python's `quote(path)`: like `encodeSegment`, but slashes stay. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeSegment).join('/')
}

/**
 * The canonical spelling of a raw segment whose meaning the mirror need not know: escapes of unreserved characters are
 * decoded, others upper-cased, reserved characters left unchanged, and everything else is escaped.
 */
export function normalizeSegment(raw: string): string {
  return raw.replace(/%(..)|[^A-Za-z0-9._~!$&'()*+,;=:@-]/g, (match, hex: string | undefined) => {
    const byte = hex === undefined ? match.charCodeAt(0) : Number.parseInt(hex, 16)
    const char = String.fromCharCode(byte)
    return hex !== undefined && /[A-Za-z0-9._~-]/.test(char) ? char : escapeByte(byte)
  })
}

/** Escapes raw bytes above ASCII, and nothing else: only the origin reads a query. */
export function escapeHighBytes(raw: string): string {
  return raw.replace(/[\x80-\xff]/g, (char) => escapeByte(char.charCodeAt(0)))
}

function escapeByte(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
}
