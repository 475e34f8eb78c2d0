// What a token of the mirror's own looks like, so that it is told from a Hub token by its form alone. It knows no
// list: whether a token opens anything is said elsewhere.
//
//   hf_mirror + 34 random characters + 6 of a checksum over all before them, all of them letters and digits
//
// Clients refuse or silently drop a token that is not `hf_` and at least 34 letters and digits (llama.cpp,
// huggingface.js); 49 characters are within what all of them take.

import { randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** How every token begins. */
export const PREFIX = 'hf_mirror'
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** log2(62 ** 34) is 202 bits: nobody guesses one, and its hash needs no salt and no slowness. */
const RANDOM_CHARS = 34
/** 62 ** 6 is more than 2 ** 32. */
const CHECKSUM_CHARS = 6
const TOKEN_CHARS = PREFIX.length + RANDOM_CHARS + CHECKSUM_CHARS

/** A new token. */
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

/** Whether a credential is meant for a mirror: by its first letters, be the rest whole, known or not. */
export function hasMirrorTokenPrefix(text: string): boolean {
  return text.startsWith(PREFIX)
}

/** Whether a token is one that some mirror has made: a wrong checksum means that it was not copied whole. */
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
// What is left when 'hf_' was lost: a Hub token has no 40 letters and digits in a row.
const LIKE_REST = /mirror[A-Za-z0-9]{34}/i

/**
 * Whether a credential may be one that a mirror has made, though somebody has mistyped what tells so: another case, other
 * separators, letters lost or added before its secret. What it says yes to must not go to the Hub.
 */
export function resemblesMirrorToken(text: string): boolean {
  return LIKE_PREFIX.test(text) || LIKE_REST.test(text) || holdsSecret(text)
}

/** Whether letters and digits in a row end with a secret and its checksum, whatever stands before them. */
function holdsSecret(text: string): boolean {
  const rows = text.match(/[A-Za-z0-9]{40,}/g)
  return rows?.some((row) => isSecret(row.slice(-RANDOM_CHARS - CHECKSUM_CHARS))) ?? false
}

function isSecret(end: string): boolean {
  // Digests and commits are the common ones.
  if (/^[0-9a-f]+$/i.test(end)) return false
  return checksum(PREFIX + end.slice(0, RANDOM_CHARS)) === end.slice(RANDOM_CHARS)
}

// 'x=hf_mirror0123456789abcdef' matches; 'hf_mirror/model' and 'hf_mirrors' do not.
const MENTION = /hf_mirror[A-Za-z0-9]{16}/i

/**
 * Whether a text holds what may be a token of a mirror, or most of one, as it stands or percent-encoded (and encoded
 * again). Short words after the prefix are none: they may be names.
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
