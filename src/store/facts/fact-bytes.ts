// The stored form of a fact: a CRC-32 of all that follows, JSON on one line, and the bytes of the body after that line. So a
// document of many megabytes is neither escaped into JSON nor parsed out of it, and damaged bytes never count as a fact.

import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { isRecord } from '../../records.ts'

const NEWLINE = 0x0a
const CRC_BYTES = 4

/** A fact as read from the disk. */
export interface ReadFact {
  readonly key: string
  readonly value: unknown
}

/**
 * The name of a fact within its kind: half of the sha256 of its key. Keys are of any length, and come from requests. Two keys
 * with one name displace each other; the key in the fact tells them apart.
 */
export function factId(key: string): Buffer {
  return createHash('sha256').update(key).digest().subarray(0, 16)
}

/** The bytes of a fact. A Buffer in `value.body` comes after the JSON. */
export function encodeFact(key: string, value: unknown): Buffer {
  const body = isRecord(value) && Buffer.isBuffer(value['body']) ? value['body'] : undefined
  const text = JSON.stringify({
    key,
    value: isRecord(value) && body !== undefined ? withoutBody(value) : value,
  })
  const crc = Buffer.alloc(CRC_BYTES)
  const parts = [crc, Buffer.from(text), ...(body === undefined ? [] : [Buffer.of(NEWLINE), body])]
  const bytes = Buffer.concat(parts)
  bytes.writeUInt32BE(crc32(bytes.subarray(CRC_BYTES)), 0)
  return bytes
}

/** The fact in `bytes`, whose body shares their memory. Undefined when they are not those of a fact that was stored. */
export function decodeFact(bytes: Buffer): ReadFact | undefined {
  if (bytes.length < CRC_BYTES || bytes.readUInt32BE(0) !== crc32(bytes.subarray(CRC_BYTES))) return undefined
  const end = bytes.indexOf(NEWLINE, CRC_BYTES)
  const fact = parseFact(bytes.subarray(CRC_BYTES, end === -1 ? bytes.length : end))
  if (fact === undefined || end === -1) return fact
  const { key, value } = fact
  return isRecord(value) ? { key, value: { ...value, body: bytes.subarray(end + 1) } } : undefined
}

/** With it, the bytes of each fact begin whose key begins with `prefix`, after the checksum. */
export function keyStart(prefix: string): Buffer {
  return Buffer.from(`{"key":${JSON.stringify(prefix).slice(0, -1)}`)
}

/** The bytes of a fact without its body if they begin with `start` (`keyStart`), and none otherwise. */
export function withKeyStart(bytes: Buffer, start: Uint8Array): Buffer {
  if (!bytes.subarray(CRC_BYTES, CRC_BYTES + start.length).equals(start)) return bytes.subarray(0, 0)
  const end = bytes.indexOf(NEWLINE, CRC_BYTES)
  return end === -1 ? bytes : bytes.subarray(0, end)
}

/** The key of a fact in its bytes, with or without the body. Its checksum is not compared. */
export function keyOf(bytes: Buffer): string | undefined {
  return parseFact(bytes.subarray(CRC_BYTES))?.key
}

/** `{"key": …, "value": …}` as JSON; earlier versions added `bytes`. Undefined when the text is something else. */
export function parseFact(text: Buffer): (ReadFact & { readonly bytes?: unknown }) | undefined {
  try {
    const parsed: unknown = JSON.parse(text.toString('utf8'))
    if (!isRecord(parsed) || typeof parsed['key'] !== 'string' || !('value' in parsed)) return undefined
    return { ...parsed, key: parsed['key'], value: parsed['value'] }
  } catch {
    return undefined
  }
}

/** The value of a fact but for its body. */
export function withoutBody(value: Readonly<Record<string, unknown>>): unknown {
  const { body: _, ...rest } = value
  return rest
}
