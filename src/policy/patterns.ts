// The patterns of rules: globs over names and paths, networks over addresses. Each is compiled once, when the settings
// are read. It does not know what a rule does with them.

import { BlockList, isIP, SocketAddress } from 'node:net'
import { compileGlob } from '../hub/glob.ts'

/** A pattern as it was written, and its test. */
export interface Pattern {
  readonly text: string
  readonly test: (value: string) => boolean
}

/** What a pattern is held against. Names of repos and revisions have slashes that `*` alone may cross. */
export type PatternKind = 'repo' | 'revision' | 'file' | 'word'

const MAX_PATTERN_CHARS = 200

/**
 * A glob: `*` and `?` within one part, `**` across slashes, `[abc]`, `{a,b}`; upper and lower case are the same. Or
 * what is wrong with it.
 */
export function glob(text: string, kind: PatternKind): Pattern | { readonly fault: string } {
  const fault = faultOf(text, kind)
  if (fault !== undefined) return { fault }
  // Alone it means every name, also those with a slash.
  const whole = text === '*' ? '**' : text
  const test = compileGlob(whole)
  if (test === undefined) return { fault: 'expected a pattern whose brackets are closed' }
  // As in .gitignore: without a slash it means the file's own name, in whatever folder.
  if (kind !== 'file' || text.includes('/')) return { text, test }
  return { text, test: (path) => test(path.slice(path.lastIndexOf('/') + 1)) }
}

function faultOf(text: string, kind: PatternKind): string | undefined {
  if (text === '') return 'expected a pattern such as *.bin'
  if (text.length > MAX_PATTERN_CHARS) return `expected a pattern of at most ${MAX_PATTERN_CHARS} characters`
  if (/[\\\p{Cc}]/u.test(text)) return 'expected a pattern without backslashes and control characters'
  if (text.startsWith('!')) return 'a pattern cannot be negated; put an allow rule before this one'
  if (/[@?*+!]\(/.test(text)) return 'expected only *, **, ?, [abc] and {a,b}'
  if (/^\.?\/|\/$|\/\//.test(text)) return 'expected a pattern without a slash at either end'
  if (kind !== 'repo') return undefined
  if (/^(?:models?|datasets?|spaces?|kernels?|buckets?)\//i.test(text))
    return 'expected org/name; the kind of repo belongs in `type`'
  return text.split('/').length > 2 ? 'expected org/name, such as acme/* or */*-base' : undefined
}

/** Addresses of callers. */
export interface Networks {
  readonly texts: readonly string[]
  readonly has: (address: string) => boolean
}

/**
 * The networks of checked texts: addresses, or `10.0.0.0/8`. An IPv4 address in IPv6 clothes is the IPv4 address, and
 * `::/0` is all of IPv6 and nothing else.
 */
export function networks(texts: readonly string[]): Networks {
  // To a list an IPv4 address is one in IPv6 clothes as well, which lies in every network around those.
  const lists = { 4: new BlockList(), 6: new BlockList() }
  for (const text of texts) {
    const [address = '', bits] = text.split('/')
    const family = familyOf(address)
    const list = lists[family === 'ipv4' || isMapped(address, bits) ? 4 : 6]
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return {
    texts,
    has(address) {
      const plain = plainAddress(withoutZone(address))
      if (plain === undefined) return false
      const family = familyOf(plain)
      return lists[family === 'ipv4' ? 4 : 6].check(plain, family)
    },
  }
}

/** No caller has one of these: nothing, everybody, and groups (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7). */
const NOBODY = new BlockList()
NOBODY.addSubnet('0.0.0.0', 8, 'ipv4')
NOBODY.addSubnet('224.0.0.0', 4, 'ipv4')
NOBODY.addAddress('255.255.255.255', 'ipv4')
NOBODY.addAddress('::', 'ipv6')
NOBODY.addSubnet('ff00::', 8, 'ipv6')

/**
 * The address that a text is, in its one spelling: dotted for IPv4, also where that comes mapped into IPv6, else as RFC
 * 5952 has it. Undefined for everything that is not one address of one caller: with a port, brackets or a zone, several,
 * `unknown`, names, and addresses that nobody can ask from.
 */
export function plainAddress(text: string): string | undefined {
  const version = isIP(text)
  if (version === 0 || text.includes('%')) return undefined
  const family = version === 4 ? 'ipv4' : 'ipv6'
  const address = version === 4 ? text : new SocketAddress({ address: text, family }).address
  const mapped = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(address)?.[1]
  if (NOBODY.check(mapped ?? address, mapped === undefined ? family : 'ipv4')) return undefined
  return mapped ?? address
}

/** Systems name the interface behind a link-local IPv6 address: `fe80::1%eth0` (RFC 4007 section 11). */
export function withoutZone(address: string): string {
  return isIP(address) === 6 ? address.replace(/%.*$/, '') : address
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}

const MAPPED = new BlockList()
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6')

/** Whether an IPv6 address, or a network of them, is one of IPv4. */
function isMapped(address: string, bits = '128'): boolean {
  return Number(bits) >= 96 && MAPPED.check(address, 'ipv6')
}
