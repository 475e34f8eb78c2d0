// Header fields as such: which are hop-by-hop, how often one was sent, which text may stand in one.
// It knows no header of the Hub.

/** Headers as Node and undici give them: lower-case names, an array where a field came several times. */
export type HeaderBag = Readonly<Record<string, string | string[] | undefined>>

/** Fields that speak of one connection only (RFC 9110 §7.6.1), and those of a login at a proxy, which is the next one only (§11.7). */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Whether a value may be written to a socket: no control character but the tab, nothing above Latin-1. */
export function isHeaderSafe(value: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
}

/**
 * The value of a field that may be sent once. A field that was sent several times with different values cannot be trusted,
 * and counts as absent.
 */
export function headerValue(headers: HeaderBag, name: string): string | undefined {
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined
  if (!Array.isArray(value)) return value
  const first = value[0]
  return value.every((each) => each === first) ? first : undefined
}

/** The value of a field whose value is a list. Several fields of the name are one list (RFC 9110 §5.3). */
export function listValue(headers: HeaderBag, name: string): string | undefined {
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined
  return Array.isArray(value) ? value.join(', ') : value
}

/** Whether these are the headers of a stream of events (text/event-stream, of the HTML standard). */
export function isEventStream(headers: HeaderBag): boolean {
  const [type = ''] = (headerValue(headers, 'content-type') ?? '').split(';')
  return type.trim().toLowerCase() === 'text/event-stream'
}

/** Whether these are the headers of a page for people: HTML or XHTML. */
export function isPage(headers: HeaderBag): boolean {
  return /^(?:text\/html|application\/xhtml\+xml)\b/i.test(headerValue(headers, 'content-type') ?? '')
}

/** The field names that a Connection header declares hop-by-hop. */
export function connectionNames(headers: HeaderBag): ReadonlySet<string> {
  const value = Object.hasOwn(headers, 'connection') ? headers['connection'] : undefined
  const text = Array.isArray(value) ? value.join(',') : (value ?? '')
  return new Set(text.split(',').map((name) => name.trim().toLowerCase()))
}

/** The fields whose name (in lower case) is to be kept, as Node's `rawHeaders` has them: names and values in turn. */
export function keptFields(rawHeaders: readonly string[], isKept: (name: string) => boolean): string[] {
  const kept: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = [rawHeaders[index], rawHeaders[index + 1]]
    if (isKept(name.toLowerCase())) kept.push(name, value)
  }
  return kept
}

/** A copy without hop-by-hop fields and without everything named in Connection (RFC 9110 §7.6.1). */
export function withoutHopByHop(headers: HeaderBag): Record<string, string | string[]> {
  const named = connectionNames(headers)
  const kept: [string, string | string[]][] = []
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase()
    if (value !== undefined && !HOP_BY_HOP.has(lower) && !named.has(lower)) kept.push([lower, value])
  }
  // fromEntries defines properties, so that a field called __proto__ stays a field.
  return Object.fromEntries(kept)
}

/**
 * The fields of an answer as HEAD gets them. An error that calls itself JSON and has no body breaks clients that parse
 * it (`@huggingface/hub`: SyntaxError): for an answer of status 400 and above that type is left out, which RFC 9110
 * §9.3.2 allows. Names must be in lower case.
 */
export function headFields<T extends string | string[]>(
  status: number,
  headers: Readonly<Record<string, T>>,
): Readonly<Record<string, T>> {
  const type = headers['content-type']
  if (status < 400 || typeof type !== 'string' || !/^application\/(?:[\w.-]+\+)?json\b/i.test(type))
    return headers
  const { 'content-type': _type, ...rest } = headers
  return rest
}

/** The token of `Bearer <token>` (RFC 6750 §2.1), the scheme in any case; `undefined` for anything else. */
export function bearerToken(authorization: string | undefined): string | undefined {
  return /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(authorization ?? '')?.[1]
}

/**
 * The text as one header value: printable Latin-1, line breaks and other controls as one blank, characters
 * above Latin-1 as `?`, at most `maxLength` characters. Node throws on anything else.
 */
export function headerText(text: string, maxLength: number): string {
  return (
    text
      // Cut before the work, so that a megabyte of text costs nothing; a pair of surrogates is two units.
      .slice(0, maxLength * 2)
      // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
      .replace(/[\x00-\x20\x7f-\xa0]+/g, ' ')
      .replace(/[^\x20-\xff]/gu, '?')
      .trim()
      .slice(0, maxLength)
  )
}
