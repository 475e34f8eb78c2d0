// The Git LFS batch API: which operation a batch requests, which only its body says, and the addresses in its answer. A
// body that another server could read in another way counts as unclear.

import { createHash } from 'node:crypto'
import { isRecord, parseRecord } from '../records.ts'

/**
 * `unclear`: the body does not say exactly once which operation it requests. Servers differ in which of two equal keys
 * they use, in whether `Operation` is the same key, and in how they read text that is not quite JSON.
 */
export function lfsOperation(body: Buffer): 'download' | 'upload' | 'unclear' {
  const text = body.toString('utf8')
  let batch: unknown
  try {
    batch = JSON.parse(text)
  } catch {
    return 'unclear'
  }
  if (typeof batch !== 'object' || batch === null || !('operation' in batch)) return 'unclear'
  if (keysOf(text).filter((key) => key.toLowerCase() === 'operation').length !== 1) return 'unclear'
  const { operation } = batch
  return operation === 'download' || operation === 'upload' ? operation : 'unclear'
}

/** The keys of the outermost object of a JSON text, repeated ones included. */
function keysOf(text: string): readonly string[] {
  const keys: string[] = []
  let depth = 0
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1
    else if (token === '}' || token === ']') depth -= 1
    else if (depth === 1 && token.endsWith(':')) keys.push(String(JSON.parse(token.slice(0, -1))))
  }
  return keys
}

/**
 * The batch without an offer of the `xet` transfer: the Hub then answers with `basic` or `multipart`, whose bytes go
 * over plain HTTP. huggingface_hub 0.36 to 1.19, git-xet and others offer it and follow the answer. Without any other
 * transfer the field is removed, which means `basic` (git-lfs: docs/api/batch.md). Returns the same Buffer if nothing
 * needs a change.
 */
export function withoutXet(body: Buffer): Buffer {
  const batch = parseRecord(body.toString('utf8'))
  const transfers = batch?.['transfers']
  if (batch === undefined || !Array.isArray(transfers) || !transfers.includes('xet')) return body
  const others = transfers.filter((transfer) => transfer !== 'xet')
  const { transfers: _offered, ...rest } = batch
  return textOf(others.length === 0 ? rest : { ...rest, transfers: others }) ?? body
}

/** Undefined for a batch that is nested too deep to be written, though it could be parsed. */
function textOf(value: object): Buffer | undefined {
  try {
    return Buffer.from(JSON.stringify(value))
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** The objects of a batch. Undefined if it names them in a way that no client uses, or by another digest than sha256. */
export function batchObjects(
  body: Buffer,
): readonly { readonly oid: string; readonly size: number }[] | undefined {
  const batch = parseRecord(body.toString('utf8'))
  if (batch === undefined || !Array.isArray(batch['objects'])) return undefined
  if (batch['hash_algo'] !== undefined && batch['hash_algo'] !== 'sha256') return undefined
  const objects = (batch['objects'] as readonly unknown[]).map((object) => {
    if (!isRecord(object)) return undefined
    const { oid, size } = object
    if (typeof oid !== 'string' || !/^[0-9a-f]{64}$/.test(oid)) return undefined
    return typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? { oid, size } : undefined
  })
  const known = objects.filter((object) => object !== undefined)
  return known.length === objects.length ? known : undefined
}

/** The text that Git has in place of an LFS object (git-lfs: docs/spec.md), as the Hub and git-lfs write it. */
export function lfsPointer(oid: string, size: number): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${size}\n`
}

export interface LfsPointer {
  readonly oid: string
  readonly size: number
}

/** The object for which a text stands as pointer, in the form that `lfsPointer` writes. Undefined for every other text. */
export function readLfsPointer(text: string): LfsPointer | undefined {
  const [, oid, digits] =
    /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n$/.exec(
      text,
    ) ?? []
  return oid === undefined ? undefined : { oid, size: Number(digits) }
}

/** One part of an upload in several requests. */
export interface UploadPart {
  /** The same for all parts of one upload. */
  readonly upload: string
  /** From 1. */
  readonly number: number
  readonly count: number
  /** The size of each part but the last. */
  readonly chunkBytes: number
}

/** What the body of a request for a URL must be: the whole object, or a part of it. */
export type UploadContent = 'whole' | UploadPart

/** One URL of a batch answer, and its purpose. */
export interface TransferUrl {
  readonly url: string
  readonly method: 'GET' | 'PUT' | 'POST'
  readonly oid: string
  readonly sizeBytes: number
  /** Header fields that a request for the URL must carry, without those of a multipart upload. */
  readonly headers: Readonly<Record<string, string>>
  /** How long the URL is valid, by the answer. */
  readonly lifeSeconds: number | undefined
  /** Undefined for a URL that takes no bytes of the object, and where the answer leaves it open which. */
  readonly content: UploadContent | undefined
}

interface About extends Pick<TransferUrl, 'oid' | 'sizeBytes'> {
  /** Whether uploads are as in git-lfs (docs/api/basic-transfers.md) or in parts, as the Hub has them. */
  readonly isKnown: boolean
}

/** What stands for a URL. It may come later, so that many URLs do not take one long turn. */
type Turn = (link: TransferUrl) => string | Promise<string>

/**
 * The answer to a batch with every URL replaced by what `turn` resolves with for it, one after the other: the `href` of each
 * action, and the parts of a multipart upload, which the Hub puts into `header` under their numbers. Undefined if the bytes
 * are no such answer. Rejects as `turn` does.
 */
export async function rewriteBatchAnswer(body: Buffer, turn: Turn): Promise<Buffer | undefined> {
  const answer = parseRecord(body.toString('utf8'))
  if (answer === undefined || !Array.isArray(answer['objects'])) return undefined
  const { transfer = 'basic' } = answer
  const isKnownTransfer = transfer === 'basic' || transfer === 'multipart'
  for (const object of answer['objects'] as readonly unknown[]) {
    if (!isRecord(object) || !isRecord(object['actions'])) continue
    const { oid, size } = object
    const isKnown = isKnownTransfer && typeof oid === 'string' && typeof size === 'number'
    const about = {
      oid: typeof oid === 'string' ? oid : '',
      sizeBytes: typeof size === 'number' ? size : 0,
      isKnown,
    }
    for (const [name, action] of Object.entries(object['actions']))
      await rewriteAction(action, methodOf(name), about, turn)
  }
  return textOf(answer)
}

/** As in git-lfs (docs/api/basic-transfers.md). Every other action is a request with a body, as `verify` is. */
function methodOf(action: string): 'GET' | 'PUT' | 'POST' {
  return action === 'download' ? 'GET' : action === 'upload' ? 'PUT' : 'POST'
}

async function rewriteAction(
  action: unknown,
  method: TransferUrl['method'],
  { isKnown, ...about }: About,
  turn: Turn,
): Promise<void> {
  if (!isRecord(action) || typeof action['href'] !== 'string') return
  const fields = isRecord(action['header']) ? action['header'] : {}
  const isMultipart = method === 'PUT' && 'chunk_size' in fields
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(fields)) {
    const isPart = isMultipart && (/^\d+$/.test(name) || name === 'chunk_size')
    if (typeof value === 'string' && !isPart) headers[name] = value
  }
  const { expires_in: expiresIn } = action
  const lifeSeconds = typeof expiresIn === 'number' && expiresIn > 0 ? expiresIn : undefined
  const partOf = isMultipart && isKnown ? partsOf(fields, about.sizeBytes, action['href']) : () => undefined
  for (const [name, value] of Object.entries(fields)) {
    if (!isMultipart || !/^\d+$/.test(name) || typeof value !== 'string') continue
    const content = partOf(Number(name))
    fields[name] = await turn({ ...about, url: value, method: 'PUT', headers: {}, lifeSeconds, content })
  }
  // The URL that is notified of the end of a multipart upload.
  action['href'] = await turn({
    ...about,
    url: action['href'],
    method: isMultipart ? 'POST' : method,
    headers,
    lifeSeconds,
    content: method === 'PUT' && !isMultipart && isKnown ? 'whole' : undefined,
  })
}

/** The parts by their numbers, if they are 1 to n, and n parts of `chunk_size` make an object of this size. */
function partsOf(
  fields: Record<string, unknown>,
  sizeBytes: number,
  href: string,
): (number: number) => UploadPart | undefined {
  const chunkBytes = Number(fields['chunk_size'])
  const count = Object.keys(fields).filter((name) => /^\d+$/.test(name)).length
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes <= 0 || count !== Math.ceil(sizeBytes / chunkBytes))
    return () => undefined
  // The URL that ends an upload names it.
  const upload = createHash('sha256').update(href).digest('base64url').slice(0, 16)
  return (number) => (number >= 1 && number <= count ? { upload, number, count, chunkBytes } : undefined)
}

/** How many bytes a request must have. */
export function contentBytes(content: UploadContent, sizeBytes: number): number {
  if (content === 'whole') return sizeBytes
  const { number, count, chunkBytes } = content
  return number < count ? chunkBytes : sizeBytes - (count - 1) * chunkBytes
}
