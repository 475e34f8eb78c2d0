// What a listing of the Hub says of each file: `tree` and `paths-info` (a list of items), and the siblings of an info with
// `blobs`. Reads one item at a time, so that a long listing delays no other request. What is read is a claim: the bytes of
// a file are verified against it.

import { isRecord } from '../records.ts'

/** A file as a listing describes it. */
export interface ListedFile {
  readonly path: string
  /** The digest by which the bytes can be checked: the sha256 of an LFS file, the git blob hash of any other. */
  readonly etag: string
  readonly sizeBytes: number
  readonly lfs: boolean
}

/** No item of the Hub comes near this size. A longer one ends the reading. */
const MAX_ITEM_BYTES = 64 * 1024
/** The longest path that the route of a file can have. */
const MAX_PATH_CHARS = 2048

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d

/**
 * Reads the objects of a JSON array. `body` must be valid JSON between `start` and `end`. Items that are no files, or that
 * lack a digest or a size, are left out.
 */
export class ListingReader {
  readonly #body: Buffer
  readonly #end: number
  #position: number

  constructor(body: Buffer, start = 0, end = body.length) {
    this.#body = body
    this.#position = start
    this.#end = end
  }

  /** Reads up to `maxItems` more items, and returns their files. Undefined once there are no more. */
  read(maxItems: number): readonly ListedFile[] | undefined {
    const files: ListedFile[] = []
    let items = 0
    while (items < maxItems) {
      const start = this.#body.indexOf(OPEN_OBJECT, this.#position)
      if (start === -1 || start >= this.#end) {
        this.#position = this.#end
        return items === 0 ? undefined : files
      }
      const end = objectEnd(this.#body, start, Math.min(this.#end, start + MAX_ITEM_BYTES))
      if (end === undefined) {
        this.#position = this.#end
        return files
      }
      this.#position = end
      items += 1
      const file = fileOf(JSON.parse(this.#body.toString('utf8', start, end)))
      if (file !== undefined) files.push(file)
    }
    return files
  }
}

/** The end of the object that begins at `start`; undefined when it is not before `limit`. */
function objectEnd(body: Buffer, start: number, limit: number): number | undefined {
  let depth = 0
  for (let position = start; position < limit; position += 1) {
    const byte = body[position]
    if (byte === QUOTE) {
      position += 1
      while (position < limit && body[position] !== QUOTE) position += body[position] === BACKSLASH ? 2 : 1
    } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth += 1
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
      depth -= 1
      if (depth === 0) return position + 1
    }
  }
  return undefined
}

function fileOf(item: unknown): ListedFile | undefined {
  if (!isRecord(item)) return undefined
  const { type = 'file', path = item['rfilename'], size, lfs } = item
  if (type !== 'file' || typeof path !== 'string' || path === '' || path.length > MAX_PATH_CHARS)
    return undefined
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined
  if (lfs === undefined || lfs === null) {
    const etag = item['oid'] ?? item['blobId']
    const isDigest = typeof etag === 'string' && /^[0-9a-f]{40}$/.test(etag)
    return isDigest ? { path, etag, sizeBytes: size, lfs: false } : undefined
  }
  if (!isRecord(lfs) || lfs['size'] !== size) return undefined
  const etag = lfs['oid'] ?? lfs['sha256']
  const isDigest = typeof etag === 'string' && /^[0-9a-f]{64}$/.test(etag)
  return isDigest ? { path, etag, sizeBytes: size, lfs: true } : undefined
}

/** Endings of files that the Hub sends as plain text, so that no browser runs them. */
const TEXT = new Set(
  'bat c cc cfg cmake conf cpp css csv gitattributes gitignore h hpp htm html ini java jinja js json jsonl log md mjs py rs rst sh sql toml ts tsv txt xml yaml yml'.split(
    ' ',
  ),
)
const TEXT_TYPE = 'text/plain; charset=utf-8'

/**
 * The Content-Type with which the Hub sends a file that is not in Git LFS, by the ending of its name. Undefined where that
 * is not known. No client of the Hub depends on it.
 */
export function contentTypeOf(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return TEXT.has(name.slice(name.lastIndexOf('.') + 1).toLowerCase()) ? TEXT_TYPE : undefined
}
