// The forward proxies that the environment names, read as curl and Python read it: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY
// and NO_PROXY. Pure. It opens no connection: see origin/connections/dispatcher.ts.

import { BlockList, isIP } from 'node:net'

/** A forward proxy. */
export interface Proxy {
  /** Where it listens: scheme, host and port, and nothing else. */
  readonly url: URL
  /** The value of Proxy-Authorization (RFC 9110 §11.7.2), where a user name was given. */
  readonly authorization: string | undefined
  /** The variable that names it, as it is spelled in the environment. */
  readonly variable: string
}

/** Which proxy leads to which URL. */
export interface Proxies {
  /** The proxy to ask for `url`; undefined where it is to be reached directly. */
  of(url: URL): Proxy | undefined
}

/** Something in the environment that cannot be followed. It never holds a value: that may be a password. */
export interface ProxyFault {
  readonly variable: string
  /** What would be right. */
  readonly cure: string
}

type Env = Readonly<Record<string, string | undefined>>
type Scheme = 'http' | 'https'

/** No proxy for anything. */
export const DIRECT: Proxies = { of: () => undefined }

/**
 * Reads the proxies for an origin of the given scheme. Behind https everything is https, so `HTTP_PROXY` is not looked at
 * then; behind http, redirects may lead to either.
 *
 * - `https_proxy` is for https and `http_proxy` for http; `all_proxy` is for both where the first is not set. As in curl and
 *   Python, `http_proxy` is not used for https.
 * - The name in lower case wins over that in upper case; an empty value counts as not set.
 * - Without a scheme the proxy is spoken to in plain HTTP; without a port it is that of the scheme. User name and password
 *   may be percent-encoded.
 *
 * `faults` name what has to be corrected before a request can be sent. `notices` name entries of NO_PROXY that match nothing.
 */
export function readProxies(
  env: Env,
  originScheme: Scheme,
): {
  readonly proxies: Proxies
  readonly faults: readonly ProxyFault[]
  readonly notices: readonly string[]
} {
  const faults: ProxyFault[] = []
  const read = (scheme: Scheme): Proxy | undefined => {
    const variable = firstSet(env, `${scheme}_proxy`) ?? firstSet(env, 'all_proxy')
    if (variable === undefined) return undefined
    const proxy = parseProxy(variable, env[variable] ?? '')
    if ('url' in proxy) return proxy
    if (!faults.some((fault) => fault.variable === variable)) faults.push(proxy)
    return undefined
  }
  const bySchemes: Record<Scheme, Proxy | undefined> = {
    https: read('https'),
    http: originScheme === 'http' ? read('http') : undefined,
  }
  if (bySchemes.http === undefined && bySchemes.https === undefined)
    return { proxies: DIRECT, faults, notices: [] }
  const variable = firstSet(env, 'no_proxy')
  const direct = parseNoProxy(variable === undefined ? '' : (env[variable] ?? ''))
  return {
    proxies: {
      of(url) {
        const proxy = url.protocol === 'https:' ? bySchemes.https : bySchemes.http
        return proxy === undefined || direct.matches(url) ? undefined : proxy
      },
    },
    faults,
    notices: direct.unread.map(
      (entry) => `${variable} has an entry that is neither a host nor a network: ${JSON.stringify(entry)}`,
    ),
  }
}

/** The spelling of a variable that counts: lower case before upper case, as curl and Python have it. */
function firstSet(env: Env, name: string): string | undefined {
  return [name, name.toUpperCase()].find((spelling) => (env[spelling] ?? '').trim() !== '')
}

function parseProxy(variable: string, value: string): Proxy | ProxyFault {
  const text = value.trim()
  const form = 'http://host:port or http://user:password@host:port'
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') {
    return {
      variable,
      cure: `expected a proxy that speaks HTTP, such as ${form}; ${scheme} is not supported`,
    }
  }
  let url: URL
  try {
    url = new URL(scheme === undefined ? `http://${text}` : text)
  } catch {
    const cure = `expected ${form}; special characters in user or password must be percent-encoded`
    return { variable, cure }
  }
  if (url.hostname === '' || url.pathname.length > 1 || url.search !== '' || url.hash !== '') {
    const cure = `expected ${form} and nothing after it; special characters in user or password must be percent-encoded`
    return { variable, cure }
  }
  const { username, password } = url
  const pair = `${decoded(username)}:${decoded(password)}`
  return {
    url: new URL(url.origin),
    authorization:
      username === '' && password === '' ? undefined : `Basic ${Buffer.from(pair).toString('base64')}`,
    variable,
  }
}

/** A bare percent sign is taken as it stands. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * NO_PROXY: entries with commas or blanks between them. `*` is every host. `example.org`, `.example.org` and
 * `*.example.org` are that host and all below it. An address is that address; `10.0.0.0/8` and `fd00::/8` are networks,
 * compared with hosts that are given as addresses. `:8080` behind a host or an address limits it to that port.
 */
function parseNoProxy(text: string): { matches(url: URL): boolean; unread: string[] } {
  const unread: string[] = []
  const matchers: ((host: string, port: string) => boolean)[] = []
  for (const entry of text.split(/[\s,]+/).filter((part) => part !== '')) {
    const matcher = matcherOf(entry.toLowerCase())
    if (matcher === undefined) unread.push(entry.slice(0, 100))
    else matchers.push(matcher)
  }
  return {
    unread,
    matches(url) {
      const host = url.hostname.replace(/\.$/, '')
      const port = url.port || (url.protocol === 'https:' ? '443' : '80')
      return matchers.some((isMeant) => isMeant(host, port))
    },
  }
}

function matcherOf(entry: string): ((host: string, port: string) => boolean) | undefined {
  if (entry === '*') return () => true
  const network = /^\[?([\da-f.:]+)\]?\/(\d{1,3})$/.exec(entry)
  if (network !== null) return networkMatcher(network[1] ?? '', Number(network[2]))
  const isBareIpv6 = isIP(entry) === 6
  const split = isBareIpv6 ? null : /^(.*?)(?::(\d{1,5}))?$/.exec(entry)
  const name = isBareIpv6 ? `[${entry}]` : (split?.[1] ?? '').replace(/^(?:\*?\.)+/, '').replace(/\.$/, '')
  const wantedPort = split?.[2] === undefined ? undefined : String(Number(split[2]))
  const host = canonicalHost(name)
  if (host === undefined) return undefined
  const isAddress = isIP(bare(host)) !== 0
  return (given, port) => {
    if (wantedPort !== undefined && wantedPort !== port) return false
    return given === host || (!isAddress && given.endsWith(`.${host}`))
  }
}

function networkMatcher(address: string, prefix: number): ((host: string) => boolean) | undefined {
  const family = isIP(address)
  if (family === 0 || prefix > (family === 4 ? 32 : 128)) return undefined
  const type = family === 4 ? 'ipv4' : 'ipv6'
  const list = new BlockList()
  list.addSubnet(address, prefix, type)
  return (host) => isIP(bare(host)) === family && list.check(bare(host), type)
}

/** As URL spells it, which is how it will be asked for: ASCII, in lower case, addresses in one form. */
function canonicalHost(name: string): string | undefined {
  if (name === '' || /[/?#@\\]/.test(name)) return undefined
  try {
    return new URL(`http://${name}`).hostname
  } catch {
    return undefined
  }
}

/** URL spells IPv6 addresses with brackets, Node without. */
function bare(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host
}
