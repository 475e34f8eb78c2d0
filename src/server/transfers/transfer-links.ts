// Links at the mirror that stand for URLs elsewhere, which the Hub gave to a caller for one transfer of an LFS object.
// Everything that is needed to use such a URL is in the link itself, encrypted and authenticated. No client can read,
// change or make a link, so the mirror is no open proxy, and it keeps no state.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { MirrorError } from '../../errors.ts'
import type { UploadContent } from '../../hub/lfs-batch.ts'
import { parseRepoId, type Repo, type RepoType } from '../../hub/names.ts'

/** One transfer that the Hub allowed to a caller. */
export interface TransferLink {
  readonly url: URL
  readonly method: 'GET' | 'PUT' | 'POST'
  readonly repo: Repo
  /** The object's sha256, in hex. */
  readonly oid: string
  readonly sizeBytes: number
  /** The fields that the Hub wants in the request to the URL. */
  readonly headers: Readonly<Record<string, string>>
  /** Whether the bytes may be stored, and served from the store. */
  readonly mayStore: boolean
  /** The mirror itself has found that the object belongs to a public repo. It is served from the store only. */
  readonly isProved?: boolean
  /** Epoch ms. */
  readonly expiresAt: number
  /** What the body of an upload must be; undefined if that is not known. */
  readonly content?: UploadContent | undefined
}

/** The path below the base path, before the sealed text. */
export const TRANSFER_PATH = '/-/lfs/'

const ALGORITHM = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16
const VERSION = 1
/** A target of this length, with a base path, fits into the request line that the mirror accepts. */
const MAX_SEALED_CHARS = 7_500
const TYPES: readonly RepoType[] = ['model', 'dataset', 'space', 'kernel']

export class TransferLinks {
  readonly #key: Buffer
  /** Epoch ms. */
  readonly now: () => number

  /** `key` has 32 bytes. `now` returns epoch ms, since a link may be opened after a restart. */
  constructor(key: Buffer, now: () => number) {
    this.#key = key
    this.now = now
  }

  /** Returns the link as one path segment (AES-256-GCM, base64url); undefined if it is too long for a request target. */
  seal(link: TransferLink): string | undefined {
    const {
      url,
      method,
      repo,
      oid,
      sizeBytes,
      headers,
      mayStore,
      expiresAt,
      isProved = false,
      content,
    } = link
    const fields = [
      VERSION,
      url.href,
      method,
      repo.type,
      repo.id,
      oid,
      sizeBytes,
      headers,
      mayStore,
      expiresAt,
      isProved,
      typeof content === 'object'
        ? [content.upload, content.number, content.count, content.chunkBytes]
        : (content ?? null),
    ]
    const iv = randomBytes(IV_BYTES)
    const cipher = createCipheriv(ALGORITHM, this.#key, iv)
    const parts = [iv, cipher.update(JSON.stringify(fields), 'utf8'), cipher.final(), cipher.getAuthTag()]
    const sealed = Buffer.concat(parts).toString('base64url')
    return sealed.length <= MAX_SEALED_CHARS ? sealed : undefined
  }

  /** Throws transfer_link_refused if the text was not sealed with this key, was changed, or has expired. */
  open(sealed: string): TransferLink {
    const link = parseLink(this.#decrypted(sealed))
    if (link === undefined) throw refused('not sealed here')
    if (link.expiresAt <= this.now()) throw refused('expired')
    return link
  }

  #decrypted(sealed: string): unknown {
    if (!/^[\w-]+$/.test(sealed) || sealed.length > MAX_SEALED_CHARS) return undefined
    const bytes = Buffer.from(sealed, 'base64url')
    if (bytes.length <= IV_BYTES + TAG_BYTES) return undefined
    const decipher = createDecipheriv(ALGORITHM, this.#key, bytes.subarray(0, IV_BYTES), {
      authTagLength: TAG_BYTES,
    })
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
    try {
      const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()])
      return JSON.parse(text.toString('utf8'))
    } catch {
      return undefined
    }
  }
}

function refused(reason: string): MirrorError {
  return new MirrorError('transfer_link_refused', { detail: { reason } })
}

/** The text was sealed by a mirror with this key, but perhaps by another version. */
function parseLink(value: unknown): TransferLink | undefined {
  if (!Array.isArray(value) || value[0] !== VERSION) return undefined
  const [, href, method, typeName, idText, oid, sizeBytes, headers, mayStore, expiresAt, isProved, content] =
    value as readonly unknown[]
  const type = TYPES.find((known) => known === typeName)
  const id = parseRepoId(String(idText))
  if (type === undefined || id === undefined) return undefined
  if (method !== 'GET' && method !== 'PUT' && method !== 'POST') return undefined
  if (typeof href !== 'string' || typeof oid !== 'string' || typeof sizeBytes !== 'number') return undefined
  if (typeof expiresAt !== 'number' || typeof headers !== 'object' || headers === null) return undefined
  const fields = Object.entries(headers).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  )
  return {
    url: new URL(href),
    method,
    repo: { type, id },
    oid,
    sizeBytes,
    headers: Object.fromEntries(fields),
    mayStore: mayStore === true,
    ...(isProved === true && { isProved }),
    expiresAt,
    content: parseContent(content),
  }
}

/** Links of earlier versions do not say what the body must be. */
function parseContent(value: unknown): UploadContent | undefined {
  if (value === 'whole') return value
  if (!Array.isArray(value)) return undefined
  const [upload, number, count, chunkBytes] = value as readonly unknown[]
  if (typeof upload !== 'string' || typeof number !== 'number') return undefined
  if (typeof count !== 'number' || typeof chunkBytes !== 'number') return undefined
  return { upload, number, count, chunkBytes }
}
