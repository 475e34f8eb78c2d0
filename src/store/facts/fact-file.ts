// The format of a fact's file: JSON on one line, and after that line the bytes of its body, unchanged. So a document of
// many megabytes is neither escaped into JSON nor parsed out of it.

import { crc32 } from 'node:zlib'

const NEWLINE = 0x0a

/** A fact as read from its file. */
export interface ReadFact {
  readonly key: string
  readonly value: unknown
}

/** The bytes of the file, in order. A Buffer in `value.body` is placed after the JSON, which then has its length and CRC-32. */
export function encodeFact(
  key: string,
  value: unknown,
): { readonly content: readonly Buffer[]; readonly sizeBytes: number } {
  if (!hasBody(value)) {
    const text = Buffer.from(JSON.stringify({ key, value }))
    return { content: [text], sizeBytes: text.length }
  }
  const { body, ...rest } = value
  const bytes = { length: body.length, crc32: crc32(body) }
  const head = Buffer.from(`${JSON.stringify({ key, value: rest, bytes })}\n`)
  return { content: [head, body], sizeBytes: head.length + body.length }
}

/** The fact in a file. Undefined when the file is no fact, or when its body is not the one that was written. */
export function decodeFact(file: Buffer): ReadFact | undefined {
  const end = file.indexOf(NEWLINE)
  const fact = parseHead(end === -1 ? file : file.subarray(0, end))
  if (fact === undefined) return undefined
  const { key, value, bytes } = fact
  if (bytes === undefined) return end === -1 ? { key, value } : undefined
  const body = file.subarray(end === -1 ? file.length : end + 1)
  if (body.length !== bytes['length'] || crc32(body) !== bytes['crc32']) return undefined
  return { key, value: { ...(value as object), body } }
}

/** The fact without its body, from the beginning of a file. Undefined when it is no fact, or the beginning is too short. */
export function decodeHead(beginning: Buffer): ReadFact | undefined {
  const end = beginning.indexOf(NEWLINE)
  const fact = parseHead(end === -1 ? beginning : beginning.subarray(0, end))
  return fact && { key: fact.key, value: fact.value }
}

function parseHead(
  text: Buffer,
): (ReadFact & { readonly bytes: Readonly<Record<string, unknown>> | undefined }) | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(text.toString('utf8'))
  } catch {
    // A power cut can leave a torn file.
    return undefined
  }
  if (!isRecord(parsed) || typeof parsed['key'] !== 'string' || !('value' in parsed)) return undefined
  const { key, value, bytes } = parsed
  if (bytes !== undefined && !(isRecord(bytes) && isRecord(value))) return undefined
  return { key, value, bytes: isRecord(bytes) ? bytes : undefined }
}

function hasBody(value: unknown): value is Readonly<Record<string, unknown>> & { readonly body: Buffer } {
  return isRecord(value) && Buffer.isBuffer(value['body'])
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
