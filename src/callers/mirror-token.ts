// The form of mirror tokens, by which they are distinguished from Hub tokens. This file knows no list of tokens: whether a
// token is valid is decided in caller.ts.
//
//   hf_mirror + 34 random characters + 6 characters of a checksum over all before them; all are letters and digits
//
// Some clients (llama.cpp, huggingface.js) refuse or silently drop a token that is not `hf_` and at least 34 letters and
// digits. All known clients accept 49 characters.

import { randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** The first characters of every token. */
export const PREFIX = 'hf_mirror'
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** log2(62 ** 34) is 202 bits. Such a secret cannot be guessed, so its hash needs neither salt nor a slow function. */
const RANDOM_CHARS = 34
/** 62 ** 6 is more than 2 ** 32. */
const CHECKSUM_CHARS = 6
const TOKEN_CHARS = PREFIX.length + RANDOM_CHARS + CHECKSUM_CHARS

/** Creates a new token. */
export function createMirrorToken(): string {
  let token = PREFIX
  for (let index = 0; index < RANDOM_CHARS; index += 1) token += ALPHABET.charAt(randomInt(ALPHABET.length))
  return token + checksum(token)
}

function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let index = 0; index < CHECKSUM_CHARS; index += 1) {
    digits = ALPHABET.charAt(rest % ALPHABET.length) + digits
    rest = Math.floor(rest / ALPHABET.length)
  }
  return digits
}

/** Whether a credential is meant for a mirror. Only its first letters count: the rest may be incomplete or unknown. */
export function hasMirrorTokenPrefix(text: string): boolean {
  return text.startsWith(PREFIX)
}

/** Whether a token was created by some mirror. A wrong checksum means that it was not copied completely. */
export function isWellFormed(token: string): boolean {
  const split = TOKEN_CHARS - CHECKSUM_CHARS
  return (
    token.length === TOKEN_CHARS &&
    token.startsWith(PREFIX) &&
    checksum(token.slice(0, split)) === token.slice(split)
  )
}

// 'HF_mirror', 'hf-Mirror', 'hf mirror' and 'hfmirror' match.
const LIKE_PREFIX = /hf[^A-Za-z0-9]{0,3}mirror/i
// Matches a mirror token without its 'hf_'. A Hub token never has 40 letters and digits in a row.
const LIKE_REST = /mirror[A-Za-z0-9]{34}/i

/**
 * Whether a credential may be a mirror token with a mistyped prefix: another case, other separators, letters missing or
 * added before its secret. Such a credential must not be sent to the Hub.
 */
export function resemblesMirrorToken(text: string): boolean {
  return LIKE_PREFIX.test(text) || LIKE_REST.test(text) || holdsSecret(text)
}

/** Whether the text contains a row of letters and digits that ends with a secret and its checksum. */
function holdsSecret(text: string): boolean {
  const rows = text.match(/[A-Za-z0-9]{40,}/g)
  return rows?.some((row) => isSecret(row.slice(-RANDOM_CHARS - CHECKSUM_CHARS))) ?? false
}

function isSecret(end: string): boolean {
  // The common rows in hex are digests and commits.
  if (/^[0-9a-f]+$/i.test(end)) return false
  return checksum(PREFIX + end.slice(0, RANDOM_CHARS)) === end.slice(RANDOM_CHARS)
}

// 'x=hf_mirror0123456789abcdef' matches; 'hf_mirror/model' and 'hf_mirrors' do not.
const MENTION = /hf_mirror[A-Za-z0-9]{16}/i

/**
 * Whether a text contains what may be a mirror token, or most of one, as it is or percent-encoded up to three times. The
 * prefix with a short word after it does not count: it may be a name.
 */
export function containsMirrorToken(text: string): boolean {
  let plain = text
  for (let round = 0; round < 3; round += 1) {
    if (mentions(plain)) return true
    if (!plain.includes('%')) return false
    plain = plain.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
  }
  return mentions(plain)
}

function mentions(text: string): boolean {
  return MENTION.test(text) || holdsSecret(text)
}
