// The patterns of rules: globs over names and paths, and networks over addresses. Each is compiled once, when the settings
// are read. This file does not know what a rule does with them.

import { BlockList, isIP, SocketAddress } from 'node:net'
import { compileGlob } from '../hub/glob.ts'

/** A pattern as it was written, and its test. */
export interface Pattern {
  readonly text: string
  readonly test: (value: string) => boolean
}

/** The kind of text that a pattern matches. In names of repos and revisions, a pattern of only `*` also matches slashes. */
export type PatternKind = 'repo' | 'revision' | 'file' | 'word'

const MAX_PATTERN_CHARS = 200

/**
 * Compiles a glob: `*` and `?` within one part, `**` across slashes, `[abc]`, `{a,b}`. Case is ignored. For an invalid glob
 * it returns the fault.
 */
export function glob(text: string, kind: PatternKind): Pattern | { readonly fault: string } {
  const fault = faultOf(text, kind)
  if (fault !== undefined) return { fault }
  // A single star matches every name, including those with a slash.
  const whole = text === '*' ? '**' : text
  const test = compileGlob(whole)
  if (test === undefined) return { fault: 'expected a pattern whose brackets are closed' }
  // As in .gitignore: a pattern without a slash matches the name of a file in any folder.
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

/** A set of networks, for addresses of callers. */
export interface Networks {
  readonly texts: readonly string[]
  readonly has: (address: string) => boolean
}

/**
 * The networks of valid texts: addresses, or networks such as `10.0.0.0/8`. An IPv4-mapped IPv6 address counts as the IPv4
 * address, and `::/0` is all of IPv6 without IPv4.
 */
export function networks(texts: readonly string[]): Networks {
  // One list per family: a BlockList also treats an IPv4 address as IPv4-mapped, so that `::/0` would match it.
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

/** Addresses that no caller has: unspecified, broadcast and multicast (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7). */
const NOT_UNICAST = new BlockList()
NOT_UNICAST.addSubnet('0.0.0.0', 8, 'ipv4')
NOT_UNICAST.addSubnet('224.0.0.0', 4, 'ipv4')
NOT_UNICAST.addAddress('255.255.255.255', 'ipv4')
NOT_UNICAST.addAddress('::', 'ipv6')
NOT_UNICAST.addSubnet('ff00::', 8, 'ipv6')

/**
 * The address in a text, in its canonical spelling: dotted for IPv4 and IPv4-mapped IPv6, else that of RFC 5952. Undefined
 * for a text that is not exactly one address of a caller: several addresses, an address with a port, brackets or a zone, the
 * word `unknown`, a name, or an address that no caller can have.
 */
export function plainAddress(text: string): string | undefined {
  const version = isIP(text)
  if (version === 0 || text.includes('%')) return undefined
  const family = version === 4 ? 'ipv4' : 'ipv6'
  const address = version === 4 ? text : new SocketAddress({ address: text, family }).address
  const mapped = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(address)?.[1]
  if (NOT_UNICAST.check(mapped ?? address, mapped === undefined ? family : 'ipv4')) return undefined
  return mapped ?? address
}

/** Removes the interface that systems append to a link-local IPv6 address: `fe80::1%eth0` (RFC 4007 section 11). */
export function withoutZone(address: string): string {
  return isIP(address) === 6 ? address.replace(/%.*$/, '') : address
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}

const MAPPED = new BlockList()
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6')

/** Whether an IPv6 address, or a network of such addresses, is IPv4-mapped. */
function isMapped(address: string, bits = '128'): boolean {
  return Number(bits) >= 96 && MAPPED.check(address, 'ipv6')
}
