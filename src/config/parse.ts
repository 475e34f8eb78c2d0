// How one setting's text becomes a value, or a sentence that says what would be right. It knows no setting by name
// and never repeats the text it was given: whoever prints a fault decides whether the value may be shown.
import { isIP } from 'node:net'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse as parseMs } from '@lukeed/ms'
import { resemblesMirrorToken } from '../callers/mirror-token.ts'
import { dressCure } from './dress.ts'
import { Secret } from './secret.ts'

/** A value, or what was expected instead (a phrase such as 'expected a size with a unit such as 200GB'). */
export type Parsed<T> = { readonly value: T } | { readonly fault: string }

/** Turns the trimmed text of a setting into its value. Never throws. */
export type Parser<T> = (text: string) => Parsed<T>

/** The word that takes back what a weaker source has set, wherever a setting may be absent or a list empty. */
export const NONE = 'none'

const DECIMAL = ['b', 'kb', 'mb', 'gb', 'tb', 'pb']
const BINARY = ['b', 'ki', 'mi', 'gi', 'ti', 'pi']

/** Bytes from a size with a unit: powers of 1000 (`200GB`) or of 1024 (`1GiB`, Kubernetes' `500Gi`). */
export function bytes(options: { readonly min?: number } = {}): Parser<number> {
  const min = options.min ?? 0
  return (text) => {
    // '200GB', '1.5 GiB', '500Gi' match; '200', '200G', '-1GB' and '1e9B' do not.
    const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?b|[kmgtp]i|[kmgtp]ib)$/i.exec(text)
    if (match === null)
      return { fault: `expected a size with a unit such as 200GB or 1GiB${bare(text, 'GB')}` }
    const unit = (match[2] ?? '').toLowerCase()
    const factor =
      unit.length > 1 && unit.charAt(1) === 'i'
        ? 1024 ** BINARY.indexOf(unit.slice(0, 2))
        : 1000 ** DECIMAL.indexOf(unit)
    const value = Math.round(Number(match[1]) * factor)
    if (value < min) return { fault: `expected at least ${min} bytes` }
    if (!Number.isSafeInteger(value)) return { fault: 'expected a size below 9PB' }
    return { value }
  }
}

/** Milliseconds from a time with a unit: `250ms`, `90s`, `5m`, `1h`, `7d`. Limits keep timers within Node's range. */
export function duration(options: { readonly minMs?: number; readonly maxMs: number }): Parser<number> {
  const minMs = options.minMs ?? 0
  return (text) => {
    // '90s', '1.5 h', '5 minutes' match; '90', '-1s' and '1h30m' do not.
    const match = /^(\d+(?:\.\d+)?) ?[a-z]+$/i.exec(text)
    const parsed = match === null ? undefined : parseMs(zeroAsOne(text, match[1]))
    if (parsed === undefined)
      return { fault: `expected a time with a unit such as 90s or 5m${bare(text, 's')}` }
    const value = Number(match?.[1]) === 0 ? 0 : Math.round(parsed)
    if (value < minMs) return { fault: `expected at least ${minMs}ms` }
    if (value > options.maxMs) return { fault: `expected at most ${options.maxMs / 1000}s` }
    return { value }
  }
}

// The library takes zero of any unit for rubbish; asking for one of that unit still has the unit checked.
function zeroAsOne(text: string, digits: string | undefined): string {
  return digits !== undefined && Number(digits) === 0 ? `1${text.slice(digits.length)}` : text
}

function bare(text: string, unit: string): string {
  return /^\d+(?:\.\d+)?$/.test(text) ? `; did you mean ${text}${unit}?` : ''
}

/** A whole number of decimal digits within bounds. */
export function count(options: { readonly min: number; readonly max: number }): Parser<number> {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    return value >= options.min && value <= options.max
      ? { value }
      : { fault: `expected a whole number from ${options.min} to ${options.max}` }
  }
}

/** So many in a time: `600/1m`; `off` is no such limit. */
export function rate(): Parser<{ readonly max: number; readonly windowMs: number } | undefined> {
  return (text) => {
    if (/^off$/i.test(text)) return { value: undefined }
    const fault = 'expected a number and a time, such as 600/1m'
    const [number = '', time = '', ...rest] = text.split('/').map((part) => part.trim())
    const max = count({ min: 1, max: 1_000_000 })(number)
    const windowMs = duration({ minMs: 100, maxMs: 86_400_000 })(time)
    if (rest.length > 0 || 'fault' in max || 'fault' in windowMs) return { fault }
    return { value: Object.freeze({ max: max.value, windowMs: windowMs.value }) }
  }
}

/** A TCP port; 0 lets the system choose. */
export function port(): Parser<number> {
  return count({ min: 0, max: 65_535 })
}

/** One word of a closed list. `notYet` are words that are reserved, each with what to do until then. */
export function choice<const T extends string>(
  words: readonly T[],
  notYet: ReadonlyMap<T, string> = new Map(),
): Parser<T> {
  return (text) => {
    const word = words.find((candidate) => candidate === text.toLowerCase())
    if (word === undefined) return { fault: `expected one of ${words.join(', ')}` }
    const later = notYet.get(word)
    return later === undefined ? { value: word } : { fault: later }
  }
}

/** A switch. */
export function onOff(): Parser<boolean> {
  return (text) => {
    if (/^(?:on|true|yes|1)$/i.test(text)) return { value: true }
    if (/^(?:off|false|no|0)$/i.test(text)) return { value: false }
    return { fault: 'expected on or off' }
  }
}

/** An http(s) URL without user-info, query and fragment. A slash at the end of its path is dropped. */
export function url(): Parser<URL> {
  return (text) => {
    if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
      return { fault: 'expected a URL such as https://huggingface.co' }
    }
    const value = new URL(text)
    if (value.username !== '' || value.password !== '') {
      return {
        fault: 'expected a URL without a user name or password; a token goes into HUBMIRROR_TOKEN_FILE',
      }
    }
    if (/[?#]/.test(text)) return { fault: 'expected a URL without a query or fragment' }
    value.pathname = value.pathname.replace(/\/+$/, '')
    return { value }
  }
}

/** A path prefix: `/`, or `/segment…` without a slash at the end. */
export function basePath(): Parser<string> {
  return (text) => {
    const value = text.replace(/\/+$/, '')
    if (value === '') return text.startsWith('/') ? { value: '/' } : { fault: EXPECTED_PREFIX }
    // '/hugging-face' and '/a/b.c' match; 'a', '/a//b', '/a b' and '/%2e' do not.
    const wellFormed = /^(?:\/[\w.~-]+)+$/.test(value)
    const dots = value.split('/').some((segment) => segment === '.' || segment === '..')
    return wellFormed && !dots ? { value } : { fault: EXPECTED_PREFIX }
  }
}
const EXPECTED_PREFIX = 'expected a path prefix such as / or /hugging-face'

/** An absolute directory; `~/` is the home directory, anything relative counts from the working directory. */
export function directory(): Parser<string> {
  return (text) => {
    if (text.includes('\0')) return { fault: 'expected a directory' }
    const value = fromHome(text)
    return value === resolve('/') ? { fault: 'expected a directory other than the root' } : { value }
  }
}

/** Where lines go: a file (made absolute), the words `stdout` and `stderr`, or nowhere for `off`. */
export function lineTarget(): Parser<
  { readonly kind: 'stdout' | 'stderr' } | { readonly kind: 'file'; readonly path: string } | undefined
> {
  return (text) => {
    const word = text.toLowerCase()
    if (word === 'off') return { value: undefined }
    if (word === 'stdout' || word === 'stderr') return { value: Object.freeze({ kind: word }) }
    if (text.includes('\0') || /[/\\]$/.test(text)) return { fault: 'expected a file, stdout, stderr or off' }
    return { value: Object.freeze({ kind: 'file', path: fromHome(text) }) }
  }
}

// 'localhost', 'us.aws.cdn.hf.co', 'my_host' match; 'a..b', '-a', 'a:80' and 'a/b' do not.
const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i

function fromHome(text: string): string {
  return /^~(?:\/|$)/.test(text) ? join(homedir(), text.slice(1)) : resolve(text)
}

/** An address or name to listen on; IPv6 with or without brackets. */
export function host(): Parser<string> {
  return (text) => {
    if (text === '*')
      return { fault: 'expected an address such as 127.0.0.1; 0.0.0.0 or :: means all addresses' }
    const value = unbracket(text)
    return isIP(value) !== 0 || HOST_NAME.test(value)
      ? { value: value.toLowerCase() }
      : { fault: 'expected an address or host name without a port, such as 127.0.0.1' }
  }
}

/** A host that may be named in a rule: a name, an address, or `*.suffix`; lower case, without brackets. */
export function hostPattern(): Parser<string> {
  return (text) => {
    const value = unbracket(text).toLowerCase()
    const name = value.startsWith('*.') ? value.slice(2) : value
    const known = isIP(value) !== 0 || (HOST_NAME.test(name) && !/^[\d.]+$/.test(name))
    return known ? { value } : { fault: 'expected host names, addresses or *.suffix, without a port or path' }
  }
}

/** An address or a network, such as `10.0.0.0/8` or `::1`. */
export function network(): Parser<string> {
  return (text) => {
    const fault = 'expected addresses or networks such as 10.0.0.0/8'
    const [address = '', bits, ...rest] = text.split('/')
    const version = isIP(address)
    if (version === 0 || address.includes('%') || rest.length > 0) return { fault }
    if (bits === undefined) return { value: address.toLowerCase() }
    const widest = version === 4 ? 32 : 128
    return /^\d{1,3}$/.test(bits) && Number(bits) <= widest
      ? { value: `${address.toLowerCase()}/${bits}` }
      : { fault }
  }
}

/** Several values with commas between them; `none` is the empty list. */
export function list<T>(item: Parser<T>): Parser<readonly T[]> {
  return (text) => {
    if (text.toLowerCase() === NONE) return { value: [] }
    const value: T[] = []
    for (const part of text.split(',').map((piece) => piece.trim())) {
      if (part === '') continue
      const parsed = item(part)
      if ('fault' in parsed) return { fault: `${parsed.fault}, separated by commas` }
      value.push(parsed.value)
    }
    return { value: Object.freeze(value) }
  }
}

/** A credential that fits into a header: printable ASCII without spaces (RFC 6750 section 2.1 allows no more). */
export function secret(): Parser<Secret> {
  return (text) => {
    const cure = dressCure(text)
    if (cure === undefined && isCredential(text)) return { value: Secret.of(text) }
    const fault = 'expected a token of printable ASCII characters without spaces'
    return { fault: cure === undefined ? fault : `${fault}; ${cure}` }
  }
}

/** A token for the Hub. */
export function hubToken(): Parser<Secret> {
  return (text) => {
    const fault = hubTokenFault(text)
    return fault === undefined ? { value: Secret.of(text) } : { fault: `expected a Hub token; ${fault}` }
  }
}

/**
 * Why a text must not be sent to the Hub as a token; undefined where it may. One that a mirror has issued is none, and
 * what other programs write around a token would go along.
 */
export function hubTokenFault(text: string): string | undefined {
  if (resemblesMirrorToken(text)) return 'this is a mirror token'
  const cure = dressCure(text)
  if (cure !== undefined || isCredential(text)) return cure
  return 'it contains characters that are not allowed in a token, or is too long'
}

/** A path; `~/` is the home directory, anything relative counts from the working directory. */
export function filePath(): Parser<string> {
  return (text) => {
    if (text.includes('\0') || text.endsWith('/')) return { fault: 'expected the path of a file' }
    return { value: fromHome(text) }
  }
}

/** Whether a text can stand behind `Bearer` in a header. */
export function isCredential(text: string): boolean {
  return /^[!-~]{1,4096}$/.test(text)
}

function unbracket(text: string): string {
  return text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
}
