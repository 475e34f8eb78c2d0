// Parsers that turn the text of one setting into a value, or into a sentence that says what was expected. They know no
// setting by name. They never repeat the text: the code that prints a fault decides whether the value may be shown.
import { isIP } from 'node:net'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse as parseMs } from '@lukeed/ms'
import { resemblesMirrorToken } from '../callers/mirror-token.ts'
import { Secret } from './secret.ts'
import { tokenFormCure } from './token-form.ts'

/** A value, or a phrase that says what was expected, such as 'expected a size with a unit such as 200GB'. */
export type Parsed<T> = { readonly value: T } | { readonly fault: string }

/** Turns the trimmed text of a setting into its value. Never throws. */
export type Parser<T> = (text: string) => Parsed<T>

/** The word that undoes what a weaker source has set, for settings that may be absent and for lists. */
export const NONE = 'none'

/** The longest TTL: longer than any sensible value, and short enough to be added to a point in time without overflow. */
export const LONGEST_TTL_MS = 3650 * 24 * 3_600_000

const DECIMAL = ['b', 'kb', 'mb', 'gb', 'tb', 'pb']
const BINARY = ['b', 'ki', 'mi', 'gi', 'ti', 'pi']

/** Parses a size with a unit into bytes: powers of 1000 (`200GB`) or of 1024 (`1GiB`, `500Gi` as in Kubernetes). */
export function bytes(options: { readonly min?: number } = {}): Parser<number> {
  const min = options.min ?? 0
  return (text) => {
    // '200GB', '1.5 GiB', '500Gi' match; '200', '200G', '-1GB' and '1e9B' do not.
    const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?b|[kmgtp]i|[kmgtp]ib)$/i.exec(text)
    if (match === null)
      return { fault: `expected a size with a unit such as 200GB or 1GiB${unitHint(text, 'GB')}` }
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

/** Parses a time with a unit into milliseconds: `250ms`, `90s`, `5m`, `1h`, `7d`. Limits keep timers within Node's range. */
export function duration(options: { readonly minMs?: number; readonly maxMs: number }): Parser<number> {
  const minMs = options.minMs ?? 0
  return (text) => {
    // '90s', '1.5 h', '5 minutes' match; '90', '-1s' and '1h30m' do not.
    const match = /^(\d+(?:\.\d+)?) ?[a-z]+$/i.exec(text)
    const parsed = match === null ? undefined : parseMs(zeroAsOne(text, match[1]))
    if (parsed === undefined)
      return { fault: `expected a time with a unit such as 90s or 5m${unitHint(text, 's')}` }
    const value = Number(match?.[1]) === 0 ? 0 : Math.round(parsed)
    if (value < minMs) return { fault: `expected at least ${minMs}ms` }
    if (value > options.maxMs) return { fault: `expected at most ${options.maxMs / 1000}s` }
    return { value }
  }
}

// The library rejects zero of any unit. Passing one of that unit instead still checks the unit.
function zeroAsOne(text: string, digits: string | undefined): string {
  return digits !== undefined && Number(digits) === 0 ? `1${text.slice(digits.length)}` : text
}

/** A suggestion for a number without a unit; empty for other texts. */
function unitHint(text: string, unit: string): string {
  return /^\d+(?:\.\d+)?$/.test(text) ? `; did you mean ${text}${unit}?` : ''
}

/** Parses a whole decimal number within bounds. */
export function count(options: { readonly min: number; readonly max: number }): Parser<number> {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    return value >= options.min && value <= options.max
      ? { value }
      : { fault: `expected a whole number from ${options.min} to ${options.max}` }
  }
}

/** Parses a number per period, such as `600/1m`; `off` means no limit, with the value undefined. */
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

/** Parses a TCP port; 0 lets the operating system choose. */
export function port(): Parser<number> {
  return count({ min: 0, max: 65_535 })
}

/** Parses one word of a closed list. `reserved` holds words that are not usable in this version, each with its cure. */
export function choice<const T extends string>(
  words: readonly T[],
  reserved: ReadonlyMap<T, string> = new Map(),
): Parser<T> {
  return (text) => {
    const word = words.find((candidate) => candidate === text.toLowerCase())
    if (word === undefined) return { fault: `expected one of ${words.join(', ')}` }
    const fault = reserved.get(word)
    return fault === undefined ? { value: word } : { fault }
  }
}

/** Parses a switch: on, true, yes or 1; off, false, no or 0. */
export function onOff(): Parser<boolean> {
  return (text) => {
    if (/^(?:on|true|yes|1)$/i.test(text)) return { value: true }
    if (/^(?:off|false|no|0)$/i.test(text)) return { value: false }
    return { fault: 'expected on or off' }
  }
}

/** Parses an http(s) URL without user-info, query and fragment. Slashes at the end of its path are dropped. */
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

/** Parses a path prefix: `/`, or `/segment…` without a slash at the end. */
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

/** Parses a directory and makes it absolute. `~/` is the home directory; other paths are relative to the working directory. */
export function directory(): Parser<string> {
  return (text) => {
    if (text.includes('\0')) return { fault: 'expected a directory' }
    const value = fromHome(text)
    return value === resolve('/') ? { fault: 'expected a directory other than the root' } : { value }
  }
}

/** Parses a target for lines: a file (made absolute), `stdout` or `stderr`, or `off` with the value undefined. */
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

/** Parses an address or host name to listen on. IPv6 may have brackets. */
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

/** Parses a host pattern: a name, an address, or `*.suffix`. The value is lower case and without brackets. */
export function hostPattern(): Parser<string> {
  return (text) => {
    const value = unbracket(text).toLowerCase()
    const name = value.startsWith('*.') ? value.slice(2) : value
    const known = isIP(value) !== 0 || (HOST_NAME.test(name) && !/^[\d.]+$/.test(name))
    return known ? { value } : { fault: 'expected host names, addresses or *.suffix, without a port or path' }
  }
}

/** Parses an address or a network, such as `10.0.0.0/8` or `::1`. */
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

/** Parses values that are separated by commas; `none` is the empty list. */
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

/** Parses a credential that fits into a header: printable ASCII without spaces (RFC 6750 section 2.1 allows no more). */
export function secret(): Parser<Secret> {
  return (text) => {
    const cure = tokenFormCure(text)
    if (cure === undefined && isCredential(text)) return { value: Secret.of(text) }
    const fault = 'expected a token of printable ASCII characters without spaces'
    return { fault: cure === undefined ? fault : `${fault}; ${cure}` }
  }
}

/** Parses a token for the Hub. */
export function hubToken(): Parser<Secret> {
  return (text) => {
    const fault = hubTokenFault(text)
    return fault === undefined ? { value: Secret.of(text) } : { fault: `expected a Hub token; ${fault}` }
  }
}

/**
 * Says why a text must not be sent to the Hub as a token; undefined if it may. A mirror token is not a Hub token. Text that
 * other programs write around a token would be sent along with it.
 */
export function hubTokenFault(text: string): string | undefined {
  if (resemblesMirrorToken(text)) return 'this is a mirror token'
  const cure = tokenFormCure(text)
  if (cure !== undefined || isCredential(text)) return cure
  return 'it contains characters that are not allowed in a token, or is too long'
}

/** Parses a path of a file and makes it absolute. `~/` is the home directory. */
export function filePath(): Parser<string> {
  return (text) => {
    if (text.includes('-----BEGIN')) return { fault: 'expected the path of a file, and not its content' }
    if (text.includes('\0') || text.endsWith('/')) return { fault: 'expected the path of a file' }
    return { value: fromHome(text) }
  }
}

/** Whether a text can follow `Bearer` in an Authorization field. */
export function isCredential(text: string): boolean {
  return /^[!-~]{1,4096}$/.test(text)
}

function unbracket(text: string): string {
  return text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
}

/** A parser that also accepts a word, which is the value then. */
export function orWord<const W extends string, T>(word: W, parse: Parser<T>): Parser<T | W> {
  return (text) => (text.toLowerCase() === word ? { value: word } : parse(text))
}

/** A parser that also accepts `off`, with the value undefined. */
export function orOff<T>(parse: Parser<T>): Parser<T | undefined> {
  return (text) => (/^off$/i.test(text) ? { value: undefined } : parse(text))
}
